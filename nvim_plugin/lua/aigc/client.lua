--- The editor's end of the model: one handle, one request at a time, events from its worker thread.
---
--- The C module loads the model and generates on a thread of its own and makes a pipe readable when
--- there is text. The main loop only takes that text, at most once a frame:
---
---     worker  --token--token--token------token--token--done-->
---     pipe    __|~~~~~~~~~~~~~~~~~|__________|~~~~~~~~~~~~~|__
---     poll      ^take, stop       ^start, take, stop       ^take
---               |<--- FRAME_MS -->|
local M = {}

local uv = vim.uv or vim.loop

--- Version of the Lua side; core.so must have the same.
M.VERSION = '0.1.0'

--- Text that comes faster than one reads is taken in one piece.
local FRAME_MS = 33

---@class aigc.Event
---@field id integer
---@field kind 'token'|'done'|'error'
---@field text? string
---@field finish? string
---@field message? string

---@type { model: table, key: string, path: string, poll: userdata, timer: userdata }?
local open
---@type { id: integer, on_event: fun(event: aigc.Event), started: integer, first?: integer }?
local request
---@type table?
local last

---@return table? core
---@return string? message
function M.core()
  local ok, core = pcall(require, 'aigc.core')
  if not ok then
    return nil, 'the C module is not built: run `make nvim` in the repository (:checkhealth aigc)'
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

---@param event aigc.Event
local function deliver(event)
  if not request or event.id ~= request.id then
    return -- of a request that was given up
  end
  local on_event = request.on_event
  if event.kind ~= 'token' then
    if event.kind == 'done' then
      require('aigc.context').note(event)
      last = {
        tokens = event.n_generated,
        first_ms = request.first and (request.first - request.started) / 1e6,
        tokens_per_second = event.decode_seconds > 0 and event.n_generated / event.decode_seconds
          or nil,
      }
    end
    request = nil
  end
  on_event(event)
end

--- Runs where most of Neovim's API may not be called: takes, and leaves the rest to the main loop.
local function on_readable()
  if not open then
    return
  end
  open.poll:stop()
  open.timer:start(FRAME_MS, 0, function()
    if open then
      open.poll:start('r', on_readable)
    end
  end)
  local events = open.model:take()
  if request and not request.first then
    request.first = uv.hrtime()
  end
  vim.schedule(function()
    for _, event in ipairs(events) do
      deliver(event)
    end
  end)
end

--- Stops what runs, joins the worker, gives everything back. Waits for at most one check of the
--- interrupt flag.
function M.close()
  request = nil
  if not open then
    return
  end
  local closing = open
  open = nil
  closing.timer:stop()
  closing.timer:close()
  closing.poll:stop()
  closing.poll:close() -- before the model, whose descriptor it polls
  closing.model:close()
end

vim.api.nvim_create_autocmd('VimLeavePre', {
  group = vim.api.nvim_create_augroup('aigc', { clear = false }),
  callback = M.close,
})

---@param config aigc.Config
---@return table? model
---@return string? message
local function get_model(config)
  local options = {
    context = config.context,
    threads = config.threads,
    kv = config.kv,
    sequences = 1, -- the newest request is the only one
  }
  local key = table.concat({ config.model, config.context, config.threads, config.kv }, '\n')
  if open and open.key == key then
    return open.model
  end
  local core, message = M.core()
  if not core then
    return nil, message
  end
  M.close()
  local model
  model, message = core.open(config.model, options)
  if not model then
    return nil, message
  end
  open = {
    model = model,
    key = key,
    path = config.model,
    poll = uv.new_poll(model:fd()),
    timer = uv.new_timer(),
  }
  open.poll:start('r', on_readable)
  return model
end

--- Starts a request in place of the one that runs. on_event is called on the main loop, with its
--- events only.
---@param config aigc.Config
---@param prompt string
---@param on_event fun(event: aigc.Event)
---@return integer? id
---@return string? message
function M.request(config, prompt, on_event)
  local model, message = get_model(config)
  if not model then
    return nil, message
  end
  local started = uv.hrtime()
  local id
  id, message = model:submit({
    prompt = prompt,
    parse_special = false, -- a document that mentions <|endoftext|> does not end there
    fit = true,
    max_tokens = config.max_tokens,
    stop = config.stop,
    temperature = config.temperature,
    top_p = config.top_p,
    top_k = config.top_k,
    min_p = config.min_p,
    repetition_penalty = config.repetition_penalty,
    frequency_penalty = config.frequency_penalty,
    presence_penalty = config.presence_penalty,
    seed = config.seed,
  })
  if not id then
    return nil, message
  end
  request = { id = id, on_event = on_event, started = started }
  return id
end

--- Gives up the request; no more of its events come.
function M.cancel()
  if request and open then
    open.model:cancel(request.id)
  end
  request = nil
end

---@return string
function M.state()
  return open and open.model:state() or 'stopped'
end

---@return string?
function M.model_path()
  return open and open.path
end

--- Figures of the last request that came to its end.
function M.last()
  return last
end

return M
