--- Which paragraphs of a buffer have changed: noted while one types, row by row, and taught when
--- somebody asks. A paragraph that was taught before is taken back first, so that each counts once,
--- as it stands. Used by personal.lua and documents.lua; privacy.lua has the last word.
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

local privacy = require('aigc.privacy')
local timer = require('aigc.timer')

--- A change of more lines at once was not typed: at most so many of them are looked at.
local MAX_LINES = 200
--- Nor are changes in so many places between two times that it is asked for.
local MAX_RANGES = 64
--- Lines that are read at a time when a paragraph's ends are looked for.
local CHUNK_LINES = 16
--- Longer paragraphs are data.
local MAX_BYTES = 64 * 1024
--- Text is told so many bytes at a time, whole lines, in turns of the main loop: 0.1 ms of that, and a request
--- waits for a slice at most (some 1.5 ms of the worker's).
M.SLICE_BYTES = 1024

--- Of a buffer: rows that have changed, as ranges from 0 whose last row is not included, apart and
--- in order; and of each paragraph that was learned where it begins and what was told of it. (Not extmarks: those
--- move after on_lines.)
---@class aigc.Changes
---@field ranges integer[][]
---@field learned { row: integer, texts: string[] }[]
---@field rest? { lines: string[], at: integer, read: fun(lines: string[]): string, learned: table } of a paragraph
---@field done? fun() while they are being learned

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
  if #ranges > MAX_RANGES then
    ranges = { { ranges[1][1], ranges[#ranges][2] } }
  end
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
      changes.rest = nil
    end,
    on_detach = function()
      if vim.api.nvim_buf_is_loaded(buf) then
        self:finish(buf) -- newer Neovims detach before BufUnload
      end
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

--- The row of the first line without text that comes from `row` on, or as many rows from there as a
--- paragraph may have. `step` is 1 or -1.
local function end_of_text(buf, row, step)
  local n = vim.api.nvim_buf_line_count(buf)
  local stop = math.max(-1, math.min(n, row + step * MAX_LINES))
  while row ~= stop do
    local first = step > 0 and row or math.max(stop + 1, row - CHUNK_LINES + 1)
    local last = step > 0 and math.min(stop, row + CHUNK_LINES) or row + 1
    local lines = vim.api.nvim_buf_get_lines(buf, first, last, false)
    for i = step > 0 and 1 or #lines, step > 0 and #lines or 1, step do
      if not lines[i]:find('%S') then
        return row
      end
      row = row + step
    end
  end
  return row
end

--- Rows of the paragraph around a row, from 0, the last one not included; nil on an empty line. Of
--- a very long one a part.
local function paragraph_around(buf, row)
  local last = end_of_text(buf, row, 1)
  if last == row then
    return nil
  end
  return end_of_text(buf, row, -1) + 1, last
end

--- Takes back what was learned of a paragraph, and learns no more of it.
function Tracker:unlearn(changes, learned)
  for _, text in ipairs(learned.texts) do
    self.tell('unlearn', text)
  end
  if changes.rest and changes.rest.learned == learned then
    changes.rest = nil
  end
end

--- Takes back what was learned of rows [first, last).
function Tracker:unlearn_rows(changes, first, last)
  local kept = {}
  for _, l in ipairs(changes.learned) do
    if l.row >= first and l.row < last then
      self:unlearn(changes, l)
    else
      kept[#kept + 1] = l
    end
  end
  changes.learned = kept
end

--- Learns the next lines of the paragraph that was begun. Of one with NUL bytes nothing is learned.
---@param changes aigc.Changes
function Tracker:learn_slice(changes)
  local rest = changes.rest
  local lines, bytes = {}, 0
  repeat
    local line = rest.lines[rest.at]
    lines[#lines + 1] = line
    bytes = bytes + #line + 1
    rest.at = rest.at + 1
  until bytes >= M.SLICE_BYTES or rest.at > #rest.lines
  local is_last = rest.at > #rest.lines
  local text = rest.read(lines) .. (is_last and '\n' or '')
  if text:find('%z') then
    self:unlearn(changes, rest.learned)
    rest.learned.texts = {}
    return
  end
  self.tell('learn', text)
  table.insert(rest.learned.texts, text)
  if is_last then
    changes.rest = nil
  end
end

function Tracker:learn_paragraph(buf, changes, first, last)
  local bytes = vim.api.nvim_buf_get_offset(buf, last) - vim.api.nvim_buf_get_offset(buf, first)
  if bytes > MAX_BYTES then
    return
  end
  local learned = { row = first, texts = {} }
  table.insert(changes.learned, learned)
  changes.rest = {
    lines = vim.api.nvim_buf_get_lines(buf, first, last, true),
    at = 1,
    read = require('aigc.prose').reader(buf),
    learned = learned,
  }
  self:learn_slice(changes)
end

--- Learns a slice: of the paragraph that was begun, or of the first one that has changed. Whether there may be more.
---@param changes aigc.Changes
---@return boolean more
function Tracker:learn_next(buf, changes)
  if changes.rest then
    self:learn_slice(changes)
  else
    self:learn_first(buf, changes)
  end
  return changes.rest ~= nil or #changes.ranges > 0
end

--- Begins with the first of the paragraphs that have changed.
---@param changes aigc.Changes
function Tracker:learn_first(buf, changes)
  local r = table.remove(changes.ranges, 1)
  local n = vim.api.nvim_buf_line_count(buf)
  if not r or r[1] >= n then
    return
  end
  local first, last = paragraph_around(buf, r[1])
  self:unlearn_rows(changes, first or r[1], last or r[1] + 1)
  if first then
    self:learn_paragraph(buf, changes, first, last)
  end
  local after = last or r[1] + 1
  if after < r[2] then
    table.insert(changes.ranges, 1, { after, r[2] })
  end
end

--- Of a change that nobody has typed only the beginning is learned.
local function cut_ranges(self, changes, n_lines)
  self:unlearn_rows(changes, n_lines, math.huge) -- of rows that are gone
  for _, r in ipairs(changes.ranges) do
    local limit = r[1] + MAX_LINES
    if r[2] > limit then
      self:unlearn_rows(changes, limit, r[2])
      r[2] = limit
    end
  end
end

--- A slice in each turn of the main loop.
local function go_on(self, buf, changes)
  if self.buffers[buf] ~= changes or not changes.done then
    return
  end
  if self:learn_next(buf, changes) then
    timer.soon(function()
      go_on(self, buf, changes)
    end)
  else
    local done = changes.done
    changes.done = nil
    done()
  end
end

--- Learns the paragraphs that have changed since the last time, the first slice of them at once. Whether
--- there were any.
---@param buf integer
---@param done? fun() called when all of them are learned
---@return boolean learned
function Tracker:learn(buf, done)
  local changes = self.buffers[buf]
  if not changes or #changes.ranges == 0 or privacy.reason(buf) then
    return false
  end
  local is_learning = changes.done ~= nil
  cut_ranges(self, changes, vim.api.nvim_buf_line_count(buf))
  changes.done = done or function() end
  if not is_learning then
    go_on(self, buf, changes)
  end
  return true
end

--- Learns at once what is being learned: it cannot be done later.
---@param only? integer a buffer
function Tracker:finish(only)
  for buf, changes in pairs(self.buffers) do
    if changes.done and (not only or buf == only) then
      repeat
        local more = self:learn_next(buf, changes)
      until not more
      changes.done()
      changes.done = nil
    end
  end
end

--- Forgets what it has noted, and watches no buffer.
function Tracker:reset()
  self.buffers = {}
end

return M
