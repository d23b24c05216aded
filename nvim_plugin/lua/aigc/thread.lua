--- Work for a thread of libuv's, which the main loop does not wait for.
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

local timer = require('aigc.timer')

local uv = vim.uv or vim.loop

--- Runs a function on a thread, in a Lua state of its own, and calls back on the main loop. If there is no
--- thread to be had it runs here.
---@param f function of strings, numbers and booleans, without upvalues; returns such
---@param callback fun(...) with what it returns, or with nil and a message if it raises an error
---@param ended? fun() as soon as it has ended, also when Neovim is being left; may not call Neovim
function M.run(f, callback, ended, ...)
  local arguments = { ... }
  local function finish(ok, ...)
    local results = ok and { n = select('#', ...), ... } or { n = 2, nil, (...) }
    if ended then
      ended()
    end
    timer.soon(function()
      callback(unpack(results, 1, results.n))
    end)
  end
  local ok, work = pcall(uv.new_work, function(code, ...)
    return pcall(loadstring(code), ...)
  end, finish)
  if not ok or not work:queue(string.dump(f), unpack(arguments)) then
    finish(pcall(f, unpack(arguments)))
  end
end

return M
