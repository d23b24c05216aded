--- For 'completefunc' and 'omnifunc': the menu opens when the model has answered.
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

local timer = require('aigc.timer')

--- Leave completion without a message; what follows comes through complete().
local CANCEL_SILENTLY = -3

--- An item of the menu is its first line: of a line end within one Neovim before 0.11 makes a NUL. The lines
--- below come when it has been chosen.
---@type boolean
local watching = false

local function insert_rest()
  local item = vim.v.completed_item
  local data = type(item) == 'table' and item.user_data
  local rest = type(data) == 'table' and data.aigc
  if not rest then
    return
  end
  local tick = vim.b.changedtick
  timer.soon(function()
    local col = vim.api.nvim_win_get_cursor(0)[2]
    local before = vim.api.nvim_get_current_line():sub(1, col)
    local is_there = vim.b.changedtick == tick and vim.endswith(before, item.word)
    if is_there and require('aigc.place').is_typing() then
      vim.api.nvim_paste(rest, true, -1)
    end
  end)
end

local function watch()
  if not watching then
    watching = true
    vim.api.nvim_create_autocmd('CompleteDone', {
      group = vim.api.nvim_create_augroup('aigc', { clear = false }),
      callback = insert_rest,
    })
  end
end

---@param texts string[]
---@param here aigc.Position
---@return table[]
local function words_of(texts, here)
  local source = require('aigc.source')
  local keyword = source.keyword(here)
  local words = {}
  for i, item in ipairs(source.items(texts, here)) do
    local first, rest = (keyword .. texts[i]):match('^([^\n]*)(.*)$')
    words[i] = {
      word = first,
      abbr = item.label,
      menu = 'aigc',
      dup = 1,
      empty = 1,
      user_data = rest ~= '' and { aigc = rest } or nil,
    }
  end
  return words
end

---@param findstart integer
---@return integer|table
function M.complete(findstart)
  if findstart ~= 1 then
    return {}
  end
  watch()
  local source = require('aigc.source')
  local tick = vim.b.changedtick
  source.request(function(texts, here)
    -- Not now: completion is not over before this function has returned.
    timer.soon(function()
      local mode = vim.api.nvim_get_mode().mode:sub(1, 1)
      if not here or #texts == 0 or mode ~= 'i' or vim.b.changedtick ~= tick then
        return
      end
      vim.fn.complete(#here.before - #source.keyword(here) + 1, words_of(texts, here))
    end)
  end)
  return CANCEL_SILENTLY
end

return M
