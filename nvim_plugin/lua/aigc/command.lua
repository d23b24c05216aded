--- :Aigc, its sub-commands and their completion.
local M = {}

---@class aigc.Command
---@field run fun(args: string[]) words behind the sub-command's name
---@field complete? fun(lead: string, args: string[]): string[] words that may stand there

--- Sub-commands by name. Modules add theirs; see `providers`.
---@type table<string, aigc.Command>
M.commands = {}

--- Modules that are loaded when one of their sub-commands is used, completed or listed, if they are
--- there. Such a module has a field `commands`, a table like the one above.
---@type table<string, string>
M.providers = { memory = 'aigc.memory' }

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

M.commands.complete = {
  run = function()
    local started, reason, told = require('aigc').complete()
    if not started and not told then
      warn(reason)
    end
  end,
}

M.commands.accept = {
  run = function()
    if not require('aigc').accept() then
      warn('there is no suggestion')
    end
  end,
}

M.commands.dismiss = {
  run = function()
    require('aigc').dismiss()
  end,
}

M.commands.status = {
  run = function()
    vim.api.nvim_echo({ { 'aigc ' .. status_line() } }, false, {})
  end,
}

M.commands.stop = {
  run = function()
    require('aigc').stop()
  end,
}

---@param name string
---@return aigc.Command?
local function find(name)
  local provider = M.providers[name]
  if not M.commands[name] and provider and require('aigc.hooks').exists(provider) then
    M.commands[name] = require(provider).commands[name]
  end
  return M.commands[name]
end

---@param line string
function M.run(line)
  local args = vim.split(vim.trim(line), '%s+')
  local name = table.remove(args, 1)
  local command = find(name)
  if command then
    command.run(args)
  else
    vim.notify(
      ("aigc: no sub-command '%s', there are: %s"):format(name, table.concat(M.names(), ', ')),
      vim.log.levels.ERROR
    )
  end
end

---@return string[]
function M.names()
  for name in pairs(M.providers) do
    find(name)
  end
  local names = vim.tbl_keys(M.commands)
  table.sort(names)
  return names
end

--- For the command line: what may stand where the cursor is, and begins with what is there.
---@param lead string
---@param line string up to the cursor
---@return string[]
function M.complete(lead, line)
  local words = vim.split(line:match('Aigc%s+(.*)$') or '', '%s+')
  local found = {}
  if #words == 1 then
    found = M.names()
  else
    local command = find(words[1])
    if command and command.complete then
      found = command.complete(lead, vim.list_slice(words, 2, #words - 1))
    end
  end
  return vim.tbl_filter(function(name)
    return vim.startswith(name, lead)
  end, found)
end

return M
