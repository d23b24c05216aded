-- tap: what the specs need: results in TAP, the test model, waiting for events as each host does
-- it.
local tap = {}

tap.shared = os.getenv('AIGC_SHARED') or '../shared'
tap.data = tap.shared .. '/data/models/'
tap.model = tap.data .. 'stories260K.gguf'
tap.in_nvim = vim ~= nil

local count, failed, spec = 0, 0, ''

local function line(text)
  io.stdout:write(text, '\n')
end

function tap.begin(name)
  spec = name
end

function tap.ok(condition, name, detail)
  count = count + 1
  failed = failed + (condition and 0 or 1)
  line(('%s %d - %s: %s'):format(condition and 'ok' or 'not ok', count, spec, name))
  if not condition and detail then
    line('# ' .. tostring(detail):gsub('\n', '\n# '))
  end
  return condition
end

local function show(x)
  return type(x) == 'string' and ('%q'):format(x) or tostring(x)
end

function tap.is(got, wanted, name)
  return tap.ok(got == wanted, name, ('got    %s\nwanted %s'):format(show(got), show(wanted)))
end

function tap.near(got, wanted, bound, name)
  local ok = type(got) == 'number' and math.abs(got - wanted) <= bound
  return tap.ok(ok, name, ('got %s, wanted %s, bound %s'):format(show(got), show(wanted), bound))
end

-- That a call raises an error with this text in it.
function tap.raises(text, name, f, ...)
  local ok, message = pcall(f, ...)
  return tap.ok(
    not ok and tostring(message):find(text, 1, true) ~= nil,
    name,
    ('wanted an error with "%s", got %s'):format(text, ok and 'none' or show(message))
  )
end

-- That a call returned nil, a message with this text, and this code: fails('io', 'cannot', name,
-- f(...)).
function tap.fails(code, text, name, result, message, got_code)
  return tap.ok(
    result == nil and got_code == code and tostring(message):find(text, 1, true) ~= nil,
    name,
    ('wanted nil, "%s", %s; got %s, %s, %s'):format(text, code, show(result), show(message), show(got_code))
  )
end

function tap.note(text)
  line('# ' .. text)
end

function tap.skip_all(reason)
  line('1..0 # SKIP ' .. reason)
  tap.finish()
end

function tap.finish()
  if count > 0 then
    line('1..' .. count)
  end
  io.stdout:flush()
  if tap.in_nvim then
    vim.cmd(failed > 0 and 'cquit 1' or 'qall!')
  else
    os.exit(failed == 0, true) -- closes the state: what is left is collected
  end
end

-- ---- files ---------------------------------------------------------------------------------------

function tap.slurp(path)
  local file = assert(io.open(path, 'rb'))
  local text = file:read('*a')
  file:close()
  return text
end

function tap.model_exists()
  local file = io.open(tap.model, 'rb')
  return file ~= nil and file:close() ~= nil
end

-- Path of a new file with this content; the caller removes it.
function tap.temporary(content)
  local path = os.tmpname()
  local file = assert(io.open(path, 'wb'))
  file:write(content)
  file:close()
  return path
end

-- ---- models --------------------------------------------------------------------------------------

-- AIGC_TEST_THREADS: valgrind runs one thread at a time, and those that wait by spinning cost it a
-- time slice each.
function tap.open(options)
  options = options or {}
  options.threads = options.threads or tonumber(os.getenv('AIGC_TEST_THREADS'))
  return assert(require('aigc.core').open(tap.model, options))
end

-- A request that would go on for many seconds.
function tap.endless(prompt)
  return { prompt = prompt or 'Once', max_tokens = 100000, ignore_eos = true, temperature = 0 }
end

tap.ROOM = 120000 -- context for it; the model's positions allow any

local LIMIT_MS = 60000

-- Calls f with each event until it returns true. In Neovim the descriptor is watched by libuv, as
-- the plugin does it.
function tap.each_event(model, f)
  local finished = false
  local function take()
    for _, event in ipairs(model:take()) do
      finished = f(event) or finished
    end
  end
  if not tap.in_nvim then
    while not finished and model:wait(LIMIT_MS) do
      take()
    end
    return finished
  end
  local poll = vim.loop.new_poll(model:fd())
  poll:start('r', take)
  vim.wait(LIMIT_MS, function()
    return finished
  end, 5)
  poll:stop()
  poll:close()
  return finished
end

-- All events up to the end of request `id`, and that end.
function tap.until_end(model, id)
  local events, last = {}, nil
  tap.each_event(model, function(event)
    events[#events + 1] = event
    if event.id == id and event.kind ~= 'token' then
      last = event
      return true
    end
  end)
  return events, assert(last, 'no end of the request within a minute')
end

-- Waits for the first text of request `id`.
function tap.until_text(model, id)
  assert(tap.each_event(model, function(event)
    return event.id == id and event.kind == 'token'
  end))
end

return tap
