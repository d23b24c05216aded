--- Suggestions as one types: after a pause, unless somebody is still typing, elsewhere, or asked not
--- to be disturbed.
---
---     keys     _x_x_x________x______
---     pause     |--|--|------>|-----> debounce
---     request                 *      only here
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

local config = require('aigc.config')
local menu = require('aigc.menu')
local option = require('aigc.option')
local place = require('aigc.place')
local suggestion = require('aigc.suggestion')

--- What was seen at the last key: cheap to keep, and asked again only after the pause.
---@type { buf: integer, tick: integer }?
local waiting

--- The delay and the mode of a buffer, read again when it is entered and after each pause.
local delay, mode, mode_buf = 150, nil, nil

---@return aigc.Config
local function read_mode(buf)
  local options, problems = config.get(buf)
  config.report(problems, true)
  mode = config.trigger(options, option.of_buffer(buf, 'filetype'))
  delay, mode_buf = options.debounce, buf
  return options
end

--- Options may have changed.
function M.forget()
  mode_buf = nil
end

---@type aigc.Timer
local timer

function M.cancel()
  waiting = nil
  timer:stop()
end

--- Whether nothing has happened since a key.
local function is_still(expected)
  local buf = vim.api.nvim_get_current_buf()
  return place.is_typing()
    and buf == expected.buf
    and vim.api.nvim_buf_get_changedtick(buf) == expected.tick
end

--- The pause was long enough.
local function fire()
  local expected = waiting
  waiting = nil
  if not expected or not is_still(expected) then
    return
  end
  local options
  require('aigc.timer').in_turns({
    function()
      options = read_mode(expected.buf)
      local lsp = package.loaded['aigc.lsp']
      return not (options.menu == 'hide' and menu.is_open())
        and not (lsp and lsp.shows(expected.buf)) -- Neovim shows it itself
        and not place.inside_word(place.here(false)) -- a word is being mended
    end,
    function()
      suggestion.ask({ automatic = true, config = options })
    end,
  }, function()
    return is_still(expected) and not suggestion.exists()
  end)
end

timer = require('aigc.timer').new(fire)

--- Something was typed or deleted in insert mode.
function M.on_change()
  local buf = vim.api.nvim_get_current_buf()
  if mode_buf ~= buf then
    read_mode(buf)
  end
  if mode ~= 'auto' or suggestion.exists() then
    M.cancel()
    return
  end
  waiting = { buf = buf, tick = vim.api.nvim_buf_get_changedtick(buf) }
  timer:start(delay)
end

--- A suggestion was accepted: the next one, if it is known already, needs no pause.
---@param automatic boolean as that one was
function M.after_accept(automatic)
  local buf = vim.api.nvim_get_current_buf()
  if mode_buf ~= buf then
    read_mode(buf)
  end
  if mode == 'auto' and place.is_typing() and not suggestion.exists() then
    suggestion.ask({ automatic = automatic, only_cached = true })
  end
end

return M
