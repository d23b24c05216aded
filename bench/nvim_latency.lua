-- nvim_latency: how soon a suggestion is on the screen, how long the plugin keeps Neovim's main loop,
-- what it costs before it is used, how soon Neovim leaves.
--
--   make nvim && AIGC_MODEL=model.gguf nvim --clean --headless -c 'luafile bench/nvim_latency.lua'
--
-- From the repository's root. Drives a Neovim over RPC as a terminal would (tests/nvim/child.lua):
-- text counts as shown when a flush of the screen has it. Prints a table in milliseconds. Without
-- AIGC_MODEL it runs the test model of ../shared/data. AIGC_RUNS: how often each is repeated
-- (default 20). AIGC_TYPING: seconds of steady typing (default 20).
package.path = 'tests/nvim/?.lua;' .. package.path

local child, probe = require('child'), require('probe')
local uv = vim.loop

local shared = os.getenv('AIGC_SHARED') or '../shared'
local model = vim.fn.fnamemodify(os.getenv('AIGC_MODEL') or shared .. '/data/models/stories260K.gguf', ':p')
local RUNS = tonumber(os.getenv('AIGC_RUNS')) or 20
local TYPING_SECONDS = tonumber(os.getenv('AIGC_TYPING')) or 20

local SENTENCE = 'The rain had stopped before dawn, and the road to the village lay grey between the fields. '
-- Some ten tokens each, as a writer's next words.
local BURSTS = {
  'Tom and his sister went down to the old river again',
  'She had never seen the water so high before that day',
  'They looked for the boat that their father had left there',
  'It was a long way home and the light was almost gone',
  'The dog ran ahead of them and barked at every gate',
}

local function say(...)
  io.stdout:write(string.format(...), '\n')
  io.stdout:flush()
end

local function row(name, values)
  table.sort(values)
  local function at(part)
    return values[math.max(1, math.ceil(#values * part))]
  end
  say('%-62s %5d %9.3f %9.3f %9.3f', name, #values, at(0.5), at(0.99), values[#values])
end

local function wait_for(c, code)
  return vim.wait(120000, function()
    return c:lua(code)
  end, 1)
end

-- Typing triggers at once, and an unsure model speaks too: what is measured is the way of the text.
local OPTIONS = { debounce = 0, min_logprob = -100, prompt_bytes = 6000 }

local function start(options)
  options = vim.tbl_extend('force', OPTIONS, options or {})
  local c = child.start({ fake = false, lines = 24, columns = 100, env = { AIGC_MODEL = model }, aigc = options })
  c:lua(probe.WATCH)
  return c
end

local function fill(c, n_bytes)
  local text = SENTENCE:rep(math.ceil(n_bytes / #SENTENCE))
  local lines = {}
  for i = 1, #text, 90 do
    lines[#lines + 1] = text:sub(i, i + 89)
  end
  lines[#lines + 1] = ''
  c:lua('vim.api.nvim_buf_set_lines(0, 0, -1, true, ...)', lines)
  c:keys('G')
end

-- Until every module is there.
local function insert_mode(c, keys)
  c:request('nvim_input', keys)
  assert(wait_for(c, "return package.loaded['aigc.events'] ~= nil"), 'the modules do not load')
  c:settle()
end

-- From keys to a flush with text behind the cursor, or nil if there is none.
local function to_screen(c, keys)
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
  vim.wait(3000, function()
    return seen ~= nil
  end, 1)
  c.shown.on_flush = nil
  return seen and (seen - started) / 1e6
end

local function collect(list, value)
  if value then
    list[#list + 1] = value
  end
end

say('%s, %d bytes', vim.fn.fnamemodify(model, ':t'), vim.fn.getfsize(model))
say('%-62s %5s %9s %9s %9s', 'ms', 'n', 'median', '99 %', 'max')

-- before the first use
local load_times = {}
for _ = 1, RUNS do
  local c = child.start({ fake = false })
  load_times[#load_times + 1] = c:lua([[
    vim.cmd('delcommand Aigc')
    vim.g.loaded_aigc = nil
    local started = vim.loop.hrtime()
    vim.cmd('source nvim_plugin/plugin/aigc.lua')
    return (vim.loop.hrtime() - started) / 1e6
  ]])
  c:stop()
end
row('start of Neovim: plugin/aigc.lua', load_times)

-- the first suggestion
local first = {}
for _ = 1, math.max(3, math.floor(RUNS / 4)) do
  local c = start({ trigger = 'manual' })
  c:keys('i' .. BURSTS[1])
  collect(first, to_screen(c, '<C-k>'))
  c:stop()
end
row('key to text: the first one, opens the model', first)

-- in a text of 3,500 bytes (some 900 tokens), after ten more
local keys, per_event, per_event_clock = {}, {}, {}
local status
do
  local c = start({ context = 0 })
  fill(c, 3500)
  insert_mode(c, 'A')
  to_screen(c, 'Once ')
  c:lua(probe.RESET)
  for i = 1, 2 * RUNS do
    collect(keys, to_screen(c, BURSTS[i % #BURSTS + 1]))
    c:lua("require('aigc').dismiss()")
    c:keys(i % 3 == 0 and '.<CR>' or ' ')
    c:lua("require('aigc').dismiss()")
    c:settle()
  end
  local holds = c:lua('return holds')
  vim.list_extend(per_event, holds.processor)
  vim.list_extend(per_event_clock, holds.clock)
  status = c:request('nvim_exec', 'Aigc status', true)
  c:stop()
end
row('key to text: 3500 bytes before it, some 10 new tokens', keys)
row('main loop held by one of our callbacks, processor time', per_event)
row('  the same by the clock (neighbours included)', per_event_clock)

-- in a buffer of 100,000 lines
local large, large_clock = {}, {}
do
  local c = start({})
  c:lua([[
    local lines = {}
    for i = 1, 100000 do lines[i] = ('%06d '):format(i) .. ... end
    vim.api.nvim_buf_set_lines(0, 0, -1, true, lines)
  ]], SENTENCE:sub(1, 70))
  c:keys('50000G')
  insert_mode(c, 'o')
  to_screen(c, 'Once ')
  c:lua(probe.RESET)
  for i = 1, RUNS do
    for letter in (BURSTS[i % #BURSTS + 1] .. ' '):gmatch('.') do
      c:request('nvim_input', letter == ' ' and '<Space>' or letter)
    end
    c:settle()
  end
  local holds = c:lua('return holds')
  vim.list_extend(large, holds.processor)
  vim.list_extend(large_clock, holds.clock)
  c:stop()
end
row('100,000 lines: main loop held by a callback, processor time', large)
row('  the same by the clock (neighbours included)', large_clock)

-- steady typing
local function processor_seconds(pid)
  local file = assert(io.open('/proc/' .. pid .. '/stat'))
  local fields = vim.split(file:read('*a'):match('%) (.*)$'), ' ')
  file:close()
  return (tonumber(fields[12]) + tonumber(fields[13])) / 100 -- clock ticks of 10 ms
end
do
  local c = start({ debounce = 150 })
  fill(c, 2000)
  insert_mode(c, 'A')
  local text = SENTENCE:rep(math.ceil(TYPING_SECONDS * 10 / #SENTENCE)):sub(1, TYPING_SECONDS * 10)
  local before, started = processor_seconds(c.pid), uv.hrtime()
  for i = 1, #text do
    c:notify('nvim_input', text:sub(i, i))
    local due = started + i * 100e6 + (i % 10 == 0 and 200e6 or 0) -- a pause now and then
    vim.wait(math.max(1, (due - uv.hrtime()) / 1e6))
  end
  local wall = (uv.hrtime() - started) / 1e9
  local used = processor_seconds(c.pid) - before
  c:settle()
  local typed = c:buffer():sub(-#text)
  local lost = typed == text and 'none lost' or 'KEYS LOST'
  say('typing %d keys in %.0f s: %s; %.2f of a core', #text, wall, lost, used / wall)
  c:stop()
end

-- leaving
local idle, streaming = {}, {}
local function leave(c)
  local started = uv.hrtime()
  c:notify('nvim_input', '<C-o>:qa!<CR>')
  assert(vim.wait(60000, function()
    return c.code ~= nil
  end, 1))
  assert(c.code == 0, 'Neovim crashed')
  c:stop()
  return (uv.hrtime() - started) / 1e6
end
for _ = 1, math.max(3, math.floor(RUNS / 4)) do
  local c = start({ trigger = 'off' })
  insert_mode(c, 'i')
  idle[#idle + 1] = leave(c)
  c = start({ trigger = 'manual', extent = 'free', max_tokens = 100000, stop = {}, context = 8192 })
  c:keys('iOnce')
  to_screen(c, '<C-k>')
  streaming[#streaming + 1] = leave(c)
end
row(':qa! to the end of the process, nothing running', idle)
row(':qa! while text streams', streaming)
say('%s', status)
vim.cmd('qall!')
