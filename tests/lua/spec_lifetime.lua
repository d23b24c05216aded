-- Opening, closing, forgetting, and what is left behind.

local function command(text)
  local pipe = assert(io.popen(text))
  local output = pipe:read('*a')
  pipe:close()
  return output
end

-- Processors of a mask like "ff,ffffffff".
local function count_processors(mask)
  local n = 0
  for digit in mask:gmatch('%x') do
    local value = tonumber(digit, 16)
    while value > 0 do
      n, value = n + value % 2, math.floor(value / 2)
    end
  end
  return n
end

-- The status files of this process's threads; the shell's parent is this process.
local function threads()
  local list = {}
  local text = command('pid=$PPID; for t in /proc/$pid/task/*; do echo "== $(basename $t) $pid"; cat $t/status; done')
  for id, pid, status in text:gmatch('== (%d+) (%d+)\n(.-)%f[=%z]') do
    local mask = status:match('Cpus_allowed:%s*([%x,]+)')
    if mask then -- one that ends just then has no status any more
      list[#list + 1] = {
        id = id,
        main = id == pid,
        blocked = status:match('SigBlk:%s*(%x+)'),
        processors = count_processors(mask),
      }
    end
  end
  return list
end

-- Whether signal number n is in the mask, 16 hexadecimal digits.
local function has_signal(mask, n)
  local digit = tonumber(mask:sub(-(math.floor((n - 1) / 4) + 1), -(math.floor((n - 1) / 4) + 1)), 16)
  return math.floor(digit / 2 ^ ((n - 1) % 4)) % 2 == 1
end

-- Descriptors of this process; popen itself may still be closing one when the command runs.
local function descriptors(wanted)
  local n
  for _ = 1, 100 do
    n = tonumber(command('ls /proc/$PPID/fd | wc -l'))
    if not wanted or n == wanted then
      break
    end
  end
  return n
end

-- How many processors the threads that a request starts may run on, the fewest and the most.
local function processors_of_workers(t, n_threads)
  local before = {}
  for _, thread in ipairs(threads()) do
    before[thread.id] = true
  end
  local model = t.open({ threads = n_threads, context = t.ROOM })
  t.until_text(model, assert(model:submit(t.endless())))
  local fewest, most = math.huge, 0
  for _, thread in ipairs(threads()) do
    if not before[thread.id] then
      fewest, most = math.min(fewest, thread.processors), math.max(most, thread.processors)
    end
  end
  model:close()
  return fewest, most
end

-- How many threads there are, once those that have said that they end have ended.
local function threads_left(wanted)
  local n
  for _ = 1, 100 do
    n = #threads()
    if n == wanted then
      break
    end
  end
  return n
end

return function(t)
  local core = require('aigc.core')

  -- processors
  local allowed
  for _, thread in ipairs(threads()) do
    allowed = thread.main and thread.processors or allowed
  end
  local count = core.cpu_count()
  t.ok(count >= 1 and count <= allowed, 'processors: no more than allowed', count)
  local free = math.max(1, allowed - 1)
  local fewest, most = processors_of_workers(t, math.min(free, 64))
  t.is(fewest, free, "a processor is the caller's own")
  if not t.in_nvim then -- which may start threads of its own meanwhile
    t.is(most, free, 'for each of the threads')
  end
  t.is(processors_of_workers(t, 64), allowed > 64 and allowed - 1 or allowed, 'unless there are too many threads')

  local model = t.open({ threads = 3, context = t.ROOM })
  local before_threads, before_fds = #threads(), math.min(descriptors(), descriptors(), descriptors())
  local id = assert(model:submit(t.endless()))
  t.until_text(model, id)

  -- threads: HUP, INT, QUIT, TERM, CHLD and WINCH belong to the host
  local list = threads()
  t.ok(#list > before_threads, 'the worker is a thread', #list)
  local open_signals = {}
  for _, thread in ipairs(list) do
    for _, signal in ipairs({ 1, 2, 3, 15, 17, 28 }) do
      if not thread.main and not has_signal(thread.blocked, signal) then
        open_signals[#open_signals + 1] = signal
      end
    end
  end
  -- Neovim's own threads (libuv's) may take signals; ours are those that were not there before.
  if not t.in_nvim then
    t.is(#open_signals, 0, 'all signals are blocked in them')
  end
  local pipe = command(('readlink /proc/$PPID/fd/%d'):format(model:fd())):gsub('%s', '')
  t.ok(pipe:find('^pipe:'), 'the descriptor is a pipe', pipe)
  local inherited = command('ls -l /proc/self/fd')
  t.ok(not inherited:find(pipe, 1, true), 'children do not inherit it', inherited)
  model:close()
  t.is(#threads(), before_threads, 'close ends the threads')
  t.is(descriptors(before_fds - 2), before_fds - 2, 'and gives back the pipe')

  -- after close
  t.raises('closed model', 'use after close', model.take, model)
  t.raises('closed model', 'generate after close', model.generate, model, 'x')
  t.raises('closed model', 'fd after close', model.fd, model)
  t.ok(pcall(model.close, model), 'close twice')
  t.is(tostring(model), 'aigc model (closed)', 'as a string')
  t.ok(tostring(t.open()):find('stories260K.gguf', 1, true), 'an open one as a string')
  t.is(getmetatable(model), 'aigc.core.model', 'the metatable is hidden')

  -- discarded
  core.settle() -- nothing to wait for
  model = t.open({ threads = 3, context = t.ROOM })
  t.until_text(model, assert(model:submit(t.endless())))
  model:discard()
  t.raises('closed model', 'use after discard', model.take, model)
  t.is(tostring(model), 'aigc model (closed)', 'a discarded one as a string')
  t.ok(pcall(model.discard, model) and pcall(model.close, model), 'discard twice, and close')
  model = t.open()
  t.ok(#assert(model:tokenize('Once')) > 0, 'one that was opened here, not by a worker')
  model:discard()
  model = t.open()
  local said
  model:generate('Once', {
    max_tokens = 2,
    on_piece = function()
      said = select(2, pcall(model.discard, model))
    end,
  })
  t.ok(tostring(said):find('busy'), 'discard inside the callback', said)
  model:discard()
  core.settle()
  collectgarbage() -- those of above
  t.is(threads_left(before_threads), before_threads, 'settling ends the threads of discarded models')
  t.is(descriptors(before_fds - 2), before_fds - 2, 'and gives back their pipes')

  -- races: closed or forgotten at any time
  local races = tonumber(os.getenv('AIGC_TEST_RACES')) or 30 -- fewer under valgrind
  for i = 1, races do
    local m = t.open({ threads = 1 + i % 3, context = t.ROOM })
    local request = assert(m:submit(t.endless()))
    if i % 3 == 0 then
      t.until_text(m, request)
    elseif i % 3 == 1 then
      m:submit(t.endless('Tom'))
      m:cancel()
    end
    if i % 4 == 0 then
      m:close()
    elseif i % 4 == 2 then
      m:discard()
    end
  end
  collectgarbage()
  collectgarbage()
  core.settle()
  t.is(threads_left(before_threads), before_threads, 'forgotten models are collected, with their threads')
  t.is(descriptors(before_fds - 2), before_fds - 2, 'and their pipes')

  -- errors while options are read leave nothing behind (valgrind looks)
  local m = t.open()
  for _ = 1, 10 do
    pcall(m.submit, m, { prompt = 'x', stop = { 'a', 'b', 3 } })
    pcall(m.generate, m, { prompt = 'x', stop = { 'a' }, logit_bias = { [1] = 'x' } })
    pcall(m.generate, m, 'x', { max_tokens = 5, on_piece = error })
  end
  m:submit({ prompt = 'x', max_tokens = 3, n = 2 })
  m:wait(10000)
  collectgarbage()
  t.ok(pcall(m.take, m), 'usable after them')

  -- a table of options may have methods of its own, and they are not asked
  local options = setmetatable({ prompt = 'x', max_tokens = 3 }, {
    __index = function()
      m:close()
    end,
  })
  t.ok(m:submit(options) and tostring(m):find('stories260K', 1, true), 'options are read as they are', tostring(m))
  m:wait(10000)

  if _VERSION == 'Lua 5.4' then
    -- Lua 5.1 cannot read this syntax.
    local run = assert(load([[
      local core, path = ...
      local kept
      do
        local model <close> = core.open(path)
        model:submit({ prompt = 'x' })
        kept = model
      end
      return tostring(kept)
    ]]))
    t.is(run(core, t.model), 'aigc model (closed)', 'local model <close>')
  end
  local last = t.open({ context = t.ROOM })
  last:submit(t.endless())
  last:discard() -- may still be given back when the state ends
  m:submit(t.endless()) -- is left running then
end
