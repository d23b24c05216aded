--- What the model reads: the text around the cursor, and before it what has lately been read elsewhere.
---
---     ring (other buffers, yanks; oldest first) | text before the cursor | cursor | text after it
---     <-- ring_bytes -------------------------->|<-- prompt_bytes ------>|        |<-- suffix_bytes
---
--- The model keeps what it has computed of a prompt and goes on where the next one differs. So a
--- prompt should begin like the one before it: the text before the cursor is cut at an anchor that
--- moves in steps of a quarter of its budget, and the ring is looked at anew only when that anchor
--- or the buffer changes, since then everything behind it is computed anew anyway. M.stats() tells
--- how well that works.
local M = {}

local prompt = require('aigc.prompt')

--- What build() takes if an option is not given; the user's are in config.lua.
local defaults = { prompt_bytes = 4096, suffix_bytes = 1024, ring_bytes = 0 }

---@class aigc.ContextOptions
---@field prompt_bytes? integer most bytes of text before the cursor
---@field suffix_bytes? integer most bytes of text after it; 0: none
---@field ring_bytes? integer most bytes of the ring; 0: none
---@field join? boolean lines of a paragraph that was wrapped by hand become one line

---@class aigc.ContextStats
---@field before_bytes integer
---@field after_bytes integer
---@field ring_bytes integer
---@field ring_chunks integer
---@field build_ms number

---@class aigc.Context
---@field prompt string
---@field suffix string
---@field left_out string '' or ' ': a space before the cursor that the prompt lacks
---@field stats aigc.ContextStats

--- The ring's part of the last prompt, kept while buffer and anchor stay.
---@type { buf: integer, row: integer, col: integer, budget: integer, text: string, n: integer }?
local frozen

--- Text from (row, col) on: whole lines up to the budget, or a part of a long one.
---@param buf integer
---@param row integer
---@param col integer
---@param budget integer
---@return string
function M.after(buf, row, col, budget)
  if budget <= 0 then
    return ''
  end
  local n_lines = vim.api.nvim_buf_line_count(buf)
  local start = vim.api.nvim_buf_get_offset(buf, row) + col
  local last = prompt.row_of(buf, start + budget, n_lines - 1)
  local line = vim.api.nvim_buf_get_lines(buf, last, last + 1, true)[1]
  local from = last == row and col or 0
  -- Most of the row that the budget ends in would be guessing: the row before it is a better end.
  local room = start + budget - vim.api.nvim_buf_get_offset(buf, last)
  local to = #line
  if room < #line then
    to = last > row and 0 or math.min(prompt.char_start(line, room), #line)
  end
  if to <= from and last == row then
    return ''
  end
  local lines = vim.api.nvim_buf_get_text(buf, row, col, last, to, {})
  return table.concat(lines, '\n')
end

--- Whether a line may be joined to the one before it: not an empty or indented one, no heading, list
--- item, quotation, table row or fence.
local function continues(line)
  return line ~= ''
    and not line:find('^%s')
    and not line:find('^[#>|`~=]')
    and not line:find('^[-*+]%s')
    and not line:find('^%d+[.)]%s')
    and not line:find('^%-%-%-')
end

--- Joins the lines of each paragraph that was wrapped by hand: the model has learned text without
--- such line ends, and would say them.
---@param text string
---@return string
function M.join(text)
  local out = {}
  for _, line in ipairs(vim.split(text, '\n', { plain = true })) do
    local before = out[#out]
    local hard = before and (before:find('  $') or before:find('\\$')) -- Markdown's own line ends
    if before and before ~= '' and not hard and not before:find('^#') and continues(line) then
      out[#out] = before:gsub('%s+$', '') .. ' ' .. line
    else
      out[#out + 1] = line
    end
  end
  return table.concat(out, '\n')
end

local function ring_text(buf, row, col, budget, before)
  if budget <= 0 then
    return '', 0
  end
  require('aigc.ring').watch()
  local same = frozen
    and frozen.buf == buf
    and frozen.row == row
    and frozen.col == col
    and frozen.budget == budget
  if not same then
    local text, n = require('aigc.ring').text(buf, budget, before)
    frozen = { buf = buf, row = row, col = col, budget = budget, text = text, n = n }
  end
  return frozen.text, frozen.n
end

--- What to send for a suggestion at (row, col).
---@param buf integer
---@param row integer from 0
---@param col integer in bytes
---@param opts? aigc.ContextOptions
---@return aigc.Context
function M.build(buf, row, col, opts)
  local began = (vim.uv or vim.loop).hrtime()
  opts = opts or {}
  local function option(name)
    return opts[name] or defaults[name]
  end
  local before, start_row, start_col = prompt.before(buf, row, col, option('prompt_bytes'))
  local ring, n_chunks = ring_text(buf, start_row, start_col, option('ring_bytes'), before)
  local after = M.after(buf, row, col, option('suffix_bytes'))
  if opts.join then
    before, after = M.join(before), M.join(after)
  end
  local text, left_out = prompt.split_space(before)
  return {
    prompt = ring .. text,
    suffix = after,
    left_out = left_out,
    stats = {
      before_bytes = #before,
      after_bytes = #after,
      ring_bytes = #ring,
      ring_chunks = n_chunks,
      build_ms = ((vim.uv or vim.loop).hrtime() - began) / 1e6,
    },
  }
end

-- ---- what became of it -------------------------------------------------------------------------

---@class aigc.ContextTotals
---@field requests integer
---@field prompt integer tokens of prompts, of all requests that have ended
---@field computed integer of those, computed: the others were kept from earlier requests
---@field last_prompt? integer
---@field last_computed? integer
local totals = { requests = 0, prompt = 0, computed = 0 }

--- To be told of a request's last event.
---@param event { n_prompt?: integer, n_prompt_hit?: integer }
function M.note(event)
  if not event.n_prompt then
    return
  end
  local computed = event.n_prompt - (event.n_prompt_hit or 0)
  totals.requests = totals.requests + 1
  totals.prompt = totals.prompt + event.n_prompt
  totals.computed = totals.computed + computed
  totals.last_prompt, totals.last_computed = event.n_prompt, computed
end

---@return aigc.ContextTotals
function M.stats()
  return vim.deepcopy(totals)
end

--- For :Aigc status: "prompt: 12 of 1480 tokens computed (4 % of all so far)", or nil.
---@return string?
function M.status_line()
  if totals.requests == 0 then
    return nil
  end
  return ('prompt: %d of %d tokens computed (%.0f %% of all so far)'):format(
    totals.last_computed,
    totals.last_prompt,
    100 * totals.computed / math.max(1, totals.prompt)
  )
end

--- Forgets the ring's frozen part, for tests and after :Aigc memory forget.
function M.reset()
  frozen = nil
end

return M
