--- The suggestion that Neovim itself shows (vim.lsp.inline_completion, 0.12): what the language server
--- answers, and that the answer stays right. Called by lsp.lua.
---
--- Neovim asks 200 ms after the cursor has moved and shows the answer at the cursor, wherever that has
--- gone, until the next one. So this watches what is typed, and answers the same request again with
--- what is left of the text, or with nothing as soon as something else was typed. In a language server
--- that is a process it could not be done; here an answer is a function call.
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

local generation = require('aigc.generation')
local menu = require('aigc.menu')
local place = require('aigc.place')
local prose = require('aigc.prose')
local suggestion = require('aigc.suggestion')
local timer = require('aigc.timer')

--- What Neovim executes when it has inserted an item.
M.ACCEPTED = 'aigc.accepted'

local KEYS = vim.api.nvim_create_namespace('aigc-inline-keys')

--- How long a text has been there when alternatives to it are asked for.
local ALTERNATIVES_MS = 400

---@class aigc.Inline
---@field place aigc.Position where it was asked for
---@field generation? aigc.Generation when the model has been asked
---@field fold? integer column at which typing breaks the lines here
---@field answer fun(items: table[])
---@field again boolean whether further answers are looked at
---@field shown? boolean
---@field typed? string what was in the buffer behind the place at the last answer
---@field taken? string the same, as the model said it

---@type aigc.Inline?
local current

--- Ends what there is: nothing of it is computed, shown or accepted any more.
---@param kind 'typed'|'rejected'
local function finish(kind)
  local s = current
  if not s then
    return
  end
  current = nil
  if s.generation then
    s.generation:cancel()
  end
  s.answer({})
  if s.shown then
    s.generation:tell_outcome(s.place, kind, s.generation.text, s.taken)
  end
end

--- Whether there is a reason to be quiet that only holds for what nobody asked for.
local function is_unwanted(options, here)
  return require('aigc.config').trigger(options, vim.bo[here.buf].filetype) ~= 'auto'
    or (options.menu == 'hide' and menu.is_open())
    or place.inside_word(here)
end

--- How far into a text somebody has come who typed `typed`, in bytes, or nil if it is something else.
---@param s aigc.Inline
---@param text string
---@param typed string
---@return integer?
local function progress(s, text, typed)
  if not s.fold then
    return vim.startswith(text, typed) and #typed or nil
  end
  local before = #s.place.before
  local n = prose.follow(s.place.before .. text, s.place.before .. typed, s.place.buf)
  return n and n >= before and n - before or nil
end

--- What is left of a text, as it would stand in the buffer.
local function as_inserted(s, rest)
  if not s.fold then
    return rest
  end
  local _, col, line = place.insertion_point(false)
  return prose.fold(rest, line:sub(1, col), s.fold, s.place.buf)
end

--- Items for the cursor's place. Without a range: Neovim shows and inserts at the cursor, and pushes
--- what stands behind it aside.
---@param s aigc.Inline
---@param typed string
---@return table[]
---@return string? taken what is in the buffer of the first one that fits
---@return boolean through whether one of the texts is in the buffer to its end
local function items_of(s, typed)
  local items, taken, through = {}, nil, false
  for _, text in ipairs(s.generation.list) do
    local n = progress(s, text, typed)
    if n then
      taken = taken or text:sub(1, n)
      if n == #text then
        through = n > 0
      else
        items[#items + 1] = {
          insertText = as_inserted(s, text:sub(n + 1)),
          command = { title = 'accepted', command = M.ACCEPTED, arguments = { text } },
        }
      end
    end
  end
  return items, taken, through
end

--- Hands over what there is for the cursor's place.
local function tell(s)
  local typed = place.text_since(s.place)
  local items, taken, through = {}, nil, false
  if typed then
    items, taken, through = items_of(s, typed)
  end
  s.taken = taken or s.taken
  if #items == 0 then
    finish(through and 'typed' or 'rejected')
    return
  end
  s.typed = typed
  if not s.shown then
    s.shown = true
    generation.counts.shown = generation.counts.shown + 1
  end
  s.answer(items)
end

--- A suggestion that stands for a while gets company, so that there is something to choose from
--- (vim.lsp.inline_completion.select()).
local function ask_for_alternatives(s)
  local options = s.generation.config
  if not s.again or not options.speculate or require('aigc.polite').on_battery then
    return
  end
  timer.later(function()
    if s ~= current or s.typed ~= '' then
      return
    end
    generation.more(s.generation, function(g)
      if s == current and #g.list > 1 then
        tell(s)
      end
    end)
  end, ALTERNATIVES_MS)
end

---@param s aigc.Inline
---@param g aigc.Generation
local function on_change(s, g)
  if s ~= current or g.running then
    return
  end
  if g.message then
    require('aigc.log').tell_once(g.message)
  end
  if #g.list == 0 then
    finish('rejected')
    return
  end
  local is_over = not s.again
  tell(s)
  if is_over then
    current = nil -- it cannot be followed
  elseif s == current then
    ask_for_alternatives(s)
  end
end

local function makes_room(s)
  return s.generation ~= nil and s.generation.config.menu == 'hide' and menu.is_open()
end

--- A completion menu is open: what is shown makes room for it, and comes back.
local function hide()
  local s = current
  if s and s.shown and s.typed and makes_room(s) then
    s.typed = nil
    s.answer({})
  end
end

--- Something was typed, or the cursor has moved.
local function follow()
  local s = current
  if not s then
    return
  elseif makes_room(s) then
    hide()
    return
  end
  local typed = place.text_since(s.place)
  if not s.shown and typed ~= '' then
    finish('rejected')
  elseif s.shown and typed ~= s.typed then
    tell(s)
  end
end

---@class aigc.InlineRequest
---@field automatic boolean nobody asked
---@field again boolean whether the answer function may be called more than once
---@field answer fun(items: table[]) on the main loop

--- Takes what Neovim shows in a buffer out of its lines. Whether there was something.
local function take_out(buf)
  local space = vim.api.nvim_get_namespaces()['nvim.lsp.inline_completion']
  if not space or not vim.api.nvim_buf_is_loaded(buf) then
    return false
  end
  local is_shown = #vim.api.nvim_buf_get_extmarks(buf, space, 0, -1, { limit = 1 }) > 0
  vim.api.nvim_buf_clear_namespace(buf, space, 0, -1)
  return is_shown
end

--- After <C-c> Neovim runs no autocommands: what it showed it would show again. Nor does it take an answer
--- outside insert mode, so it is switched off and on. Whatever we have here: what was interrupted may have
--- forgotten it halfway.
local function sweep(buf, was_shown)
  if place.kind_of(vim.api.nvim_get_mode().mode) == 'i' then
    return
  end
  vim.on_key(nil, KEYS)
  finish('rejected')
  if take_out(buf) or was_shown then
    for _, on in ipairs({ false, true }) do
      vim.lsp.inline_completion.enable(on, { bufnr = buf })
    end
  end
end

local RIGHT = vim.api.nvim_replace_termcodes('<Right>', true, true, true)

--- Until insert mode is left. The text goes at once: it would count for the column that `k` or <Down> want, also where
--- the cursor goes past it, which Neovim is told of too late.
local function watch_keys(buf)
  vim.on_key(function(key)
    if key == '\3' then
      local was_shown = take_out(buf)
      timer.soon(function()
        sweep(buf, was_shown)
      end)
    elseif key == RIGHT and vim.fn.col('.') < vim.fn.col('$') then
      take_out(buf)
    end
  end, KEYS)
end

---@param s aigc.Inline
---@param options aigc.Config
---@param automatic boolean
local function ask(s, options, automatic)
  generation.prepare(s.place, options, false, function()
    return s == current
  end, function(question)
    s.fold = prose.fold_column(s.place.buf)
    local how = { automatic = automatic, question = question }
    local g, message = generation.start(s.place, options, how, function(g)
      on_change(s, g)
    end)
    if not g then
      if message then
        require('aigc.log').tell_once(message)
      end
      finish('rejected')
      return
    end
    s.generation = g
    on_change(s, g)
  end)
end

--- Asks for what Neovim is to show at the cursor.
---@param request aigc.InlineRequest
---@return (fun())? cancel
function M.request(request)
  local reason, options = suggestion.reason_against()
  local here = place.here(false)
  local unwanted = place.kind_of(vim.api.nvim_get_mode().mode) ~= 'i'
    or suggestion.exists() -- ours is there, because it was asked for by a key: one is enough
    or (request.automatic and is_unwanted(options, here))
  if reason or unwanted then
    finish('rejected')
    request.answer({})
    return nil
  end
  local s, typed = current, nil
  if s and s.shown then
    typed = place.text_since(s.place)
  end
  if typed and #items_of(s, typed) > 0 then
    s.answer = request.answer -- the same text again, without the model
    tell(s)
    return nil
  end
  finish('rejected')
  ---@type aigc.Inline
  local new = { place = here, answer = request.answer, again = request.again }
  current = new
  if request.again then
    watch_keys(here.buf)
  end
  ask(new, options, request.automatic)
  return function()
    if new == current then
      finish('rejected')
    end
  end
end

--- Neovim has inserted an item.
---@param text string of which it was what was left
function M.accepted(text)
  local s = current
  if s and s.shown then
    current = nil
    s.generation:cancel()
    s.generation:tell_outcome(s.place, 'accepted', text, text)
  end
end

local group = vim.api.nvim_create_augroup('aigc_inline', { clear = true })

vim.api.nvim_create_autocmd({ 'CursorMovedI', 'TextChangedI', 'TextChangedP' }, {
  group = group,
  desc = 'aigc: keep what Neovim shows right',
  callback = function()
    follow()
  end,
})

vim.api.nvim_create_autocmd('CompleteChanged', {
  group = group,
  desc = 'aigc: make room for the menu',
  callback = function()
    hide()
  end,
})

vim.api.nvim_create_autocmd('CompleteDone', {
  group = group,
  desc = 'aigc: after the menu',
  callback = function()
    timer.soon(follow)
  end,
})

vim.api.nvim_create_autocmd({ 'InsertLeave', 'BufLeave', 'WinLeave' }, {
  group = group,
  desc = 'aigc: take back what Neovim shows',
  callback = function()
    vim.on_key(nil, KEYS)
    finish('rejected')
  end,
})

vim.api.nvim_create_autocmd('User', {
  group = group,
  pattern = 'AigcStart',
  desc = 'aigc: one suggestion is enough',
  callback = function()
    finish('rejected')
  end,
})

return M
