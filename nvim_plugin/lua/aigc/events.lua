--- Neovim's events, handed to those whom they concern. Loaded when insert mode begins for the first
--- time, or with the first request.
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

local hold_off = require('aigc.garbage').hold_off
local menu = require('aigc.menu')
local place = require('aigc.place')
local suggestion = require('aigc.suggestion')
local timer = require('aigc.timer')
local trigger = require('aigc.trigger')

-- Not cleared: there is nothing to clear, and Neovim looks through all autocommands for it.
local group = vim.api.nvim_create_augroup('aigc', { clear = false })

local function on(events, callback)
  vim.api.nvim_create_autocmd(events, {
    group = group,
    callback = function()
      hold_off()
      callback() -- and not what it returns: true would delete the autocommand
    end,
  })
end

on({ 'CursorMoved', 'TextChanged' }, suggestion.update)

on('CursorMovedI', function()
  trigger.cancel() -- a change, which comes after this, starts it anew
  suggestion.update()
end)

--- Whether a suggestion makes room for a menu.
local function makes_room()
  return require('aigc.config').get().menu == 'hide'
end

on('TextChangedI', function()
  menu.find_cmp()
  suggestion.hide(menu.is_elsewhere() and makes_room())
  suggestion.update()
  trigger.on_change()
end)

on('TextChangedP', function()
  local shows = not makes_room()
  suggestion.hide(not shows)
  suggestion.update()
  if shows then
    trigger.on_change()
  end
end)

on('CompleteChanged', function()
  if makes_room() then
    suggestion.hide(true)
  end
end)

local function on_closed()
  suggestion.hide(menu.is_open() and makes_room()) -- 'autocomplete' opens one after the other
  if place.is_typing() then
    trigger.on_change()
  end
end

on('CompleteDone', function()
  timer.soon(on_closed)
end)

menu.watch(function(open)
  if not open then
    timer.soon(on_closed)
  elseif makes_room() then
    suggestion.hide(true)
  end
end)

on('ModeChanged', function()
  suggestion.on_mode_changed()
  if vim.v.event.new_mode:sub(1, 1) ~= 'i' then
    trigger.cancel()
  end
end)

on({ 'BufLeave', 'WinLeave', 'RecordingEnter' }, function()
  trigger.cancel()
  suggestion.finish('rejected')
end)

on({ 'BufEnter', 'InsertEnter', 'FileType' }, trigger.forget)
on({ 'VimResized', 'WinScrolled' }, suggestion.redraw)

--- What was typed while the modules were being loaded counts as typed now.
---@param buf integer
---@param tick integer its changedtick before
function M.catch_up(buf, tick)
  local typed = buf == vim.api.nvim_get_current_buf() and vim.b.changedtick ~= tick
  if typed and place.is_typing() then
    trigger.on_change()
  end
end

return M
