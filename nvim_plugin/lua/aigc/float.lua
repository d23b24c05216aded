--- Shows a suggestion in a small window below the cursor: in windows with 'rightleft', where virtual
--- text would be drawn over the line itself. It cannot be entered and is not listed.
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

local option = require('aigc.option')
local timer = require('aigc.timer')

---@type { win: integer }?
local shown

--- Making one takes longer than all the rest, so it stays.
---@type integer?
local buffer

--- A new window begins in the buffer of the current one, and leaving that for its own would make Neovim
--- remember the cursor's place there as that of a window that has left it: so it is opened from its own.
local function open(buf, options)
  local win
  vim.api.nvim_buf_call(buf, function()
    win = vim.api.nvim_open_win(buf, false, options)
  end)
  return win
end

--- Makes all lines as wide as the widest, with spaces. Drawing a 'rightleft' line that ends before its window does,
--- Neovim 0.7 colours the cells behind it in the wrong place: some beyond its line buffer, which crashes it.
---@param lines string[]
---@param widths integer[]
---@param width integer
local function fill_up(lines, widths, width)
  for i, line in ipairs(lines) do
    lines[i] = line .. (' '):rep(width - widths[i])
  end
end

--- Text that is shown in as few rows as it needs.
---@param text string
---@param place aigc.Place
function M.draw(text, place)
  local wrap, tabstop = require('aigc.wrap'), place.tabstop
  local rows = wrap.rows(text, {
    first = place.width,
    width = place.width,
    column = 0,
    tabstop = tabstop,
    max_rows = math.max(1, math.floor(place.height / 2)),
  })
  local lines, widths, width = {}, {}, 1
  for i, row in ipairs(rows) do
    lines[i] = text:sub(row.first, row.last)
    widths[i] = wrap.width(lines[i], 0, tabstop)
    width = math.max(width, widths[i])
  end
  fill_up(lines, widths, width)
  local options = {
    relative = 'win',
    row = place.screen_row,
    col = place.width, -- text begins at the right
    anchor = 'NE',
    width = width,
    height = #lines,
    focusable = false,
    style = 'minimal',
  }
  if shown and vim.api.nvim_win_is_valid(shown.win) then
    vim.api.nvim_win_set_config(shown.win, options)
  else
    if not buffer or not vim.api.nvim_buf_is_valid(buffer) then
      buffer = vim.api.nvim_create_buf(false, true)
      vim.bo[buffer].undolevels = -1 -- nobody undoes there, and what could be would add up
    end
    options.noautocmd = true
    options.win = vim.api.nvim_get_current_win()
    shown = { win = open(buffer, options) }
    option.set_for_window(shown.win, 'winhighlight', 'Normal:AigcSuggestion')
    option.set_for_window(shown.win, 'rightleft', true)
    option.set_for_window(shown.win, 'wrap', false)
  end
  if option.of_buffer(buffer, 'tabstop') ~= tabstop then
    vim.bo[buffer].tabstop = tabstop
  end
  vim.api.nvim_buf_set_lines(buffer, 0, -1, true, lines)
end

--- Takes it away: at once, or as soon as windows may be closed, which is not while the text is locked (while a
--- completion menu opens, or an expression map is evaluated).
function M.clear()
  if not shown then
    return
  end
  local win = shown.win
  shown = nil
  local function close()
    if vim.api.nvim_win_is_valid(win) then
      vim.api.nvim_win_close(win, true)
    end
  end
  if not pcall(close) then
    timer.soon(close)
  end
end

return M
