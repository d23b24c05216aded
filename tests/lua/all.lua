-- all: runs the specs of the Lua module in whatever Lua this is and prints TAP.
--
--   lua5.4 tests/lua/all.lua [spec ...]        nvim --clean --headless -c 'luafile tests/lua/all.lua' -c cquit
--
-- From the repository's root; package.cpath or the runtime path leads to aigc.core. Specs are
-- tests/lua/spec_*.lua: each returns a function that gets the helper of tests/lua/tap.lua.
package.path = 'tests/lua/?.lua;' .. package.path

local tap = require('tap')
local names = {
  'arguments',
  'text',
  'reference',
  'generate',
  'fit',
  'lora',
  'infill',
  'memory',
  'async',
  'lifetime',
  'damage',
  'fuzz',
}
if arg and arg[1] then
  names = arg
end

if not tap.model_exists() then
  tap.skip_all('no ' .. tap.model)
else
  for _, name in ipairs(names) do
    tap.begin(name)
    local ok, message = xpcall(require('spec_' .. name), debug.traceback, tap)
    if not ok then
      tap.ok(false, 'runs to its end', message)
    end
  end
end
tap.finish()
