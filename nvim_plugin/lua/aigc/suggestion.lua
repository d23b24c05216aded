--- The suggestion at the cursor, from the request to the end of its life.
---
---     start --> (text comes) --> shown --> accepted
---                  |               |
---                  +---------------+--> dismissed: by a key, by typing something else, by moving
---
--- Typing what the suggestion says keeps it: the typed part is taken off its beginning.
local M = {}

local client = require('aigc.client')
local config = require('aigc.config')
local context = require('aigc.context')
local ghost = require('aigc.ghost')

---@class aigc.Suggestion
---@field buf integer
---@field row integer from 0; where it was asked for
---@field col integer in bytes
---@field before string the line's text before that place
---@field after string and behind it
---@field left_out string a space that stands in the buffer and not in the prompt
---@field text string what the model has said, fit for a buffer
---@field has_begun? boolean
---@field ends_in_return? boolean
---@field typed integer bytes of `text` that the user has typed since
---@field normal boolean asked for in normal mode and still there
---@field running boolean more text may come
---@field drawn_text? string
---@field drawn_typed? integer

---@type aigc.Suggestion?
local current

---@type string? text on its way into the buffer, from normal mode
local to_insert

--- Fires a User event, for statuslines and the like.
local function announce(event)
  vim.api.nvim_exec_autocmds('User', { pattern = event, modeline = false })
end

--- 'i' for insert mode and a command from it (<C-o>), 'n' for normal mode, 'c' for a command line,
--- else ''.
local function kind_of(mode)
  if mode == 'niI' or mode:sub(1, 1) == 'i' then
    return 'i'
  end
  return mode:match('^[nc]') or ''
end

--- Why there should be no suggestion here, or nil.
---@return string?
local function reason_against()
  local buf = vim.bo
  if buf.buftype ~= '' then
    return ("not in a buffer of type '%s'"):format(buf.buftype)
  elseif not buf.modifiable or buf.readonly then
    return 'the buffer cannot be changed'
  elseif vim.b.aigc_disable then
    return 'b:aigc_disable is set'
  elseif vim.b.visual_multi then
    return 'several cursors are in use'
  elseif vim.fn.reg_recording() ~= '' or vim.fn.reg_executing() ~= '' then
    return 'a macro is being recorded or executed'
  end
end

--- Where text would go: at the cursor in insert mode, behind the character under it in normal mode
--- (as with `a`).
---@return integer row, integer col, string line
local function insertion_point(is_normal)
  local cursor = vim.api.nvim_win_get_cursor(0)
  local row, col = cursor[1] - 1, cursor[2]
  local line = vim.api.nvim_get_current_line()
  if is_normal and col < #line then
    local char = line:match('^[%z\1-\127\192-\255][\128-\191]*', col + 1)
    col = col + (char and #char or 1)
  end
  return row, math.min(col, #line), line
end

--- Appends what the model says: line ends as a buffer has them, no other control characters, and no
--- second space. Only the new piece is looked at: the whole of a long text would take too long at
--- each.
local function append(s, piece)
  if not s.has_begun and piece:sub(1, #s.left_out) == s.left_out then
    piece = piece:sub(#s.left_out + 1)
  end
  s.has_begun = true
  if s.ends_in_return and piece:sub(1, 1) == '\n' then
    piece = piece:sub(2)
  end
  s.ends_in_return = piece:sub(-1) == '\r'
  s.text = s.text .. piece:gsub('\r\n?', '\n'):gsub('[%z\1-\8\11-\31\127]', '')
end

---@return string
local function remaining()
  return current and current.text:sub(current.typed + 1) or ''
end

--- To be called when the request has ended or is given up.
local function settle(s)
  if s.running then
    s.running = false
    announce('AigcDone')
  end
end

--- Forgets the suggestion and stops its request. Whether there was one.
---@return boolean
local function finish()
  local s = current
  if not s then
    return false
  end
  current = nil
  client.cancel()
  ghost.clear()
  settle(s)
  return true
end

---@return boolean
function M.dismiss()
  return finish()
end

--- Whether the cursor and the line are as the suggestion needs them; notes what has been typed of
--- it.
local function still_fits(s)
  if vim.api.nvim_get_current_buf() ~= s.buf then
    return false
  end
  local row, col, line = insertion_point(s.normal)
  if row ~= s.row or line:sub(1, s.col) ~= s.before or line:sub(col + 1) ~= s.after then
    return false
  end
  local typed = line:sub(s.col + 1, col)
  if not vim.startswith(s.text, typed) then
    return false
  end
  s.typed = #typed
  return true
end

--- During a command from insert mode (<C-o>) the cursor may be a character off; it comes back.
local function is_on_leave()
  return vim.api.nvim_get_mode().mode == 'niI'
end

--- Ends the suggestion if it does not fit any more. Autocommands do not tell of each change: not
--- while keys are waiting.
local function check()
  if current and not is_on_leave() and not still_fits(current) then
    finish()
  end
end

---@return boolean
function M.visible()
  check()
  return remaining() ~= ''
end

--- Shows what there is to show, after a movement, a change or more text.
local function update()
  if not current then
    return
  end
  check()
  local s = current
  if not s or is_on_leave() then
    return
  end
  if remaining() ~= '' then
    if s.drawn_text ~= s.text or s.drawn_typed ~= s.typed then
      s.drawn_text, s.drawn_typed = s.text, s.typed
      ghost.draw(s.row, s.col + s.typed, remaining())
    end
  elseif s.running then
    ghost.clear() -- nothing yet, or typed as far as the model has come
    s.drawn_text = nil
  else
    finish() -- nothing was said, or it is typed to its end
  end
end

local function redraw()
  if current then
    current.drawn_text = nil
    update()
  end
end

local function on_mode_changed()
  local s = current
  if not s then
    return
  end
  local kind = kind_of(vim.v.event.new_mode)
  if s.normal and kind == 'i' then
    s.normal = false
    update() -- stays if insert mode begins where the suggestion does
  elseif kind ~= 'c' and kind ~= (s.normal and 'n' or 'i') then
    finish()
  elseif vim.v.event.old_mode == 'niI' then
    vim.schedule(update)
  end
end

-- Not cleared: there is nothing to clear, and Neovim looks through all autocommands for it.
local group = vim.api.nvim_create_augroup('aigc', { clear = false })

local function on(events, callback)
  vim.api.nvim_create_autocmd(events, {
    group = group,
    callback = function()
      callback() -- and not what it returns: true would delete the autocommand
    end,
  })
end

on({ 'CursorMoved', 'CursorMovedI', 'TextChanged', 'TextChangedI', 'TextChangedP' }, update)
on('ModeChanged', on_mode_changed)
on({ 'BufLeave', 'WinLeave' }, finish)
on({ 'VimResized', 'WinScrolled' }, redraw)

local told = {}

--- Says what went wrong: at length once, then in a line.
local function tell(message)
  if told[message] then
    vim.notify('aigc: no suggestion, as said before (:checkhealth aigc)', vim.log.levels.WARN)
  else
    told[message] = true
    vim.notify('aigc: ' .. message, vim.log.levels.ERROR)
  end
end

---@param s aigc.Suggestion
---@param event aigc.Event
local function on_event(s, event)
  if s ~= current then
    return
  end
  if event.kind == 'error' then
    finish()
    tell(event.message)
    return
  end
  if event.kind == 'token' then
    append(s, event.text)
  else
    settle(s)
  end
  update()
end

--- Asks for a suggestion at the cursor, in place of the one that is there.
---@return boolean started
---@return string? reason why not
---@return boolean? told the user has been told
function M.start()
  if is_on_leave() then
    vim.schedule(M.start)
    return true
  end
  local kind = kind_of(vim.api.nvim_get_mode().mode)
  local reason = reason_against()
  if kind ~= 'i' and kind ~= 'n' then
    reason = 'only in insert and normal mode'
  end
  if reason then
    return false, reason
  end
  finish()
  local options, problems = config.get()
  config.report(problems)
  local buf = vim.api.nvim_get_current_buf()
  local row, col, line = insertion_point(kind == 'n')
  local around = context.build(buf, row, col, options)
  local s = {
    buf = buf,
    row = row,
    col = col,
    before = line:sub(1, col),
    after = line:sub(col + 1),
    left_out = around.left_out,
    text = '',
    typed = 0,
    normal = kind == 'n',
    running = true,
  }
  local id, message = client.request(options, around.prompt, function(event)
    on_event(s, event)
  end)
  if not id then
    tell(message)
    return false, message, true
  end
  current = s
  announce('AigcStart')
  return true
end

--- Literally, in one undo step, and so that `.` repeats it: as if pasted.
local function insert(text)
  if pcall(vim.api.nvim_paste, text, true, -1) then
    return
  end
  local row, col = insertion_point(false)
  local lines = vim.split(text, '\n', { plain = true })
  vim.api.nvim_buf_set_text(0, row, col, row, col, lines)
  local last_col = #lines[#lines] + (#lines == 1 and col or 0)
  vim.api.nvim_win_set_cursor(0, { row + #lines, last_col })
end

--- Called by the keys that accept() sends in normal mode.
function M.insert_pending()
  local text = to_insert
  to_insert = nil
  if text then
    insert(text)
  end
end

--- Inserts what is shown. In normal mode it is appended behind the cursor, by `a`, so that `.`
--- repeats it.
---@return boolean accepted
function M.accept()
  if not M.visible() then
    return false
  end
  if is_on_leave() then
    vim.schedule(M.accept)
    return true
  end
  local text = remaining()
  finish()
  if kind_of(vim.api.nvim_get_mode().mode) == 'i' then
    insert(text)
    return true
  end
  to_insert = text
  local keys = "a<Cmd>lua require('aigc.suggestion').insert_pending()<CR><Esc>"
  vim.api.nvim_feedkeys(vim.api.nvim_replace_termcodes(keys, true, false, true), 'in', false)
  return true
end

return M
