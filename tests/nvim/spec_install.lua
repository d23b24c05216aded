-- `make install-nvim`: what it installs works on its own, with the model that comes with aigc.
return function(t, child)
  local site = vim.fn.tempname()
  vim.fn.delete('nvim_plugin/doc/tags')
  -- Plugin managers build in a job of Neovim, where $NVIM is a socket.
  local said = vim.fn.system('env -u MAKEFLAGS -u MAKELEVEL NVIM=/run/x make install-nvim NVIM_SITE=' .. site)
  t.ok(vim.v.shell_error == 0, 'make install-nvim', said)
  local files = { 'plugin/aigc.lua', 'lsp/aigc.lua', 'lua/aigc/init.lua', 'lua/aigc/core.so', 'doc/aigc.txt', 'doc/tags' }
  for _, file in ipairs(files) do
    t.is(vim.fn.filereadable(site .. '/' .. file), 1, file .. ' is there')
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
  c:stop()
  vim.fn.delete(site, 'rf')
end
