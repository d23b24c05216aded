--- Collects Lua's garbage in slices, a turn of the main loop each, before LuaJIT does it while somebody types: a
--- request leaves some 50 kB, and a whole collection takes milliseconds.
---
---     what there is:   left     1.5 times        twice             3 times
---                      |........|ours, in slices.|and in each turn.|LuaJIT's, when others allocate
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

--- A collection begins when there is so many times what was left by the one before, and so much later: a request that
--- has just been made is mostly answered by then.
local GROWN, REST_MS = 1.5, 60
--- Slices of some 0.05 ms.
local STEPS, PAUSE_MS = 3, 3
--- Where garbage is made faster than that: 0.15 ms in each turn of the main loop, and slices without a pause.
local MUCH_GROWN, MORE_STEPS, LEAST_PAUSE_MS = 2, 8, 1
--- Where LuaJIT goes on by itself when others allocate. Without us it begins at twice what was left, and ends at some
--- three times.
local MOST_GROWN = 3
--- Kilobytes that nothing of ours allocates at once.
local ROOM_KB = 1024

--- Kilobytes that the last collection of ours has left; at first, what there was when the first key was typed.
---@type number?
local left
--- Kilobytes when it was looked at last, and those that were allocated since a collection began.
local seen, allocated = 0, 0
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

--- What is allocated meanwhile is mostly left, too, although it may be garbage: counted as if it was needed it would
--- make room for more the next time, and so on.
---@param steps integer
local function go_on(steps)
  collect_some(steps)
  if is_over then
    collecting = false
    left = math.max(collectgarbage('count') - allocated, left / 2)
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
  seen = collectgarbage('count')
end

---@type aigc.Timer?
local timer

local function collect_slice()
  if not collectgarbage('isrunning') then
    collecting = false -- somebody has stopped it, who wants no collection now
  elseif collecting then
    go_on(STEPS)
    put_off()
  end
  if collecting then
    timer:start(seen > MUCH_GROWN * left and LEAST_PAUSE_MS or PAUSE_MS)
  end
end

local function begin()
  collecting, allocated = true, 0
  watch_for_the_end()
  timer = timer or require('aigc.timer').new(collect_slice)
  timer:start(REST_MS)
end

--- Before something is done on the main loop: nothing is collected in the midst of it.
function M.hold_off()
  if not collectgarbage('isrunning') then
    return
  end
  local there = collectgarbage('count')
  left = left or there
  allocated = allocated + math.max(0, there - seen)
  if not collecting and there > GROWN * left then
    begin()
  end
  if collecting and there > MUCH_GROWN * left then
    go_on(MORE_STEPS)
  end
  put_off()
end

return M
