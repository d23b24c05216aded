-- usefulness: how much of a text suggestions would have typed. Run by bench/usefulness:
--
--   lua5.4 bench/usefulness.lua MODEL TEXT FIRST LAST MIN_LOGPROB LAYER DOCUMENT
--
-- The bytes FIRST to LAST of the file TEXT are written word by word; before each word the model is asked how the text
-- goes on, as the editor asks it. Words of its answer are shown as long as their mean log-probability is MIN_LOGPROB at
-- least (generation.lua's rule). If the next word or more is right it is accepted, as far as it is right; else the word
-- is typed. With a LAYER (a file of personal text; '' for none) paragraphs are learned when they are written. DOCUMENT is
-- where the document at hand begins, which is learned too; '' if it is not. Prints one JSON object.
package.cpath = 'build/lua54/?.so;' .. package.cpath
local core = require('aigc.core')

local PROMPT_BYTES, MAX_TOKENS = 4096, 12

local path, text_path, first, last, threshold, layer, document = table.unpack(arg)
first, last, threshold = tonumber(first), tonumber(last), tonumber(threshold)
local file = assert(io.open(text_path, 'rb'))
local text = file:read('*a'):sub(1, last)
file:close()

local model = assert(core.open(path, {
  personal = layer ~= '' and layer or nil,
  documents = document ~= '',
  threads = tonumber(os.getenv('AIGC_THREADS') or 0),
  sequences = 1,
}))

-- The text before a place, its beginning moving in steps as prompt.lua's does.
local function before(position)
  if position <= PROMPT_BYTES then
    return text:sub(1, position)
  end
  local step = PROMPT_BYTES // 4
  local start = (position - PROMPT_BYTES + step - 1) // step * step
  local space = text:find('%s', start + 1) or start
  return text:sub(space, position)
end

-- The words of an answer that are shown.
local function shown(answer, tokens)
  local words, sum, n, at, from = '', 0, 0, 0, 1
  for i, token in ipairs(tokens) do
    -- What a token adds to the text is told by the lengths of its beginnings.
    local ids = {}
    for k = 1, i do
      ids[k] = tokens[k].id
    end
    local so_far = #assert(model:detokenize(ids))
    local piece = answer:sub(from, so_far)
    if at > 0 and piece:find('^%s') then
      if sum / n < threshold then
        return words
      end
      words = answer:sub(1, from - 1)
    end
    at = at + #piece:gsub('%s', '')
    from = so_far + 1
    sum, n = sum + token.logprob, n + 1
  end
  return words
end

-- How many bytes of the answer are right at a place, in whole words.
local function right(answer, position)
  local n, from = 0, 1
  while true do
    local word_first, word_last = answer:find('^%s+%S+', from)
    if not word_first or text:sub(position + from, position + word_last) ~= answer:sub(word_first, word_last) then
      return n
    end
    local next_byte = text:sub(position + word_last + 1, position + word_last + 1)
    if next_byte ~= '' and not next_byte:find('%s') then
      return n
    end
    n, from = word_last, word_last + 1
  end
end

-- Waits until it is learned: requests are refused before.
local function learn(paragraph, kind)
  assert(model:learn(paragraph, kind))
  repeat
    local done, _, code = model:generate('x', { max_tokens = 1 })
  until done or code ~= 'limit'
end

if document ~= '' then
  learn(text:sub(tonumber(document) + 1, first), 'documents')
end

local result = { bytes = last - first, asked = 0, shown = 0, accepted = 0, saved = 0, words = 0 }
local position, learned = first, first
while position < last do
  local word_first, word_last = text:find('^%s*%S+', position + 1)
  if not word_first then
    break
  end
  if position > first then
    local answer, outcome = model:generate(before(position), {
      fit = true,
      parse_special = false,
      max_tokens = MAX_TOKENS,
      temperature = 0,
      logprobs = true,
      personal = layer ~= '',
      documents = document ~= '',
    })
    assert(answer, outcome)
    answer = shown(answer, outcome.alternatives[1].tokens)
    result.asked = result.asked + 1
    if answer:find('%S') then
      result.shown = result.shown + 1
      local n = right(answer, position)
      if n > 0 then
        result.accepted = result.accepted + 1
        result.saved = result.saved + n
        word_last = position + n
      end
    end
  end
  position = word_last
  if text:find('^%s*\n%s*\n', position + 1) then
    local paragraph = text:sub(learned + 1, position) .. '\n'
    if document ~= '' then
      learn(paragraph, 'documents')
    elseif layer ~= '' then
      learn(paragraph)
    end
    learned = position
  end
end
model:close()
print(('{"bytes": %d, "asked": %d, "shown": %d, "accepted": %d, "saved": %d}'):format(
  result.bytes, result.asked, result.shown, result.accepted, result.saved))
