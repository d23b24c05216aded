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

--- The same column by 'wrapmargin', for the current window: as comp_textwidth() of Neovim, for which line numbers
--- take eight cells and each column of signs one.
local function column_before_margin(margin)
  local info = vim.fn.getwininfo(vim.api.nvim_get_current_win())[1]
  local folds = tonumber(option.of_window(0, 'foldcolumn')) or 0
  local numbers = option.of_window(0, 'number') or option.of_window(0, 'relativenumber')
  local signs = option.of_window(0, 'signcolumn'):find('^yes')
  return math.max(0, info.width - margin - folds - (numbers and 8 or 0) - (signs and 1 or 0))
end

--- The column at which typing breaks a buffer's lines, or nil.
---@param buf integer
---@return integer?
function M.fold_column(buf)
  local width = option.of_buffer(buf, 'textwidth')
  local margin = width == 0 and option.of_buffer(buf, 'wrapmargin') or 0
  if margin > 0 then
    width = column_before_margin(margin)
  end
  return width > 0 and width or nil
end

--- The same where the buffer is prose, or nil where lines are not broken by hand.
---@param buf integer
---@return integer?
function M.wrap_column(buf)
  return M.is_prose(option.of_buffer(buf, 'filetype')) and M.fold_column(buf) or nil
end

--- What Vim begins the line behind this one with, as leader.next().
---@param buf integer
---@param line string
---@return string? leader
---@return integer own
function M.next_leader(buf, line)
  return require('aigc.leader').next(buf, line, M.is_prose(option.of_buffer(buf, 'filetype')))
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
    and not line:find('  $', -2)
    and not line:find('\\$', -1)
    and not begins_block(next_line)
end

--- Wide characters are joined without a space between them.
local function ends_wide(line)
  return line:find('[\227-\237][\128-\191][\128-\191]$', -3) ~= nil
end

--- What the lines begin with that go on with a quotation or a list item.
local function marks_of_next(line)
  local quotation = line:match('^[%s>]*>[ \t]?')
  local item = line:match('^%s*[-*+]%s+') or line:match('^%s*%d+[.)]%s+')
  return quotation or (item and item:gsub('[^\t]', ' '))
end

--- Appends a line to what was joined.
---@param out string[]
---@param state { last?: string, marks?: string } the line before, and what further lines of its quotation begin with
---@param line string
---@param is_written boolean the last one, which belongs to the paragraph even while it is empty
---@param width integer
local function join_line(out, state, line, is_written, width)
  local last = state.last
  state.last = line
  if not last then
    out[#out + 1] = line
    return
  end
  state.marks = marks_of_next(last) or state.marks
  local is_marked = state.marks and vim.startswith(line, state.marks)
  local bare = is_marked and line:sub(#state.marks + 1) or line
  if last:find('%S') and is_soft(last, is_written and bare .. 'x' or bare, width) then
    out[#out + 1] = (ends_wide(last) or last:find(' $', -1)) and '' or ' '
    out[#out + 1] = bare:match('^%s*(.*)$')
  else
    state.marks = nil
    out[#out + 1] = '\n'
    out[#out + 1] = line
  end
end

--- So much before the end is looked at again: one mends what one has written.
local KEPT_BEHIND_BYTES = 1000

--- Lines that are joined in one turn of the main loop.
local LINES_A_TURN = 24

---@class aigc.Joined
---@field width integer
---@field head string the beginning of a text, whole lines
---@field joined string what became of it
---@field state { last?: string, marks?: string } of join_line() behind it

--- Of the texts that were joined last, the newest first: the next text mostly goes on with one of them. There are the
--- present prompt, the one whose beginning is read before it is needed (idle.lua), and what follows the cursor.
---@type aigc.Joined[]
local known = {}
local MOST_KNOWN = 3

---@param text string
---@param width integer
---@return aigc.Joined
local function find_known(text, width)
  for _, entry in ipairs(known) do
    if entry.width == width and vim.startswith(text, entry.head) then
      return entry
    end
  end
  return { width = width, head = '', joined = '', state = {} }
end

--- Puts an entry in front, in place of the one that it goes on with.
---@param entry aigc.Joined
---@param before aigc.Joined
local function keep(entry, before)
  for i, other in ipairs(known) do
    if other == before then
      table.remove(known, i)
      break
    end
  end
  table.insert(known, 1, entry)
  known[MOST_KNOWN + 1] = nil
end

--- Joins the lines of each paragraph, as the model has learned to read them, some lines with each call.
---@param text string
---@param width integer
---@return fun(): string? nil until all are
function M.joiner(text, width)
  local entry = find_known(text, width)
  local state = { last = entry.state.last, marks = entry.state.marks }
  local out = { entry.joined }
  local at = #entry.head
  local lines = vim.split(text:sub(at + 1), '\n', { plain = true })
  local next_line, head = 1, nil
  return function()
    local last_line = math.min(#lines, next_line + LINES_A_TURN - 1)
    for i = next_line, last_line do
      join_line(out, state, lines[i], i == #lines, width)
      at = at + #lines[i] + 1
      if at + KEPT_BEHIND_BYTES <= #text then
        head = { bytes = at, n = #out, state = { last = state.last, marks = state.marks } }
      end
    end
    next_line = last_line + 1
    if next_line <= #lines then
      return nil
    end
    if head then
      keep({
        width = width,
        head = text:sub(1, head.bytes),
        joined = table.concat(out, '', 1, head.n),
        state = head.state,
      }, entry)
    end
    return table.concat(out)
  end
end

--- The same at once.
---@param text string
---@param width integer
---@return string
function M.join(text, width)
  local join = M.joiner(text, width)
  local joined = join()
  while not joined do
    joined = join()
  end
  return joined
end

--- Reads a text on, some of its lines at a time, as the model does.
---@param buf integer
---@return fun(lines: string[]): string what they add to the text, without the line end behind them
function M.reader(buf)
  local width, state, sep = M.wrap_column(buf), {}, ''
  return function(lines)
    local out = {}
    for _, line in ipairs(lines) do
      if width then
        join_line(out, state, line, false, width)
      else
        out[#out + 1] = sep .. line
        sep = '\n'
      end
    end
    return table.concat(out)
  end
end

--- Pieces between which a line may be broken: words with the spaces before them, and with m in 'formatoptions'
--- wide characters one by one.
---@param text string
---@param wide boolean
local function pieces_of(text, wide)
  local word = wide and '^%s*[^%s\227-\237]+' or '^%s*%S+'
  local pieces = {}
  local from = 1
  while from <= #text do
    local _, to = text:find(word, from)
    if not to then
      _, to = text:find('^%s*[%z\1-\127\192-\255][\128-\191]*', from)
    end
    pieces[#pieces + 1] = text:sub(from, to or #text)
    from = (to or #text) + 1
  end
  return pieces
end

--- Where a line is broken before its last word, which gets too long when text is typed behind it: the white
--- space there, from its first byte to its last, and what the rest of the line gets before it.
---@param text string
---@param before string
---@param width integer
---@param buf integer
---@return integer? first
---@return integer? last
---@return string? leader
function M.break_before(text, before, width, buf)
  local wide = option.of_buffer(buf, 'formatoptions'):find('m', 1, true) ~= nil
  local word = text:find('^%S') and pieces_of(text:match('^%S+'), wide)[1]
  local first, behind = before:match('()[ \t]+()[^ \t]*$')
  if word and first and vim.fn.strdisplaywidth(before .. word) > width then
    local leader, own = M.next_leader(buf, before)
    if leader and first > own then
      return first, behind - 1, leader
    end
  end
end

--- What one line becomes. `before`: what stands on it already. `flows`: a space stays at the end of a line that is
--- broken (w in 'formatoptions').
local function fold_line(text, before, width, buf, wide, flows, out)
  local line = before
  local column = vim.fn.strdisplaywidth(line)
  for _, piece in ipairs(pieces_of(text, wide)) do
    local bare = piece:match('^%s*(.*)$')
    local cells = vim.api.nvim_strwidth(piece)
    local leader, own
    -- A wide character after a Latin letter, and the reverse, may be torn apart; a word may not.
    local may_break = bare ~= piece
      or wide and (piece:byte() >= 227 or line:find('[\128-\191]$', -1))
    if column + cells > width and may_break and bare ~= '' then
      leader, own = M.next_leader(buf, line)
    end
    if leader and #line > own then
      out[#out + 1] = (flows and bare ~= piece and ' ' or '') .. '\n' .. leader .. bare
      line = leader .. bare
      column = vim.fn.strdisplaywidth(line)
    else
      out[#out + 1] = piece
      line = line .. piece
      column = column + cells
    end
  end
end

--- Breaks text as 'textwidth' would if it was typed.
---@param text string one paragraph's, or several
---@param before string what stands before it on its line
---@param width integer of fold_column()
---@param buf integer
---@return string
---@return string feed the line end and leader that come before it, if the line is broken right there, or ''
function M.fold(text, before, width, buf)
  local how = option.of_buffer(buf, 'formatoptions')
  local wide, flows = how:find('m', 1, true) ~= nil, how:find('w', 1, true) ~= nil
  local _, last, leader = M.break_before(text, before, width, buf)
  local first_feed = last == #before and '\n' .. leader or ''
  if leader then
    before = leader .. before:sub(last + 1)
  end
  local out = {}
  for line, feed in text:gmatch('([^\n]*)(\n?)') do
    fold_line(line, before, width, buf, wide, flows, out)
    out[#out + 1] = feed
    before = ''
  end
  return table.concat(out), first_feed
end

--- Where the text goes on in `typed` behind a line end at `feed` that nobody has typed, or nil if typing breaks no
--- line there.
local function behind_break(typed, feed, buf)
  local line = typed:sub(1, feed - 1)
  local leader = M.next_leader(buf, line:match('^.*\n(.*)$') or line)
  local has_leader = leader and typed:sub(feed + 1, feed + #leader) == leader
  return leader and typed:match('^[ \t]*()', feed + 1 + (has_leader and #leader or 0))
end

--- How far into `text` somebody has come who typed `typed` and whose lines may have been broken
--- on the way. Bytes of `text`, or nil if it is something else that was typed.
---@param text string
---@param typed string both from the beginning of a line
---@param buf integer
---@return integer?
function M.follow(text, typed, buf)
  local flows = option.of_buffer(buf, 'formatoptions'):find('w', 1, true)
  local i, j = 1, 1
  while j <= #typed do
    local wanted, got = text:byte(i), typed:byte(j)
    if got == wanted then
      i, j = i + 1, j + 1
    elseif
      got == 10
      and (wanted == 32 or (wanted or 0) >= 227 or (flows and typed:byte(j - 1) == 32))
    then
      local next_j = behind_break(typed, j, buf)
      if not next_j then
        return nil
      end
      i, j = text:match('^ *()', i), next_j
    else
      return nil
    end
  end
  return i - 1
end

return M
