-- nvim_latency: how soon a suggestion is on the screen, how long the plugin keeps Neovim's main loop,
-- what it costs before it is used, how soon Neovim leaves.
--
--   make nvim && AIGC_MODEL=model.gguf nvim --clean --headless -c 'luafile bench/nvim_latency.lua' -c cquit
--
-- From the repository's root. Drives a Neovim over RPC as a terminal would (tests/nvim/child.lua):
-- text counts as shown when a flush of the screen has it. Prints a table in milliseconds. Without
-- AIGC_MODEL it runs the test model of ../shared/data. AIGC_RUNS: how often each is repeated
-- (default 20). AIGC_TYPING: seconds of steady typing (default 20). AIGC_PARTS: only some of the
-- measurements, such as `keys large` (start, first, keys, wrapped, line, large, typing, commands, leave). AIGC_APART=1: this
-- driver has a processor of its own (nvim_apart.lua), for what the clock says of the main loop.
package.path = 'tests/nvim/?.lua;bench/?.lua;' .. package.path

local child, typing = require('child'), require('nvim_typing')
local apart = require('nvim_apart')
local uv = vim.loop

local shared = os.getenv('AIGC_SHARED') or '../shared'
local model = vim.fn.fnamemodify(os.getenv('AIGC_MODEL') or shared .. '/data/models/stories260K.gguf', ':p')
assert(uv.fs_stat(model), 'there is no model ' .. model)
local RUNS = tonumber(os.getenv('AIGC_RUNS')) or 20
local TYPING_SECONDS = tonumber(os.getenv('AIGC_TYPING')) or 20
local CONTEXT_BYTES = 6000 -- some 1,500 tokens of prose

local BURSTS, SENTENCE = typing.BURSTS, typing.SENTENCE
local say, row, fill, to_screen = typing.say, typing.row, typing.fill, typing.to_screen
-- Between a writer's bursts there is time.
local PAUSE_MS = 150

local parts = os.getenv('AIGC_PARTS')
local function wanted(part)
  return not parts or parts:find(part, 1, true) ~= nil
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
  local env = { AIGC_MODEL = model }
  return apart.child(
    child.start({ fake = false, lines = 24, columns = 100, env = env, aigc = options, watch = true })
  )
end

-- Until every module is there.
local function insert_mode(c, keys)
  c:request('nvim_input', keys)
  assert(wait_for(c, "return package.loaded['aigc.events'] ~= nil"), 'the modules do not load')
  c:settle()
end

local function collect(list, value)
  if value then
    list[#list + 1] = value
  end
end

say('%s, %d bytes', vim.fn.fnamemodify(model, ':t'), vim.fn.getfsize(model))
apart.driver()
typing.head()

-- before the first use
local load_times, setup_times = {}, {}
for _ = 1, wanted('start') and RUNS or 0 do
  local c = child.start({ fake = false })
  local times = c:lua([[
    vim.cmd('delcommand Aigc')
    vim.g.loaded_aigc = nil
    local started = vim.loop.hrtime()
    vim.cmd('source nvim_plugin/plugin/aigc.lua')
    local loaded = vim.loop.hrtime()
    require('aigc').setup({ debounce = 100 })
    return { (loaded - started) / 1e6, (vim.loop.hrtime() - started) / 1e6 }
  ]])
  load_times[#load_times + 1], setup_times[#setup_times + 1] = unpack(times)
  c:stop()
end
row('start of Neovim: plugin/aigc.lua', load_times)
row('  with setup()', setup_times)

-- the first suggestion
local function first_ones(before)
  local first = {}
  for _ = 1, wanted('first') and math.max(3, math.floor(RUNS / 4)) or 0 do
    before()
    local c = start({ trigger = 'manual' })
    c:keys('i' .. BURSTS[1])
    collect(first, to_screen(c, '<C-k>'))
    c:stop()
  end
  return first
end

-- As after the machine was started: the system forgets what it has read of the model.
local function forget_file()
  local said = vim.fn.system({ 'dd', 'if=' .. model, 'iflag=nocache', 'count=0', 'status=none' })
  assert(vim.v.shell_error == 0, said)
end

row('key to text: the first one, opens the model', first_ones(function() end))
row('  from the disk', first_ones(forget_file))

-- Adds to how long callbacks took, by name.
local by_name = {}
local function add_holds(c, processor, clock)
  local holds = c:lua('return holds.take()')
  vim.list_extend(processor, holds.processor)
  vim.list_extend(clock, holds.clock)
  for i, name in ipairs(holds.names) do
    by_name[name] = by_name[name] or {}
    table.insert(by_name[name], holds.processor[i])
  end
end

-- In a text of CONTEXT_BYTES (some 1,500 tokens), after ten more; or in one line of so many bytes.
local function write_on(options, commands, line_bytes)
  local keys, begun, processor, clock = {}, {}, {}, {}
  local c = start(vim.tbl_extend('force', { context = 0, prompt_bytes = CONTEXT_BYTES }, options))
  fill(c, line_bytes or CONTEXT_BYTES, line_bytes ~= nil)
  c:request('nvim_command', commands)
  insert_mode(c, 'A')
  to_screen(c, 'Once ')
  vim.wait(PAUSE_MS)
  for i = 1, 2 * RUNS do
    local took = to_screen(c, BURSTS[i % #BURSTS + 1])
    local new = c:lua([[
      local last = require('aigc.client').last()
      require('aigc').dismiss()
      return last and last.prompt - last.prompt_hit or -1
    ]])
    collect(keys, took)
    collect(begun, new > 100 and took or nil)
    c:keys(i % 3 == 0 and (line_bytes and '. ' or '.<CR>') or i % 7 == 0 and ' <Esc>A' or ' ')
    c:lua("require('aigc').dismiss()")
    c:settle()
    vim.wait(PAUSE_MS)
  end
  add_holds(c, processor, clock)
  local status = c:request('nvim_exec', 'Aigc status', true)
  c:stop()
  return keys, begun, processor, clock, status
end

local status = ''
if wanted('keys') then
  local keys, begun, processor, clock
  keys, begun, processor, clock, status = write_on({}, '')
  row(('key to text: %d bytes before it, some 10 new tokens'):format(CONTEXT_BYTES), keys)
  row('  of those: prompts of which more than 100 tokens were new', begun)
  row('main loop held by one of our callbacks, processor time', processor)
  row('  the same by the clock (neighbours included)', clock)
end

-- the same with what costs most: a personal layer, and lines that are broken as one types
if wanted('wrapped') then
  local folder = vim.fn.tempname()
  vim.fn.mkdir(folder, 'p')
  local keys, begun, processor, clock =
    write_on({ personal = folder }, 'set textwidth=72 filetype=text | normal! gggqG')
  row("with 'textwidth' and a personal layer: key to text", keys)
  row('  of those: prompts of which more than 100 tokens were new', begun)
  row('  main loop held by one of our callbacks, processor time', processor)
  row('  the same by the clock (neighbours included)', clock)
  vim.fn.delete(folder, 'rf')
end

-- a paragraph in one line, as prose that is wrapped on the screen only has them
if wanted('line') then
  local bytes = 40000
  local keys, _, processor, clock = write_on({}, '', bytes)
  row(('in a line of %d bytes: key to text'):format(bytes), keys)
  row('  main loop held by one of our callbacks, processor time', processor)
  row('  the same by the clock (neighbours included)', clock)
end

-- in a buffer of 100,000 lines
local large, large_clock = {}, {}
if wanted('large') then
  local c = start({})
  -- From a file: lines that came from Lua would leave it a table of 100,000 strings, which is made smaller, by half and
  -- for a millisecond or more each time, in whatever callback collects garbage next.
  local path, lines = vim.fn.tempname(), {}
  for i = 1, 100000 do
    lines[i] = ('%06d '):format(i) .. SENTENCE:sub(1, 70)
  end
  vim.fn.writefile(lines, path)
  c:lua("vim.cmd('edit ' .. ...)", path)
  c:keys('50000G')
  insert_mode(c, 'o')
  to_screen(c, 'Once ')
  for i = 1, RUNS do
    for letter in (BURSTS[i % #BURSTS + 1] .. ' '):gmatch('.') do
      c:request('nvim_input', letter == ' ' and '<Space>' or letter)
    end
    c:settle()
  end
  add_holds(c, large, large_clock)
  c:stop()
  vim.fn.delete(path)
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
local typed_holds, typed_clock = {}, {}
if wanted('typing') then
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
  add_holds(c, typed_holds, typed_clock)
  c:stop()
end
row('  meanwhile: main loop held by a callback, processor time', typed_holds)
row('  the same by the clock (neighbours included)', typed_clock)

-- what one asks for, the first time in an editor: the callback that takes longest from there on, with what Neovim itself
-- does in it (a window, a message); request() is what the sources for menus call, timed with what it has to load
local CALLS = {}
local SUBCOMMANDS = {
  'status', 'toggle', 'log', 'memory show', 'memory forget of it all', 'memory export /dev/null', 'complete', 'continue',
  'stop', 'model',
}
for i, name in ipairs(SUBCOMMANDS) do
  CALLS[i] = { name = ':Aigc ' .. name, keys = (':Aigc %s<CR>'):format(name), later = {}, at_once = {} }
end
local REQUEST = [[
  local started = vim.loop.hrtime()
  require('aigc').request(function() end)
  return (vim.loop.hrtime() - started) / 1e6
]]
table.insert(CALLS, {
  name = ':Aigc model NAME',
  keys = (':Aigc model %s<CR>'):format(model),
  later = {},
  at_once = {},
})
table.insert(CALLS, { name = 'request()', code = REQUEST, later = {}, at_once = {} })

local call_holds, by_clock = {}, {} -- the clock goes on while a message waits for <CR>
local function longest_from(c, call)
  add_holds(c, call_holds, by_clock)
  local took = call.code and c:lua(call.code) or c:request('nvim_input', call.keys) and 0
  vim.wait(PAUSE_MS)
  c:request('nvim_input', '<CR>') -- where a message of several lines asks for it
  local holds = {}
  add_holds(c, holds, by_clock)
  vim.list_extend(call_holds, holds)
  return math.max(took, unpack(holds))
end
-- With a file of outcomes that is nearly as large as it may be.
local layer = vim.fn.tempname()
vim.fn.mkdir(layer, 'p')
local record = vim.json.encode({ prompt = ('word upon word '):rep(130), response = ' and on', time = 0 })
vim.fn.writefile(vim.fn['repeat']({ record }, 1900), layer .. '/outcomes.jsonl')
local function time_call(call, keys)
  local personal = call.name:find('memory', 1, true) and layer or nil
  local c = start({ trigger = 'manual', personal = personal })
  fill(c, CONTEXT_BYTES)
  if keys then
    insert_mode(c, keys)
    vim.wait(PAUSE_MS)
    c:keys('<Esc>')
  end
  local took = longest_from(c, call)
  c:stop()
  return took
end
-- What has been loaded is given back.
local function time_giving_back()
  local c = start({ trigger = 'manual' })
  fill(c, CONTEXT_BYTES)
  insert_mode(c, 'AOnce upon a time')
  to_screen(c, '<C-k>')
  vim.wait(PAUSE_MS)
  c:keys('<Esc>')
  local took = longest_from(c, { keys = ':Aigc stop<CR>' })
  c:stop()
  return took
end
local given_back = {}
for _ = 1, wanted('commands') and math.max(3, math.floor(RUNS / 4)) or 0 do
  for _, call in ipairs(CALLS) do
    table.insert(call.at_once, time_call(call))
    table.insert(call.later, time_call(call, 'AOnce upon a time'))
  end
  table.insert(given_back, time_giving_back())
end
for _, call in ipairs(CALLS) do
  row(call.name .. ' when the modules are there', call.later)
  row('  as the first thing that is done', call.at_once)
end
row(':Aigc stop when a model is open', given_back)
row('  main loop held by a callback, all of them, processor time', call_holds)

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
for _ = 1, wanted('leave') and math.max(3, math.floor(RUNS / 4)) or 0 do
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
local slowest = {}
for name, values in pairs(by_name) do
  table.sort(values)
  slowest[#slowest + 1] = { name = name, values = values }
end
table.sort(slowest, function(a, b)
  return a.values[#a.values] > b.values[#b.values]
end)
say('the callbacks that took longest, processor time:')
for i = 1, math.min(4, #slowest) do
  row('  ' .. slowest[i].name, slowest[i].values)
end
say('%s', status)
vim.cmd('qall!')
