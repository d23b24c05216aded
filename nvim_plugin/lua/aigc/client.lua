--- The editor's end of the model: one handle, one request at a time, events from its worker thread.
---
--- The C module loads the model and generates on a thread of its own and makes a pipe readable when
--- there is text. The main loop only takes that text, at most once a frame when there is some on
--- the screen:
---
---     worker  --token--token--token------token--token--done-->
---     pipe    __|~~~~~~~~~~~~~~~~~|__________|~~~~~~~~~~~~~|__
---     poll      ^take, stop       ^start, take, stop       ^take
---               |<---- a frame -->|
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

local hold_off = require('aigc.garbage').hold_off
local timer = require('aigc.timer')

local uv = vim.uv or vim.loop

--- Version of the Lua side; core.so must have the same.
M.VERSION = '0.1.0'

--- Text that comes faster than one reads is taken in one piece. Until there is some to read, soon.
local FRAME_MS, FIRST_MS = 33, 2

--- Threads are counted anew when nothing was asked for so long.
local PAUSE_MS = 60000

---@class aigc.Event
---@field id integer
---@field kind 'token'|'done'|'error'
---@field text? string
---@field marks? number[][] for each piece: last byte, tokens, sum of their log-probabilities
---@field first? integer the first of those pieces that it is about, if it is not about all
---@field last? integer
---@field finish? string
---@field alternatives? table[]
---@field message? string
---@field code? string

---@type { model: table, key: string, path: string, threads: integer, poll: userdata, timer: userdata }?
local open
---@type { id: integer, on_event: (fun(event: aigc.Event): boolean?), calm?: boolean }?
local request
---@type table<integer, { started: integer, first?: integer }> by request, until its end was taken
local times = {}
---@type table?
local last
---@type aigc.Timer?
local unload_timer
local last_used = 0

--- Prompt tokens asked for, and how many of those were computed before.
M.counts = { prompt = 0, prompt_hit = 0, requests = 0 }

---@return table? core
---@return string? message
function M.core()
  local ok, core = pcall(require, 'aigc.core')
  if not ok then
    local is_there = #vim.api.nvim_get_runtime_file('lua/aigc/core.so', false) > 0
    return nil,
      ('the C module %s` in the repository (:checkhealth aigc)'):format(
        is_there and 'does not load: run `make clean nvim' or 'is not built: run `make nvim'
      )
  end
  if core.version() ~= M.VERSION then
    return nil,
      ('the C module is version %s, the plugin is %s: run `make nvim` and restart Neovim'):format(
        core.version(),
        M.VERSION
      )
  end
  return core
end

--- Figures of a request that has ended, also of one that was cut short.
---@param event aigc.Event
---@param time? { started: integer, first?: integer }
local function account(event, time)
  if not time or not event.n_prompt or event.n_prompt == 0 and event.n_generated == 0 then
    return
  end
  M.counts.prompt = M.counts.prompt + event.n_prompt
  M.counts.prompt_hit = M.counts.prompt_hit + event.n_prompt_hit
  last = {
    tokens = event.n_generated,
    prompt = event.n_prompt,
    prompt_hit = event.n_prompt_hit,
    finish = event.finish,
    first_ms = time.first and (time.first - time.started) / 1e6,
    tokens_per_second = event.decode_seconds > 0 and event.n_generated / event.decode_seconds
      or nil,
  }
  require('aigc.log').add(
    '%s: %d tokens of prompt, %d of them known; %d generated%s',
    event.finish,
    event.n_prompt,
    event.n_prompt_hit,
    event.n_generated,
    last.first_ms and (', the first after %.1f ms'):format(last.first_ms) or ''
  )
end

---@param event aigc.Event
local function deliver(event)
  if event.kind == 'done' then
    local time = times[event.id]
    timer.soon(function()
      account(event, time)
      require('aigc.idle').later()
    end)
  end
  if event.kind ~= 'token' then
    times[event.id] = nil
  end
  if not request or event.id ~= request.id then
    return -- of a request that was given up
  end
  local to = request
  if event.kind ~= 'token' then
    request = nil
  end
  if event.code == 'io' then
    M.close() -- the file is not what it was: the next request opens it anew
  end
  to.calm = to.on_event(event)
end

--- Whether somebody waits for an answer.
---@return boolean
function M.is_busy()
  return request ~= nil
end

--- Pieces that are worked on in one turn of the main loop: a small model says more of them in a frame.
local MOST_PIECES = 16

--- Leaves an event to the main loop, in several turns if it has much to say.
---@param event aigc.Event
---@param f fun(event: aigc.Event)
local function leave(event, f)
  local n = event.kind == 'token' and math.max(1, #event.marks) or 1
  for first = 1, n, MOST_PIECES do
    local part = event
    if n > MOST_PIECES then
      local to = math.min(n, first + MOST_PIECES - 1)
      part = setmetatable({ first = first, last = to }, { __index = event })
    end
    timer.soon(function()
      f(part)
    end)
  end
end

--- Runs where most of Neovim's API may not be called: takes, and leaves the rest to the main loop.
local function on_readable()
  if not open then
    return
  end
  hold_off()
  open.poll:stop()
  open.timer:start(request and request.calm and FRAME_MS or FIRST_MS, 0, function()
    if open then
      open.poll:start('r', on_readable)
    end
  end)
  local from = open
  local events = from.model:take()
  local now = uv.hrtime()
  for _, event in ipairs(events) do
    local time = times[event.id]
    if time and event.kind == 'token' and not time.first then
      time.first = now
    end
  end
  for _, event in ipairs(events) do
    leave(event, function(part)
      if open == from then -- another model counts its requests anew
        deliver(part)
      end
    end)
  end
end

--- Tells the request that it will hear no more.
local function drop_request()
  local dropped = request
  request = nil
  if dropped then
    dropped.on_event({ id = dropped.id, kind = 'done', finish = 'cancelled', alternatives = {} })
  end
end

--- Stops what runs and leaves it to the worker to give everything back: to unmap a model's file takes a
--- millisecond or two, to write a personal layer more.
function M.close()
  drop_request()
  if not open then
    return
  end
  require('aigc.hooks').run('closing')
  local closing = open
  open = nil
  times = {}
  closing.timer:stop()
  closing.timer:close()
  closing.poll:stop()
  closing.poll:close() -- before the model, whose descriptor it polls
  closing.model:discard()
end

--- Waits until the models that were closed are gone and what they have learned is written.
---@param milliseconds? integer no longer than that
---@return boolean whether they are
function M.settle(milliseconds)
  local core = package.loaded['aigc.core']
  return not core or core.settle(milliseconds)
end

vim.api.nvim_create_autocmd('VimLeavePre', {
  group = vim.api.nvim_create_augroup('aigc', { clear = false }),
  callback = function()
    M.close()
    M.settle()
  end,
})

--- Seconds, as the last request has it.
local unload_after = 0

local function unload()
  if request then
    unload_timer:start(unload_after * 1000)
  elseif open then
    require('aigc.log').add('unloaded after %d seconds without a request', unload_after)
    M.close()
  end
end

--- The model's memory is given back when nobody has asked for so long.
local function unload_later(seconds)
  if seconds == 0 then
    return
  end
  unload_after = seconds
  unload_timer = unload_timer or require('aigc.timer').new(unload)
  unload_timer:start(seconds * 1000)
end

--- A module of another build may not know an option: that is an error of Lua's.
local function call(f, ...)
  local ok, result, message = pcall(f, ...)
  if not ok then
    return nil, result .. ' (after an update run `make nvim` and restart Neovim)'
  end
  return result, message
end

local function has_rested()
  return not open or uv.now() - last_used >= PAUSE_MS
end

--- Counted for the next request, the first in a while.
---@type integer?
local counted_threads

local function count_threads(config)
  local polite = require('aigc.polite')
  polite.look() -- the answer is for the next time
  counted_threads = polite.threads(config)
end

---@param config aigc.Config
---@return table? model
---@return string? message
local function get_model(config)
  if has_rested() and not counted_threads then
    count_threads(config)
  end
  local threads = counted_threads or open.threads
  counted_threads = nil
  last_used = uv.now()
  local fixed = config.threads > 0 and config.threads or threads
  local options = {
    context = config.context,
    threads = fixed,
    kv = config.kv,
    lora = config.lora,
    documents = config.documents,
    personal = config.personal and require('aigc.personal').path(config) or nil,
    sequences = config.alternatives, -- of one request: the newest is the only one
  }
  local key = table.concat(
    {
      config.model,
      config.lora or '',
      options.personal or '',
      tostring(config.documents),
      config.context,
      fixed,
      config.kv,
      config.alternatives,
    },
    '\n'
  )
  if open and open.key == key then
    return open.model
  end
  local core, message = M.core()
  if not core then
    return nil, message
  end
  M.close()
  local model
  model, message = call(core.open, config.model, options)
  if not model then
    return nil, message
  end
  open = {
    model = model,
    key = key,
    path = config.model,
    threads = fixed,
    poll = uv.new_poll(model:fd()),
    timer = uv.new_timer(),
  }
  open.poll:start('r', on_readable)
  require('aigc.hooks').run('opened', model, config)
  return model
end

--- The open model, opened if need be.
---@param config aigc.Config
---@return table? model
---@return string? message
function M.model(config)
  return get_model(config)
end

--- What only the first request in a while has to do, for turns of the main loop before the one that makes it.
--- What goes wrong there the request will tell.
---@type (fun(config: aigc.Config))[]
M.preparations = {
  function(config)
    if has_rested() then
      count_threads(config)
    end
  end,
  function(config)
    if counted_threads then
      get_model(config)
    end
  end,
}

--- Starts a request in place of the one that runs, which is told that it is cancelled. on_event is
--- called on the main loop with this request's events only; it returns whether there is text on the
--- screen already, so that more of it need not be taken at once.
---@param config aigc.Config
---@param options table of aigc.core's model:submit()
---@param on_event fun(event: aigc.Event): boolean?
---@return integer? id
---@return string? message
function M.request(config, options, on_event)
  local model, message = get_model(config)
  if not model then
    return nil, message
  end
  drop_request()
  local started = uv.hrtime()
  local id
  id, message = call(model.submit, model, options)
  if not id then
    return nil, message
  end
  request = { id = id, on_event = on_event }
  times[id] = { started = started }
  M.counts.requests = M.counts.requests + 1
  unload_later(config.unload_after)
  return id
end

--- Gives up a request; no more of its events come.
---@param id integer
function M.cancel(id)
  if request and open and request.id == id then
    open.model:cancel(id)
    request = nil
  end
end

---@return string
function M.state()
  return open and open.model:state() or 'stopped'
end

---@return string?
function M.model_path()
  return open and open.path
end

---@return integer?
function M.threads()
  return open and open.threads
end

--- Figures of the last request that computed something.
function M.last()
  return last
end

return M
