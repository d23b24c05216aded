-- :help aigc has a tag for everything that there is: commands, options, maps, highlights, functions,
-- events. What there is is asked of the plugin itself and of its sources.

return function(t, child)
  local tags = {}
  local c = child.start()
  c:request('nvim_command', 'helptags nvim_plugin/doc')
  for line in t.slurp('nvim_plugin/doc/tags'):gmatch('[^\n]+') do
    tags[line:match('^[^\t]+')] = true
  end
  local function has(tag)
    t.ok(tags[tag], ':help ' .. tag)
  end

  for _, name in ipairs(c:lua("return require('aigc.command').names()")) do
    has(':Aigc-' .. name)
  end
  local options = c:lua("return vim.tbl_keys(require('aigc.options').kinds)")
  table.sort(options)
  for _, name in ipairs(options) do
    has('aigc-' .. name)
  end
  t.ok(#options > 30, 'all options were looked at', #options)
  for _, mode in ipairs({ 'i', 'n' }) do
    local maps = c:lua([[
      local names = {}
      for _, map in ipairs(vim.api.nvim_get_keymap(...)) do
        if map.lhs:find('^<Plug>%(aigc') then names[#names + 1] = map.lhs end
      end
      return names
    ]], mode)
    t.ok(#maps >= 12, 'the maps of mode ' .. mode, #maps)
    for _, name in ipairs(maps) do
      has(name)
    end
  end
  local functions = c:lua("return vim.tbl_keys(require('aigc'))")
  table.sort(functions)
  for _, name in ipairs(functions) do
    has('aigc.' .. name .. '()')
  end
  local sources = t.slurp('nvim_plugin/plugin/aigc.lua')
  for _, path in ipairs(vim.fn.glob('nvim_plugin/lua/aigc/*.lua', true, true)) do
    sources = sources .. t.slurp(path)
  end
  local seen = {}
  local function each(pattern, make)
    local n = 0
    for name in sources:gmatch(pattern) do
      if not seen[name] then
        seen[name] = true
        has(make(name))
      end
      n = n + 1
    end
    t.ok(n > 0, 'something matches ' .. pattern)
  end
  each('highlight default link (Aigc%w+)', function(name)
    return 'hl-' .. name
  end)
  each("announce%('(Aigc%w+)'%)", function(name)
    return name
  end)
  each("pattern = '(Aigc%w+)'", function(name)
    return name
  end)
  each('[bg]%.(aigc_%w+)', function(name)
    return 'b:' .. name
  end)
  for name in c:lua("return table.concat(vim.tbl_keys(require('aigc.core')), ' ')"):gmatch('%S+') do
    has('aigc.core.' .. name .. '()')
  end

  -- links lead somewhere
  local broken = {}
  for link in t.slurp('nvim_plugin/doc/aigc.txt'):gmatch('[^<]|([^|%s]+)|') do
    local ok = tags[link] or c:lua('return #vim.fn.getcompletion(..., "help") > 0', link)
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
