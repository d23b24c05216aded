--- What happened lately, for :Aigc log. In memory only: nothing of what is written reaches a disk.
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

local SIZE = 200

---@type string[]
local lines = {}
local written = 0

---@param format string
function M.add(format, ...)
  local text = select('#', ...) > 0 and format:format(...) or format
  lines[written % SIZE + 1] = os.date('%H:%M:%S ') .. text:gsub('\n', ' ')
  written = written + 1
end

--- The oldest first.
---@return string[]
function M.lines()
  local all = {}
  for i = math.max(0, written - SIZE), written - 1 do
    all[#all + 1] = lines[i % SIZE + 1]
  end
  return all
end

--- Opens it in a window of its own.
function M.open()
  local all = M.lines()
  local shown = #all > 0 and all or { 'nothing has happened yet' }
  require('aigc.window').show(shown, 'aigclog', #shown)
end

--- As much of a message as one line of the screen holds, from both its ends. A longer one makes Neovim
--- ask for <CR>, and whoever is typing loses the next key.
---@param message string
---@return string
function M.in_a_line(message)
  local room = vim.v.echospace
  message = message:gsub('\n', ' ')
  if vim.fn.strdisplaywidth(message) <= room then
    return message
  end
  local hint = ' (:Aigc log)'
  local chars = vim.fn.strchars(message)
  local left = math.max(0, room - #hint - 2)
  local head = math.floor(left / 2)
  return vim.fn.strcharpart(message, 0, head)
    .. '…'
    .. vim.fn.strcharpart(message, chars - (left - head))
    .. hint
end

--- How it was told: in a line, or at length.
---@type table<string, 'line'|'length'>
local told = {}

--- Says what went wrong: at length once, then in a line.
---@param message string
function M.tell(message)
  M.add('error: %s', message)
  if told[message] == 'length' then
    vim.notify('aigc: no suggestion, as said before (:checkhealth aigc)', vim.log.levels.WARN)
  else
    told[message] = 'length'
    vim.notify('aigc: ' .. message, vim.log.levels.ERROR)
  end
end

--- For what nobody asked for: says it once, in one line, and is quiet then.
---@param message string
---@param about? string of what has the same cause only the first is said; the log has them all
function M.tell_once(message, about)
  local is_new = not told[about or message]
  if not told[message] then
    told[message] = 'line'
    M.add('error: %s', message)
  end
  if is_new then
    told[about or message] = 'line'
    vim.notify(M.in_a_line('aigc: ' .. message), vim.log.levels.ERROR)
  end
end

return M
