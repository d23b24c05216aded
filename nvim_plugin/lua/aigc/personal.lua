--- The personal layer's part in the editor: what it is told, and when. The layer itself is the C
--- module's (docs/personal.md); nothing here runs unless the option `personal` is set.
---
--- It learns paragraphs that were changed, when the buffer is written: which rows change is noted
--- while one types, and at :write the paragraphs around them are learned. A paragraph that was
--- learned before in this session is taken back first, so that each counts once, as it stands. It
--- also hears which suggestions were accepted and rejected, and learns from that how far to trust
--- itself. Buffers that privacy.lua excludes are never looked at.
local M = {}

local privacy = require('aigc.privacy')

--- A change of more lines at once was not typed: at most so many of them are learned.
local MAX_LINES = 200
--- Longer paragraphs are data.
local MAX_BYTES = 64 * 1024

---@type table? the open model
local model
--- What is to be told to the model once it is open: { method, text }
local waiting = {}
--- Of a buffer: rows that have changed, as ranges from 0 whose last row is not included, apart and
--- in order; and what was learned in which row. (Not extmarks: those move after on_lines.)
---@class aigc.Changes
---@field ranges integer[][]
---@field learned { row: integer, text: string }[]

---@type table<integer, aigc.Changes> by buffer
local attached = {}

---@type table<string, boolean> folders that are there
local made = {}

--- Where the layer is kept: a folder, in which each vocabulary has a file.
---@param config aigc.Config
---@return string?
function M.path(config)
  if not config.personal then
    return nil
  end
  local path = config.personal == true and vim.fn.stdpath('data') .. '/aigc/personal'
    or vim.fn.expand(config.personal)
  if not made[path] then
    made[path] = pcall(vim.fn.mkdir, path, 'p', 448) -- 0700; what goes wrong is told by the layer
  end
  return path .. '/'
end

local function wanted()
  return require('aigc.config').get().personal and true or false
end

local function tell(method, ...)
  if model then
    local ok = pcall(model[method], model, ...)
    if ok then
      return
    end
    model = nil -- it was closed; the next one hears of it
  end
  waiting[#waiting + 1] = { method, ... }
end

-- ---- what changes -------------------------------------------------------------------------------

--- Lines [first, last) have become [first, new_last).
---@param changes aigc.Changes
function M.note(changes, first, last, new_last)
  local moved = new_last - last
  local from, to = first, math.max(new_last, first + 1)
  local ranges = {}
  for _, r in ipairs(changes.ranges) do
    if r[2] < first then
      ranges[#ranges + 1] = r
    elseif r[1] > last then
      ranges[#ranges + 1] = { r[1] + moved, r[2] + moved }
    else
      from = math.min(from, r[1])
      to = math.max(to, r[2] + moved)
    end
  end
  local at = 1
  while ranges[at] and ranges[at][1] < from do
    at = at + 1
  end
  table.insert(ranges, at, { from, to })
  changes.ranges = ranges
  for _, l in ipairs(changes.learned) do
    if l.row >= last then
      l.row = l.row + moved
    elseif l.row >= first then
      l.row = math.min(l.row, math.max(first, new_last - 1))
    end
  end
end

--- Begins to note what changes in a buffer.
---@param buf integer
function M.attach(buf)
  if attached[buf] or privacy.reason(buf) then
    return
  end
  local changes = { ranges = {}, learned = {} }
  attached[buf] = changes
  vim.api.nvim_buf_attach(buf, false, {
    on_lines = function(_, _, _, first, last, new_last)
      if attached[buf] ~= changes then
        return true
      end
      M.note(changes, first, last, new_last)
    end,
    on_reload = function()
      changes.ranges, changes.learned = {}, {} -- the text of a file, not of the user's hands
    end,
    on_detach = function()
      attached[buf] = nil
    end,
  })
end

--- What has changed in a buffer and was learned of it; nil if it is not watched.
---@param buf integer
---@return aigc.Changes?
function M.changes(buf)
  return attached[buf]
end

--- Rows of the paragraph around a row, from 0, the last one not included; nil on an empty line. Of
--- a very long one a part.
local function paragraph_around(buf, row)
  local from = math.max(0, row - MAX_LINES)
  local lines = vim.api.nvim_buf_get_lines(buf, from, row + MAX_LINES, false)
  local at = row - from + 1
  if not lines[at]:find('%S') then
    return nil
  end
  local first, last = at, at
  while first > 1 and lines[first - 1]:find('%S') do
    first = first - 1
  end
  while last < #lines and lines[last + 1]:find('%S') do
    last = last + 1
  end
  return from + first - 1, from + last
end

--- Takes back what was learned of rows [first, last).
local function unlearn_rows(changes, first, last)
  local kept = {}
  for _, l in ipairs(changes.learned) do
    if l.row >= first and l.row < last then
      tell('unlearn', l.text)
    else
      kept[#kept + 1] = l
    end
  end
  changes.learned = kept
end

local function learn_paragraph(buf, changes, first, last)
  local text = table.concat(vim.api.nvim_buf_get_lines(buf, first, last, true), '\n')
  if #text > MAX_BYTES or text:find('%z') then
    return
  end
  local prose = require('aigc.prose')
  local wrap = prose.wrap_column(buf)
  text = (wrap and prose.join(text, wrap) or text) .. '\n'
  tell('learn', text)
  table.insert(changes.learned, { row = first, text = text })
end

--- Learns the paragraphs that rows [from, to) have a part in.
local function learn_rows(buf, changes, from, to)
  local n = vim.api.nvim_buf_line_count(buf)
  local row = from
  unlearn_rows(changes, from, to)
  unlearn_rows(changes, n, math.huge) -- of rows that are gone
  while row < math.min(to, n) and row - from < MAX_LINES do
    local first, last = paragraph_around(buf, row)
    if first then
      unlearn_rows(changes, first, last)
      learn_paragraph(buf, changes, first, last)
    end
    row = last or row + 1
  end
end

--- Learns the paragraphs that have changed since the last time.
---@param buf integer
function M.learn_buffer(buf)
  local changes = attached[buf]
  if not changes or #changes.ranges == 0 or privacy.reason(buf) then
    return
  end
  local ranges = changes.ranges
  changes.ranges = {}
  for _, r in ipairs(ranges) do
    learn_rows(buf, changes, r[1], r[2])
  end
  tell('save')
end

-- ---- what the model hears -----------------------------------------------------------------------

local watching = false

--- Begins to learn. Called with the first suggestion; does nothing unless the option is set.
function M.watch()
  if watching or not wanted() then
    return
  end
  watching = true
  local group = vim.api.nvim_create_augroup('aigc_personal', { clear = true })
  vim.api.nvim_create_autocmd('InsertEnter', {
    group = group,
    desc = 'aigc: mark what changes',
    callback = function(args)
      if wanted() then
        M.attach(args.buf)
      end
    end,
  })
  vim.api.nvim_create_autocmd('BufWritePost', {
    group = group,
    desc = 'aigc: learn what has changed',
    callback = function(args)
      if wanted() and attached[args.buf] then
        M.learn_buffer(args.buf)
      end
    end,
  })
  M.attach(vim.api.nvim_get_current_buf())
end

local hooks = require('aigc.hooks')

table.insert(hooks.opened, function(opened, config)
  model = config.personal and opened or nil
  local late = waiting
  waiting = {}
  for _, order in ipairs(model and late or {}) do
    tell(unpack(order))
  end
end)

table.insert(hooks.request, function(options, p)
  local config = require('aigc.config').get()
  if config.personal then
    M.watch()
    options.personal = privacy.reason(p.buf, config) == nil
  end
end)

table.insert(hooks.outcome, function(outcome)
  if model and outcome.shown ~= '' then
    tell('feedback', outcome.shown, #outcome.taken, outcome.kind == 'rejected')
  end
end)

return M
