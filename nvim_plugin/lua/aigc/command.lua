--- :Aigc and its sub-commands.
local M = {}

local function warn(message)
  vim.notify('aigc: ' .. message, vim.log.levels.WARN)
end

local function status_line()
  local core, message = require('aigc.client').core()
  if not core then
    return message
  end
  local status = require('aigc').status()
  local parts = { ('%s (%s)'):format(core.version(), core.cpu_level()), status.state }
  if status.model then
    parts[#parts + 1] = vim.fn.fnamemodify(status.model, ':t')
  end
  if status.last then
    parts[#parts + 1] = ('last: %d tokens'):format(status.last.tokens)
    if status.last.first_ms then
      parts[#parts + 1] = ('first after %.0f ms'):format(status.last.first_ms)
    end
    if status.last.tokens_per_second then
      parts[#parts + 1] = ('%.0f tokens/s'):format(status.last.tokens_per_second)
    end
  end
  parts[#parts + 1] = require('aigc.context').status_line()
  return table.concat(parts, ', ')
end

local commands = {
  complete = function()
    local started, reason, told = require('aigc').complete()
    if not started and not told then
      warn(reason)
    end
  end,
  accept = function()
    if not require('aigc').accept() then
      warn('there is no suggestion')
    end
  end,
  dismiss = function()
    require('aigc').dismiss()
  end,
  status = function()
    vim.api.nvim_echo({ { 'aigc ' .. status_line() } }, false, {})
  end,
  stop = function()
    require('aigc').stop()
  end,
}

---@param name string
function M.run(name)
  local command = commands[vim.trim(name)]
  if command then
    command()
  else
    vim.notify(
      ("aigc: no sub-command '%s', there are: %s"):format(name, table.concat(M.names(), ', ')),
      vim.log.levels.ERROR
    )
  end
end

---@return string[]
function M.names()
  local names = vim.tbl_keys(commands)
  table.sort(names)
  return names
end

--- For the command line: sub-commands that begin with what is there.
---@param lead string
---@param line string
---@return string[]
function M.complete(lead, line)
  if not line:match('^%s*Aigc%s+%S*$') then
    return {}
  end
  return vim.tbl_filter(function(name)
    return vim.startswith(name, lead)
  end, M.names())
end

return M
