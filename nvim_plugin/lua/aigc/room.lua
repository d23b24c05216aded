--- Room for a suggestion's rows below the cursor's line: how many there can be, scrolling for them, and what of them
--- Neovim would not draw, or leave on the screen.
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

local option = require('aigc.option')
local wrap = require('aigc.wrap')

--- A position of a buffer that has text, where a window's text area shows it, and how large that area is.
---@class aigc.Place
---@field win integer
---@field buf integer
---@field row integer from 0
---@field col integer from 0, in bytes
---@field line string of the buffer, with what stands
---@field before string and
---@field after string the position
---@field tabstop integer
---@field wraps boolean
---@field width integer
---@field height integer
---@field column integer from 0, in the text area
---@field top integer the window's first row of text, from 1, row of the screen
---@field screen_row integer from 1, row of the window
---@field rows_before integer rows of the same line above that one, in the window

---@param win integer
---@param row integer from 0
---@param col integer in bytes
---@return aigc.Place? nil if it is off the screen
function M.find(win, row, col)
  local info = vim.fn.getwininfo(win)[1]
  local position = vim.fn.screenpos(win, row + 1, col + 1)
  if position.row == 0 then
    return nil
  end
  local width = info.width - info.textoff
  local column = position.col - info.wincol - info.textoff
  if width < 1 or column < 0 then
    return nil
  end
  local top = info.winrow + (info.winbar or 0)
  local line = vim.api.nvim_buf_get_lines(info.bufnr, row, row + 1, true)[1]
  local wraps = option.of_window(win, 'wrap')
  local begins = vim.fn.screenpos(win, row + 1, 1).row -- 0 if that is off the screen
  return {
    win = win,
    buf = info.bufnr,
    row = row,
    col = col,
    line = line,
    before = line:sub(1, col),
    after = line:sub(col + 1),
    tabstop = option.of_buffer(info.bufnr, 'tabstop'),
    wraps = wraps,
    width = width,
    height = info.height,
    column = math.min(column, width),
    top = top,
    screen_row = position.row - top + 1,
    rows_before = wraps and position.row - math.max(top, begins) or 0,
  }
end

--- Rows of the line below the one that the position is in.
---@param place aigc.Place
---@param pushed_in? string what is to stand there, before the rest of the line
---@return integer
function M.rows_after(place, pushed_in)
  if not place.wraps then
    return 0
  end
  if place.after ~= '' and not pushed_in then
    local last = vim.fn.screenpos(place.win, place.row + 1, #place.line).row
    if last > 0 then
      return last - place.top + 1 - place.screen_row
    end
  end
  local cells = wrap.width(place.after, place.column, place.tabstop)
  cells = cells + vim.api.nvim_strwidth(pushed_in or '')
  return math.floor((place.column + cells) / place.width)
end

--- Rows below the cursor's line that no scrolling would show are none: by them Neovim would scroll that line away.
---@param most integer
---@return integer how many there are
function M.cut(mark, most)
  local rows = mark.virt_lines or {}
  for i = #rows, most + 1, -1 do
    rows[i] = nil
  end
  mark.virt_lines = #rows > 0 and rows or nil
  return #rows
end

--- Whether the cursor is behind a character's beginning, with 'virtualedit': of a last one of several bytes restoring a
--- view would put it before that.
local function is_beside()
  return vim.fn.getpos('.')[4] > 0
end

--- Virtual lines below the window's last row are not seen: scroll by lines, as few as there have to be (one may have
--- many rows), but never the cursor's out of the window.
---@param place aigc.Place
---@param missing integer rows
---@return integer rows that have gone
function M.make(place, missing)
  if missing <= 0 or is_beside() then
    return 0
  end
  local first = vim.fn.line('w0')
  local top, gone = first, 0
  while gone < missing and top <= place.row do
    top = math.max(top, vim.fn.foldclosedend(top)) + 1
    -- (Of a line whose beginning is off the screen nothing is known; without 'wrap' it has one row.)
    gone = place.wraps and vim.fn.screenpos(place.win, top, 1).row - place.top or gone + 1
  end
  if top > first then
    vim.fn.winrestview({ topline = top })
  end
  return gone
end

--- Restoring nothing of a view draws all of it. (Saving one would settle the column that `j` and `k` want, here and in
--- make().)
---@param row integer
---@param has_inline boolean
local function draw_window_again(row, has_inline)
  if is_beside() then
    vim.cmd('redraw!')
    return
  end
  local view = vim.empty_dict()
  -- Rows that are gone, if the line below them has become the first one. (Newer ones may have rows of others there.)
  if (not has_inline or vim.fn.line('w0') == row + 2) and not option.of_window(0, 'diff') then
    view.topfill = 0
  end
  vim.fn.winrestview(view)
end

--- Draws windows again.
---@param windows integer[]
---@param row integer the line below which there are or were rows, from 0
---@param has_inline boolean whether this Neovim can push text aside (0.10 and later)
function M.draw_again(windows, row, has_inline)
  for _, win in ipairs(windows) do
    if win == vim.api.nvim_get_current_win() then
      draw_window_again(row, has_inline)
    else
      vim.api.nvim_win_call(win, function()
        draw_window_again(row, has_inline)
      end)
    end
  end
end

--- Windows in which Neovim before 0.10 will not draw rows that are put below a line: of the next line it shows no more
--- than the beginning there, or nothing.
---@param place aigc.Place
---@return integer[]
function M.windows_that_end_at(place)
  return vim.tbl_filter(function(win)
    return vim.fn.line('w$', win) <= place.row + 1
  end, vim.fn.win_findbuf(place.buf))
end

return M
