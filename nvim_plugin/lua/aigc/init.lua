--- What users and other plugins call. No function here blocks the editor.
local M = {}

--- Optional: options may as well be in vim.g.aigc (a table, or a function that returns one).
---@param opts? aigc.Options
function M.setup(opts)
  require('aigc.config').setup(opts)
end

--- Shows how the text goes on at the cursor, as it is generated.
---@return boolean started
---@return string? reason why not
function M.complete()
  return require('aigc.suggestion').start()
end

--- Inserts what is shown. In insert mode map it through <Plug>(aigc-accept), which makes it an undo
--- step of its own.
---@return boolean accepted false if nothing is shown
function M.accept()
  return require('aigc.suggestion').accept()
end

--- Takes the suggestion away and stops its request.
---@return boolean dismissed false if there was none
function M.dismiss()
  return require('aigc.suggestion').dismiss()
end

--- Whether a suggestion is on the screen, for maps that fall back to something else.
---@return boolean
function M.visible()
  return require('aigc.suggestion').visible()
end

--- Gives back the model's memory and ends its thread. The next completion starts them again.
function M.stop()
  require('aigc.suggestion').dismiss()
  require('aigc.client').close()
end

---@class aigc.Status
---@field state 'stopped'|'unloaded'|'loading'|'idle'|'running'
---@field visible boolean
---@field model? string path of the model in use
---@field last? { tokens: integer, first_ms?: number, tokens_per_second?: number }

--- For a statusline: costs a few microseconds.
---@return aigc.Status
function M.status()
  local client = require('aigc.client')
  return {
    state = client.state(),
    visible = M.visible(),
    model = client.model_path(),
    last = client.last(),
  }
end

return M
