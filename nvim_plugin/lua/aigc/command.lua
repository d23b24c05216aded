--- :Aigc, its sub-commands and their completion.
local M = {}

---@class aigc.Command
---@field run fun(args: string[]) words behind the sub-command's name
---@field most? integer how many of them there may be; none if it is left out
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

--- What was asked for by hand and does not come has a reason.
local function explain(started, reason)
  if not started then
    warn(reason)
  end
end

local function starting(with)
  return function(lead)
    return vim.tbl_filter(function(word)
      return vim.startswith(word, lead)
    end, with)
  end
end

M.commands.complete = {
  run = function()
    explain(require('aigc').complete())
  end,
}

M.commands.continue = {
  run = function()
    explain(require('aigc').continue())
  end,
}

M.commands.accept = {
  run = function(args)
    local ok, accepted = pcall(require('aigc').accept, args[1])
    if not ok then
      vim.notify(accepted, vim.log.levels.ERROR)
    elseif not accepted then
      warn('there is no suggestion')
    end
  end,
  most = 1,
  complete = starting({ 'all', 'line', 'sentence', 'word' }),
}

M.commands.next = {
  run = function()
    if not require('aigc').next() then
      warn('there is no other suggestion')
    end
  end,
}

M.commands.prev = {
  run = function()
    if not require('aigc').prev() then
      warn('there is no other suggestion')
    end
  end,
}

M.commands.toggle = {
  run = function(args)
    if args[1] and args[1] ~= 'buffer' then
      vim.notify("aigc: toggle takes nothing or 'buffer'", vim.log.levels.ERROR)
      return
    end
    local enabled = require('aigc').toggle(args[1] or 'everywhere')
    local where = args[1] and 'in this buffer' or 'everywhere'
    vim.api.nvim_echo({ { ('aigc is %s %s'):format(enabled and 'on' or 'off', where) } }, false, {})
  end,
  most = 1,
  complete = starting({ 'buffer' }),
}

M.commands.model = {
  run = function(args)
    local models = require('aigc.models')
    if #args == 0 then
      models.pick()
      return
    end
    models.use_and_check(table.concat(args, ' '))
  end,
  most = math.huge, -- a path may have spaces
  complete = function(lead)
    local names = vim.tbl_map(function(path)
      return vim.fn.fnamemodify(path, ':t')
    end, require('aigc.models').list())
    return vim.list_extend(names, vim.fn.getcompletion(lead, 'file'))
  end,
}

M.commands.log = {
  run = function()
    require('aigc.log').open()
  end,
}

M.commands.dismiss = {
  run = function()
    require('aigc').dismiss()
  end,
}

M.commands.status = {
  run = function()
    vim.api.nvim_echo({ { table.concat(require('aigc.status').lines(), '\n') } }, false, {})
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
  if command and #args > (command.most or 0) then
    local too_many = table.concat(args, ' ', (command.most or 0) + 1)
    vim.notify(("aigc: too many words for %s: '%s'"):format(name, too_many), vim.log.levels.ERROR)
  elseif command then
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
