-- screen: what a terminal would show of a Neovim. Takes the `redraw` notifications of nvim_ui_attach()
-- (ext_linegrid) and keeps the cells: their text and their highlight. Used by child.lua; tools/
-- makes pictures of it.
local screen = {}
screen.__index = screen

function screen.new(columns, lines)
  local self = setmetatable({ columns = columns, lines = lines, rows = {}, highlights = {} }, screen)
  self.cursor = { row = 1, column = 1 }
  self.colours = { foreground = 0xd0d0d0, background = 0x101010 }
  self:clear()
  return self
end

function screen:clear()
  for r = 1, self.lines do
    self.rows[r] = {}
    for c = 1, self.columns do
      self.rows[r][c] = { text = ' ', highlight = 0 }
    end
  end
end

local events = {}

function events.grid_resize(self, _, columns, lines)
  self.columns, self.lines = columns, lines
  self.rows = {}
  self:clear()
end

function events.grid_clear(self)
  self:clear()
end

function events.grid_line(self, _, row, column, cells)
  local highlight
  local at = column + 1
  for _, cell in ipairs(cells) do
    highlight = cell[2] or highlight
    for _ = 1, cell[3] or 1 do
      if self.rows[row + 1] and at <= self.columns then
        self.rows[row + 1][at] = { text = cell[1], highlight = highlight or 0 }
      end
      at = at + 1
    end
  end
end

function events.grid_scroll(self, _, top, bottom, left, right, by)
  local from, to, step = top + 1, bottom, 1
  if by < 0 then
    from, to, step = bottom, top + 1, -1
  end
  for r = from, to, step do
    local source = r + by
    if source > top and source <= bottom then
      for c = left + 1, right do
        self.rows[r][c] = self.rows[source][c]
      end
    end
  end
end

function events.grid_cursor_goto(self, _, row, column)
  self.cursor = { row = row + 1, column = column + 1 }
end

function events.hl_attr_define(self, id, attributes)
  self.highlights[id] = attributes
end

function events.default_colors_set(self, foreground, background)
  self.colours = {
    foreground = foreground >= 0 and foreground or 0xd0d0d0,
    background = background >= 0 and background or 0x101010,
  }
end

function events.flush(self)
  self.flushes = (self.flushes or 0) + 1
  if self.on_flush then
    self.on_flush(self)
  end
end

-- One `redraw` notification: { { event, arguments, arguments, ... }, ... }
function screen:redraw(batch)
  for _, event in ipairs(batch) do
    local handler = events[event[1]]
    for i = 2, handler and #event or 0 do
      handler(self, unpack(event[i]))
    end
  end
end

-- Text of a row. The second cell of a wide character is empty.
function screen:row(r)
  local cells = {}
  for c = 1, self.columns do
    cells[c] = self.rows[r][c].text
  end
  return table.concat(cells)
end

return screen
