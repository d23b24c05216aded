--- Where a writer would stop: the part of what the model says that is suggested.
---
--- All functions are given text that may still be growing, and say how much of it is settled: what
--- depends on a character that has not come yet waits for it.
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

---@class aigc.Stop
---@field extent aigc.Extent not 'auto'
---@field words integer
---@field lines integer
---@field before string the line's text before the suggestion
---@field after string the line's text behind it
---@field below string[] the next lines with text in them
---@field tabstop integer
---@field joined? boolean prose whose line ends are only spaces

local CHAR = '[%z\1-\127\192-\255][\128-\191]*'

--- After these a full stop ends no sentence. Lower case.
local ABBREVIATIONS = {}
for word in
  ([[mr mrs ms dr prof st sr jr vs etc cf eg ie e.g i.e al ed eds dept univ inc ltd co corp
  approx ca resp gen col sgt capt lt rev hon jan feb mar apr jun jul aug sep sept oct nov dec]]):gmatch('%S+')
do
  ABBREVIATIONS[word] = true
end

--- After these only if a number follows: "No. 5", but "He said no."
local BEFORE_NUMBERS = { no = true, nos = true, fig = true, figs = true, vol = true, pp = true }

--- Full stops of scripts that put no space behind them.
local WIDE_STOPS = { ['。'] = true, ['！'] = true, ['？'] = true, ['．'] = true, ['…'] = false }
local CLOSERS = {}
for char in ('"\')]}”’»」』）】'):gmatch(CHAR) do
  CLOSERS[char] = true
end

--- Whether the full stop at `at` belongs to an abbreviation, an initial or a number of a list.
local function abbreviates(text, at)
  local word = text:sub(1, at - 1):match("([%a%d.'’]*)$")
  return ABBREVIATIONS[word:lower()] ~= nil
    or (BEFORE_NUMBERS[word:lower()] ~= nil and text:find('^%.%s+%d', at) ~= nil)
    or word:find('^%u$') ~= nil
    or word:find('%.%u$') ~= nil
    or (word:find('^%d+$') ~= nil and text:sub(1, at - 1):find('^%s*%d+$') ~= nil)
end

--- The end of the first sentence: its last byte, closing quotes included. `whole`: no more text
--- comes.
---@param text string
---@param whole boolean
---@return integer?
function M.sentence(text, whole)
  local seen_letter = false
  local position = 1
  while position <= #text do
    local char = text:match('^' .. CHAR, position) or text:sub(position, position)
    local next_position = position + #char
    local is_wide = WIDE_STOPS[char]
    if (char == '.' or char == '!' or char == '?' or char == '…' or is_wide) and seen_letter then
      while true do
        local closer = text:match('^' .. CHAR, next_position)
        if not closer or not (CLOSERS[closer] or closer:find('^[.!?…]')) then
          break
        end
        next_position = next_position + #closer
      end
      local rest = text:sub(next_position, next_position + 8)
      local ends = is_wide
        or (rest == '' and whole)
        or (rest:find('^%s') ~= nil and (char ~= '.' or not abbreviates(text, position)))
      -- "etc. and so on": a small letter goes on with the sentence.
      if ends and not is_wide and rest:find('^%s+%l') and char ~= '\n' then
        ends = false
      elseif ends and not is_wide and rest:find('^ +$') and not whole then
        ends = false -- the next letter will tell
      end
      if ends then
        return next_position - 1
      end
    elseif char:find('[%w\128-\255]') then
      seen_letter = true
    end
    position = next_position
  end
end

--- The end of the n-th word, punctuation behind it included.
---@param text string
---@param n integer
---@param whole boolean
---@return integer?
function M.words(text, n, whole)
  local position = 1
  for _ = 1, n do
    local _, last = text:find('^%s*[^%s]+', position)
    if not last then
      return nil
    end
    position = last + 1
  end
  if position > #text and not whole then
    return nil
  end
  return position - 1
end

local function indent_of(line, tabstop)
  local width = 0
  for char in line:match('^[ \t]*'):gmatch('.') do
    width = char == '\t' and width + tabstop - width % tabstop or width + 1
  end
  return width
end

--- Whether a line of code goes on in a block below it.
local function opens_block(line)
  local bare = line:gsub('%s+$', '')
  return bare:find('[%[({:,\\]$') ~= nil
    or bare:find('=>$') ~= nil
    or bare:find('%f[%a]then$') ~= nil
    or bare:find('%f[%a]do$') ~= nil
    or bare:find('%f[%a]else$') ~= nil
    or bare:find('%f[%a]begin$') ~= nil
    or bare:find('%f[%a]function%f[^%w_].*%)$') ~= nil
    or bare:find('^%s*[iw][fh]%a*%s*%(.*%)$') ~= nil
    or bare:find('^%s*for%s*%(.*%)$') ~= nil
end

local function closes_block(line)
  return line:find('^%s*[%])}]') ~= nil
    or line:find('^%s*end%f[^%w_]') ~= nil
    or line:find('^%s*fi%f[^%w_]') ~= nil
    or line:find('^%s*done%f[^%w_]') ~= nil
    or line:find('^%s*esac%f[^%w_]') ~= nil
end

--- The end of the statement that stands at the beginning, with the block that it opens.
local function statement(text, o, whole)
  local base, opened
  local position, settled = 1, 0
  local first = true
  while position <= #text do
    local feed = text:find('\n', position, true)
    local line = text:sub(position, feed and feed - 1 or #text)
    local full = first and o.before .. line or line
    if full:find('%S') and (feed or whole or not first) then
      local indent = indent_of(full, o.tabstop)
      if not base then
        base, opened = indent, opens_block(full)
        settled = feed and feed - 1 or #text
        if feed and not opened then
          return settled, true
        end
      elseif indent <= base then
        if closes_block(full) and indent == base then
          if not feed and not whole then
            return settled, false
          end
          local last = feed and feed - 1 or #text
          -- "} else {" and the like begin another block of the same statement.
          if not opens_block(full) then
            return last, true
          end
          settled = last
        elseif line:find('%S') then
          return settled, true
        end
      else
        settled = feed and feed - 1 or #text
      end
    elseif first and not feed then
      settled = #text -- the first line, as it comes
    end
    first = false
    if not feed then
      break
    end
    position = feed + 1
  end
  return settled, whole
end

--- The end of n lines.
local function lines(text, n)
  local position = 0
  -- A line feed at the very beginning ends no line of the suggestion.
  local from = text:match('^\n*()')
  for _ = 1, n do
    position = text:find('\n', math.max(position + 1, from), true)
    if not position then
      return nil
    end
  end
  return position - 1
end

--- How much of `text` is suggested, by the extent alone.
---@param text string
---@param o aigc.Stop
---@param whole boolean
---@return integer last byte
---@return boolean over nothing after it will be suggested
function M.cut(text, o, whole)
  local last
  if o.extent == 'statement' then
    return statement(text, o, whole)
  elseif o.extent == 'words' then
    last = M.words(text, o.words, whole)
  elseif o.extent == 'lines' then
    last = lines(text, o.lines)
  elseif o.extent == 'sentence' then
    last = M.sentence(text, whole)
    -- Where lines are paragraphs a line feed ends one.
    local feed = text:find(o.joined and '\n\n' or '\n', text:match('^\n*()'), false)
    if feed and (not last or feed <= last) then
      last = feed - 1
    end
    -- A space behind a full stop is shown with the word that tells whether the sentence goes on.
    local space = not last and text:match('[.!?]["\'%)%]}]*()%s+$')
    if space then
      return space - 1, whole
    end
  elseif o.extent == 'paragraph' then
    local feed = text:find(o.joined and '\n\n' or '\n', text:match('^\n*()'), false)
    last = feed and feed - 1
  end
  if last then
    return last, true
  end
  return #text, whole
end

--- Bytes at the end of `text` that stand at the beginning of `after` already.
local function overlap(text, after)
  local most = math.min(#text, #after)
  for n = most, 1, -1 do
    if text:sub(-n) == after:sub(1, n) then
      local is_word = after:sub(1, n):find('[%w_\128-\255]') ~= nil
      -- A letter or two in common are chance; a bracket is not.
      if not is_word or n >= 4 or n == #after then
        return n
      end
    end
  end
  return 0
end

local OPENERS = { [')'] = '(', [']'] = '[', ['}'] = '{' }

--- Where a line closes a bracket that was open before it.
local function first_unopened(line)
  local depth = { ['('] = 0, ['['] = 0, ['{'] = 0 }
  for at, char in line:gmatch('()([%(%)%[%]{}])') do
    local opener = OPENERS[char]
    if not opener then
      depth[char] = depth[char] + 1
    elseif depth[opener] == 0 then
      return at, char
    else
      depth[opener] = depth[opener] - 1
    end
  end
end

local function trim(line)
  return line:match('^%s*(.-)%s*$')
end

--- Takes off what follows the cursor already: the rest of its line, and whole lines below.
---@param text string what cut() left
---@param o aigc.Stop
---@return string
---@return boolean repeats text that came later would repeat too
function M.without_repetition(text, o)
  local after = o.after
  if after ~= '' then
    local start = text:find(after, 1, true)
    if start and #after >= 2 then
      return text:sub(1, start - 1), true
    end
    local feed = text:find('\n', 1, true)
    local first = feed and text:sub(1, feed - 1) or text
    local at, bracket = first_unopened(first)
    local n = overlap(first, after)
    if at and after:match('^%s*(.)') == bracket then
      return first:sub(1, at - 1), true
    elseif n > 0 then
      return first:sub(1, #first - n), false
    end
  end
  local below = o.below[1]
  if below and trim(below) ~= '' then
    local position = 1
    while position <= #text do
      local feed = text:find('\n', position, true)
      local line = text:sub(position, feed and feed - 1 or #text)
      local is_first = position == 1
      local bare = trim(is_first and o.before .. line or line)
      if bare == trim(below) and (#bare > 2 or line:match('^%s*') == below:match('^%s*')) then
        return text:sub(1, math.max(0, position - 2)), true
      end
      if not feed then
        break
      end
      position = feed + 1
    end
    if o.joined or o.extent == 'sentence' or o.extent == 'paragraph' then
      -- All of it stands below already; it may still go on otherwise.
      local bare = trim(text)
      if after == '' and bare ~= '' and vim.startswith(trim(below), bare) then
        return '', false
      end
      local opening = below:match('^%s*(%S+%s+%S+%s+%S+)')
      local start = opening and text:find(opening, 1, true)
      if start then
        return (text:sub(1, start - 1):gsub('%s+$', '')), true
      end
    end
  end
  return text, false
end

--- Which extent 'auto' stands for.
---@param extent aigc.Extent
---@param is_prose boolean
---@return aigc.Extent
function M.extent(extent, is_prose)
  if extent ~= 'auto' then
    return extent
  end
  return is_prose and 'sentence' or 'statement'
end

return M
