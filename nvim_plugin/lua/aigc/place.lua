--- Where a suggestion would go, and what stands around it.
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

---@class aigc.Position
---@field buf integer
---@field row integer from 0
---@field col integer in bytes
---@field before string the line's text before that place
---@field after string and behind it
---@field normal boolean in normal mode: behind the character under the cursor
---@field origin? aigc.Position where the buffer ends and text that is only supposed begins

--- 'i' for insert mode and a command from it (<C-o>), 'n' for normal mode, 'c' for a command line,
--- else ''.
---@param mode string
---@return string
function M.kind_of(mode)
  if mode == 'niI' or mode:sub(1, 1) == 'i' then
    return 'i'
  end
  return mode:match('^[nc]') or ''
end

--- Whether text is being typed: insert mode, and not in the middle of a command of it. With 'autocomplete'
--- (Neovim 0.12) that is the mode of completion all the time, also where there is no menu.
---@return boolean
function M.is_typing()
  local mode = vim.api.nvim_get_mode().mode
  return mode == 'i' or mode == 'ic'
end

--- Whether the cursor stands where there is no text, by 'virtualedit': what is typed there gets spaces
--- before it.
---@return boolean
function M.is_beyond_text()
  return vim.o.virtualedit ~= '' and vim.fn.getcurpos()[4] > 0
end

--- Where text would go: at the cursor in insert mode, behind the character under it in normal mode
--- (as with `a`).
---@param is_normal boolean
---@return integer row, integer col, string line
function M.insertion_point(is_normal)
  local cursor = vim.api.nvim_win_get_cursor(0)
  local row, col = cursor[1] - 1, cursor[2]
  local line = vim.api.nvim_get_current_line()
  if is_normal and col < #line then
    local char = line:match('^[%z\1-\127\192-\255][\128-\191]*', col + 1)
    col = col + (char and #char or 1)
  end
  return row, math.min(col, #line), line
end

---@param is_normal boolean
---@return aigc.Position
function M.here(is_normal)
  local row, col, line = M.insertion_point(is_normal)
  return {
    buf = vim.api.nvim_get_current_buf(),
    row = row,
    col = col,
    before = line:sub(1, col),
    after = line:sub(col + 1),
    normal = is_normal,
  }
end

--- The text from the beginning of a place's line to the cursor, and what stands behind that, or nil if
--- the cursor has left for elsewhere.
---@param from aigc.Position
---@param is_normal boolean
---@return string? text
---@return string? after
function M.text_from(from, is_normal)
  if vim.api.nvim_get_current_buf() ~= from.buf or M.is_beyond_text() then
    return nil
  end
  local row, col, line = M.insertion_point(is_normal)
  if row < from.row or row > from.row + 200 then
    return nil
  end
  local lines = vim.api.nvim_buf_get_lines(0, from.row, row, false)
  lines[#lines + 1] = line:sub(1, col)
  return table.concat(lines, '\n'), line:sub(col + 1)
end

--- What was inserted at a place and before the cursor, or nil if something else has changed.
---@param from aigc.Position
---@return string?
function M.text_since(from)
  local text, after = M.text_from(from, false)
  if text and after == from.after and text:sub(1, #from.before) == from.before then
    return text:sub(#from.before + 1)
  end
end

--- Whether the cursor is still there, in the same mode, and nothing has changed.
---@param place aigc.Position
---@param tick integer the buffer's changedtick
---@return boolean
function M.is_at(place, tick)
  if
    vim.api.nvim_get_current_buf() ~= place.buf
    or vim.api.nvim_buf_get_changedtick(place.buf) ~= tick
    or M.kind_of(vim.api.nvim_get_mode().mode) ~= (place.normal and 'n' or 'i')
  then
    return false
  end
  local row, col = M.insertion_point(place.normal)
  return row == place.row and col == place.col
end

--- Whether a word is cut in two by the place.
---@param place aigc.Position
---@return boolean
function M.inside_word(place)
  return place.before:find('[%w_\128-\255]$', -1) ~= nil
    and place.after:find('^[%w_\128-\255]') ~= nil
end

--- The place behind text that is inserted at a place.
---@param place aigc.Position
---@param text string
---@return aigc.Position
function M.behind(place, text)
  local _, feeds = text:gsub('\n', '')
  local last = text:match('^.*\n(.*)$') or place.before .. text
  return {
    buf = place.buf,
    row = place.row + feeds,
    col = #last,
    before = last,
    after = place.after,
    normal = false,
    origin = place,
  }
end

return M
