--- Where further modules of the plugin join in: context from elsewhere, the personal layer.
---
--- A module adds functions to the lists below when it is loaded. The modules named here are loaded
--- with the first suggestion, if they are there. A hook runs on the main loop at each suggestion:
--- it has 0.1 ms. One that raises is taken off its list, and that is told once.
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

--- What the model is to see, before it is sent.
---@class aigc.Prompt
---@field buf integer
---@field row integer from 0
---@field col integer in bytes
---@field text string before the cursor, within the budget, a space at its end taken off
---@field left_out string that space, or ''
---@field suffix string after the cursor, within the budget
---@field context string what stands before `text`; hooks may put something there
---@field budget integer bytes that `context` and `text` may have together
---@field config aigc.Config the options in force

--- What became of a suggestion.
---@class aigc.Outcome
---@field buf integer
---@field kind 'accepted'|'typed'|'rejected' inserted by a key; typed to its end; anything else
---@field shown string what was on the screen
---@field taken string what of it is in the buffer now
---@field prompt string what the model was given before it
---@field left_out string the space between the two, or ''
---@field row integer from 0, where it stood
---@field before string the line's text before it

--- fun(prompt): may set prompt.context.
---@type (fun(prompt: aigc.Prompt))[]
M.prompt = {}

--- fun(options, prompt): may add options of aigc.core's model:submit().
---@type (fun(options: table, prompt: aigc.Prompt))[]
M.request = {}

--- fun(outcome)
---@type (fun(outcome: aigc.Outcome))[]
M.outcome = {}

--- fun(model, config): after core.open(), before the first request.
---@type (fun(model: table, config: aigc.Config))[]
M.opened = {}

--- fun(): before the model is closed; what it is told then it still hears.
---@type (fun())[]
M.closing = {}

local modules = { 'aigc.context', 'aigc.documents', 'aigc.personal' }
local loaded = false

--- Whether a module is there to be loaded.
---@param name string
---@return boolean
function M.exists(name)
  return package.loaded[name] ~= nil
    or package.preload[name] ~= nil
    or #vim.api.nvim_get_runtime_file('lua/' .. name:gsub('%.', '/') .. '.lua', false) > 0
end

--- Loads the modules that join in, unless that was done before.
function M.load()
  if loaded then
    return
  end
  loaded = true
  for _, name in ipairs(modules) do
    if M.exists(name) then
      require(name)
    end
  end
end

--- Runs the functions of a list.
---@param list 'prompt'|'request'|'outcome'|'opened'|'closing'
function M.run(list, ...)
  M.load()
  local functions = M[list]
  for i = #functions, 1, -1 do
    local ok, message = pcall(functions[i], ...)
    if not ok and tostring(message):find('Keyboard interrupt', 1, true) then
      -- <C-c> ends whatever of Neovim's is called next, with an error: the hook is not to blame, and the
      -- key was meant for the editor.
      vim.api.nvim_input('<C-c>')
    elseif not ok then
      table.remove(functions, i)
      vim.notify('aigc: ' .. tostring(message), vim.log.levels.ERROR)
    end
  end
end

return M
