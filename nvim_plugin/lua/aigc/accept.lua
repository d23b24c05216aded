--- Taking a suggestion, whole or in part, and bringing it into the buffer.
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

local hold_off = require('aigc.garbage').hold_off
local place = require('aigc.place')
local stop = require('aigc.stop')
local suggestion = require('aigc.suggestion')
local timer = require('aigc.timer')

---@alias aigc.Part 'all'|'line'|'sentence'|'word'

local CHAR = '[%z\1-\127\192-\255][\128-\191]*'

--- What kind of character it is: a word ends where the kind changes. As Vim's charclass(), which
--- Neovim 0.7 has not.
local function class_of(char)
  if char:find('^%s') then
    return 'space'
  elseif char:find('^[%w_]') then
    return 'letter'
  elseif
    #char == 1
    or char:find('^\226[\128-\138]')
    or char:find('^\227\128')
    or char:find('^\194')
  then
    return 'mark' -- ASCII and Latin-1 signs, general and CJK punctuation
  elseif char:find('^\239[\188\189]') then
    return 'mark' -- full-width forms
  elseif char:find('^\227\129') or char:find('^\227\130[\128-\159]') then
    return 'hiragana'
  elseif char:find('^\227[\130-\131]') then
    return 'katakana'
  elseif char:find('^[\227-\233]') then
    return 'ideograph'
  end
  return 'letter'
end

--- The first word with the white space before it; punctuation is a word of its own. Scripts without
--- spaces have words as Vim's `w` finds them.
local function word(text)
  local space = text:match('^%s*')
  local class
  local last = #space
  for char in text:sub(#space + 1):gmatch(CHAR) do
    local found = class_of(char)
    -- An apostrophe stands inside a word.
    local is_apostrophe = char == "'" or char == '’'
    local joins = is_apostrophe and class == 'letter' and text:find('^%a', last + #char + 1)
    if found == 'space' or (class and found ~= class and not joins) then
      break
    end
    class = class or found
    last = last + #char
  end
  return text:sub(1, last)
end

--- Up to the end of the line; the line end itself goes with the next one.
local function line(text)
  local feed = text:match('^\n*()')
  local last = text:find('\n', feed, true)
  return last and text:sub(1, last - 1) or text
end

local function sentence(text)
  return text:sub(1, stop.sentence(text, true) or #text)
end

local parts = {
  all = function(text)
    return text
  end,
  line = line,
  sentence = sentence,
  word = word,
}

--- Up to a character, which is taken too.
local function up_to(char)
  return function(text)
    local _, last = text:find(char, 2, true)
    if not last then
      _, last = text:find(char, 1, true)
    end
    return last and text:sub(1, last) or ''
  end
end

--- 'textwidth' would break the line before a word that gets too long while it is typed; text that
--- is pasted is left alone. So where the text begins inside such a word, the line is broken first.
local function break_before_word(text)
  local prose = require('aigc.prose')
  local width = prose.fold_column(0)
  if not width then
    return
  end
  local row, col, current_line = place.insertion_point(false)
  local buf = vim.api.nvim_get_current_buf()
  local first, last, leader = prose.break_before(text, current_line:sub(1, col), width, buf)
  if first then
    -- A space stays where it says that the paragraph goes on.
    local from = vim.bo.formatoptions:find('w', 1, true) and last or first - 1
    vim.api.nvim_buf_set_text(0, row, from, row, last, { '', leader })
  end
end

--- Literally, in one undo step, and so that `.` repeats it: as if pasted.
local function insert(text)
  break_before_word(text)
  local tick = vim.b.changedtick
  if pcall(vim.api.nvim_paste, text, true, -1) or vim.b.changedtick ~= tick then
    return -- an error of somebody's vim.paste() may come when the text is there already
  end
  local row, col = place.insertion_point(false)
  local lines = vim.split(text, '\n', { plain = true })
  vim.api.nvim_buf_set_text(0, row, col, row, col, lines)
  local last_col = #lines[#lines] + (#lines == 1 and col or 0)
  vim.api.nvim_win_set_cursor(0, { row + #lines, last_col })
end

--- After keys that somebody's error has thrown away.
local LONGEST_HOLD_MS = 200

---@type string? text on its way into the buffer, from normal mode
local to_insert

--- Called by the keys that take() sends in normal mode.
function M.insert_pending()
  local text = to_insert
  to_insert = nil
  if text then
    insert(text)
  end
end

local function release()
  suggestion.hold(false)
end

--- What the accepted text is followed by may be known already.
local function show_next(automatic)
  timer.soon(function()
    require('aigc.trigger').after_accept(automatic)
  end)
end

---@param part fun(text: string): string
---@return boolean accepted
local function take(part)
  hold_off()
  local text, raw = suggestion.part(part)
  if not text or not raw then
    return false
  end
  if vim.api.nvim_get_mode().mode == 'niI' then
    timer.soon(function()
      take(part)
    end)
    return true
  end
  if place.kind_of(vim.api.nvim_get_mode().mode) == 'i' then
    local about = suggestion.describe()
    local all = suggestion.taken(raw)
    insert(text)
    if all then
      show_next(about ~= nil and about.automatic)
    end
    return true
  end
  to_insert = text
  local keys = "a<Cmd>lua require('aigc.accept').insert_pending()<CR><Esc>"
  if not suggestion.taken(raw) then
    suggestion.hold(true)
    timer.later(release, LONGEST_HOLD_MS)
    keys = keys .. "<Cmd>lua require('aigc.suggestion').hold(false)<CR>"
  end
  vim.api.nvim_feedkeys(vim.api.nvim_replace_termcodes(keys, true, false, true), 'in', false)
  return true
end

--- Inserts what is shown, or a part of it; the rest stays. In normal mode it is appended behind the
--- cursor, by `a`, so that `.` repeats it.
---@param part? aigc.Part
---@return boolean accepted
function M.accept(part)
  local chosen = parts[part or 'all']
  if not chosen then
    error(("aigc: no part '%s', there are: all, line, sentence, word"):format(part), 0)
  end
  return take(chosen)
end

--- Inserts up to a character, which is read from the keyboard unless it is given.
---@param char? string
---@return boolean accepted
function M.accept_until(char)
  if not suggestion.visible() then
    return false
  end
  if not char then
    local ok, key = pcall(vim.fn.getcharstr)
    if not ok or key == '\27' or key:byte(1) == 128 then
      return false
    end
    char = key
  end
  local accepted = take(up_to(char))
  if accepted and place.kind_of(vim.api.nvim_get_mode().mode) == 'i' then
    vim.api.nvim_feedkeys('\7u', 'in', false) -- <C-g>u: an undo step of its own
  end
  return accepted
end

return M
