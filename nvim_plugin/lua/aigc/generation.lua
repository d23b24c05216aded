--- From a place in a buffer to the text that is suggested there. Knows no screen and no key: who
--- shows the text or hands it on listens.
---
---     start --> token, token, ... --> over
---               |  cleaned: line ends, control characters, the space that was left out
---               |  gate: up to the word at which the model becomes unsure
---               |  stop: up to where a writer would stop, less what follows the cursor already
---               +--> generation.text, which only grows
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

local client = require('aigc.client')
local option = require('aigc.option')
local prompt = require('aigc.prompt')
local prose = require('aigc.prose')
local stop = require('aigc.stop')

---@class aigc.Generation
---@field place aigc.Position
---@field config aigc.Config
---@field key string what the answer depends on
---@field wrap? integer column at which the prose there is broken
---@field raw string what the model has said
---@field text string what of it is suggested; its line ends are those of the model
---@field list string[] alternatives, the first of which is `text`
---@field running boolean more may come
---@field mean? number mean log-probability of the tokens that were looked at
---@field threshold? number
---@field cached boolean
---@field prompt? aigc.Prompt
---@field joiner? string what separates the suggestion from the text behind the cursor
---@field private stop aigc.Stop
---@field private left_out string
---@field private n_tokens integer
---@field private logprob number
---@field private sure integer bytes of raw up to which the model was sure
---@field private unsure? boolean
---@field private circles? boolean the model repeats itself
---@field private listeners (fun(generation: aigc.Generation))[]
---@field private users integer who would miss it

---@type aigc.Generation
local Generation = {}
Generation.__index = Generation

-- ---- answers that are known ---------------------------------------------------------------------

local CACHE_SIZE = 64

--- Recent answers, the oldest first in `order`.
---@type table<string, string[]>
local cache = {}
---@type string[]
local order = {}

M.counts = { asked = 0, cached = 0, shown = 0 }

local function remember(key, list)
  if not cache[key] then
    order[#order + 1] = key
    if #order > CACHE_SIZE then
      cache[table.remove(order, 1)] = nil
    end
  end
  cache[key] = list
end

--- Forgets all answers: another model says something else.
function M.forget()
  cache, order = {}, {}
end

-- ---- what the model is asked --------------------------------------------------------------------

--- The prompt's end and what follows decide, whatever was left out at the beginning.
local KEY_BYTES = 1500

--- The text of a prompt, as the buffer has it, and all else that is known of it.
---@param place aigc.Position
---@param config aigc.Config
---@param extra string text that is taken to stand before the place, behind what the buffer has
---@param from? integer where it begins, of prompt.next_beginning()
---@return aigc.Prompt
local function read_prompt(place, config, extra, from)
  local origin = extra ~= '' and place.origin or place
  return {
    buf = place.buf,
    row = origin.row,
    col = origin.col,
    text = prompt.before(origin.buf, origin.row, origin.col, config.prompt_bytes, from) .. extra,
    left_out = '',
    suffix = prompt.after(origin.buf, origin.row, origin.col, config.suffix_bytes),
    context = '',
    budget = config.prompt_bytes,
    config = config,
  }
end

---@param config aigc.Config
---@param p aigc.Prompt
local function request_options(config, p)
  return {
    prompt = p.context .. p.text,
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
  }
end

--- What start() is to ask the model: put together by build(), join(), add_context() and complete(), in turns of the
--- main loop before the one that calls start().
---@class aigc.Question
---@field prompt aigc.Prompt
---@field wrap? integer
---@field request? table of model:submit(), when it is complete
---@field joiner? string
---@field private join_more? fun(): string? while its lines are being joined

---@param place aigc.Position
---@param config aigc.Config
---@param extra? string as if this stood in the buffer before the place, too
---@param from? integer where the prompt is to begin, of prompt.next_beginning()
---@return aigc.Question
function M.build(place, config, extra, from)
  local p = read_prompt(place, config, extra or '', from)
  local wrap = prose.wrap_column(place.buf)
  return { prompt = p, wrap = wrap, join_more = wrap and prose.joiner(p.text, wrap) }
end

--- Joins some more lines of its paragraphs.
---@param question aigc.Question
---@return 'again'? while there are more
function M.join(question)
  local p = question.prompt
  local joined = p.text
  if question.join_more then
    joined = question.join_more()
    if not joined then
      return 'again'
    end
    question.join_more = nil
  end
  p.text, p.left_out = prompt.split_space(joined)
end

--- Adds what other modules put before the text.
---@param question aigc.Question
function M.add_context(question)
  require('aigc.hooks').run('prompt', question.prompt)
end

--- Adds what follows the cursor, and what other modules have to ask.
---@param question aigc.Question
---@param place aigc.Position
---@param config aigc.Config
function M.complete(question, place, config)
  local p, wrap = question.prompt, question.wrap
  local request = request_options(config, p)
  if p.suffix:find('%S') then
    request.suffix = wrap and prose.join(p.suffix, wrap) or p.suffix
    if place.after:find('[%w\128-\255]') then
      request.weigh = math.max(2, config.alternatives)
      -- The space before the cursor was left out; what is inserted behind it needs another one.
      question.joiner = p.left_out ~= '' and place.after:find('^%S') and ' ' or nil
      request.suffix = (question.joiner or '') .. request.suffix
    end
  end
  require('aigc.hooks').run('request', request, p)
  question.request = request
end

--- Does all that in turns of the main loop, and hands the question on in another.
---@param place aigc.Position
---@param config aigc.Config
---@param only_cached? boolean no new request will be made of it
---@param wanted fun(): boolean whether it still is; asked before each turn
---@param begin fun(question: aigc.Question)
function M.prepare(place, config, only_cached, wanted, begin)
  local question
  local steps = {
    function()
      question = M.build(place, config)
    end,
    function()
      return M.join(question)
    end,
  }
  if not only_cached then
    for _, prepare in ipairs(client.preparations) do
      steps[#steps + 1] = function()
        prepare(config)
      end
    end
    steps[#steps + 1] = function()
      M.add_context(question)
    end
    steps[#steps + 1] = function()
      M.complete(question, place, config)
    end
  end
  steps[#steps + 1] = function()
    begin(question)
  end
  require('aigc.timer').in_turns(steps, wanted)
end

--- The same for a prompt that is only to be read, so that one that begins like it need not be.
---@param question aigc.Question
---@param config aigc.Config
function M.complete_for_reading(question, config)
  question.request = request_options(config, question.prompt)
  question.request.max_tokens = 1
end

-- ---- what it says -------------------------------------------------------------------------------

--- A piece as a buffer may have it: its line ends, no other control characters, no second space.
function Generation:clean(piece)
  if self.raw == '' and self.left_out ~= '' and not self.begun then
    piece = piece:gsub('^' .. self.left_out, '')
  end
  self.begun = true
  if self.ends_in_return and piece:sub(1, 1) == '\n' then
    piece = piece:sub(2)
  end
  self.ends_in_return = piece:sub(-1) == '\r'
  return (piece:gsub('\r\n?', '\n'):gsub('[%z\1-\8\11-\31\127]', ''))
end

--- A small model that is sure of itself may say the same words again and again.
local LEAST_CIRCLE, LONGEST_CIRCLE = 12, 120

--- Whether the end of a text is what stands right before it.
local function goes_in_circles(text)
  local last = text:byte(-1)
  for length = LEAST_CIRCLE, math.min(LONGEST_CIRCLE, #text / 2) do
    local before = text:byte(-1 - length) == last and text:sub(-2 * length, -1 - length)
    if before == text:sub(-length) then
      return text:find('[%w\128-\255]', -length) ~= nil -- a row of dashes is none
    end
  end
  return false
end

--- At the border of a word: whether the words before it are shown.
function Generation:close_word()
  if self.threshold and self.n_tokens > 0 then
    self.mean = self.logprob / self.n_tokens
    if self.mean < self.threshold then
      self.unsure = true
      return
    end
  end
  self.sure = #self.raw
end

--- Appends a piece that was made of so many tokens.
function Generation:append(piece, n_tokens, logprob)
  piece = self:clean(piece)
  if self.unsure or self.circles then
    return
  end
  -- Scripts without spaces have a border before each of their characters.
  if self.raw:find('%S') and piece:find('^[%s\227-\237]') then
    self:close_word()
  end
  if not self.unsure then
    self.raw = self.raw .. piece
    self.n_tokens = self.n_tokens + n_tokens
    self.logprob = self.logprob + logprob
    self.circles = self.stop.extent ~= 'free' and goes_in_circles(self.raw)
  end
end

--- What is suggested of a text. `whole`: no more comes.
function Generation:suggested(text, whole)
  local last, over = stop.cut(text, self.stop, whole)
  local cut, repeats = stop.without_repetition(text:sub(1, last), self.stop)
  if over or whole then
    -- What follows has its own line end and space.
    cut = cut:gsub('[ \t\n]+$', '')
  end
  return cut, over or repeats
end

--- Works out the text from what there is. True if no more of it is wanted.
function Generation:digest(whole)
  whole = whole or self.unsure or self.circles or false
  if whole and not self.unsure then
    self:close_word()
  elseif not self.threshold then
    self.sure = #self.raw
  end
  local text, over = self:suggested(self.raw:sub(1, self.sure), whole)
  self.text = text
  self.list[1] = text
  return over or whole
end

--- To be called when no more comes.
function Generation:settle()
  if self.running then
    self.running = false
    if self.complete then
      remember(self.key, self.list)
    end
    if self.mean then
      M.last_mean = self.mean
    end
  end
end

--- Gives up what still runs, unless somebody else waits for it too.
function Generation:cancel()
  self.users = self.users - 1
  if self.running and self.users <= 0 then
    client.cancel(self.id)
    self:settle()
  end
end

--- Texts of a finished request, best first, without empty and equal ones.
function Generation:adopt(alternatives)
  local seen = {}
  for _, text in ipairs(self.list) do
    seen[text] = true
  end
  for _, alternative in ipairs(alternatives) do
    local other = setmetatable({ raw = '', left_out = self.left_out }, Generation)
    local text = self:suggested(other:clean(alternative.text), true)
    if text ~= '' and not seen[text] then
      seen[text] = true
      self.list[#self.list + 1] = text .. (self.joiner or '')
    end
  end
end

---@param event aigc.Event
---@return boolean? calm there is text already
function Generation:on_event(event)
  if not self.running then
    return nil
  end
  if event.kind == 'token' then
    local marks, first = event.marks, event.first or 1
    local from = first > 1 and marks[first - 1][1] + 1 or 1
    for i = first, event.last or #marks do
      local to, n_tokens, logprob = unpack(marks[i])
      self:append(event.text:sub(from, to), n_tokens, logprob)
      from = to + 1
    end
    if self:digest(false) then
      self.complete = true
      client.cancel(self.id)
      self:settle()
    end
  elseif event.kind == 'done' then
    if event.infill == 'weighed' then
      self.list = {}
      self:adopt(event.alternatives)
      self.text = self.list[1] or ''
    else
      self:digest(true)
    end
    self.complete = event.finish ~= 'cancelled'
    self:settle()
  else
    self.message = event.message
    self:settle()
  end
  for _, on_change in ipairs(self.listeners) do
    on_change(self)
  end
  return self.text ~= ''
end

--- What became of a text that was on the screen.
---@param at aigc.Position where it was shown
---@param kind 'accepted'|'typed'|'rejected'
---@param shown string
---@param taken string what of it is in the buffer
function Generation:tell_outcome(at, kind, shown, taken)
  require('aigc.hooks').run('outcome', {
    buf = at.buf,
    kind = kind,
    shown = shown,
    taken = taken,
    prompt = self.prompt.text,
    left_out = self.prompt.left_out,
    row = at.row,
    before = at.before,
  })
end

-- ---- starting -----------------------------------------------------------------------------------

---@class aigc.GenerationOptions
---@field automatic? boolean nobody asked: an unsure model says nothing
---@field only_cached? boolean
---@field question aigc.Question

---@param place aigc.Position
---@param config aigc.Config
---@param question aigc.Question
---@param options aigc.GenerationOptions
local function new(place, config, question, options)
  local p, wrap = question.prompt, question.wrap
  local is_prose = prose.is_prose(option.of_buffer(place.buf, 'filetype'))
  local extent = stop.extent(config.extent, is_prose)
  return setmetatable({
    place = place,
    config = config,
    wrap = wrap,
    prompt = p,
    key = table.concat({
      p.text:sub(-KEY_BYTES),
      p.left_out,
      p.suffix:sub(1, 200),
      extent,
      options.automatic and config.min_logprob or 'all',
    }, '\0'),
    raw = '',
    text = '',
    list = {},
    users = 1,
    running = false,
    cached = false,
    threshold = options.automatic and config.min_logprob or nil,
    left_out = p.left_out,
    n_tokens = 0,
    logprob = 0,
    sure = 0,
    stop = {
      extent = extent,
      words = config.words,
      lines = config.lines,
      before = place.before,
      after = place.after,
      below = prompt.below(place.buf, place.row),
      tabstop = option.of_buffer(place.buf, 'tabstop'),
      joined = wrap ~= nil,
    },
  }, Generation)
end

--- What is being generated.
---@type aigc.Generation?
local live

--- Asks for the text at a place, in place of what is being generated. on_change is called on the
--- main loop whenever `text`, `list` or `running` has changed.
---@param place aigc.Position
---@param config aigc.Config
---@param options aigc.GenerationOptions
---@param on_change fun(generation: aigc.Generation)
---@return aigc.Generation?
---@return string? message why there is none
function M.start(place, config, options, on_change)
  local question = options.question
  local generation = new(place, config, question, options)
  if live and live.running and live.key == generation.key then
    live.users = live.users + 1
    table.insert(live.listeners, on_change)
    return live
  end
  generation.listeners = { on_change }
  M.counts.asked = M.counts.asked + 1
  local known = cache[generation.key]
  if known then
    M.counts.cached = M.counts.cached + 1
    generation.cached = true
    generation.list = vim.list_slice(known, 1, #known)
    generation.text = known[1] or ''
    return generation
  elseif options.only_cached then
    return nil
  end
  generation.joiner = question.joiner
  local id, message = client.request(config, question.request, function(event)
    generation:on_event(event)
  end)
  if not id then
    return nil, message
  end
  generation.id = id
  generation.running = true
  live = generation
  return generation
end

--- Asks for more alternatives to what a generation has said; they come all at once.
---@param generation aigc.Generation that runs no more
---@param on_change fun(generation: aigc.Generation)
---@return boolean started
function M.more(generation, on_change)
  local config, p = generation.config, generation.prompt
  if generation.asked_for_more or config.alternatives < 2 or generation.running then
    return false
  end
  generation.asked_for_more = true
  local request = request_options(config, p)
  request.n = config.alternatives
  request.temperature = math.max(config.temperature, 0.8)
  request.top_p = config.top_p or 0.95
  require('aigc.hooks').run('request', request, p)
  local id = client.request(config, request, function(event)
    if event.kind == 'done' and generation.running then
      if event.finish ~= 'cancelled' then
        generation:adopt(event.alternatives)
        generation.complete = true
      end
      generation:settle()
      on_change(generation)
    elseif event.kind == 'error' then
      generation:settle()
      on_change(generation)
    end
  end)
  generation.id = id
  generation.running = id ~= nil
  return id ~= nil
end

return M
