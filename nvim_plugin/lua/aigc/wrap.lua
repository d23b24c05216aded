--- Breaks text into rows of a width, as an editor with 'linebreak' would show it.
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

-- Of characters seen so far: asking Neovim for each again would cost more than all the rest.
local widths = {}

local function width_of(char)
  local width = widths[char]
  if not width then
    width = vim.api.nvim_strwidth(char)
    widths[char] = width
  end
  return width
end

--- Cells of a text that begins at a column, tabs counted to the next stop.
---@param text string
---@param column integer
---@param tabstop integer
---@return integer
function M.width(text, column, tabstop)
  if not text:find('[\1-\31\127-\255]') then
    return #text
  end
  local at = column
  for char in text:gmatch('[%z\1-\127\192-\255][\128-\191]*') do
    at = at + (char == '\t' and tabstop - at % tabstop or width_of(char))
  end
  return at - column
end

--- A row is text:sub(first, last) behind `indent` empty cells, at most as wide as asked; `last` leaves out a
--- line feed and spaces at a break.
---@class aigc.Row
---@field first integer
---@field last integer
---@field indent integer
---@field hang integer the indent of further rows of its line

---@class aigc.WrapOptions
---@field first integer cells in the first row
---@field width integer cells in the others, at least 1
---@field column integer screen column at which the first row begins, for tabs
---@field tabstop integer
---@field max_rows integer
---@field hang? integer cells that the rows behind the first one are indented by
---@field hang_of? fun(indent: string): integer the same for further lines, of the white space they begin with

--- Rows of text:sub(from), the first of which is as wide as `room`.
--- A row breaks after its last space; where there is none, and around wide characters (CJK),
--- anywhere.
---@param text string
---@param from integer
---@param room integer
---@param o aigc.WrapOptions
---@param rows aigc.Row[] they are appended here
---@param indent integer of the first one
---@param hang integer and of further ones
local function wrap_from(text, from, room, o, rows, indent, hang)
  local row_first, at, column = from, 0, #rows == 0 and o.column or indent
  local full = o.width - indent
  -- The last opportunity to break: last byte of the row then, first byte of the next one.
  local break_last, break_next
  local position = from
  local function end_row(last, next_first, is_line_end)
    rows[#rows + 1] = { first = row_first, last = last, indent = indent, hang = hang }
    if is_line_end then
      hang = o.hang_of and o.hang_of(text:match('^[ \t]*', next_first)) or 0
    end
    indent = is_line_end and 0 or hang
    full = o.width - indent
    row_first, position, at, room, column = next_first, next_first, 0, full, indent
    break_last, break_next = nil, nil
  end
  local function step()
    local char = text:match('^[%z\1-\127\192-\255][\128-\191]*', position)
      or text:sub(position, position)
    local after = position + #char
    local width = char == '\t' and o.tabstop - (column + at) % o.tabstop or width_of(char)
    if char == '\n' then
      end_row(position - 1, after, true)
    elseif at + width <= room or (at == 0 and room == full) then
      at = at + width
      if char == ' ' then
        break_last, break_next = position - 1, after
      elseif width > 1 then
        break_last, break_next = after - 1, after
      end
      position = after
    elseif char == ' ' then
      end_row(position - 1, after)
    elseif break_next then
      end_row(break_last, break_next)
    elseif room < full and width == 1 then
      end_row(row_first - 1, row_first) -- the rest of the cursor's row is too short for the word
    else
      end_row(position - 1, position)
    end
  end
  while position <= #text and #rows < o.max_rows do
    local _, word_last = text:find('^[!-~]+', position)
    if word_last and at + word_last - position < room then
      -- A word that fits needs no look at its letters.
      at, position = at + word_last - position + 1, word_last + 1
    else
      step()
    end
  end
  if #rows < o.max_rows then
    rows[#rows + 1] = { first = row_first, last = #text, indent = indent, hang = hang }
  end
end

--- Breaks text into rows. `before` may be what the last call returned for a beginning of this text
--- with the same options: then only its last row is broken again, so that a stream costs no more
--- the longer it gets.
---@param text string
---@param o aigc.WrapOptions
---@param before? aigc.Row[]
---@return aigc.Row[] rows at least one, at most max_rows
function M.rows(text, o, before)
  if not before or #before == 0 then
    local rows = {}
    wrap_from(text, 1, o.first, o, rows, 0, o.hang or 0)
    return rows
  end
  if #before >= o.max_rows then
    return before
  end
  local last = table.remove(before)
  local from, hang = last.first, last.hang
  if o.hang_of and text:sub(from - 1, from - 1) == '\n' then
    hang = o.hang_of(text:match('^[ \t]*', from)) -- there may be more of it now
  end
  local room = #before == 0 and o.first or o.width - last.indent
  wrap_from(text, from, room, o, before, last.indent, hang)
  return before
end

return M
