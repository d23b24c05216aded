--- The text before the cursor, as much of it as the model shall see.
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

--- Row of the line that holds a byte of the buffer, found by halving: O(log n) calls whatever the
--- buffer's size.
---@param buf integer
---@param offset integer
---@param last_row integer
---@return integer
function M.row_of(buf, offset, last_row)
  local low, high = 0, last_row
  while low < high do
    local middle = math.floor((low + high + 1) / 2)
    if vim.api.nvim_buf_get_offset(buf, middle) <= offset then
      low = middle
    else
      high = middle - 1
    end
  end
  return low
end

--- Where a line too long for the budget is cut: after a space if one is near, never inside a
--- character.
local function cut_line(buf, row, col, end_col)
  local text = vim.api.nvim_buf_get_text(buf, row, col, row, math.min(col + 64, end_col), {})[1]
  local space = text:find(' ', 1, true)
  if space then
    return col + space
  end
  local continuation = text:match('^[\128-\191]*')
  return col + #continuation
end

--- Bytes of a line before the character that the given byte (from 0) belongs to.
---@param line string
---@param at integer
---@return integer
function M.char_start(line, at)
  while at > 0 and (line:byte(at + 1) or 0) >= 128 and (line:byte(at + 1) or 0) < 192 do
    at = at - 1
  end
  return at
end

--- The offset at which a prompt up to `position` may begin.
local function beginning(position, budget)
  local step = math.floor(budget / 4)
  return math.max(0, math.ceil((position - budget) / step) * step)
end

--- Where prompts will begin when so many more bytes have been written, if not where they do now.
---@param buf integer
---@param row integer from 0
---@param col integer in bytes
---@param budget integer in bytes
---@param near integer in bytes
---@return integer? offset
function M.next_beginning(buf, row, col, budget, near)
  local position = vim.api.nvim_buf_get_offset(buf, row) + col
  local offset = beginning(position + near, budget)
  return offset ~= beginning(position, budget) and offset or nil
end

--- Text from at most `budget` bytes before (row, col) up to there. Its beginning moves in steps of
--- a quarter of the budget: while one writes, most requests begin like the one before, and what the
--- model has computed of them holds.
---@param buf integer
---@param row integer from 0
---@param col integer in bytes
---@param budget integer in bytes
---@param from? integer where it is to begin, of next_beginning()
---@return string text
---@return integer row where it begins
---@return integer col
function M.before(buf, row, col, budget, from)
  local position = vim.api.nvim_buf_get_offset(buf, row) + col
  local start_row, start_col = 0, 0
  local offset = from or beginning(position, budget)
  if offset > 0 then
    start_row = M.row_of(buf, offset, row)
    start_col = offset - vim.api.nvim_buf_get_offset(buf, start_row)
    if start_col > 0 then
      local next_line = start_row < row and vim.api.nvim_buf_get_offset(buf, start_row + 1)
      if next_line and position - next_line >= budget / 2 then
        start_row, start_col = start_row + 1, 0
      else
        local end_col = start_row == row and col
          or #vim.api.nvim_buf_get_lines(buf, start_row, start_row + 1, true)[1]
        start_col = cut_line(buf, start_row, math.min(start_col, end_col), end_col)
      end
    end
  end
  local lines = vim.api.nvim_buf_get_text(buf, start_row, start_col, row, col, {})
  return table.concat(lines, '\n'), start_row, start_col
end

--- Models learn words with the space before them: after "upon a " they expect no further word. So a
--- space at the end stays out of the prompt and is taken off the answer.
---@param text string
---@return string prompt
---@return string left_out '' or ' '
function M.split_space(text)
  if text:find('^[^%s] $', -2) then
    return text:sub(1, -2), ' '
  end
  return text, ''
end

--- Text behind (row, col), at most `budget` bytes, whole lines or whole characters.
---@param buf integer
---@param row integer from 0
---@param col integer in bytes
---@param budget integer in bytes
---@return string
function M.after(buf, row, col, budget)
  if budget == 0 then
    return ''
  end
  local lines = vim.api.nvim_buf_get_lines(buf, row, row + 1 + math.ceil(budget / 16), false)
  lines[1] = (lines[1] or ''):sub(col + 1)
  local kept, bytes = {}, 0
  for i, line in ipairs(lines) do
    if bytes + #line + 1 > budget then
      if i == 1 then
        kept[1] = line:sub(1, budget):gsub('[\192-\255][\128-\191]*$', '')
      end
      break
    end
    kept[i] = line
    bytes = bytes + #line + 1
  end
  return table.concat(kept, '\n')
end

--- The next lines below `row` with text in them, at most two, of a few that are looked at.
---@param buf integer
---@param row integer from 0
---@return string[]
function M.below(buf, row)
  local found = {}
  for _, line in ipairs(vim.api.nvim_buf_get_lines(buf, row + 1, row + 6, false)) do
    if line:find('%S') and #found < 2 then
      found[#found + 1] = line:sub(1, 500)
    end
  end
  return found
end

return M
