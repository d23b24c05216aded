-- probe: Lua for a child Neovim, that measures how long ours holds its main loop. Used by
-- spec_engine.lua and bench/nvim_latency.lua. Results are in the child's global `holds`.
local probe = {}

-- To be run before the plugin's modules are loaded. Times every callback of ours on the main loop:
-- autocommands, scheduled and deferred functions, the poll, key and buffer watchers. By the clock and
-- by the processor time of the thread, which does not count while another process has the core.
-- Milliseconds; `names` says of each which callback it was (file and line, and the events of an
-- autocommand).
probe.WATCH = [[
local uv, ffi = vim.loop, require('ffi')
ffi.cdef('typedef struct { long s, ns; } aigc_time; int clock_gettime(int clock, aigc_time *t);')
local THREAD_CPUTIME, now = 3, ffi.new('aigc_time')
local function processor_ms()
  ffi.C.clock_gettime(THREAD_CPUTIME, now)
  return tonumber(now.s) * 1e3 + tonumber(now.ns) / 1e6
end
_G.holds = { clock = {}, processor = {}, names = {}, gap = 0 }
local function timed(f, what)
  local info = debug.getinfo(f, 'S')
  if not info.source:find('nvim_plugin', 1, true) then return f end
  local name = ('%s:%d %s'):format(info.source:match('[^/]*$'), info.linedefined, what)
  return function(...)
    local clock, processor = uv.hrtime(), processor_ms()
    local result = f(...)
    local n = #holds.names + 1
    holds.processor[n] = processor_ms() - processor
    holds.clock[n] = (uv.hrtime() - clock) / 1e6
    holds.names[n] = name
    return result
  end
end
local function wrap(table, name, position)
  local original = table[name]
  table[name] = function(...)
    local args = { n = select('#', ...), ... }
    if type(args[position]) == 'function' then args[position] = timed(args[position], name) end
    return original(unpack(args, 1, args.n))
  end
end
wrap(vim, 'schedule', 1)
wrap(vim, 'schedule_wrap', 1)
wrap(vim, 'defer_fn', 1)
wrap(vim, 'on_key', 1)
local create, attach = vim.api.nvim_create_autocmd, vim.api.nvim_buf_attach
vim.api.nvim_create_autocmd = function(event, options)
  if options.callback then
    options.callback = timed(options.callback, type(event) == 'table' and table.concat(event, ' ') or event)
  end
  return create(event, options)
end
vim.api.nvim_buf_attach = function(buf, send, callbacks)
  if callbacks.on_lines then callbacks.on_lines = timed(callbacks.on_lines, 'on_lines') end
  return attach(buf, send, callbacks)
end
local new_poll = uv.new_poll
uv.new_poll = function(fd)
  local poll = new_poll(fd)
  return setmetatable({}, { __index = function(_, name)
    return function(_, a, b) return poll[name](poll, a, b and timed(b, 'poll')) end
  end })
end
]]

probe.RESET = 'holds.clock, holds.processor, holds.names, holds.gap = {}, {}, {}, 0'

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
