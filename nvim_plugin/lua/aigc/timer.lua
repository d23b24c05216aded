--- Timers whose callbacks run on the main loop, and turns of it. What is left of them is closed when Neovim
--- is left, which otherwise waits for it.
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

local hold_off = require('aigc.garbage').hold_off
local uv = vim.uv or vim.loop

--- Neovim runs what is scheduled also when it is being left by a signal and its buffers are gone already.
--- An error there waits for a key that nobody presses.
local function unless_leaving(f)
  return function()
    if vim.v.exiting == vim.NIL then
      hold_off()
      f()
    end
  end
end

--- Calls back on the main loop, when what was typed meanwhile has been handled.
---@param f fun()
function M.soon(f)
  vim.schedule(unless_leaving(f))
end

--- The same after so many milliseconds.
---@param f fun()
---@param milliseconds integer
function M.later(f, milliseconds)
  vim.defer_fn(unless_leaving(f), milliseconds)
end

---@class aigc.Timer
---@field private handle? userdata until it is closed
---@field private callback fun()
local Timer = {}
Timer.__index = Timer

---@type table<aigc.Timer, true>
local open = {}

---@param callback fun()
---@return aigc.Timer
function M.new(callback)
  local timer = setmetatable({ callback = vim.schedule_wrap(unless_leaving(callback)) }, Timer)
  open[timer] = true
  return timer
end

--- Calls back once after so many milliseconds, in place of when it was to call before.
---@param milliseconds integer
function Timer:start(milliseconds)
  if open[self] then
    self.handle = self.handle or uv.new_timer()
    self.handle:start(milliseconds, 0, self.callback)
  end
end

function Timer:stop()
  if self.handle then
    self.handle:stop()
  end
end

--- Runs functions one after the other, each in a turn of the main loop of its own, the first one too: what
--- was typed meanwhile goes first. One that returns 'again' gets another turn. Until one of them returns false, or
--- `wanted` does before one of them.
---@param steps (fun(): boolean|'again'|nil)[]
---@param wanted? fun(): boolean
function M.in_turns(steps, wanted)
  local function take(i)
    local step = steps[i]
    M.soon(function()
      local result = (not wanted or wanted()) and step()
      local next_one = result == 'again' and i or i + 1
      if result ~= false and steps[next_one] then
        take(next_one)
      end
    end)
  end
  take(1)
end

vim.api.nvim_create_autocmd('VimLeavePre', {
  group = vim.api.nvim_create_augroup('aigc', { clear = false }),
  desc = 'aigc: close timers',
  callback = function()
    for timer in pairs(open) do
      if timer.handle then
        timer.handle:close()
        timer.handle = nil
      end
    end
    open = {}
  end,
})

return M
