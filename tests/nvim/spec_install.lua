-- `make install-nvim`: what it installs works on its own, with the model that comes with aigc. And what the help says
-- about vim.pack.

-- The lines of the help between two others.
local function help_lines(t, from, to)
  return t.slurp('nvim_plugin/doc/aigc.txt'):match(vim.pesc(from) .. '[^\n]*\n(.-)\n' .. vim.pesc(to))
end

-- Installs a clone of a repository that has the plugin's files, and whose `make nvim` copies the module that is built.
local function pack(t)
  if not vim.pack then
    t.note('this Neovim has no vim.pack (0.12 has)')
    return
  end
  local home = vim.fn.tempname()
  local function run(command)
    local said = vim.fn.system('cd ' .. home .. '/repository && ' .. command)
    assert(vim.v.shell_error == 0, said)
  end
  vim.fn.mkdir(home .. '/repository', 'p')
  vim.fn.mkdir(home .. '/config/nvim', 'p')
  local core = vim.fn.fnamemodify('nvim_plugin/lua/aigc/core.so', ':p')
  vim.fn.writefile({ 'nvim:', '\tcp ' .. core .. ' nvim_plugin/lua/aigc/' }, home .. '/repository/Makefile')
  run('cp -r ' .. vim.fn.fnamemodify('nvim_plugin', ':p') .. ' nvim_plugin && rm nvim_plugin/lua/aigc/core.so')
  run('git init -q && git add -A && git -c user.name=t -c user.email=t@localhost commit -qm test')
  local lines = help_lines(t, 'vim.pack, of Neovim 0.12', 'rocks.nvim')
  t.ok(lines, 'the help says how vim.pack installs it')
  lines = lines:gsub('URL', "'file://" .. home .. "/repository'"):gsub('load =', 'confirm = false, load =')
  vim.fn.writefile(vim.split(lines, '\n'), home .. '/config/nvim/init.lua')
  local env = ''
  for _, name in ipairs({ 'config', 'data', 'state', 'cache' }) do
    env = env .. ('XDG_%s_HOME=%s/%s '):format(name:upper(), home, name)
  end
  for _, time in ipairs({ 'installed by vim.pack', 'at the next start' }) do
    local code = "lua io.stdout:write('<', vim.api.nvim_get_runtime_file('lua/aigc/core.so', false)[1] or 'none', '>')"
    run(env .. 'nvim --headless -i NONE -c "Aigc status" -c "' .. code .. '" -c qall! >said 2>&1 </dev/null')
    local said = t.slurp(home .. '/repository/said')
    local place = home .. '/data/nvim/site/pack/core/opt/aigc/nvim_plugin/lua/aigc/core.so'
    t.ok(said:find('<' .. place .. '>', 1, true), 'the built module is found, ' .. time, said)
    t.ok(said:find('aigc %d+%.%d+%.%d+ %(%w+%), stopped'), ':Aigc works, ' .. time, said)
  end
  vim.fn.delete(home, 'rf')
end

return function(t, child)
  local site = vim.fn.tempname()
  vim.fn.delete('nvim_plugin/doc/tags')
  -- Plugin managers build in a job of Neovim, where $NVIM is a socket.
  local install = 'env -u MAKEFLAGS -u MAKELEVEL NVIM=/run/x make install-nvim NVIM_SITE=' .. site
  local said = vim.fn.system(install)
  t.ok(vim.v.shell_error == 0, 'make install-nvim', said)
  local files = { 'plugin/aigc.lua', 'lsp/aigc.lua', 'lua/aigc/init.lua', 'lua/aigc/core.so', 'doc/aigc.txt', 'doc/tags' }
  for _, file in ipairs(files) do
    t.is(vim.fn.filereadable(site .. '/' .. file), 1, file .. ' is there')
  end
  for _, case in ipairs({ { '-u XDG_DATA_HOME HOME=/x', '/x/.local/share' }, { 'XDG_DATA_HOME=/y', '/y' } }) do
    local plan = vim.fn.system('env -u MAKEFLAGS -u MAKELEVEL ' .. case[1] .. ' make -n install-nvim')
    local place = case[2] .. '/nvim/site/pack/aigc/start/aigc/plugin'
    t.ok(plan:find('mkdir -p ' .. place, 1, true), 'with ' .. case[1] .. ' it is installed where Neovim looks', plan)
  end
  local c = child.start({ fake = false, plugin = site, aigc = { min_logprob = -100 }, env = { AIGC_MODEL = '' } })
  local model = c:lua("return require('aigc.config').get().model")
  t.is(model, site .. '/models/aigc-base.gguf', 'the model is beside it')
  t.is(vim.fn.filereadable(model), 1, 'and was installed')
  t.ok(c:lua("return debug.getinfo(require('aigc').setup, 'S').source"):find(site, 1, true), 'it is what runs')
  c:keys('iIt was a dark night, and')
  local seen = child.wait(20000, function()
    return c:visible()
  end)
  t.ok(seen, 'and it suggests something', c:screen())
  t.is(table.concat(c:lua('return notes'), '\n'), '', 'without a complaint')
  for _, mapped in ipairs({ model, site .. '/lua/aigc/core.so' }) do
    local before = vim.loop.fs_stat(mapped).ino
    vim.fn.system(install)
    t.ok(vim.loop.fs_stat(mapped).ino ~= before, 'what a running editor has mapped is not written to: ' .. mapped)
  end
  t.is(vim.fn.glob(site .. '/**/*.new'), '', 'and nothing is left over')
  c:stop()

  -- luarocks puts Lua files elsewhere than the rest, which is in 'runtimepath'
  local apart = vim.fn.tempname()
  vim.fn.mkdir(apart .. '/share/lua', 'p')
  assert(vim.loop.fs_rename(site .. '/lua', apart .. '/share/lua/5.1'))
  c = child.start({ fake = false, plugin = site, env = { AIGC_MODEL = '' } })
  c:lua("package.path = ... .. '/?.lua;' .. ... .. '/?/init.lua;' .. package.path", apart .. '/share/lua/5.1')
  t.is(c:lua("return require('aigc.config').get().model"), model, 'the model is found where luarocks puts it')
  c:stop()
  vim.fn.delete(apart, 'rf')
  vim.fn.delete(site, 'rf')
  pack(t)
end
