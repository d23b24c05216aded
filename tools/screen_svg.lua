-- screen_svg: a picture of what a terminal would show, from the cells that tests/nvim/screen.lua keeps. Used by
-- tools/demo.lua.

local CELL_WIDTH, CELL_HEIGHT, BASELINE, MARGIN = 8.4, 18, 13.5, 10

local ENTITIES = { ['&'] = '&amp;', ['<'] = '&lt;', ['>'] = '&gt;', ['"'] = '&quot;' }

local function escape(text)
  return (text:gsub('[&<>"]', ENTITIES))
end

-- Colours of a cell as '#rrggbb', and whether it is italic or bold.
local function style_of(screen, cell, is_cursor)
  local a = screen.highlights[cell.highlight] or {}
  local foreground = a.foreground or screen.colours.foreground
  local background = a.background or screen.colours.background
  if (a.reverse or false) ~= is_cursor then
    foreground, background = background, foreground
  end
  return {
    foreground = ('#%06x'):format(foreground),
    background = ('#%06x'):format(background),
    italic = a.italic or false,
    bold = a.bold or false,
  }
end

local function same(a, b)
  return a.foreground == b.foreground and a.background == b.background and a.italic == b.italic and a.bold == b.bold
end

-- Cells of a row that look alike, as { column, count, text, style }.
local function runs_of(screen, r)
  local runs = {}
  for c = 1, screen.columns do
    local cell = screen.rows[r][c]
    local is_cursor = screen.cursor.row == r and screen.cursor.column == c
    local style = style_of(screen, cell, is_cursor)
    local last = runs[#runs]
    if last and same(last.style, style) then
      last.count = last.count + 1
      last.text = last.text .. cell.text
    else
      runs[#runs + 1] = { column = c, count = 1, text = cell.text, style = style }
    end
  end
  return runs
end

-- The words of a run with their columns: each has its own place, whatever width a font's letters have.
local function words_of(screen, r, run)
  return coroutine.wrap(function()
    local word, begin = '', nil
    for c = run.column, run.column + run.count do
      local text = c < run.column + run.count and screen.rows[r][c].text or ' '
      if text == ' ' and word ~= '' then
        coroutine.yield(begin, word)
        word = ''
      elseif text ~= ' ' then
        begin = word == '' and c or begin
        word = word .. text
      end
    end
  end)
end

---@param screen table as tests/nvim/screen.lua keeps it
---@param title string for those who cannot see it
---@return string svg
return function(screen, title)
  local width = screen.columns * CELL_WIDTH + 2 * MARGIN
  local height = screen.lines * CELL_HEIGHT + 2 * MARGIN
  local background = ('#%06x'):format(screen.colours.background)
  local out = {
    ('<svg xmlns="http://www.w3.org/2000/svg" width="%g" height="%g" role="img">'):format(width, height),
    ('<title>%s</title>'):format(escape(title)),
    ('<rect width="%g" height="%g" rx="6" fill="%s"/>'):format(width, height, background),
    '<g font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="14" xml:space="preserve">',
  }
  for r = 1, screen.lines do
    local y = MARGIN + (r - 1) * CELL_HEIGHT
    for _, run in ipairs(runs_of(screen, r)) do
      local x = MARGIN + (run.column - 1) * CELL_WIDTH
      local cells = run.count * CELL_WIDTH
      if run.style.background ~= background then
        local rect = '<rect x="%g" y="%g" width="%g" height="%g" fill="%s"/>'
        out[#out + 1] = rect:format(x, y, cells, CELL_HEIGHT, run.style.background)
      end
      for column, word in words_of(screen, r, run) do
        out[#out + 1] = ('<text x="%g" y="%g" fill="%s"%s%s>%s</text>'):format(
          MARGIN + (column - 1) * CELL_WIDTH,
          y + BASELINE,
          run.style.foreground,
          run.style.italic and ' font-style="italic"' or '',
          run.style.bold and ' font-weight="bold"' or '',
          escape(word)
        )
      end
    end
  end
  out[#out + 1] = '</g></svg>'
  return table.concat(out, '\n') .. '\n'
end
