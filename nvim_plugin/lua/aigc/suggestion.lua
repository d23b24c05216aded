--- The suggestion at the cursor, from the request to the end of its life.
---
---     start --> (text comes) --> shown --> accepted, whole or piece by piece
---                  |               |
---                  +---------------+--> dismissed: by a key, by typing something else, by moving
---
--- Typing what the suggestion says keeps it: the typed part is taken off its beginning.
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

local config = require('aigc.config')
local generation = require('aigc.generation')
local ghost = require('aigc.ghost')
local guard = require('aigc.guard')
local place = require('aigc.place')
local prose = require('aigc.prose')
local timer = require('aigc.timer')

local KEYS = vim.api.nvim_create_namespace('aigc-keys')

---@class aigc.Suggestion
---@field place aigc.Position where it was asked for
---@field generation aigc.Generation
---@field fold? integer column at which typing breaks the lines here
---@field text string the alternative that is shown, as the model said it
---@field index integer of that alternative
---@field typed integer bytes of `text` that are in the buffer
---@field from_typing integer bytes of those that came by other keys than accepting
---@field normal boolean asked for in normal mode and still there
---@field automatic boolean
---@field hidden? boolean while a completion menu is open
---@field held? boolean while keys bring a part of it into the buffer from normal mode
---@field shown? boolean it has been on the screen
---@field announced? boolean and AigcShow has told it
---@field running boolean AigcDone is still to come
---@field speculated? boolean
---@field next? aigc.Generation what would come after it
---@field wanted_step? integer asked for while it was still coming
---@field drawn? string what was last drawn, and where

---@type aigc.Suggestion?
local current

--- While one is being asked for, until its request is made: whether the cursor is still there.
---@type (fun(): boolean)?
local asking

local function is_asked()
  if asking and not asking() then
    asking = nil
  end
  return asking ~= nil
end

--- Fires a User event, for statuslines and the like.
local function announce(event)
  vim.api.nvim_exec_autocmds('User', { pattern = event, modeline = false })
end

--- What is left of it, as the model said it.
local function remaining(s)
  return s.text:sub(s.typed + 1)
end

--- What is left of it, as it would stand in the buffer.
---@param s aigc.Suggestion
---@param text? string a beginning of what is left
---@return string
---@return string? feed a line end before it that accepting makes, and typing would
local function as_inserted(s, text)
  text = text or remaining(s)
  if not s.fold or text == '' then
    return text
  end
  local _, col, line = place.insertion_point(s.normal)
  return prose.fold(text, line:sub(1, col), s.fold, s.place.buf)
end

--- To be called when the request has ended or is given up.
local function settle(s)
  if s.running then
    s.running = false
    announce('AigcDone')
  end
end

--- Forgets the suggestion and stops its request. Whether there was one.
---@param kind? 'accepted'|'typed'|'rejected'
---@return boolean
local function finish(kind)
  local s, was_asked = current, is_asked()
  asking = nil
  if not s then
    return was_asked
  end
  current = nil
  vim.on_key(nil, KEYS)
  s.generation:cancel()
  if s.next and kind ~= 'accepted' then
    s.next:cancel()
  end
  ghost.clear()
  settle(s)
  if s.shown then
    s.generation:tell_outcome(s.place, kind or 'rejected', s.text, s.text:sub(1, s.typed))
  end
  if s.announced then
    announce('AigcHide')
  end
  return true
end

M.finish = finish

---@return boolean
function M.dismiss()
  return finish('rejected')
end

--- Whether the cursor and the line are as the suggestion needs them; notes what is in the buffer of
--- it.
---@param s aigc.Suggestion
local function still_fits(s)
  local text, after = place.text_from(s.place, s.normal)
  if not text or after ~= s.place.after then
    return false
  end
  local before = s.place.before
  if s.fold then
    local n = prose.follow(before .. s.text, text, s.place.buf)
    -- 'textwidth' takes the space before a break away: what was typed ends before it then.
    if not n or n < #before then
      return false
    end
    s.typed = n - #before
  else
    local typed = text:sub(#before + 1)
    if text:sub(1, #before) ~= before or s.text:sub(1, #typed) ~= typed then
      return false
    end
    s.typed = #typed
  end
  return true
end

--- During a command from insert mode (<C-o>) the cursor may be a character off; it comes back.
local function is_on_leave()
  return vim.api.nvim_get_mode().mode == 'niI'
end

--- Ends the suggestion if it does not fit any more. Autocommands do not tell of each change: not
--- while keys are waiting. While a menu is open it changes the text back and forth.
local function check()
  local s = current
  if s and not (s.hidden or s.held) and not is_on_leave() and not still_fits(s) then
    finish('rejected')
  end
end

--- The text that is shown, as it would be inserted, or ''.
---@return string
function M.shown_text()
  check()
  return current and not current.hidden and as_inserted(current) or ''
end

---@return boolean
function M.visible()
  check()
  return current ~= nil and not current.hidden and remaining(current) ~= ''
end

--- Whether there is one, be it shown or still to come.
---@return boolean
function M.exists()
  check()
  return current ~= nil or is_asked()
end

--- Which alternative of how many.
local function position_of(s)
  local n = #s.generation.list
  return n > 1 and ('(%d/%d)'):format(s.index, n) or nil
end

local is_due = false

--- update() in a turn of its own.
local function update_soon()
  if not is_due then
    is_due = true
    timer.soon(function()
      is_due = false
      M.update()
    end)
  end
end

local function draw(s)
  local row, col = place.insertion_point(s.normal)
  local text, feed = as_inserted(s)
  text = (feed or '') .. text
  local info = position_of(s)
  local key = table.concat({ row, col, text, info or '' }, '\0')
  if s.drawn ~= key then
    s.drawn = key
    ghost.draw(row, col, text, info, function()
      s.drawn = nil
      update_soon()
    end)
    if not s.shown then
      s.shown = true
      generation.counts.shown = generation.counts.shown + 1
      timer.soon(function()
        if s == current then
          s.announced = true
          announce('AigcShow')
        end
      end)
    end
  end
end

--- Whether insert mode was left by <C-c>, which is not told until later: text that is drawn meanwhile would be part of
--- the column that `k` wants.
local function is_left(s)
  return not s.normal and place.kind_of(vim.api.nvim_get_mode().mode) == 'n'
end

--- Shows what there is to show, after a movement, a change or more text.
local function update()
  if not current then
    return
  end
  check()
  local s = current
  if not s or is_on_leave() or is_left(s) then
    return
  end
  if s.hidden or s.held then
    return
  elseif remaining(s) ~= '' then
    draw(s)
  elseif s.generation.running then
    ghost.clear() -- nothing yet, or typed as far as the model has come
    s.drawn = nil
  else
    finish('typed') -- nothing was said, or it is typed to its end
  end
end

M.update = update

function M.redraw()
  if current then
    current.drawn = nil
    update()
  end
end

--- While a completion menu is open.
---@param hidden boolean
function M.hide(hidden)
  local s = current
  if s and (s.hidden or false) ~= hidden then
    s.hidden = hidden
    if hidden then
      ghost.clear()
    end
    s.drawn = nil
    update()
  end
end

--- In idle time, what would be suggested if this one were accepted. Its answer waits in the cache.
local function speculate(s)
  local options = s.generation.config
  if not options.speculate or require('aigc.polite').on_battery then
    return
  end
  local behind, question
  local function is_due_now()
    return s == current
      and not (s.generation.running or s.speculated or s.normal)
      and s.text ~= ''
  end
  timer.later(function()
    timer.in_turns({
      function()
        behind = place.behind(s.place, s.text)
      end,
      function()
        question = generation.build(behind, options, s.text)
      end,
      function()
        return generation.join(question)
      end,
      function()
        generation.add_context(question)
      end,
      function()
        generation.complete(question, behind, options)
      end,
      function()
        s.speculated = true
        local how = { automatic = s.automatic, question = question }
        s.next = generation.start(behind, options, how, function() end)
      end,
    }, is_due_now)
  end, 20)
end

---@param s aigc.Suggestion
---@param g aigc.Generation
local function on_change(s, g)
  if s ~= current then
    return
  end
  if g.message then
    finish('rejected')
    local log = require('aigc.log')
    local tell = s.automatic and log.tell_once or log.tell
    tell(g.message)
    return
  end
  if s.index == 1 then
    s.text = g.list[1] or ''
  end
  if not g.running then
    settle(s)
    if s.wanted_step then
      local step = s.wanted_step
      s.wanted_step = nil
      timer.soon(function()
        M.cycle(step)
      end)
    elseif g.complete and s.text ~= '' then
      speculate(s)
    end
  end
  s.drawn = nil
  update_soon()
end

--- Looks whether all is as it should be: after <C-c> Neovim runs not all autocommands.
local function sweep()
  local s = current
  local kind = place.kind_of(vim.api.nvim_get_mode().mode)
  if not s then
    ghost.clear()
  elseif kind ~= 'c' and kind ~= (s.normal and 'n' or 'i') then
    finish('rejected')
  else
    update()
  end
end

--- Keys that look for words in all windows.
local COMPLETES = { ['\14'] = true, ['\16'] = true, ['\24'] = true } -- <C-n>, <C-p>, <C-x>

--- Keys that go past inline text, or begin a command that may. Neovim notes the column that <Down> wants before it
--- tells of a movement.
local PASSES = {}
for _, name in ipairs({ '<Right>', '<S-Right>', '<C-Right>', '<C-o>' }) do
  PASSES[vim.api.nvim_replace_termcodes(name, true, true, true)] = true
end

--- Watches keys for <C-c> while there is a suggestion, and for what would find it in a window of its own.
local function watch_keys()
  vim.on_key(function(key)
    if key == '\3' and current then
      -- At once: leaving insert mode by it Neovim notes the column that `k` wants, with inline text before the cursor.
      ghost.take_out()
      current.drawn = nil
      timer.soon(sweep)
    elseif PASSES[key] and current and ghost.is_aside() then
      ghost.take_out()
      current.drawn = nil
      timer.soon(update)
    elseif COMPLETES[key] and current and ghost.leave_windows() then
      current.drawn = nil
      timer.soon(update)
    end
  end, KEYS)
end

---@class aigc.AskOptions
---@field automatic? boolean nobody asked for it
---@field only_cached? boolean
---@field config? aigc.Config the options in force here, if they are known already

--- Why there can be none here, or nil.
---@param options? aigc.Config
---@return string? reason
---@return aigc.Config
function M.reason_against(options)
  local kind = place.kind_of(vim.api.nvim_get_mode().mode)
  if not options then
    local problems
    options, problems = config.get(vim.api.nvim_get_current_buf())
    config.report(problems)
  end
  if kind ~= 'i' and kind ~= 'n' then
    return 'only in insert and normal mode', options
  end
  return guard.reason_against(options), options
end

--- The request, when it has been put together.
---@param here aigc.Position
---@param conf aigc.Config
---@param options aigc.AskOptions
---@param question aigc.Question
local function start(here, conf, options, question)
  ---@type aigc.Suggestion
  local s = {
    place = here,
    fold = prose.fold_column(here.buf),
    text = '',
    index = 1,
    typed = 0,
    normal = here.normal,
    automatic = options.automatic or false,
    running = true,
  }
  local g, message = generation.start(here, conf, {
    automatic = options.automatic,
    only_cached = options.only_cached,
    question = question,
  }, function(g)
    on_change(s, g)
  end)
  if not g then
    if message then
      local log = require('aigc.log')
      local tell = options.automatic and log.tell_once or log.tell
      tell(message)
    end
    return
  end
  s.generation = g
  current = s
  watch_keys()
  announce('AigcStart')
  if not g.running then
    s.text = g.list[1] or ''
    settle(s)
    speculate(s)
    update_soon()
  end
end

--- Asks for a suggestion at the cursor, in place of the one that is there. Putting the request together
--- takes some turns of the main loop; what is typed or moved meanwhile ends it.
---@param options? aigc.AskOptions
---@return boolean started
---@return string? reason why not
function M.ask(options)
  options = options or {}
  if is_on_leave() then
    timer.soon(function()
      M.ask(options)
    end)
    return true
  end
  local reason, conf = M.reason_against(options.config)
  if reason then
    return false, reason
  end
  finish('rejected')
  local here = place.here(place.kind_of(vim.api.nvim_get_mode().mode) == 'n')
  local tick = vim.api.nvim_buf_get_changedtick(here.buf)
  local function still_wanted()
    return place.is_at(here, tick)
  end
  asking = still_wanted
  generation.prepare(here, conf, options.only_cached, function()
    return asking == still_wanted and is_asked()
  end, function(question)
    asking = nil
    start(here, conf, options, question)
  end)
  return true
end

--- The next or previous alternative; asks for more of them at first.
---@param step integer 1 or -1
---@return boolean
function M.cycle(step)
  check()
  local s = current
  if not s or s.typed > 0 then
    return false
  end
  local g = s.generation
  if g.running then
    s.wanted_step = step -- when all of the first has come
    return true
  end
  local function show(index)
    s.index = (index - 1) % #g.list + 1
    s.text = g.list[s.index]
    s.drawn, s.speculated = nil, nil
    update()
    speculate(s)
  end
  local started = generation.more(g, function()
    if s == current and #g.list > 1 then
      show(step > 0 and 2 or #g.list)
    end
  end)
  if started then
    return true
  elseif #g.list > 1 then
    show(s.index + step)
    return true
  end
  return false
end

--- What accepting inserts: a beginning of what is left, in the form of the buffer.
---@param part fun(text: string): string
---@return string? text
---@return string? raw
function M.part(part)
  if not M.visible() then
    return nil
  end
  local raw = part(remaining(current))
  if raw == '' then
    return nil
  end
  return as_inserted(current, raw), raw
end

--- The suggestion is in the buffer now up to `raw`; whether that was all of it.
---@param raw string
---@return boolean
function M.taken(raw)
  local s = current
  if not s then
    return true
  end
  announce('AigcAccept')
  if raw == remaining(s) then
    s.typed = #s.text
    finish('accepted')
    return true
  end
  return false
end

---@return boolean
function M.is_normal()
  return current ~= nil and current.normal
end

--- A part of it is on its way into the buffer, by way of insert mode and back: until then nothing fits.
---@param held boolean
function M.hold(held)
  local s = current
  if s and (s.held or false) ~= held then
    s.held = held
    s.drawn = nil
    update()
  end
end

function M.on_mode_changed()
  local s = current
  if not s or s.held then
    return
  end
  local kind = place.kind_of(vim.v.event.new_mode)
  if s.normal and kind == 'i' then
    s.normal = false
    update() -- stays if insert mode begins where the suggestion does
  elseif kind ~= 'c' and kind ~= (s.normal and 'n' or 'i') then
    finish('rejected')
  elseif vim.v.event.old_mode == 'niI' then
    timer.soon(update)
  end
end

--- For :Aigc status.
---@return table?
function M.describe()
  return current and { automatic = current.automatic, alternatives = #current.generation.list }
end

return M
