--- Collects Lua's garbage in slices, a turn of the main loop each, before LuaJIT does it while somebody types: a
--- request leaves some 50 kB, and a whole collection takes milliseconds.
---
---     what there is:   left          1.5 times           3 times
---                      |.............|ours, in slices....|LuaJIT's, a bit of it with each allocation
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

--- Slices of some 0.05 ms, which begin when a request is over and its answer is on the screen.
local STEPS, PAUSE_MS, REST_MS, GROWN = 3, 3, 60, 1.5
--- Where LuaJIT goes on by itself. Without us it begins at twice what was left, and ends at some three times.
local MOST_GROWN = 3

--- Kilobytes after the last collection of ours; at first, when all modules are there.
---@type number?
local left
local collecting, is_over = false, false

--- Of a collection that goes on, the next steps; `is_over` when it has come to its end. By allocating, since
--- collectgarbage('step') does all at once in which LuaJIT is late.
local function collect_some()
  for _ = 1, STEPS do
    collectgarbage('restart')
    local _ = {}
  end
end

--- What is there now and is thrown away is finalized at a collection's end.
local function watch_for_the_end()
  is_over = false
  getmetatable(newproxy(true)).__gc = function()
    is_over = true
  end
end

--- LuaJIT goes on with a collection that has begun at each kilobyte that anybody allocates, and when it is late at each
--- allocation: at the end of one in which much was allocated it was 2.4 MB late for the next, and callbacks that freed
--- 1 MB took 1.2 ms. So it is told after each slice to wait until there is as much as there would be without us: what
--- others allocate is collected in any case.
local function put_off()
  local there = collectgarbage('count')
  if there >= MOST_GROWN * left then
    collectgarbage('restart') -- goes on from here
    return
  end
  local pause = collectgarbage('setpause', math.floor(100 * MOST_GROWN * left / there))
  collectgarbage('restart', -1) -- goes on at so many percent of what there is
  collectgarbage('setpause', pause)
end

---@type aigc.Timer
local timer
timer = require('aigc.timer').new(function()
  if not collectgarbage('isrunning') then
    collecting = false -- somebody has stopped it, who wants no collection now
    return
  end
  collect_some()
  if is_over then
    collecting = false
    left = collectgarbage('count')
  else
    timer:start(PAUSE_MS)
  end
  put_off()
end)

--- A request has ended, or a key was typed: looks whether there is enough to begin.
function M.later()
  if not collectgarbage('isrunning') then
    return
  end
  local there = collectgarbage('count')
  left = left or there
  put_off() -- also what LuaJIT has begun, or decided at the end of a collection of its own
  if not collecting and there > GROWN * left then
    collecting = true
    watch_for_the_end()
    timer:start(REST_MS)
  end
end

return M
