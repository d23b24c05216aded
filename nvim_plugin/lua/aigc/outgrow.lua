--- Takes a suggestion out before the cursor's line outgrows its window.
---
--- When a line does not fit into its window any more, Neovim (0.7 to 0.12, `win_update()`) finds fewer rows empty than
--- are, by the virtual lines below that line, which have gone. So it scrolls too far, past the cursor's line, and the
--- cursor is in the next one then, with what is typed. Where there is syntax highlighting it draws before it tells of a
--- change: this hears of it in the midst.
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

--- What a byte takes at most: a tab.
local CELLS_OF_BYTE = 8

--- What is watched: the cursor's line, the rows between it and the window's end, and whom to tell.
---@type { place: aigc.Place, free: integer, on_outgrown: fun() }?
local watched

--- Buffers that are listened to.
---@type table<integer, true>
local attached = {}

--- Where lines are broken at words a row may be half empty.
local function fits(line)
  local place = watched.place
  local cells = math.max(0, #line - #place.line) * CELLS_OF_BYTE
  return not place.wraps or 1 + math.floor(cells / math.max(1, place.width / 2)) <= watched.free
end

local function on_lines(_, buf, _, first, last, new_last)
  if not watched or watched.place.buf ~= buf then
    attached[buf] = nil
    return true -- hears no more
  end
  local inside = first == watched.place.row and last == first + 1 and new_last == last
  if inside and fits(vim.api.nvim_buf_get_lines(buf, first, last, true)[1]) then
    return
  end
  local on_outgrown = watched.on_outgrown
  watched = nil
  on_outgrown()
end

--- A suggestion has got rows below the cursor's line.
---@param place aigc.Place
---@param free integer rows between that line and the window's end
---@param on_outgrown fun() called while the text must not be changed
function M.watch(place, free, on_outgrown)
  watched = { place = place, free = free, on_outgrown = on_outgrown }
  local buf = place.buf
  if not attached[buf] then
    attached[buf] = vim.api.nvim_buf_attach(buf, false, {
      on_lines = on_lines,
      on_detach = function()
        attached[buf] = nil
      end,
    })
  end
end

--- It has none any more.
function M.forget()
  watched = nil
end

return M
