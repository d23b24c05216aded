--- Which paragraphs of a buffer have changed: noted while one types, row by row, and taught when
--- somebody asks. A paragraph that was taught before is taken back first, so that each counts once,
--- as it stands. Used by personal.lua and documents.lua; privacy.lua has the last word.
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

local privacy = require('aigc.privacy')

--- A change of more lines at once was not typed: at most so many of them are looked at.
local MAX_LINES = 200
--- Longer paragraphs are data.
local MAX_BYTES = 64 * 1024

--- Of a buffer: rows that have changed, as ranges from 0 whose last row is not included, apart and
--- in order; and what was learned in which row. (Not extmarks: those move after on_lines.)
---@class aigc.Changes
---@field ranges integer[][]
---@field learned { row: integer, text: string }[]

---@class aigc.Tracker
---@field tell fun(method: 'learn'|'unlearn', text: string)
---@field buffers table<integer, aigc.Changes>
local Tracker = {}
Tracker.__index = Tracker

---@param tell fun(method: 'learn'|'unlearn', text: string)
---@return aigc.Tracker
function M.new(tell)
  return setmetatable({ tell = tell, buffers = {} }, Tracker)
end

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

--- Begins to note what changes in a buffer. Whether it does.
---@param buf integer
---@return boolean begun
function Tracker:attach(buf)
  if self.buffers[buf] or privacy.reason(buf) then
    return false
  end
  local changes = { ranges = {}, learned = {} }
  self.buffers[buf] = changes
  return vim.api.nvim_buf_attach(buf, false, {
    on_lines = function(_, _, _, first, last, new_last)
      if self.buffers[buf] ~= changes then
        return true
      end
      M.note(changes, first, last, new_last)
    end,
    on_reload = function()
      changes.ranges, changes.learned = {}, {} -- the text of a file, not of the user's hands
    end,
    on_detach = function()
      self.buffers[buf] = nil
    end,
  })
end

--- Counts the paragraph of a row as changed: of what was written before attach() nothing is known.
---@param buf integer
---@param row integer from 0
function Tracker:touch(buf, row)
  local changes = self.buffers[buf]
  if changes then
    M.note(changes, row, row + 1, row + 1)
  end
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
function Tracker:unlearn_rows(changes, first, last)
  local kept = {}
  for _, l in ipairs(changes.learned) do
    if l.row >= first and l.row < last then
      self.tell('unlearn', l.text)
    else
      kept[#kept + 1] = l
    end
  end
  changes.learned = kept
end

function Tracker:learn_paragraph(buf, changes, first, last)
  local text = table.concat(vim.api.nvim_buf_get_lines(buf, first, last, true), '\n')
  if #text > MAX_BYTES or text:find('%z') then
    return
  end
  local prose = require('aigc.prose')
  local wrap = prose.wrap_column(buf)
  text = (wrap and prose.join(text, wrap) or text) .. '\n'
  self.tell('learn', text)
  table.insert(changes.learned, { row = first, text = text })
end

--- Learns the paragraphs that rows [from, to) have a part in.
function Tracker:learn_rows(buf, changes, from, to)
  local n = vim.api.nvim_buf_line_count(buf)
  local row = from
  self:unlearn_rows(changes, from, to)
  self:unlearn_rows(changes, n, math.huge) -- of rows that are gone
  while row < math.min(to, n) and row - from < MAX_LINES do
    local first, last = paragraph_around(buf, row)
    if first then
      self:unlearn_rows(changes, first, last)
      self:learn_paragraph(buf, changes, first, last)
    end
    row = last or row + 1
  end
end

--- Learns the paragraphs that have changed since the last time. Whether there were any.
---@param buf integer
---@return boolean learned
function Tracker:learn(buf)
  local changes = self.buffers[buf]
  if not changes or #changes.ranges == 0 or privacy.reason(buf) then
    return false
  end
  local ranges = changes.ranges
  changes.ranges = {}
  for _, r in ipairs(ranges) do
    self:learn_rows(buf, changes, r[1], r[2])
  end
  return true
end

--- Forgets what it has noted, and watches no buffer.
function Tracker:reset()
  self.buffers = {}
end

return M
