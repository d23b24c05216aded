--- How much of the machine the model may have: fewer threads on battery, or when others need it.
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

local uv = vim.uv or vim.loop

--- A folder for each battery and each socket.
M.supplies = '/sys/class/power_supply'

local MOST = 8 -- the engine's own limit when it chooses

--- A machine is loaded when this part of its cores has had work for a minute.
local LOADED = 0.7

M.on_battery = false

--- The first bytes of a file, '' if there is none. Without waiting: a battery's controller may take its time.
---@param done fun(text: string)
local function read(path, done)
  uv.fs_open(path, 'r', 0, function(_, file)
    if not file then
      return done('')
    end
    uv.fs_read(file, 64, 0, function(_, text)
      uv.fs_close(file)
      done(vim.trim(text or ''))
    end)
  end)
end

--- What one supply is to the machine, or nil: a mouse has a battery too, and a laptop has sockets that
--- nothing is plugged into.
---@param done fun(kind?: 'feeds'|'unplugged'|'battery'|'drained')
local function look_at(supply, done)
  read(supply .. '/scope', function(scope)
    if scope == 'Device' then
      return done()
    end
    read(supply .. '/type', function(kind)
      if kind == 'Battery' then
        return read(supply .. '/status', function(status)
          done(status == 'Discharging' and 'drained' or 'battery')
        end)
      end
      read(supply .. '/online', function(online)
        if online:find('^[1-9]') then
          done('feeds')
        else
          done(kind == 'Mains' and online == '0' and 'unplugged' or nil)
        end
      end)
    end)
  end)
end

--- Finds out whether the machine runs on battery; the answer comes later.
function M.look()
  uv.fs_scandir(M.supplies, function(_, entries)
    local left, seen = 1, {}
    local function count(kind)
      seen[kind or 'nothing'] = true
      left = left - 1
      if left == 0 then
        M.on_battery = not seen.feeds and (seen.drained or seen.battery and seen.unplugged) or false
      end
    end
    local name = entries and uv.fs_scandir_next(entries)
    while name do
      left = left + 1
      look_at(M.supplies .. '/' .. name, count)
      name = uv.fs_scandir_next(entries)
    end
    count()
  end)
end

---@type integer?, integer?
local cores, machine

--- The kernel's list of them, such as "0-3,6". uv.cpu_info() reads several files for each.
local function count_online()
  local file = io.open('/sys/devices/system/cpu/online')
  local list = file and file:read('*l') or ''
  if file then
    file:close()
  end
  local n = 0
  for first, last in list:gmatch('(%d+)%-?(%d*)') do
    n = n + (tonumber(last) or tonumber(first)) - tonumber(first) + 1
  end
  return n
end

--- Of the machine, as the load is.
local function all_cores()
  if not machine then
    local n = count_online()
    machine = n > 0 and n or #uv.cpu_info()
  end
  return machine
end

--- Those that this process may use: `taskset` and containers leave it fewer.
---@return integer
function M.cores()
  if not cores then
    local found, core = pcall(require, 'aigc.core')
    cores = found and core.cpu_count() or all_cores()
  end
  return cores
end

--- Why the model has fewer threads than it could, or nil.
---@return string?
function M.reason()
  if M.on_battery then
    return 'on battery'
  elseif uv.loadavg() > LOADED * all_cores() then
    return 'the machine is loaded'
  end
end

--- Threads to compute with. 0: as the engine likes.
---@param config aigc.Config
---@return integer
function M.threads(config)
  if config.threads > 0 or not config.polite then
    return config.threads
  end
  local n = math.max(1, math.min(MOST, M.cores() - 1))
  return M.reason() and math.max(1, math.floor(n / 2)) or n
end

return M
