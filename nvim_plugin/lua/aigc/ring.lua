--- Recent chunks of other text: what was left, written or yanked. They stand before the cursor's own
--- text in the prompt, oldest first, so that the model meets the names and phrases of the work at
--- hand.
---
--- The order is the order of arrival and never changes: a prompt's beginning is worth most when it
--- is the same as before. For the same reason, when the ring is full its older half goes at once.
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

local privacy = require('aigc.privacy')

local MAX_CHUNKS = 16
local CHUNK_LINES = 32
local CHUNK_BYTES = 1024
local MIN_BYTES = 24 -- less says too little for its place

--- Chunks more alike than this are the same text a little later: the newer one stays.
local ALIKE = 0.9
--- A chunk this much like the text before the cursor would only be echoed.
local ALIKE_LOCAL = 0.5

---@class aigc.Chunk
---@field text string
---@field words table<string, integer>
---@field n_words integer
---@field buf? integer
---@field source string what was done: 'left', 'written' or 'yanked'

---@type aigc.Chunk[]
local chunks = {}

local function word_counts(text)
  local words, n = {}, 0
  for word in text:gmatch('[%w_\128-\255]+') do
    words[word] = (words[word] or 0) + 1
    n = n + 1
  end
  return words, n
end

--- Dice's coefficient of two bags of words: twice what they share over what they have.
local function likeness(a, n_a, b, n_b)
  local shared = 0
  for word, n in pairs(a) do
    shared = shared + math.min(n, b[word] or 0)
  end
  return n_a + n_b > 0 and 2 * shared / (n_a + n_b) or 0
end

--- Without a character at its end that a cut went through.
local function whole_characters(text)
  return (
    text:gsub('[\192-\255][\128-\191]?[\128-\191]?$', function(last)
      local lead = last:byte()
      local length = lead >= 240 and 4 or lead >= 224 and 3 or 2
      return #last == length and last or ''
    end)
  )
end

--- Adds a chunk; of one too long, the beginning.
---@param text string
---@param source 'left'|'written'|'yanked'
---@param buf? integer
---@return boolean added
function M.add(text, source, buf)
  text = vim.trim(whole_characters(text:sub(1, CHUNK_BYTES)))
  if #text < MIN_BYTES or text:find('%z') then
    return false
  end
  local words, n_words = word_counts(text)
  if n_words < 3 then
    return false
  end
  for i = #chunks, 1, -1 do
    local c = chunks[i]
    if c.text == text then
      return false -- in its old place, which keeps the order
    elseif likeness(words, n_words, c.words, c.n_words) > ALIKE then
      table.remove(chunks, i)
    end
  end
  if #chunks >= MAX_CHUNKS then
    chunks = vim.list_slice(chunks, MAX_CHUNKS / 2 + 1)
  end
  chunks[#chunks + 1] =
    { text = text, words = words, n_words = n_words, buf = buf, source = source }
  return true
end

--- The lines around a row of a buffer, if it may be read.
---@param buf integer
---@param row integer from 0
---@param source 'left'|'written'
function M.add_around(buf, row, source)
  if not vim.api.nvim_buf_is_loaded(buf) or privacy.reason(buf) then
    return
  end
  local n = vim.api.nvim_buf_line_count(buf)
  local first = math.max(0, math.min(row - CHUNK_LINES / 2, n - CHUNK_LINES))
  local last = math.min(n, first + CHUNK_LINES)
  local from = vim.api.nvim_buf_get_offset(buf, first)
  if vim.api.nvim_buf_get_offset(buf, last) - from > 64 * CHUNK_BYTES then
    return -- lines of a kind that nobody writes by hand
  end
  M.add(table.concat(vim.api.nvim_buf_get_lines(buf, first, last, false), '\n'), source, buf)
end

--- The ring for a prompt in `buf`: the newest chunks that fit, oldest first, each followed by an
--- empty line; without those that say what the text before the cursor says.
---@param buf integer
---@param budget integer in bytes
---@param before string
---@return string text
---@return integer n_chunks
function M.text(buf, budget, before)
  if #chunks == 0 then
    return '', 0
  end
  local words, n_words = word_counts(before)
  local parts, size = {}, 0
  for i = #chunks, 1, -1 do
    local c = chunks[i]
    local fits = size + #c.text + 2 <= budget
    local gone = c.buf and c.buf ~= buf and not vim.api.nvim_buf_is_valid(c.buf)
    if fits and not gone and likeness(words, n_words, c.words, c.n_words) <= ALIKE_LOCAL then
      table.insert(parts, 1, c.text .. '\n\n')
      size = size + #c.text + 2
    end
  end
  return table.concat(parts), #parts
end

---@return aigc.Chunk[]
function M.chunks()
  return vim.deepcopy(chunks)
end

function M.clear()
  chunks = {}
end

local watching = false

--- Begins to fill the ring, at the first prompt that has room for it: before, it costs nothing.
function M.watch()
  if watching then
    return
  end
  watching = true
  local group = vim.api.nvim_create_augroup('aigc_ring', { clear = false })
  local function on(event, callback)
    vim.api.nvim_create_autocmd(event, { group = group, callback = callback })
  end
  local function around_cursor(source)
    return function(args)
      M.add_around(args.buf, vim.api.nvim_win_get_cursor(0)[1] - 1, source)
    end
  end
  on('BufLeave', around_cursor('left'))
  on('BufWritePost', around_cursor('written'))
  on('TextYankPost', function()
    local event = vim.v.event
    local buf = vim.api.nvim_get_current_buf()
    if event.operator == 'y' and not privacy.reason(buf) then
      M.add(table.concat(vim.list_slice(event.regcontents, 1, CHUNK_LINES), '\n'), 'yanked', buf)
    end
  end)
end

return M
