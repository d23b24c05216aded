--- A layer for the text at hand: what stands in the buffers that one works on and does not fit the
--- model's context, so that names and phrases of the whole text are known at once. It is in memory
--- alone and goes with the model; what is kept of a user's text is personal.lua's.
---
--- A buffer is learned when the first suggestion is asked for in it, a slice at a time; from then on
--- paragraphs that change are learned when insert mode ends.
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

local privacy = require('aigc.privacy')
local timer = require('aigc.timer')

--- Of a longer buffer so much before the cursor is learned, and a quarter of it behind.
local MAX_BYTES = 192 * 1024
--- Milliseconds between two slices.
local PAUSE_MS = 3

---@type table? the open model
local model

local function tell(method, text)
  if model and not pcall(model[method], model, text, 'documents') then
    model = nil -- it was closed; the next one begins anew
  end
end

local paragraphs = require('aigc.paragraphs')
local tracker = paragraphs.new(tell)

--- Rows [first, last) that are learned around a row.
local function extent(buf, row)
  local prompt = require('aigc.prompt')
  local n = vim.api.nvim_buf_line_count(buf)
  local at = vim.api.nvim_buf_get_offset(buf, row)
  local first = prompt.row_of(buf, math.max(0, at - MAX_BYTES), row)
  return first, math.min(n, prompt.row_of(buf, at + MAX_BYTES / 4, n - 1) + 1)
end

--- The row behind a slice that begins in `row`: whole lines, at least one.
local function slice_end(buf, row, last)
  local limit = vim.api.nvim_buf_get_offset(buf, row) + paragraphs.SLICE_BYTES
  if vim.api.nvim_buf_get_offset(buf, last) <= limit then
    return last
  end
  return math.max(row + 1, require('aigc.prompt').row_of(buf, limit, last - 1))
end

local learn_later

local function learn_slices(buf, row, last, read)
  if not model or not vim.api.nvim_buf_is_loaded(buf) then
    return
  end
  last = math.min(last, vim.api.nvim_buf_line_count(buf)) -- lines may have gone meanwhile
  if row >= last then
    return
  end
  local after = slice_end(buf, row, last)
  local feed = after == last and '\n' or ''
  local text = read(vim.api.nvim_buf_get_lines(buf, row, after, true)) .. feed
  if #text < MAX_BYTES and not text:find('%z') then
    tell('learn', text)
  end
  learn_later(buf, after, last, read)
end

function learn_later(buf, row, last, read)
  local to = model
  timer.later(function()
    if to and model == to then
      learn_slices(buf, row, last, read)
    end
  end, PAUSE_MS)
end

--- Begins to learn a buffer, once.
---@param buf integer
---@param row integer where one writes
function M.attach(buf, row)
  if model and tracker:attach(buf) then
    local first, last = extent(buf, row)
    learn_later(buf, first, last, require('aigc.prose').reader(buf))
  end
end

--- In a turn of the main loop of its own: a request waits for nothing of this.
---@param at { buf: integer, row: integer }
local function attach_soon(at)
  timer.soon(function()
    if vim.api.nvim_buf_is_loaded(at.buf) then
      M.attach(at.buf, math.min(at.row, vim.api.nvim_buf_line_count(at.buf) - 1))
    end
  end)
end

local hooks = require('aigc.hooks')

--- Where the last request was made: the model may be opened for it after it has been put together.
---@type { buf: integer, row: integer }?
local first

table.insert(hooks.opened, function(opened, config)
  tracker:reset()
  model = config.documents and opened or nil
  if first then
    attach_soon(first)
  end
end)

table.insert(hooks.request, function(options, p)
  if p.config.documents and not privacy.reason(p.buf, p.config) then
    options.documents = true
    first = { buf = p.buf, row = p.row }
    if not tracker.buffers[p.buf] then
      attach_soon(first)
    end
  end
end)

vim.api.nvim_create_autocmd('InsertLeave', {
  group = vim.api.nvim_create_augroup('aigc_documents', { clear = false }),
  desc = 'aigc: learn what has changed',
  callback = function(args)
    if model then
      tracker:learn(args.buf)
    end
  end,
})

return M
