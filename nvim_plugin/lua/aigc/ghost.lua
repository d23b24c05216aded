--- Draws a suggestion: text that is on the screen but not in the buffer.
---
--- What fits behind the cursor lies over the line (overlay), the rest in virtual lines below,
--- broken at words, because an overlay is cut at the window's edge. With text behind the cursor:
--- `inline` where Neovim has it (found by trying, not by version); before that the overlay repeats
--- the text behind the cursor after the suggestion.
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

local option = require('aigc.option')
local outgrow = require('aigc.outgrow')
local room = require('aigc.room')
local wrap = require('aigc.wrap')

local NAMESPACE = vim.api.nvim_create_namespace('aigc')
local PROBE = vim.api.nvim_create_namespace('aigc-probe')
local MARK = 1 -- always the same: updated in place, so that nothing flickers
local GROUP, INFO_GROUP = 'AigcSuggestion', 'AigcInfo'

---@type { buf: integer, text?: string, key?: string, rows?: aigc.Row[], floats?: boolean }?
local drawn

---@type boolean?
local inline

--- Whether this Neovim can push text aside (0.10 and later).
---@return boolean
function M.has_inline()
  if inline == nil then
    -- Refused before anything is set where it is not known; not seen where it is: the mark has no text.
    inline = pcall(vim.api.nvim_buf_set_extmark, 0, PROBE, 0, 0, { virt_text_pos = 'inline' })
    vim.api.nvim_buf_clear_namespace(0, PROBE, 0, -1)
  end
  return inline
end

--- Tabs become spaces: a tab in virtual text does not know its column.
local function expand_tabs(text, column, tabstop)
  if not text:find('\t', 1, true) then
    return text
  end
  local parts = {}
  for piece, tab in text:gmatch('([^\t]*)(\t?)') do
    parts[#parts + 1] = piece
    column = column + wrap.width(piece, column, tabstop)
    if tab ~= '' then
      local spaces = tabstop - column % tabstop
      parts[#parts + 1] = (' '):rep(spaces)
      column = column + spaces
    end
  end
  return table.concat(parts)
end

--- The chunks of a row: up to `border` the suggestion, behind it text of the buffer.
---@param text string
---@param row aigc.Row
---@param border integer
---@param column integer
---@param tabstop integer
local function chunks_of(text, row, border, column, tabstop)
  column = column + row.indent
  local ours = expand_tabs(text:sub(row.first, math.min(row.last, border)), column, tabstop)
  local chunks = { { (' '):rep(row.indent) .. ours, GROUP } }
  if row.last > border then
    column = column + vim.api.nvim_strwidth(ours)
    local theirs = text:sub(math.max(row.first, border + 1), row.last)
    chunks[2] = { expand_tabs(theirs, column, tabstop), 'Normal' }
  end
  return chunks
end

--- How far Neovim indents the further rows of a line: a function of the white space that it begins with, or nil if
--- not at all.
---@param win integer
---@param width integer
---@param tabstop integer
---@return (fun(indent: string): integer)?
local function hanging(win, width, tabstop)
  local indents = option.of_window(win, 'breakindent')
  local mark = vim.o.showbreak == 'NONE' and 0 or wrap.width(vim.o.showbreak, 0, tabstop)
  if not option.of_window(win, 'wrap') or (mark == 0 and not indents) then
    return nil
  end
  local how = indents and option.of_window(win, 'breakindentopt') or ''
  local shift = tonumber(how:match('shift:(-?%d+)')) or 0
  local most = math.max(0, width - (tonumber(how:match('min:(%d+)')) or 20))
  return function(indent)
    local cells = indents and wrap.width(indent, 0, tabstop) + shift or 0
    cells = math.max(0, math.min(cells, most))
    cells = how:find('sbr', 1, true) and math.max(cells, mark) or cells + mark
    return math.min(cells, width - 1)
  end
end

--- Rows of `text` for this place; those of the last drawing are used again if the text has only
--- grown.
---@param place aigc.Place
---@param line? string the line whose rows they go on with
local function rows_of(text, place, first, column, line)
  local hang_of = hanging(place.win, place.width, place.tabstop)
  local hang = hang_of and line and hang_of((line .. text):match('^[ \t]*')) or 0
  local key = table.concat({ first, column, place.width, place.height, place.tabstop, hang }, ' ')
  local options = {
    first = first,
    width = place.width,
    column = column,
    tabstop = place.tabstop,
    max_rows = place.height,
    hang = hang,
    hang_of = hang_of,
  }
  local same = drawn
    and drawn.buf == place.buf
    and drawn.key == key
    and text:sub(1, #drawn.text) == drawn.text
  local rows = wrap.rows(text, options, same and drawn.rows or nil)
  drawn = { buf = place.buf, text = text, key = key, rows = rows }
  return rows
end

--- Behind the end of the line, or over its rest.
---@param place aigc.Place
local function overlay_mark(text, place)
  local border, tabstop = #text, place.tabstop
  local column, first = place.column, place.width - place.column
  local after_width = wrap.width(place.after, column, tabstop)
  local below_only = after_width > first
  if below_only then -- the rest of the line takes further rows, which an overlay does not reach
    column, first = 0, place.width
  else
    text = text .. place.after
  end
  local rows = rows_of(text, place, first, column, not below_only and place.before or nil)
  local lines = {}
  for i = below_only and 1 or 2, #rows do
    lines[#lines + 1] = chunks_of(text, rows[i], border, 0, tabstop)
  end
  local mark = { virt_lines = #lines > 0 and lines or nil }
  if not below_only then
    mark.virt_text = chunks_of(text, rows[1], border, column, tabstop)
    mark.virt_text_pos = 'overlay'
    local shown = 0
    for _, chunk in ipairs(mark.virt_text) do
      shown = shown + vim.api.nvim_strwidth(chunk[1])
    end
    if shown < after_width then -- cover what lies below
      mark.virt_text[#mark.virt_text + 1] = { (' '):rep(after_width - shown), 'Normal' }
    end
  end
  return mark
end

--- Pushes the rest of the line aside; Neovim wraps that line itself.
---@param place aigc.Place
local function inline_mark(text, place)
  local head, tail = text:match('^([^\n]*)\n(.*)$')
  local mark = {
    virt_text = { { expand_tabs(head or text, place.column, place.tabstop), GROUP } },
    virt_text_pos = 'inline',
  }
  if not tail then
    drawn = { buf = place.buf }
    return mark
  end
  local lines = {}
  for _, row in ipairs(rows_of(tail, place, place.width, 0, '')) do
    lines[#lines + 1] = chunks_of(tail, row, #tail, 0, place.tabstop)
  end
  mark.virt_lines = lines
  return mark
end

--- Neovim before 0.10 draws virtual lines above a closed fold empty, and the fold not at all: there is the first
--- row alone, marked as the beginning.
---@param row integer from 0
local function keep_first_row(mark, row)
  if mark.virt_lines and not M.has_inline() and vim.fn.foldclosed(row + 2) ~= -1 then
    mark.virt_lines = nil
    mark.virt_text = mark.virt_text or {}
    table.insert(mark.virt_text, { '…', INFO_GROUP })
    mark.virt_text_pos = 'overlay'
  end
end

--- Behind the last row of the suggestion.
local function add_info(mark, info)
  local rows = mark.virt_lines
  local chunks = rows and rows[#rows] or mark.virt_text
  if chunks then
    chunks[#chunks + 1] = { ' ' .. info, INFO_GROUP }
  end
end

--- The last drawing: its rows below the cursor's line, and whether it pushes text aside.
---@type { buf: integer, row: integer, n: integer, aside: boolean }?
local below

--- Neovim leaves rows on the screen that reach a window's end, when there are fewer of them: it draws the line below
--- them again, but only if that was to be seen. (A line end that was typed has moved them, too.)
---@param n_lines integer how many there are now
---@param is_over boolean
local function take_rows_back(n_lines, is_over)
  if below and (below.n > n_lines or (is_over and below.aside)) then
    room.draw_again(vim.fn.win_findbuf(below.buf), below.row, M.has_inline())
  end
end

--- Whether a language server may have put text at the end of the line, which an overlay would hide.
local function has_hints(buf)
  -- Asking vim.lsp would load it: some 5 ms. Where it has put hints this part of it is there.
  local hints = package.loaded['vim.lsp.inlay_hint']
  if type(hints) ~= 'table' or not hints.is_enabled then
    return false
  end
  local ok, enabled = pcall(hints.is_enabled, { bufnr = buf })
  return ok and enabled == true
end

--- Whether each change formats the paragraph: by the columns that its lines end in, with what is pushed in.
local function formats_itself(buf)
  return option.of_buffer(buf, 'formatoptions'):find('a', 1, true) ~= nil
end

--- What was found out last: asking for the marks of all namespaces takes a tenth of a millisecond, and a
--- suggestion is drawn many times.
---@type { buf: integer, row: integer, width: integer }?
local others_there

--- Cells of the virtual text that others (diagnostics, blame) have put behind the end of a line.
local function width_of_others(buf, row)
  if others_there and others_there.buf == buf and others_there.row == row then
    return others_there.width
  end
  local width = 0
  for _, namespace in pairs(vim.api.nvim_get_namespaces()) do
    local marks = namespace == NAMESPACE and {}
      or vim.api.nvim_buf_get_extmarks(buf, namespace, { row, 0 }, { row, -1 }, { details = true })
    for _, mark in ipairs(marks) do
      local text = mark[4].virt_text
      if text and (mark[4].virt_text_pos or 'eol') == 'eol' then
        for _, chunk in ipairs(text) do
          width = width + vim.api.nvim_strwidth(chunk[1])
        end
        width = width + 1
      end
    end
  end
  others_there = { buf = buf, row = row, width = width }
  return width
end

--- What is left of their text would look like the suggestion's end: it is covered.
local function cover(mark, n_cells, place)
  local chunks = mark.virt_text
  local shown = 0
  for _, chunk in ipairs(chunks or {}) do
    shown = shown + vim.api.nvim_strwidth(chunk[1])
  end
  local missing = math.min(n_cells, place.width - place.column) - shown
  if chunks and missing > 0 then
    chunks[#chunks + 1] = { (' '):rep(missing), 'Normal' }
  end
end

--- What shows `text` there.
---@param place aigc.Place
---@param text string
---@param info? string
---@return table mark for nvim_buf_set_extmark()
---@return integer n_lines rows below the line
---@return integer free rows between that line and the window's end
local function mark_of(place, text, info)
  local after = place.after
  -- Of several lines the last has the rest of the cursor's line behind it: pushed aside, that rest
  -- would stay behind the first.
  local aside = after ~= '' and not text:find('\n', 1, true)
  local others = after == '' and width_of_others(place.buf, place.row) or 0
  local mark
  local pushes = M.has_inline() and not formats_itself(place.buf)
  if pushes and (aside or others > 0 or has_hints(place.buf)) then
    mark = inline_mark(text, place)
  else
    mark = overlay_mark(text, place)
  end
  keep_first_row(mark, place.row)
  local pushed_in = mark.virt_text_pos == 'inline' and mark.virt_text[1][1] or nil
  local rows_after = room.rows_after(place, pushed_in)
  local n_lines = room.cut(mark, place.height - place.rows_before - 1 - rows_after)
  if info then
    add_info(mark, info)
  end
  if others > 0 and mark.virt_text_pos == 'overlay' then
    cover(mark, others, place)
  end
  mark.id = MARK
  mark.hl_mode = 'combine'
  mark.strict = false
  return mark, n_lines, place.height - place.screen_row - rows_after
end

--- Sets the mark, and sees to it that its rows are seen.
---@param place aigc.Place
---@param mark table
---@param n_lines integer rows below the line
---@param free integer rows there now
---@return integer rows there then
local function set(place, mark, n_lines, free)
  local blind = n_lines > 0 and not M.has_inline() and room.windows_that_end_at(place) or {}
  vim.api.nvim_buf_set_extmark(place.buf, NAMESPACE, place.row, place.col, mark)
  take_rows_back(n_lines, false)
  below = { buf = place.buf, row = place.row, n = n_lines, aside = mark.virt_text_pos == 'inline' }
  if n_lines > 0 then
    free = free + room.make(place, n_lines - free)
    room.draw_again(blind, place.row, M.has_inline())
  end
  return free
end

--- Draws `text` at a position of the current window's buffer, in place of what was drawn before.
---@param row integer from 0
---@param col integer in bytes
---@param text string may have line feeds and tabs, no other control characters
---@param info? string to be shown behind it
---@param on_taken_out fun() called when the drawing had to go, in the middle of a change
function M.draw(row, col, text, info, on_taken_out)
  local place = room.find(vim.api.nvim_get_current_win(), row, col)
  if not place then
    M.clear()
    return
  end
  if option.of_window(place.win, 'rightleft') then
    M.clear()
    require('aigc.float').draw(info and text .. ' ' .. info or text, place)
    drawn = { buf = place.buf, floats = true }
    return
  end
  local mark, n_lines, free = mark_of(place, text, info)
  free = set(place, mark, n_lines, free)
  if n_lines == 0 then
    outgrow.forget()
    return
  end
  outgrow.watch(place, free, function()
    M.take_out()
    on_taken_out()
  end)
end

--- Whether text of the buffer is pushed aside.
---@return boolean
function M.is_aside()
  return below ~= nil and below.aside
end

--- What was typed may have moved the mark since it was drawn.
local function follow_mark()
  if below and vim.api.nvim_buf_is_valid(below.buf) then
    below.row = vim.api.nvim_buf_get_extmark_by_id(below.buf, NAMESPACE, MARK, {})[1] or below.row
  end
end

--- Takes the text out of the buffer's lines and does no more than that, which nothing can interrupt. clear() does the
--- rest.
function M.take_out()
  if drawn and not drawn.floats and vim.api.nvim_buf_is_valid(drawn.buf) then
    vim.api.nvim_buf_del_extmark(drawn.buf, NAMESPACE, MARK)
  end
end

function M.clear()
  outgrow.forget()
  if drawn and drawn.floats then
    require('aigc.float').clear()
  elseif drawn then
    follow_mark()
    M.take_out()
    take_rows_back(0, true)
  end
  drawn, others_there, below = nil, nil, nil
end

--- Takes away what is drawn in a window of its own. Whether there was any.
---@return boolean
function M.leave_windows()
  local floats = drawn ~= nil and drawn.floats == true
  if floats then
    M.clear()
  end
  return floats
end

return M
