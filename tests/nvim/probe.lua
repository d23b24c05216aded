-- probe: Lua for a child Neovim, that measures how long ours holds its main loop. Used by
-- spec_engine.lua and bench/nvim_latency.lua. Results are in the child's global `holds`.
local probe = {}

-- To be run before the plugin is loaded. Times every callback of ours on the main loop, by the
-- clock and by the processor time of the thread, which does not count while another process has the
-- core. Milliseconds.
probe.WATCH = [[
local uv, ffi = vim.loop, require('ffi')
ffi.cdef('typedef struct { long s, ns; } aigc_time; int clock_gettime(int clock, aigc_time *t);')
local THREAD_CPUTIME, now = 3, ffi.new('aigc_time')
local function processor_ms()
  ffi.C.clock_gettime(THREAD_CPUTIME, now)
  return tonumber(now.s) * 1e3 + tonumber(now.ns) / 1e6
end
_G.holds = { clock = {}, processor = {}, gap = 0 }
function _G.timed(f)
  return function(...)
    local clock, processor = uv.hrtime(), processor_ms()
    local result = f(...)
    table.insert(holds.processor, processor_ms() - processor)
    table.insert(holds.clock, (uv.hrtime() - clock) / 1e6)
    return result
  end
end
local function is_ours(f)
  return debug.getinfo(f, 'S').source:find('nvim_plugin', 1, true)
end
local schedule, create = vim.schedule, vim.api.nvim_create_autocmd
vim.schedule = function(f) schedule(is_ours(f) and timed(f) or f) end
vim.api.nvim_create_autocmd = function(event, options)
  if options.callback and is_ours(options.callback) then options.callback = timed(options.callback) end
  return create(event, options)
end
local new_poll = uv.new_poll
uv.new_poll = function(fd)
  local poll = new_poll(fd)
  return setmetatable({}, { __index = function(_, name)
    return function(_, a, b) return poll[name](poll, a, b and timed(b)) end
  end })
end
]]

probe.RESET = 'holds.clock, holds.processor, holds.gap = {}, {}, 0'

-- From now on `holds.gap` is the longest time between ticks of a timer of 1 ms: what anything keeps
-- the main loop busy.
probe.TICK = [[
local timer, last = vim.loop.new_timer(), vim.loop.hrtime()
timer:start(1, 1, function()
  local now = vim.loop.hrtime()
  holds.gap = math.max(holds.gap, (now - last) / 1e6)
  last = now
end)
]]

return probe
