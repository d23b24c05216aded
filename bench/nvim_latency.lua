-- nvim_latency: how long the plugin keeps Neovim's main loop busy, how soon text appears, how soon
-- Neovim leaves.
--
--   make nvim && AIGC_MODEL=model.gguf nvim --clean --headless -c 'luafile bench/nvim_latency.lua'
--
-- From the repository's root. Drives a Neovim over RPC; prints a table in milliseconds. Without
-- AIGC_MODEL it runs the test model of ../shared/data. AIGC_RUNS: how often each is repeated
-- (default 20).
package.path = 'tests/nvim/?.lua;' .. package.path

local child, probe = require('child'), require('probe')
local uv = vim.loop

local shared = os.getenv('AIGC_SHARED') or '../shared'
local model = vim.fn.fnamemodify(os.getenv('AIGC_MODEL') or shared .. '/data/models/stories260K.gguf', ':p')
local RUNS = tonumber(os.getenv('AIGC_RUNS')) or 20
local PROSE = ('The rain had stopped before dawn, and the road to the village lay grey between the fields. '):rep(30)

local function say(...)
  io.stdout:write(string.format(...), '\n')
  io.stdout:flush()
end

local function row(name, values)
  table.sort(values)
  local function at(part)
    return values[math.max(1, math.ceil(#values * part))]
  end
  say('%-58s %5d %9.3f %9.3f %9.3f', name, #values, at(0.5), at(0.99), values[#values])
end

local function wait_for(c, code)
  return vim.wait(120000, function()
    return c:lua(code)
  end, 1)
end

local function start()
  local c = child.start({ fake = false, lines = 24, columns = 80, env = { AIGC_MODEL = model } })
  c:lua(probe.WATCH)
  c:lua("vim.g.aigc = { max_tokens = 100000, context = 8192, stop = {}, prompt_bytes = 4096 }")
  c:lua([[
    _G.held = {}
    vim.keymap.set('i', '<C-k>', function()
      local before = #holds.processor
      timed(function() require('aigc').complete() end)()
      held[#held + 1] = holds.processor[before + 1]
    end)
  ]])
  c:lua('vim.api.nvim_buf_set_lines(0, 0, -1, true, { ... })', PROSE)
  c:request('nvim_input', 'A')
  wait_for(c, "return package.loaded['aigc.suggestion'] ~= nil") -- which the plugin does by and by
  return c
end

-- From the key to text on the screen.
local function ask(c)
  local started = uv.hrtime()
  c:request('nvim_input', '<C-k>')
  assert(wait_for(c, "return require('aigc').visible()"), 'no text')
  return (uv.hrtime() - started) / 1e6
end

local function leave(c, started)
  c:request('nvim_input', '<C-o>:qa!<CR>')
  assert(vim.wait(60000, function()
    return c.code ~= nil
  end, 1))
  assert(c.code == 0, 'Neovim crashed')
  return (uv.hrtime() - started) / 1e6
end

say('%s, %d bytes', vim.fn.fnamemodify(model, ':t'), vim.fn.getfsize(model))
say('%-58s %5s %9s %9s %9s', 'ms', 'n', 'median', '99 %', 'max')

local cold, warm, first_hold, later_hold, processor, clock, gaps = {}, {}, {}, {}, {}, {}, {}
for _ = 1, math.max(1, math.floor(RUNS / 5)) do
  local c = start()
  cold[#cold + 1] = ask(c)
  c:lua(probe.RESET)
  c:lua(probe.TICK)
  vim.wait(2000)
  local holds = c:lua('return holds')
  vim.list_extend(processor, holds.processor)
  vim.list_extend(clock, holds.clock)
  gaps[#gaps + 1] = holds.gap
  for _ = 1, 5 do
    c:keys('<C-g>d.')
    warm[#warm + 1] = ask(c)
  end
  local held = c:lua('return held')
  first_hold[#first_hold + 1] = table.remove(held, 1)
  vim.list_extend(later_hold, held)
  c:stop()
end
row('key to text: opens the model, 2700 bytes of prompt', cold)
row('key to text: after one more letter', warm)
row('main loop held by the first request', first_hold)
row('main loop held by a later request', later_hold)
row('main loop held by a callback while text streams', processor)
row('  the same by the clock (neighbours included)', clock)
row('  longest gap of a 1 ms timer (with what Neovim draws)', gaps)

local idle, streaming, prompting = {}, {}, {}
for _ = 1, RUNS do
  local c = start()
  c:settle()
  idle[#idle + 1] = leave(c, uv.hrtime())
  c = start()
  ask(c)
  streaming[#streaming + 1] = leave(c, uv.hrtime())
  c = start()
  c:request('nvim_input', '<C-k>')
  wait_for(c, "return require('aigc').status().state == 'running'")
  prompting[#prompting + 1] = leave(c, uv.hrtime())
end
row(':qa! to the end of the process, nothing running', idle)
row(':qa! while text streams', streaming)
row(':qa! while the prompt is computed', prompting)
vim.cmd('qall!')
