--- :Aigc continue: text that goes into the buffer as it comes, one undo step, stopped by a key, a
--- command or any other change.
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

local generation = require('aigc.generation')
local place = require('aigc.place')
local prose = require('aigc.prose')
local stop = require('aigc.stop')

local NAMESPACE = vim.api.nvim_create_namespace('aigc-continue')

local MAX_TOKENS = 300

--- A paragraph is long enough for the most probable words to go in circles: less probable ones are needed,
--- always the same for the same text (the option `seed`).
local TEMPERATURE, TOP_P = 0.7, 0.9

---@class aigc.Continuation
---@field buf integer
---@field mark integer where the next text goes
---@field tick integer the buffer's, after our last change
---@field written integer bytes of the generation's text that are in the buffer
---@field generation aigc.Generation
---@field fold? integer column at which what is written is broken

---@type aigc.Continuation?
local current

--- What is being put together to be asked, and whether that is still wanted.
---@type (fun(): boolean)?
local preparing

---@return boolean
function M.running()
  return current ~= nil or preparing ~= nil
end

---@param reason? string
---@return boolean
function M.stop(reason)
  local c = current
  if preparing then
    preparing = nil
    require('aigc.log').add('continue: %s', reason or 'stopped')
    return true
  elseif not c then
    return false
  end
  current = nil
  c.generation:cancel()
  if vim.api.nvim_buf_is_valid(c.buf) then
    vim.api.nvim_buf_del_extmark(c.buf, NAMESPACE, c.mark)
  end
  require('aigc.log').add('continue: %s', reason or 'stopped')
  vim.api.nvim_exec_autocmds('User', { pattern = 'AigcDone', modeline = false })
  return true
end

--- Whether the cursor stands where the text goes, and so moves along.
local function cursor_follows(row, col)
  if vim.api.nvim_get_current_buf() ~= current.buf then
    return false
  end
  local cursor = vim.api.nvim_win_get_cursor(0)
  local reach = vim.api.nvim_get_mode().mode:sub(1, 1) == 'i' and 0 or 1
  return cursor[1] - 1 == row and col - cursor[2] <= reach and col >= cursor[2]
end

--- Inserts a piece behind what is there already, in the same undo step.
local function write(text)
  local c = current
  local mark = vim.api.nvim_buf_get_extmark_by_id(c.buf, NAMESPACE, c.mark, {})
  local row, col = mark[1], mark[2]
  if c.fold then
    local line = vim.api.nvim_buf_get_lines(c.buf, row, row + 1, true)[1]
    text = prose.fold(text, line:sub(1, col), c.fold, c.buf)
  end
  local follows = cursor_follows(row, col)
  local lines = vim.split(text, '\n', { plain = true })
  vim.api.nvim_buf_call(c.buf, function()
    if c.written > 0 then
      vim.cmd('undojoin')
    end
    vim.api.nvim_buf_set_text(c.buf, row, col, row, col, lines)
  end)
  c.tick = vim.api.nvim_buf_get_changedtick(c.buf)
  if follows then
    local end_row = row + #lines - 1
    local end_col = #lines[#lines] + (#lines == 1 and col or 0)
    local is_insert = vim.api.nvim_get_mode().mode:sub(1, 1) == 'i'
    local cursor_col = is_insert and end_col or math.max(0, end_col - 1)
    vim.api.nvim_win_set_cursor(0, { end_row + 1, cursor_col })
  end
end

--- As much as can be written without being broken elsewhere later: whole words.
local function settled(text, whole)
  return whole and #text or #(text:match('^(.*%S)%s') or '')
end

---@param g aigc.Generation
local function on_change(g)
  local c = current
  if not c or c.generation ~= g then
    return
  elseif not vim.api.nvim_buf_is_valid(c.buf) then
    M.stop('the buffer is gone')
    return
  elseif vim.api.nvim_buf_get_changedtick(c.buf) ~= c.tick then
    M.stop('the buffer was changed')
    return
  elseif not vim.bo[c.buf].modifiable then
    M.stop('the buffer cannot be changed')
    return
  end
  local last = settled(g.text, not g.running)
  if last > c.written then
    local ok, message = pcall(write, g.text:sub(c.written + 1, last))
    if not ok then
      M.stop('error')
      require('aigc.log').tell(tostring(message))
      return
    end
    c.written = last
  end
  if g.message then
    require('aigc.log').tell(g.message)
  end
  if not g.running then
    M.stop(('%d bytes'):format(c.written))
  end
end

--- As the options say, and longer: a paragraph, or a block of code.
---@param options aigc.Config
---@param is_prose boolean
---@return aigc.Config
local function lengthened(options, is_prose)
  local extent = options.extent == 'free' and 'free' or is_prose and 'paragraph' or 'statement'
  local sampled = is_prose and options.temperature == 0
  return setmetatable({
    extent = stop.extent(extent, is_prose),
    max_tokens = math.max(options.max_tokens, MAX_TOKENS),
    temperature = sampled and TEMPERATURE or nil,
    top_p = sampled and (options.top_p or TOP_P) or nil,
  }, { __index = options })
end

---@param here aigc.Position
---@param config aigc.Config
---@param question aigc.Question
local function begin(here, config, question)
  local g, message = generation.start(here, config, { question = question }, on_change)
  if not g then
    require('aigc.log').tell(message)
    return
  end
  current = {
    buf = here.buf,
    mark = vim.api.nvim_buf_set_extmark(here.buf, NAMESPACE, here.row, here.col, {}),
    tick = vim.api.nvim_buf_get_changedtick(here.buf),
    written = 0,
    generation = g,
    fold = prose.fold_column(here.buf),
  }
  vim.api.nvim_exec_autocmds('User', { pattern = 'AigcStart', modeline = false })
  if not g.running then
    on_change(g)
  end
end

--- Writes the next paragraph, or block of code, at the cursor. Putting the request together takes some turns of
--- the main loop; a change of the buffer meanwhile ends it, as it does later.
---@return boolean started
---@return string? reason
function M.start()
  M.stop('begun anew')
  local reason, options = require('aigc.suggestion').reason_against()
  if reason then
    return false, reason
  end
  require('aigc.suggestion').finish('rejected')
  local here = place.here(place.kind_of(vim.api.nvim_get_mode().mode) == 'n')
  local config = lengthened(options, prose.is_prose(vim.bo[here.buf].filetype))
  local tick = vim.api.nvim_buf_get_changedtick(here.buf)
  local function still_wanted()
    local buf = here.buf
    return vim.api.nvim_buf_is_valid(buf) and vim.api.nvim_buf_get_changedtick(buf) == tick
  end
  preparing = still_wanted
  generation.prepare(here, config, false, function()
    if preparing == still_wanted and not still_wanted() then
      M.stop('the buffer was changed')
    end
    return preparing == still_wanted
  end, function(question)
    preparing = nil
    begin(here, config, question)
  end)
  return true
end

vim.api.nvim_create_autocmd({ 'TextChangedI', 'TextChanged', 'BufUnload' }, {
  group = vim.api.nvim_create_augroup('aigc', { clear = false }),
  callback = function(args)
    local c = current
    if c and c.buf == args.buf then
      if args.event == 'BufUnload' then
        M.stop('the buffer is gone')
      elseif vim.api.nvim_buf_get_changedtick(c.buf) ~= c.tick then
        M.stop('the buffer was changed')
      end
    end
  end,
})

return M
