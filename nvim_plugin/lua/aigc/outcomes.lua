--- What became of suggestions, for training the model on them (:Aigc memory export, `aigc finetune`):
--- what was accepted, and what was written in place of what was rejected. Part of the personal layer:
--- nothing here runs unless the option `personal` is set, and buffers that privacy.lua excludes are
--- never looked at.
---
---     rejected --> pending --> as much is written as was shown, or insert mode ends --> a record
---     accepted -------------------------------------------------------------------->
---     records  --> the file, when the buffer is written and when Neovim is left
---
--- The file has one JSON object a line, is readable by its owner alone, and loses its older half when
--- it has grown too large.
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

local privacy = require('aigc.privacy')
local timer = require('aigc.timer')

local uv = vim.uv or vim.loop

local FILE = 'outcomes.jsonl'
local MAX_FILE_BYTES = 4 * 1024 * 1024
local MAX_PROMPT_BYTES = 2048
--- What is not on the disk yet, and rejections of which the end is open: the newest are kept.
local MAX_RECORDS, MAX_PENDING = 500, 16
local MODE = 384 -- 0600

---@class aigc.PendingOutcome
---@field buf integer
---@field row integer from 0, where the suggestion began
---@field col integer in bytes
---@field before string the line's text before that
---@field outcome aigc.Outcome

---@type aigc.PendingOutcome[]
local pending = {}
---@type string[] lines of JSON
local records = {}

---@return string?
function M.path()
  local folder = require('aigc.personal').path(require('aigc.config').get())
  return folder and folder .. FILE
end

local function whole_characters_from(text, at)
  while at <= #text and (text:byte(at) or 0) >= 128 and text:byte(at) < 192 do
    at = at + 1
  end
  return text:sub(at)
end

---@param outcome aigc.Outcome
---@param record { chosen?: string, rejected?: string, response?: string }
local function add(outcome, record)
  local first = math.max(1, #outcome.prompt - MAX_PROMPT_BYTES + 1)
  record.prompt = whole_characters_from(outcome.prompt, first)
  record.time = os.time()
  local ok, line = pcall(vim.json.encode, record)
  if ok then
    records[#records + 1] = line
    if #records > MAX_RECORDS then
      table.remove(records, 1)
    end
  end
end

-- ---- what was written instead -------------------------------------------------------------------

--- Of a text the beginning that is as long as `n` bytes, to the end of a word; nil if it is shorter
--- and more may come.
local function as_long_as(text, n, whole)
  local last = n <= #text and text:find('[%s]', n + 1)
  if last then
    return text:sub(1, last - 1)
  end
  return whole and text:gsub('%s+$', '') or nil
end

--- What stands in the buffer between the beginning of a suggestion and a place, or nil if the text
--- before it has changed.
local function written(p, row, col)
  if not vim.api.nvim_buf_is_loaded(p.buf) or row < p.row or (row == p.row and col < p.col) then
    return nil
  end
  local ok, lines = pcall(vim.api.nvim_buf_get_text, p.buf, p.row, 0, row, col, {})
  local text = ok and table.concat(lines, '\n') or ''
  return vim.startswith(text, p.before) and text:sub(#p.before + 1) or nil
end

--- Looks at what was written since up to a place. `whole`: no more comes. Whether it is settled.
---@param p aigc.PendingOutcome
local function settle(p, row, col, whole)
  local text = written(p, row, col)
  if not text then
    return true
  end
  local o = p.outcome
  if require('aigc.prose').wrap_column(p.buf) then
    text = text:gsub('([^\n])\n[ \t]*([^\n])', '%1 %2')
  end
  local chosen = as_long_as(text, #o.shown, whole)
  if not chosen then
    return false
  elseif vim.startswith(chosen, o.shown) then
    add(o, { response = o.left_out .. o.shown }) -- taken away, and then written
  elseif #chosen > #o.taken and chosen:find('%w%w') or chosen:find('[\128-\255]') then
    add(o, { chosen = o.left_out .. chosen, rejected = o.left_out .. o.shown })
  end
  return true
end

local function settle_all(buf, row, col, whole)
  local kept = {}
  for _, p in ipairs(pending) do
    if p.buf ~= buf or not settle(p, row, col, whole) then
      kept[#kept + 1] = p
    end
  end
  pending = kept
end

-- ---- the file -----------------------------------------------------------------------------------

local function failed(message)
  message = 'outcomes of suggestions are not kept: ' .. tostring(message)
  require('aigc.log').tell_once(message, 'personal')
end

-- While the file is replaced nothing is appended to it: that would go with the old one.
local replacing = false

local function shortened(message)
  replacing = false
  if message then
    timer.soon(function()
      failed(message)
    end)
  end
end

--- Replaces the file by its newer half, aside and then at once. On threads of libuv's.
local function shorten(path, size)
  replacing = true
  uv.fs_open(path, 'r', MODE, function(problem, input)
    if not input then
      return shortened(problem)
    end
    uv.fs_read(input, size, 0, function(unread, text)
      uv.fs_close(input)
      local from = text and text:find('\n', math.floor(#text / 2), true)
      if not from then
        return shortened(unread)
      end
      uv.fs_open(path .. '.new', 'w', MODE, function(closed, output)
        if not output then
          return shortened(closed)
        end
        uv.fs_write(output, text:sub(from + 1), 0, function(unwritten)
          uv.fs_close(output)
          if unwritten then
            uv.fs_unlink(path .. '.new')
            return shortened(unwritten)
          end
          uv.fs_rename(path .. '.new', path, shortened)
        end)
      end)
    end)
  end)
end

local function take_records()
  local text = #records > 0 and table.concat(records, '\n') .. '\n' or nil
  records = {}
  return text
end

--- Appends what there is to the file, without waiting for the disk.
function M.save()
  if replacing then
    return -- the next one takes it along
  end
  local path = M.path()
  local text = path and take_records()
  if not path or not text then
    return
  end
  uv.fs_open(path, 'a', MODE, function(message, file)
    if not file then
      timer.soon(function()
        failed(message)
      end)
      return
    end
    uv.fs_write(file, text, -1, function(problem)
      local stat = uv.fs_fstat(file)
      uv.fs_close(file)
      if problem then
        timer.soon(function()
          failed(problem)
        end)
      elseif stat and stat.size > MAX_FILE_BYTES then
        shorten(path, stat.size)
      end
    end)
  end)
end

--- The same for the last time: waits.
local function save_now()
  vim.wait(1000, function()
    return not replacing
  end, 1)
  local path = M.path()
  local text = path and take_records()
  if not text then
    return
  end
  local file, problem = uv.fs_open(path, 'a', MODE)
  if file then
    local _, unwritten = uv.fs_write(file, text, -1)
    uv.fs_close(file)
    problem = unwritten
  end
  if problem then
    failed(problem)
  end
end

-- ---- for :Aigc memory ---------------------------------------------------------------------------

--- Has a thread do something with the whole file. The callback gets what that returns, or nil and a message.
local function with_file(callback, what, ...)
  local arguments, path = { ... }, M.path()
  if not path then
    callback(nil, 'the personal layer is off')
  elseif replacing then
    timer.later(function()
      with_file(callback, what, unpack(arguments))
    end, 1)
  else
    replacing = true
    require('aigc.outcomes_file').run(path, take_records() or '', callback, function()
      replacing = false
    end, what, ...)
  end
end

---@param callback fun(accepted?: integer, rejected: integer|string) nil and a message if it fails
function M.count(callback)
  with_file(callback, 'count')
end

--- Writes what `aigc finetune` reads: preferences (prompt, chosen, rejected), or responses (prompt,
--- response: what was accepted, or written in place of what was rejected).
---@param path string
---@param kind 'preferences'|'responses'
---@param callback fun(n?: integer, message?: string)
function M.export(path, kind, callback)
  with_file(callback, 'export', kind, path)
end

--- Drops the outcomes that have a phrase in them.
---@param phrase string
---@param callback fun(n?: integer, message?: string)
function M.forget(phrase, callback)
  pending = {}
  with_file(callback, 'forget', phrase)
end

--- Drops all of them.
---@param callback fun(ok?: boolean, message?: string)
function M.forget_all(callback)
  pending, records = {}, {}
  if replacing then
    timer.later(function()
      M.forget_all(callback)
    end, 1)
    return
  end
  local path = M.path()
  local ok, message, name = true, nil, nil
  if path then
    ok, message, name = uv.fs_unlink(path)
  end
  local is_gone = ok or name == 'ENOENT'
  callback(is_gone, not is_gone and message or nil)
end

-- ---- what it hears ------------------------------------------------------------------------------

---@param o aigc.Outcome
function M.note(o)
  if o.shown == '' or privacy.reason(o.buf) then
    return
  elseif o.kind ~= 'rejected' then
    add(o, { response = o.left_out .. o.shown })
    return
  end
  pending[#pending + 1] = {
    buf = o.buf,
    row = o.row,
    col = #o.before,
    before = o.before,
    outcome = o,
  }
  if #pending > MAX_PENDING then
    table.remove(pending, 1)
  end
end

--- Begins to watch. Called once, by personal.lua.
function M.watch()
  local group = vim.api.nvim_create_augroup('aigc_outcomes', { clear = false })
  vim.api.nvim_create_autocmd('InsertLeave', {
    group = group,
    desc = 'aigc: what was written in place of what was rejected',
    callback = function(args)
      if #pending > 0 then
        local at = vim.api.nvim_buf_get_mark(args.buf, '^')
        settle_all(args.buf, at[1] - 1, at[2], true)
      end
    end,
  })
  vim.api.nvim_create_autocmd(
    'BufWritePost',
    { group = group, desc = 'aigc: keep them', callback = M.save }
  )
  vim.api.nvim_create_autocmd('VimLeavePre', { group = group, callback = save_now })
end

--- A request is made at a place: what was rejected before it may be settled.
function M.on_request(buf, row, col)
  if #pending > 0 then
    settle_all(buf, row, col, false)
  end
end

return M
