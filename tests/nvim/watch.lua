-- watch: measures how long ours holds the main loop of a Neovim, from its start. Run there before any
-- plugin is (child.start({ watch = true })), for spec_engine.lua and bench/nvim_latency.lua. Results are in
-- the global `holds`.
--
-- Times whatever Neovim calls of ours: autocommands, scheduled and deferred functions, the poll, keys' and
-- buffers' watchers, maps, the command. By the clock, and by the processor time of the thread, which does
-- not count while another process has the core. Milliseconds; `names` says of each which function it was
-- (file and line) and by what it was called.
local uv, ffi = vim.loop, require('ffi')
-- What LuaJIT compiles of this it would compile in the midst of what is measured.
jit.off(true, true)
ffi.cdef('typedef struct { long s, ns; } aigc_time; int clock_gettime(int clock, aigc_time *t);')
local THREAD_CPUTIME, now = 3, ffi.new('aigc_time')

local function processor_ms()
  ffi.C.clock_gettime(THREAD_CPUTIME, now)
  return tonumber(now.s) * 1e3 + tonumber(now.ns) / 1e6
end

local holds = { clock = {}, processor = {}, names = {}, gap = 0 }
_G.holds = holds

-- One inside another is a part of that.
local depth = 0

local function note(name, processor, clock, ok, ...)
  depth = depth - 1
  if depth == 0 then
    local n = #holds.names + 1
    holds.processor[n] = processor_ms() - processor
    holds.clock[n] = (uv.hrtime() - clock) / 1e6
    holds.names[n] = name
  end
  if not ok then
    error((...), 0)
  end
  return ...
end

-- What timer.lua wraps is called what is inside: `f`, and of a turn of several its `step`.
local function inside(f)
  for i = 1, debug.getinfo(f, 'u').nups do
    local name, value = debug.getupvalue(f, i)
    if (name == 'step' or name == 'f') and type(value) == 'function' then
      return inside(value)
    end
  end
  return f
end

local function timed(f, what)
  local info = debug.getinfo(inside(f), 'S')
  if not info.source:find('nvim_plugin', 1, true) then
    return f
  end
  local name = ('%s:%d %s'):format(info.source:match('[^/]*$'), info.linedefined, what)
  return function(...)
    depth = depth + 1
    return note(name, processor_ms(), uv.hrtime(), pcall(f, ...))
  end
end

local function wrap(table, name, position)
  local original = table[name]
  table[name] = function(...)
    local args = { n = select('#', ...), ... }
    if type(args[position]) == 'function' then
      args[position] = timed(args[position], name)
    end
    return original(unpack(args, 1, args.n))
  end
end

local function wrap_field(table, name, position, field, what)
  local original = table[name]
  table[name] = function(...)
    local args = { n = select('#', ...), ... }
    local options = args[position]
    if options and type(options[field]) == 'function' then
      args[position] = vim.tbl_extend('force', options, { [field] = timed(options[field], what(args)) })
    end
    return original(unpack(args, 1, args.n))
  end
end

wrap(vim, 'schedule', 1)
wrap(vim, 'schedule_wrap', 1)
wrap(vim, 'defer_fn', 1)
wrap(vim, 'on_key', 1)
wrap(vim.api, 'nvim_create_user_command', 2)
wrap_field(vim.api, 'nvim_create_autocmd', 2, 'callback', function(args)
  return type(args[1]) == 'table' and table.concat(args[1], ' ') or args[1]
end)
wrap_field(vim.api, 'nvim_set_keymap', 4, 'callback', function()
  return 'map'
end)
wrap_field(vim.api, 'nvim_buf_attach', 3, 'on_lines', function()
  return 'on_lines'
end)

local function wrap_poll(loop)
  local new_poll = loop.new_poll
  loop.new_poll = function(fd)
    local poll = new_poll(fd)
    return setmetatable({}, { __index = function(_, name)
      return function(_, events, callback)
        return poll[name](poll, events, callback and timed(callback, 'poll'))
      end
    end })
  end
end
wrap_poll(uv)

-- What maps call by name.
local loaded = require
function _G.require(name)
  local first = name:find('^aigc') and not package.loaded[name]
  local module = loaded(name)
  if first and (name == 'aigc' or name == 'aigc.load') then
    for key, f in pairs(module) do
      module[key] = type(f) == 'function' and timed(f, key) or f
    end
  end
  return module
end

-- From now on `holds.gap` is the longest time between ticks of a timer of 1 ms: what anything keeps the
-- main loop busy.
function holds.tick()
  local timer, last = uv.new_timer(), uv.hrtime()
  holds.gap = 0
  timer:start(1, 1, function()
    local time = uv.hrtime()
    holds.gap = math.max(holds.gap, (time - last) / 1e6)
    last = time
  end)
end

-- The figures, to be fetched.
function holds.take()
  return { clock = holds.clock, processor = holds.processor, names = holds.names, gap = holds.gap }
end
