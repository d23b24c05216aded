-- nvim_typing: a text, a writer's bursts of keys, and how soon something is on the screen. Used by nvim_latency.lua and
-- nvim_llama_vim.lua, in a Neovim that drives another one (tests/nvim/child.lua).
local uv = vim.loop

local typing = {}

typing.SENTENCE = 'The rain had stopped before dawn, and the road to the village lay grey between the fields. '
-- Some ten tokens each, as a writer's next words.
typing.BURSTS = {
  'Tom and his sister went down to the old river again',
  'She had never seen the water so high before that day',
  'They looked for the boat that their father had left there',
  'It was a long way home and the light was almost gone',
  'The dog ran ahead of them and barked at every gate',
}

function typing.say(...)
  io.stdout:write(string.format(...), '\n')
  io.stdout:flush()
end

function typing.head()
  typing.say('%-62s %5s %9s %9s %9s', 'ms', 'n', 'median', '99 %', 'max')
end

function typing.row(name, values)
  if #values == 0 then
    return
  end
  table.sort(values)
  local function at(part)
    return values[math.max(1, math.ceil(#values * part))]
  end
  typing.say('%-62s %5d %9.3f %9.3f %9.3f', name, #values, at(0.5), at(0.99), values[#values])
end

-- In lines of 90 bytes, or in one.
function typing.fill(c, n_bytes, in_one)
  local text = typing.SENTENCE:rep(math.ceil(n_bytes / #typing.SENTENCE))
  local lines, width = {}, in_one and #text or 90
  for i = 1, #text, width do
    lines[#lines + 1] = text:sub(i, i + width - 1)
  end
  lines[#lines + 1] = not in_one and '' or nil
  c:lua('vim.api.nvim_buf_set_lines(0, 0, -1, true, ...)', lines)
  c:keys('G')
end

-- From keys to a flush with text behind the cursor, or nil if there is none in time.
function typing.to_screen(c, keys, milliseconds)
  local seen
  c.shown.on_flush = function(screen)
    local cursor = screen.cursor
    local rest = screen:row(cursor.row):sub(cursor.column)
    local below = screen:row(math.min(cursor.row + 1, screen.lines))
    if not seen and (rest:find('%S') or below:find('^%w')) then
      seen = uv.hrtime()
    end
  end
  local started = uv.hrtime()
  c:notify('nvim_input', keys)
  vim.wait(milliseconds or 3000, function()
    return seen ~= nil
  end, 1)
  c.shown.on_flush = nil
  return seen and (seen - started) / 1e6
end

return typing
