--- The personal layer's part in the editor: what it is told, and when. The layer itself is the C
--- module's (docs/personal.md); nothing here runs unless the option `personal` is set.
---
--- It learns paragraphs that were changed, when the buffer is written (paragraphs.lua). It also hears
--- which suggestions were accepted and rejected, and learns from that how far to trust
--- itself. Buffers that privacy.lua excludes are never looked at.
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

local privacy = require('aigc.privacy')

local uv = vim.uv or vim.loop

---@type table? the open model
local model
--- What is to be told to the model once it is open: { method, text }
local waiting = {}
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

--- Paths in the folder whose names match a pattern.
local function files_like(pattern)
  local folder = M.path(require('aigc.config').get())
  local ok, names = pcall(vim.fn.readdir, folder)
  local files = {}
  for _, name in ipairs(ok and names or {}) do
    if name:find(pattern) then
      files[#files + 1] = folder .. name
    end
  end
  return files
end

--- What was learned, a file for each vocabulary.
---@return string[]
function M.files()
  return files_like('^%x+%.aigc$')
end

--- Removes them, and what is left of one that was being written when the machine stopped. The model is closed.
---@return boolean ok
---@return string? message
function M.forget()
  waiting = {}
  local problem
  for _, path in ipairs(files_like('^%x+%.aigc')) do
    local ok, message = uv.fs_unlink(path)
    problem = not ok and message or problem
  end
  return problem == nil, problem
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

local tracker = require('aigc.paragraphs').new(tell)

--- What has changed in a buffer and was learned of it; nil if it is not watched.
---@param buf integer
---@return aigc.Changes?
function M.changes(buf)
  return tracker.buffers[buf]
end

-- ---- what becomes of it ----------------------------------------------------------------------------

--- Milliseconds after an order to save, and from one try to the next while the worker has something to do.
local LOOK_MS = 1000

--- Says once that the disk is full, or what else keeps the layer from being kept.
---@type aigc.Timer
local look
look = require('aigc.timer').new(function()
  if not model then
    return
  end
  local ok, info, message, code = pcall(model.memory, model, 0)
  if ok and code == 'limit' then
    look:start(LOOK_MS)
  elseif ok and (message or info.unwritten) then
    message = message or info.unwritten
    require('aigc.log').tell_once('what was learned is not kept: ' .. message, 'personal')
  end
end)

-- ---- what the model hears -----------------------------------------------------------------------

local watching = false

--- Begins to learn. Called when insert mode has begun, and with each request; does nothing unless the option is set.
function M.watch()
  if watching or not wanted() then
    return
  end
  watching = true
  local group = vim.api.nvim_create_augroup('aigc_personal', { clear = false })
  vim.api.nvim_create_autocmd('InsertEnter', {
    group = group,
    desc = 'aigc: mark what changes',
    callback = function(args)
      if wanted() then
        tracker:attach(args.buf)
      end
    end,
  })
  vim.api.nvim_create_autocmd('BufWritePost', {
    group = group,
    desc = 'aigc: learn what has changed',
    callback = function(args)
      if wanted() then
        tracker:learn(args.buf, function()
          tell('save')
          look:start(LOOK_MS)
        end)
      end
    end,
  })
  vim.api.nvim_create_autocmd('BufUnload', {
    group = group,
    desc = 'aigc: learn the rest of what was written',
    callback = function(args)
      tracker:finish(args.buf)
    end,
  })
  local buf = vim.api.nvim_get_current_buf()
  if tracker:attach(buf) and vim.bo[buf].modified then
    tracker:touch(buf, vim.api.nvim_win_get_cursor(0)[1] - 1)
  end
  require('aigc.outcomes').watch()
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

table.insert(hooks.closing, function()
  tracker:finish()
end)

table.insert(hooks.request, function(options, p)
  if p.config.personal then
    M.watch()
    options.personal = privacy.reason(p.buf, p.config) == nil
    require('aigc.outcomes').on_request(p.buf, p.row, p.col)
  end
end)

table.insert(hooks.outcome, function(outcome)
  if model and outcome.shown ~= '' then
    tell('feedback', outcome.shown, #outcome.taken, outcome.kind == 'rejected')
    require('aigc.outcomes').note(outcome)
  end
end)

return M
