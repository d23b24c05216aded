-- With the real engine and model: the reference text, a responsive editor while it streams, a quick
-- exit.

-- Goes on for many seconds: greedy, this model does not end its text.
local LONG = { max_tokens = 50000, context = 60000 }

return function(t, child)
  if not t.model_exists() then
    t.skip_all('no ' .. t.model)
    return
  end
  local model = vim.fn.fnamemodify(t.model, ':p')
  local function start(options)
    local c = child.start({ fake = false, lines = 24, columns = 80, watch = true })
    c:lua('vim.g.aigc = ...', vim.tbl_extend('force', child.QUIET, { model = model, stop = {} }, options or {}))
    return c
  end
  local function wait_for(c, code, what)
    local ok = child.wait(60000, function()
      return c:lua(code)
    end, 10)
    t.ok(ok, what)
    return ok
  end
  local IDLE = "return require('aigc').status().state == 'idle'"

  -- the reference text, through the plugin
  local c = start({ max_tokens = 200 })
  c:keys('i<C-k>')
  wait_for(c, IDLE, 'the completion ends')
  vim.wait(100)
  t.ok(c:screen():find('^Once upon a time, there was a little girl named Lily%.'), 'it is on the screen', c:screen())
  t.is(c:buffer(), '', 'and not in the buffer')
  c:keys('<C-j><Esc>')
  t.is(c:buffer(), t.slurp(t.data .. 'stories260K.greedy.txt'), 'the reference text, byte for byte')
  t.ok(c:request('nvim_exec', 'Aigc status', true):find('stories260K.gguf.*last: 200 tokens'), 'status')
  local health = c:lua('vim.cmd("checkhealth aigc") return vim.api.nvim_buf_get_lines(0, 0, -1, true)')
  t.ok(not table.concat(health, '\n'):find('ERROR'), 'checkhealth has no error', table.concat(health, '\n'))
  c:stop()
  c = start({ max_tokens = 120, kv = 'f32' })
  c:keys('iTom had a red ball<C-k>')
  wait_for(c, IDLE, 'the prompted completion ends')
  vim.wait(100)
  c:keys('<C-j><Esc>')
  t.is(c:buffer(), t.slurp(t.data .. 'stories260K.prompted.txt'), 'the prompted reference, byte for byte')
  c:stop()

  -- as one types: a sentence, and the next one as soon as it is accepted
  c = start({ trigger = 'auto', debounce = 30, extent = 'sentence', speculate = true, min_logprob = -2 })
  c:keys('iOnce upon a time, there was a little')
  wait_for(c, "return require('aigc').text():find('%.$') ~= nil", 'a suggestion comes by itself')
  t.is(c:lua("return require('aigc').text()"), ' girl named Lily.', 'a sentence')
  wait_for(c, IDLE, 'the next one is computed')
  wait_for(c, "return require('aigc').status().state == 'idle' and #require('aigc.log').lines() >= 2", 'to its end')
  c:keys('<C-j>')
  wait_for(c, "return require('aigc').visible()", 'and shown when the first is accepted')
  t.is(c:lua("return require('aigc').status().from_cache"), 1, 'from the cache')
  t.is(c:buffer(), 'Once upon a time, there was a little girl named Lily.', 'which has the first only')
  c:stop()

  -- the model's file is overwritten while it streams: a message, and the next request has the new one
  local whole = t.slurp(t.model)
  local copy = t.temporary(whole)
  local function write(content)
    local file = assert(io.open(copy, 'wb'))
    file:write(content)
    file:close()
  end
  c = start(vim.tbl_extend('force', LONG, { model = copy }))
  c:keys('iOnce upon a time<C-k>')
  wait_for(c, "return require('aigc').visible()", 'a suggestion streams')
  write('')
  wait_for(c, "return table.concat(notes):find('was overwritten') ~= nil", 'its file is emptied: a message')
  c:settle()
  t.is(#c:lua('return notes'), 1, 'one message')
  t.is(c:buffer(), 'Once upon a time', 'and no stray text')
  c:keys(' there')
  write(whole)
  c:keys('<C-k>')
  wait_for(c, "return require('aigc').visible()", 'the next request loads it anew')
  t.is(#c:lua('return notes'), 1, 'without another message')
  c:stop()
  os.remove(copy)

  -- with words behind the cursor
  c = start({ alternatives = 4, seed = 3 })
  c:keys('iOnce upon a time, there was a little named Lily. She liked to play.<Esc>0/ named<CR>i<C-k>')
  wait_for(c, "return require('aigc').status().last ~= nil and require('aigc').status().state == 'idle'", 'in the middle')
  c:settle()
  t.is(table.concat(c:lua('return notes'), ' '), '', 'nothing goes wrong')
  local middle = c:lua("return require('aigc').text()")
  t.ok(middle:find('^ %a'), 'words that lead to what follows', middle)
  c:keys('<C-j>')
  t.is(
    c:buffer(),
    'Once upon a time, there was a little' .. middle .. ' named Lily. She liked to play.',
    'and what comes is inserted there: ' .. middle
  )
  c:stop()

  -- the main loop while text streams in and keys are typed. Figures are shown, not judged: the
  -- machine may be busy.
  c = start(LONG)
  c:keys('iOnce upon a time<C-k>')
  wait_for(c, "return require('aigc').visible()", 'a long completion streams')
  c:lua('holds.tick()')
  vim.wait(700)
  local holds = c:lua('return holds.take()')
  local processor = math.max(unpack(holds.processor))
  t.ok(#holds.processor > 10, 'callbacks were timed', #holds.processor)
  t.ok(processor < 10, 'none of them far over the goal of 1 ms, whatever else the machine does', processor)
  t.note(
    ('%d callbacks of ours, the longest took %.3f ms of processor time, %.3f ms by the clock'):format(
      #holds.processor,
      processor,
      math.max(unpack(holds.clock))
    )
  )
  t.note(('longest gap between ticks of a 1 ms timer: %.1f ms (with what Neovim draws)'):format(holds.gap))
  t.is(c:lua("return require('aigc').status().state"), 'running', 'it still streams')

  -- leaving while it streams
  local function leaves(how, name)
    local started = vim.loop.hrtime()
    how()
    local left = child.wait(20000, function()
      return c.code ~= nil
    end, 1)
    t.ok(left, name .. ': Neovim leaves')
    t.note(('%s: after %.0f ms'):format(name, (vim.loop.hrtime() - started) / 1e6))
  end
  leaves(function()
    c:request('nvim_input', '<C-o>:qa!<CR>')
  end, ':qa! while text streams')
  t.is(c.code, 0, 'and without a crash')

  c = start(LONG)
  c:keys('i<C-k>')
  leaves(function()
    c:request('nvim_input', '<C-o>:qa!<CR>')
  end, ':qa! at once')
  t.is(c.code, 0, 'and without a crash')

  c = start(LONG)
  c:keys('i<C-k>')
  wait_for(c, "return require('aigc').visible()", 'another streams')
  local pid = c:lua('return vim.fn.getpid()')
  leaves(function()
    vim.loop.kill(pid, 'sigterm')
  end, 'SIGTERM while text streams')
  t.ok(c.code ~= 134 and c.code ~= 139, 'and without a crash', c.code)

  -- what was scheduled and runs when the buffers are gone would fail, and Neovim wait for a key then
  c = start(LONG)
  local path = vim.fn.tempname()
  c:lua([[
    local path = ...
    vim.api.nvim_create_autocmd('VimLeave', { callback = function()
      local timer = require('aigc.timer')
      local function note() vim.fn.writefile({ 'ran' }, path) end
      timer.soon(note)
      timer.later(note, 1)
      timer.in_turns({ note })
      vim.wait(50)
    end })
  ]], path)
  leaves(function()
    c:request('nvim_input', ':qa!<CR>')
  end, ':qa! with something to do')
  t.is(vim.fn.filereadable(path), 0, 'what was to be done is not')
end
