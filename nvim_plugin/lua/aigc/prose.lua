--- What is written where: prose or code, and prose with line ends inside its paragraphs ('textwidth').
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

local option = require('aigc.option')

local FILETYPES = {
  [''] = true,
  asciidoc = true,
  asciidoctor = true,
  context = true,
  fountain = true,
  gitcommit = true,
  help = true,
  latex = true,
  mail = true,
  markdown = true,
  norg = true,
  org = true,
  pandoc = true,
  plaintex = true,
  quarto = true,
  rmd = true,
  rst = true,
  tex = true,
  text = true,
  textile = true,
  txt2tags = true,
  typst = true,
  vimwiki = true,
  wiki = true,
}

---@param filetype string
---@return boolean
function M.is_prose(filetype)
  return FILETYPES[filetype:match('^[^.]*')] == true
end

--- The column at which a buffer's prose is broken, or nil where lines are not broken by hand.
---@param buf integer
---@return integer?
function M.wrap_column(buf)
  local width = option.of_buffer(buf, 'textwidth')
  return width > 0 and M.is_prose(option.of_buffer(buf, 'filetype')) and width or nil
end

--- The same for text that is inserted: some break their lines only when they are through with a paragraph
--- ('formatoptions' without t), and then a suggestion is one line as well.
---@param buf integer
---@return integer?
function M.fold_column(buf)
  return option.of_buffer(buf, 'formatoptions'):find('[at]') and M.wrap_column(buf) or nil
end

--- Lines that begin something: a list item, a heading, a quotation, a table row, a fence, a command.
local function begins_block(line)
  return line:find('^%s*[-*+#>|]') ~= nil
    or line:find('^%s*%d+[.)]%s') ~= nil
    or line:find('^%s*```') ~= nil
    or line:find('^%s*~~~') ~= nil
    or line:find('^%s*\\') ~= nil
    or line:find('^    ') ~= nil
    or line:find('^\t') ~= nil
end

--- Whether the line end between two lines is only there because the line was full.
local function is_soft(line, next_line, width)
  return #line * 2 >= width
    and next_line:find('%S') ~= nil
    and not line:find('^%s*[#|]')
    and not line:find('  $')
    and not line:find('\\$')
    and not begins_block(next_line)
end

--- Wide characters are joined without a space between them.
local function ends_wide(line)
  return line:find('[\227-\237][\128-\191][\128-\191]$') ~= nil
end

--- Joins the lines of each paragraph, as the model has learned to read them.
---@param text string
---@param width integer
---@return string
function M.join(text, width)
  local lines = vim.split(text, '\n', { plain = true })
  local parts = { lines[1] }
  for i = 2, #lines do
    local is_last = i == #lines
    -- The last line is being written: it belongs to the paragraph even while it is empty.
    local line = is_last and lines[i] .. 'x' or lines[i]
    if lines[i - 1]:find('%S') and is_soft(lines[i - 1], line, width) then
      parts[#parts + 1] = ends_wide(lines[i - 1]) and '' or ' '
      parts[#parts + 1] = lines[i]:match('^%s*(.*)$')
    else
      parts[#parts + 1] = '\n'
      parts[#parts + 1] = lines[i]
    end
  end
  return table.concat(parts)
end

local CHAR = '[%z\1-\127\192-\255][\128-\191]*'

--- Pieces between which a line may be broken: words with the spaces before them, wide characters
--- one by one.
local function pieces_of(text)
  local pieces = {}
  local from = 1
  while from <= #text do
    local _, to = text:find('^%s*[^%s\227-\237]+', from)
    if not to then
      _, to = text:find('^%s*' .. CHAR, from)
    end
    pieces[#pieces + 1] = text:sub(from, to or #text)
    from = (to or #text) + 1
  end
  return pieces
end

--- Breaks text as 'textwidth' would if it were typed.
---@param text string one paragraph's, or several
---@param column integer cells before it on its line
---@param width integer
---@param indent string what further lines begin with
---@return string
function M.fold(text, column, width, indent)
  local out = {}
  local indent_width = vim.api.nvim_strwidth(indent)
  for line, feed in text:gmatch('([^\n]*)(\n?)') do
    for _, piece in ipairs(pieces_of(line)) do
      local bare = piece:match('^%s*(.*)$')
      local cells = vim.api.nvim_strwidth(piece)
      -- A wide character after a Latin letter, and the reverse, may be torn apart; a word may not.
      local may_break = bare ~= piece
        or (piece:byte() or 0) >= 227
        or (out[#out] or ''):find('[\128-\191]$')
      if column + cells > width and column > indent_width and may_break and bare ~= '' then
        out[#out + 1] = '\n' .. indent .. bare
        column = indent_width + vim.api.nvim_strwidth(bare)
      else
        out[#out + 1] = piece
        column = column + cells
      end
    end
    if feed ~= '' then
      out[#out + 1] = feed
      column = 0
    end
  end
  return table.concat(out)
end

--- How far into `text` somebody has come who typed `typed` and whose lines may have been broken
--- on the way. Bytes of `text`, or nil if it is something else that was typed.
---@param text string
---@param typed string
---@return integer?
function M.follow(text, typed)
  local i, j = 1, 1
  while j <= #typed do
    local wanted, got = text:byte(i), typed:byte(j)
    if got == wanted then
      i, j = i + 1, j + 1
    elseif got == 10 and (wanted == 32 or (wanted or 0) >= 227) then
      local _, last = typed:find('^[ \t]*', j + 1)
      i, j = i + (wanted == 32 and 1 or 0), last + 1
    else
      return nil
    end
  end
  return i - 1
end

return M
