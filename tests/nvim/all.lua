-- all: runs the plugin's specs and prints TAP. Run by tests/nvim/*.t in a Neovim of its own, from
-- the repository's root.
package.path = 'tests/nvim/?.lua;tests/lua/?.lua;' .. package.path

local tap = require('tap')
for name in vim.env.AIGC_SPECS:gmatch('%S+') do
  tap.begin(name)
  local ok, message = xpcall(require('spec_' .. name), debug.traceback, tap, require('child'))
  if not ok then
    tap.ok(false, 'runs to its end', message)
  end
  require('child').stop_all()
end
tap.finish()
