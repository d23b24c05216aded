--- How much of the machine the model may have: fewer threads on battery, or when others need it.
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

local uv = vim.uv or vim.loop

local POWER = '/sys/class/power_supply'
local MOST = 8 -- the engine's own limit when it chooses

--- A machine is loaded when this part of its cores has had work for a minute.
local LOADED = 0.7

M.on_battery = false

--- Asks the system without waiting: a battery's controller may take its time.
function M.look()
  uv.fs_scandir(POWER, function(_, entries)
    while entries do
      local name = uv.fs_scandir_next(entries)
      if not name then
        return
      end
      uv.fs_open(POWER .. '/' .. name .. '/online', 'r', 0, function(_, file)
        if not file then
          return -- a battery; what feeds it has this file
        end
        uv.fs_read(file, 8, 0, function(_, text)
          uv.fs_close(file)
          if text then
            M.on_battery = vim.trim(text) == '0'
          end
        end)
      end)
    end
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
