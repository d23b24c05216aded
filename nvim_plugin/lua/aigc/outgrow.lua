--- Takes a suggestion out before the cursor's line outgrows its window.
---
--- While it draws a line that does not fit into its window any more, Neovim (0.7 to 0.12) counts the virtual lines
--- below it among the window's empty rows. It scrolls by so many too few or too many then, and where the cursor's line
--- is gone the cursor is in the next one, with what is typed. With syntax highlighting it draws before it tells of a
--- change; so this hears of it at once.
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

--- What a byte takes at most: a tab.
local CELLS_OF_BYTE = 8

---@class aigc.Room
---@field buf integer
---@field row integer of the cursor's line, from 0
---@field bytes integer of that line
---@field free integer rows between it and the window's end
---@field width integer cells of a row
---@field on_outgrown fun() called while the text must not be changed

---@type aigc.Room?
local room

--- Buffers that are listened to.
---@type table<integer, true>
local attached = {}

--- Where lines are broken at words a row may be half empty.
local function fits(line)
  local cells = math.max(0, #line - room.bytes) * CELLS_OF_BYTE
  return 1 + math.floor(cells / math.max(1, room.width / 2)) <= room.free
end

local function on_lines(_, buf, _, first, last, new_last)
  if not room or room.buf ~= buf then
    attached[buf] = nil
    return true -- hears no more
  end
  local inside = first == room.row and last == first + 1 and new_last == last
  if inside and fits(vim.api.nvim_buf_get_lines(buf, first, last, true)[1]) then
    return
  end
  local on_outgrown = room.on_outgrown
  room = nil
  on_outgrown()
end

--- A suggestion has got rows below the cursor's line.
---@param new aigc.Room
function M.watch(new)
  room = new
  if not attached[new.buf] then
    attached[new.buf] = vim.api.nvim_buf_attach(new.buf, false, {
      on_lines = on_lines,
      on_detach = function(_, buf)
        attached[buf] = nil
      end,
    })
  end
end

--- It has none any more.
function M.forget()
  room = nil
end

return M
