-- :help aigc has all that there is, and nothing that there is not: commands and the words behind them, options, maps,
-- highlights, functions, events, variables. What there is is asked of the plugin itself, and of its sources.

return function(t, child)
  local tags = {}
  local c = child.start({ fake = false })
  c:request('nvim_command', 'helptags nvim_plugin/doc')
  for line in t.slurp('nvim_plugin/doc/tags'):gmatch('[^\n]+') do
    tags[line:match('^[^\t]+')] = true
  end
  local help = t.slurp('nvim_plugin/doc/aigc.txt')
  local there = {}
  local function has(tag)
    if not there[tag] then
      there[tag] = true
      t.ok(tags[tag], ':help ' .. tag)
    end
  end
  local function sorted(list)
    table.sort(list)
    return list
  end

  -- What stands under a tag, up to the next line with one of that beginning.
  local function text_under(tag, beginning)
    local from = help:find('*' .. tag .. '*', 1, true)
    local line_end = from and help:find('\n', from, true)
    local to = from and help:find('\n[^\n]*%*' .. vim.pesc(beginning), line_end)
    return from and help:sub(from, to or #help) or ''
  end

  -- ---- commands ----
  local bare = child.start({ fake = false, plugin = 'nothing-here' })
  local get_commands = 'return vim.tbl_keys(vim.api.nvim_get_commands({}))'
  local of_neovim = bare:lua(get_commands)
  bare:stop()
  for _, name in ipairs(sorted(c:lua(get_commands))) do
    if not vim.tbl_contains(of_neovim, name) then
      has(':' .. name)
    end
  end
  local names = c:lua("return require('aigc.command').names()")
  t.ok(#names >= 12, 'all sub-commands were looked at', #names)
  for _, name in ipairs(names) do
    has(':Aigc-' .. name)
    local words = name == 'model' and {} or c:lua('return vim.fn.getcompletion("Aigc " .. ... .. " ", "cmdline")', name)
    for _, word in ipairs(words) do
      local under = text_under(':Aigc-' .. name, ':Aigc-') .. text_under((':Aigc-%s-%s'):format(name, word), ':Aigc-')
      t.ok(under:find('%f[%w]' .. word .. '%f[%W]'), (':help :Aigc-%s speaks of %s'):format(name, word), under)
    end
  end

  -- ---- options: in the help, in the page, and in the types ----
  local options = sorted(c:lua("return vim.tbl_keys(require('aigc.options').kinds)"))
  t.ok(#options > 30, 'all options were looked at', #options)
  local page, types = t.slurp('docs/neovim.md'), t.slurp('nvim_plugin/lua/aigc/options.lua')
  local class = types:match('%-%-%-@class aigc.Options\n(.-)\n\n')
  local typed = {}
  for name in class:gmatch('@field ([%w_]+)%?') do
    typed[#typed + 1] = name
  end
  t.is(table.concat(sorted(typed), ' '), table.concat(options, ' '), 'aigc.Options has the options as its fields')
  for _, name in ipairs(options) do
    has('aigc-' .. name)
    t.ok(page:find(('`%s`'):format(name), 1, true), 'docs/neovim.md has the option ' .. name)
  end

  -- ---- maps ----
  local n_maps = 0
  for _, mode in ipairs({ 'n', 'i', 'x', 's', 'o', 't', 'c', 'l' }) do
    for _, map in ipairs(c:request('nvim_get_keymap', mode)) do
      if map.lhs:find('^<Plug>.*aigc') then
        has(map.lhs)
        n_maps = n_maps + 1
      end
    end
  end
  t.ok(n_maps >= 24, 'the maps of all modes', n_maps)

  -- ---- functions ----
  for _, name in ipairs(sorted(c:lua("return vim.tbl_keys(require('aigc'))"))) do
    has('aigc.' .. name .. '()')
  end
  for _, name in ipairs(sorted(c:lua("return vim.tbl_keys(require('aigc.core'))"))) do
    has('aigc.core.' .. name .. '()')
  end
  local methods = c:lua([[
    local model = require('aigc.core').open('models/aigc-base.gguf')
    return vim.tbl_filter(function(name) return name:sub(1, 2) ~= '__' end, vim.tbl_keys(debug.getmetatable(model).__index))
  ]])
  t.ok(#methods > 10, 'methods of a model', #methods)
  for _, name in ipairs(sorted(methods)) do
    has('aigc-model:' .. name .. '()')
  end
  local status = t.slurp('nvim_plugin/lua/aigc/status.lua')
  local under_status = text_under('aigc.status()', 'aigc.statusline()')
  for name in status:match('@class aigc.Status\n(.-)\n\n'):gmatch('@field ([%w_]+)') do
    t.ok(under_status:find('%f[%w]' .. name .. '%f[%W]'), 'aigc.status() has the field ' .. name)
  end

  -- ---- highlights, events, variables: by their names in the sources ----
  local sources = t.slurp('nvim_plugin/plugin/aigc.lua')
  for _, path in ipairs(vim.fn.glob('nvim_plugin/lua/aigc/*.lua', true, true)) do
    sources = sources .. t.slurp(path)
    c:lua('pcall(require, "aigc." .. ...)', vim.fn.fnamemodify(path, ':t:r')) -- groups made when it is loaded
  end
  local groups, n_names = {}, 0
  for _, name in ipairs(c:lua('return vim.fn.getcompletion("Aigc", "highlight")')) do
    groups[name] = true
    has('hl-' .. name)
  end
  t.ok(next(groups) ~= nil, 'there are highlight groups')
  for name in sources:gmatch('%f[%w_]Aigc%u[%w_]*') do
    n_names = n_names + 1
    if not groups[name] and not tags['hl-' .. name] then
      has(name)
    end
  end
  t.ok(n_names > 7, 'names of groups and events', n_names)
  for scope, name in sources:gmatch('vim%.([bgwt])%[?[%w_]*%]?%.(aigc[%w_]*)') do
    has(scope .. ':' .. name)
  end
  for name in sources:gmatch("[gs]etenv%('(%w+)'") do
    t.ok(help:find('$' .. name, 1, true), 'the help speaks of $' .. name)
  end

  -- ---- and nothing that there is not ----
  local gone = {}
  for tag in pairs(tags) do
    local kind = tag:match('^:Aigc%-(%w+)') or tag:match('^<Plug>') or tag:match('^aigc%.[%w_.]+%(%)$')
      or tag:match('^aigc%-model:') or tag:match('^hl%-') or tag:match('^Aigc%u')
    local known = there[tag] or (tag:find('^:Aigc%-') and there[':Aigc-' .. kind])
      or (tag:find('^Aigc') and sources:find(tag, 1, true))
    if kind and not known then
      gone[#gone + 1] = tag
    end
  end
  t.is(table.concat(sorted(gone), ' '), '', 'the help speaks of nothing that is gone')

  -- links lead somewhere
  local broken = {}
  for link in help:gmatch('[^<]|([^|%s]+)|') do
    local ok = tags[link]
      or c:lua('return vim.tbl_contains(vim.fn.getcompletion(..., "help"), ...)', link)
    if not ok then
      broken[#broken + 1] = link
    end
  end
  t.is(table.concat(broken, ' '), '', 'every link of the help leads somewhere')

  -- the modules that other plugins name
  for _, name in ipairs({ 'aigc.cmp', 'aigc.blink', 'aigc.lsp' }) do
    t.is(c:lua('return type(require(...))', name), 'table', name .. ' is there')
  end

  -- the rockspec
  local rockspec = {}
  setfenv(loadfile('nvim_plugin/aigc.nvim-scm-1.rockspec'), rockspec)()
  t.is(rockspec.package, 'aigc.nvim', 'the rockspec can be read')
  for _, target in ipairs({ rockspec.build.build_target, rockspec.build.install_target }) do
    t.ok(t.slurp('Makefile'):find('\n' .. target:gsub('%-', '%%-') .. ':'), 'make ' .. target .. ' is there')
  end
  c:stop()
end
