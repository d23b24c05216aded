--- Collects Lua's garbage in slices, a turn of the main loop each, before LuaJIT does it while somebody types: a
--- request leaves some 50 kB, and a whole collection takes milliseconds.
---
---     what there is:   left     1.5 times        twice         3 times
---                      |........|ours, in slices.|larger ones..|ours also; others' allocations, as ever
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

--- They begin when a request is over and its answer is on the screen.
local REST_MS, GROWN = 60, 1.5
--- Slices of some 0.05 ms, and of 0.15 where garbage is made faster than they collect it.
local SLOW, FAST = { steps = 3, pause_ms = 3 }, { steps = 8, pause_ms = 1 }
local MUCH_GROWN = 2
--- Where LuaJIT goes on by itself when others allocate. Without us it begins at twice what was left, and ends at some
--- three times.
local MOST_GROWN = 3
--- Kilobytes that nothing of ours allocates at once.
local ROOM_KB = 1024

--- Kilobytes after the last collection of ours; at first, when the first key is typed.
---@type number?
local left
local collecting, is_over = false, false

--- Of a collection that goes on, the next steps; `is_over` when it has come to its end. By allocating, since
--- collectgarbage('step') does all at once in which LuaJIT is late.
---@param steps integer
local function collect_some(steps)
  for _ = 1, steps do
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
--- 1 MB took 1.2 ms. So it is told again and again to wait until there is so much.
local function put_off()
  local there = collectgarbage('count')
  local most = math.max(MOST_GROWN * left, there + ROOM_KB)
  local pause = collectgarbage('setpause', math.ceil(100 * most / there))
  collectgarbage('restart', -1) -- goes on at so many percent of what there is
  collectgarbage('setpause', pause)
end

---@type aigc.Timer?
local timer

local function collect_slice()
  if not collectgarbage('isrunning') then
    collecting = false -- somebody has stopped it, who wants no collection now
    return
  end
  local pace = collectgarbage('count') > MUCH_GROWN * left and FAST or SLOW
  collect_some(pace.steps)
  if is_over then
    collecting = false
    left = collectgarbage('count')
  else
    timer:start(pace.pause_ms)
  end
  put_off()
end

--- Before something is done on the main loop: nothing is collected in the midst of it. Where there is too much for the
--- slices, because there is no time between two turns, some is collected here.
function M.hold_off()
  if not collectgarbage('isrunning') then
    return
  end
  local there = collectgarbage('count')
  left = left or there
  if there > MOST_GROWN * left then
    collect_some(FAST.steps)
  end
  put_off()
  if not collecting and there > GROWN * left then
    collecting = true
    watch_for_the_end()
    timer = timer or require('aigc.timer').new(collect_slice)
    timer:start(REST_MS)
  end
end

return M
