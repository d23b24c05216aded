--- What users and other plugins call. No function here waits for the model.
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

--- What setup() was given, for config.lua to find when it is loaded.
---@type aigc.Options?
M.given = nil

--- Optional: options may as well be in vim.g.aigc (a table, or a function that returns one). What is wrong with them
--- is told when Neovim has started: to load what knows would take longer than all else that is done before.
---@param opts? aigc.Options
function M.setup(opts)
  M.given = opts
  if package.loaded['aigc.config'] then
    require('aigc.config').setup(opts)
  else
    vim.schedule(function()
      if vim.v.exiting == vim.NIL then
        require('aigc.config').setup(M.given)
      end
    end)
  end
end

local function suggestion()
  require('aigc.events')
  return require('aigc.suggestion')
end

--- Before that there is nothing to accept or to dismiss, and looking need not load it.
local function is_loaded()
  return package.loaded['aigc.suggestion'] ~= nil
end

--- Shows how the text goes on at the cursor, as it is generated.
---@return boolean started
---@return string? reason why not
function M.complete()
  return suggestion().ask()
end

--- Inserts what is shown, or a part of it; the rest stays. In insert mode map it through the <Plug>
--- maps, which make it an undo step of its own.
---@param part? aigc.Part
---@return boolean accepted false if nothing is shown
function M.accept(part)
  return is_loaded() and require('aigc.accept').accept(part)
end

--- Inserts what is shown up to a character and with it.
---@param char? string read from the keyboard if it is left out
---@return boolean accepted false if nothing is shown or the character is not in it
function M.accept_until(char)
  return is_loaded() and require('aigc.accept').accept_until(char)
end

--- Shows the next alternative.
---@return boolean
function M.next()
  return is_loaded() and suggestion().cycle(1)
end

--- Shows the previous alternative.
---@return boolean
function M.prev()
  return is_loaded() and suggestion().cycle(-1)
end

--- Takes the suggestion away and stops its request, or what continue() writes.
---@return boolean dismissed false if there was none
function M.dismiss()
  local stopped = package.loaded['aigc.continue'] and require('aigc.continue').stop() or false
  return is_loaded() and suggestion().dismiss() or stopped
end

--- Whether a suggestion is on the screen, for maps that fall back to something else.
---@return boolean
function M.visible()
  return is_loaded() and suggestion().visible()
end

--- The text that is shown, or ''.
---@return string
function M.text()
  return is_loaded() and suggestion().shown_text() or ''
end

--- Writes the next paragraph or block into the buffer, as it is generated, in one undo step.
---@return boolean started
---@return string? reason why not
function M.continue()
  require('aigc.events')
  return require('aigc.continue').start()
end

--- Switches suggestions off and on again.
---@param scope? 'everywhere'|'buffer'
---@return boolean enabled now
function M.toggle(scope)
  local variables = scope == 'buffer' and vim.b or vim.g
  variables.aigc_disable = not variables.aigc_disable
  if variables.aigc_disable then
    M.dismiss()
  end
  return not variables.aigc_disable
end

--- Uses another model in this session.
---@param name string path, or name of a file in one of the folders that are looked through
---@return boolean
---@return string? message why not
function M.use_model(name)
  return require('aigc.models').use(name)
end

--- Text for the cursor of the current window, for plugins that show it in their own way. The
--- request ends like any other when a newer one begins.
---@param callback fun(texts: string[]) once, best first; empty if there is nothing to suggest
---@return fun() cancel
function M.request(callback)
  return require('aigc.load').ready_unless_cancelled(function()
    return require('aigc.source').request(callback)
  end)
end

--- For 'completefunc' or 'omnifunc': v:lua.require'aigc'.completefunc
---@param findstart integer
---@return integer|table
function M.completefunc(findstart)
  return require('aigc.completefunc').complete(findstart)
end

--- Gives back the model's memory and ends its thread. The next completion starts them again.
function M.stop()
  if package.loaded['aigc.client'] then
    M.dismiss()
    require('aigc.client').close()
  end
end

---@return aigc.Status
function M.status()
  return require('aigc.status').get()
end

--- For a statusline: a few characters, in microseconds.
---@return string
function M.statusline()
  return require('aigc.status').statusline()
end

return M
