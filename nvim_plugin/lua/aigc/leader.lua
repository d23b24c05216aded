--- What Vim begins the next line with when 'textwidth' breaks the one that is typed: the indent, the marks of
--- a quotation or a comment ('comments'), the indent of a list item. After get_leader_len(), open_line() and
--- internal_format() of Neovim, and asked by prose.lua, so that suggestions are broken as typing would.
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

local option = require('aigc.option')

---@class aigc.Comment a part of 'comments'
---@field flags string
---@field text string
---@field opens? string for the beginning of a comment in three parts: the mark of further lines
---@field opens_blank? boolean and whether a space stands behind that

---@type table<string, aigc.Comment[]> by value of the option
local parsed = {}

---@param comments string
---@return aigc.Comment[]
local function parse(comments)
  if parsed[comments] then
    return parsed[comments]
  end
  local list = {}
  for part in comments:gsub('\\,', '\1'):gmatch('[^,]+') do
    local flags, text = part:match('^([^:]*):(.*)$')
    if flags and text ~= '' then
      list[#list + 1] = { flags = flags, text = (text:gsub('\1', ',')) }
    end
  end
  for i, comment in ipairs(list) do
    if comment.flags:find('s') and list[i + 1] then
      comment.opens = list[i + 1].text
      comment.opens_blank = list[i + 1].flags:find('b') ~= nil
    end
  end
  parsed[comments] = list
  return list
end

--- The part that stands at a byte of a line. Of a middle and an end that begin alike the longer one.
local function part_at(list, line, at, only_nested)
  local found
  for _, comment in ipairs(list) do
    local text = comment.text
    local fits = not only_nested or comment.flags:find('n')
    if text:find('^%s') then
      fits = fits and at > 1 and line:find('^%s', at - 1)
      text = text:match('^%s*(.*)$')
    end
    fits = fits
      and line:sub(at, at + #text - 1) == text
      and (not comment.flags:find('b') or line:find('^%s', at + #text) or #line < at + #text)
    if fits and (not found or #text > #found.text) then
      found = comment
      if not comment.flags:find('m') then
        break
      end
    end
  end
  return found
end

--- The marks that a line begins with: the last of them, and the length of all with the white space behind.
---@param line string
---@param comments string
---@return aigc.Comment?
---@return integer length
local function marks_of(line, comments)
  local list = parse(comments)
  local last
  local at = #line:match('^[ \t]*') + 1
  while at <= #line do
    local comment = part_at(list, line, at, last ~= nil)
    if not comment then
      break
    end
    last = comment
    at = line:match('^[ \t]*()', at + #comment.text:match('^%s*(.*)$'))
    if not comment.flags:find('n') then
      break
    end
  end
  return last, last and at - 1 or 0
end

local function indent_string(buf, width)
  local tabstop = option.of_buffer(buf, 'tabstop')
  if option.of_buffer(buf, 'expandtab') then
    return (' '):rep(width)
  end
  return ('\t'):rep(math.floor(width / tabstop)) .. (' '):rep(width % tabstop)
end

--- The beginning of a line, with other marks in place of its own and what is not white as spaces.
---@param marks string
---@param by string
---@param offset integer of 'comments': how far further lines stand to the right
local function replaced(marks, by, offset)
  local indent, rest = marks:match('^([ \t]*)(.*)$')
  local behind = rest:sub(#by + 1):gsub('[^ \t\128-\191][\128-\191]*', function(char)
    return (' '):rep(vim.api.nvim_strwidth(char))
  end)
  rest = by .. (vim.fn.strdisplaywidth(rest) > #by and behind or '')
  local moved = offset
  while moved > 0 and rest:find(' $') and not rest:find('\t', 1, true) do
    rest, moved = rest:sub(1, -2), moved - 1
  end
  return indent, rest
end

--- What follows a line of a comment or a quotation.
local function after_marks(buf, line, comment, length)
  local marks, flags = line:sub(1, length), comment.flags
  local blank = flags:find('b')
  if flags:find('e') then
    return line:match('^[ \t]*')
  elseif flags:find('s') or flags:find('f') then
    local offset = tonumber(flags:match('%-?%d+')) or 0
    local by = flags:find('s') and comment.opens or ''
    blank = comment.opens_blank
    local indent, rest = replaced(marks, by, offset)
    if by == '' then -- spaces alone: they become the indent
      return option.of_buffer(buf, 'autoindent')
          and indent_string(buf, math.max(0, vim.fn.strdisplaywidth(indent .. rest) + offset))
        or indent .. rest
    end
    indent = indent_string(buf, math.max(0, vim.fn.strdisplaywidth(indent) + offset))
    marks = indent .. rest
  end
  return blank and not marks:find('[ \t]$', -1) and marks .. ' ' or marks
end

--- The indent of text behind the number of a list item, or nil.
local function after_number(buf, line)
  local pattern = option.of_buffer(buf, 'formatlistpat')
  local ok, regex = pcall(vim.regex, pattern)
  local first, last = nil, nil
  if ok then
    first, last = regex:match_str(line)
  end
  if first ~= 0 or last == 0 then
    return nil
  end
  return indent_string(buf, vim.fn.strdisplaywidth(line:sub(1, last)))
end

--- What the next line begins with if this one is broken while it is typed; nil if it would not be.
---@param buf integer
---@param line string
---@param is_prose boolean whether text that is no comment is broken as well
---@return string? leader
---@return integer own how many bytes of the line's own beginning are marks: it is not broken there
function M.next(buf, line, is_prose)
  local how = option.of_buffer(buf, 'formatoptions')
  local own = #line:match('^[ \t]*')
  if how:find('c', 1, true) then
    local comment, length = marks_of(line, option.of_buffer(buf, 'comments'))
    if comment then
      local leader = after_marks(buf, line, comment, length)
      return leader, length
    end
  end
  if not is_prose or not how:find('[at]') then
    return nil, own
  end
  local number = how:find('n', 1, true) and after_number(buf, line)
  if number then
    return number, own
  end
  return option.of_buffer(buf, 'autoindent') and line:sub(1, own) or '', own
end

return M
