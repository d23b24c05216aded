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
local generation = require('aigc.generation')
local menu = require('aigc.menu')
local place = require('aigc.place')
local suggestion = require('aigc.suggestion')

local uv = vim.uv or vim.loop

---@type userdata?
local timer

--- What was seen at the last key: cheap to keep, and asked again only after the pause.
---@type { buf: integer, tick: integer }?
local waiting

--- The delay and the mode of a buffer, read again when it is entered and after each pause.
local delay, mode, mode_buf = 150, nil, nil

---@return aigc.Config
local function read_mode(buf)
  local options, problems = config.get(buf)
  config.report(problems)
  delay, mode, mode_buf = options.debounce, config.trigger(options, vim.bo[buf].filetype), buf
  return options
end

--- Options may have changed.
function M.forget()
  mode_buf = nil
end

function M.cancel()
  waiting = nil
  if timer then
    timer:stop()
  end
end

--- Whether nothing has happened since a key.
local function is_still(expected)
  local buf = vim.api.nvim_get_current_buf()
  return vim.api.nvim_get_mode().mode == 'i'
    and buf == expected.buf
    and vim.api.nvim_buf_get_changedtick(buf) == expected.tick
end

--- The pause was long enough. Whether there may be a suggestion, what the model is to be given, and the
--- request each take a turn of the main loop, so that no turn is long.
local function fire()
  local expected = waiting
  waiting = nil
  if not expected or not is_still(expected) then
    return
  end
  local buf = expected.buf
  local options = read_mode(buf)
  if suggestion.exists() or (options.menu == 'hide' and menu.is_open()) then
    return
  end
  local lsp = package.loaded['aigc.lsp']
  if lsp and lsp.shows(buf) then
    return -- Neovim shows it itself
  end
  if place.inside_word(place.here(false)) then
    return -- a word is being mended
  end
  if suggestion.reason_against(options) then
    return
  end
  local function still_wanted()
    return is_still(expected) and not suggestion.exists()
  end
  vim.schedule(function()
    if not still_wanted() then
      return
    end
    local here = place.here(false)
    local built = generation.build(here, options)
    vim.schedule(function()
      if still_wanted() then
        suggestion.start({ automatic = true, config = options, here = here, built = built })
      end
    end)
  end)
end

local on_timer = vim.schedule_wrap(fire)

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
  timer = timer or uv.new_timer()
  timer:start(delay, 0, on_timer)
end

--- A suggestion was accepted: the next one, if it is known already, needs no pause.
---@param automatic boolean as that one was
function M.after_accept(automatic)
  local buf = vim.api.nvim_get_current_buf()
  if mode_buf ~= buf then
    read_mode(buf)
  end
  if mode == 'auto' and vim.api.nvim_get_mode().mode == 'i' and not suggestion.exists() then
    suggestion.start({ automatic = automatic, only_cached = true })
  end
end

vim.api.nvim_create_autocmd('VimLeavePre', {
  group = vim.api.nvim_create_augroup('aigc', { clear = false }),
  callback = function()
    M.cancel()
    if timer then
      timer:close()
      timer = nil
    end
  end,
})

return M
