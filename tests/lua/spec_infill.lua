-- Text between a prompt and a suffix.

-- A little-endian integer of a string.
local function integer(text, at, size)
  local x = 0
  for i = size - 1, 0, -1 do
    x = x * 256 + text:byte(at + i)
  end
  return x
end

local function eight_bytes(n)
  return string.char(n % 256, math.floor(n / 256), 0, 0, 0, 0, 0, 0)
end

-- The file with other texts for some tokens, by id from 0. One of them is made longer so that what
-- follows stays aligned to 32 bytes.
local function with_tokens(file, texts, filler)
  local key = 'tokenizer.ggml.tokens'
  local at = assert(select(2, file:find(key, 1, true))) + 1 + 8 -- behind two types of four bytes
  local n = integer(file, at, 8)
  at = at + 8
  local begin, parts, grown = at, {}, 0
  for id = 0, n - 1 do
    local length = integer(file, at, 8)
    local text = file:sub(at + 8, at + 7 + length)
    at = at + 8 + length
    grown = grown + (texts[id] and #texts[id] - #text or 0)
    parts[id + 1] = texts[id] or text
  end
  parts[filler + 1] = parts[filler + 1] .. ('~'):rep(-grown % 32)
  for i, text in ipairs(parts) do
    parts[i] = eight_bytes(#text) .. text
  end
  return file:sub(1, begin - 1) .. table.concat(parts) .. file:sub(at)
end

return function(t)
  if not t.model_exists() then
    t.skip_all('no ' .. t.model)
    return
  end
  local model = t.open({ sequences = 4 })
  local prompt, suffix = 'Once upon a time, there was a little', ' named Lily. She liked to play.'

  -- weighed: this model has no tokens for it
  local function fill(options)
    options.prompt, options.max_tokens = prompt, 10
    local text, outcome = model:generate(options)
    return assert(text, outcome), outcome
  end
  local text, outcome = fill({ suffix = suffix, weigh = 4, seed = 3 })
  t.is(outcome.infill, 'weighed', 'without tokens for it continuations are weighed')
  t.is(#outcome.alternatives, 4, 'as many as were asked for')
  t.is(text, outcome.alternatives[1].text, 'the best one is the text')

  -- how probable the suffix is, by another way: all of a text less its beginning
  local function suffix_logprob(middle)
    local all = model:score(prompt .. middle .. suffix:sub(1, 48))
    local before = model:score(prompt .. middle)
    return all.logprob - before.logprob
  end
  local nothing, last = suffix_logprob(''), math.huge
  for i, alternative in ipairs(outcome.alternatives) do
    local logprob = suffix_logprob(alternative.text)
    t.ok(alternative.text == '' or logprob > nothing, i .. ' makes what follows more probable than nothing does',
      ('%q: %f, nothing: %f'):format(alternative.text, logprob, nothing))
    t.ok(logprob <= last + 1e-3, i .. ' is no better than the one before it', logprob)
    last = logprob
  end
  t.ok(text ~= '', 'and there is one', text)
  t.is(fill({ suffix = suffix, weigh = 4, seed = 3 }), text, 'the same seed gives the same text')

  -- at the end of the context
  local long = model:generate({ prompt = prompt:rep(70), fit = true, suffix = suffix, weigh = 2, max_tokens = 10 })
  t.is(type(long), 'string', 'a prompt that fills the context')

  -- without weighing the suffix changes nothing
  local plain = fill({ temperature = 0 })
  text, outcome = fill({ temperature = 0, suffix = suffix })
  t.is(text, plain, 'a suffix alone changes nothing for such a model')
  t.is(outcome.infill, nil, 'and that is told')

  -- with tokens for it
  local texts = { [509] = '<|fim_prefix|>', [510] = '<|fim_suffix|>', [511] = '<|fim_middle|>' }
  local path = t.temporary(with_tokens(t.slurp(t.model), texts, 508))
  local fim = assert(require('aigc.core').open(path))
  local filled = { prompt = prompt, suffix = suffix, max_tokens = 10, temperature = 0, weigh = 3 }
  text, outcome = fim:generate(filled)
  t.is(outcome.infill, 'tokens', 'a model with tokens for it is asked with them')
  local tokens = { 509 }
  for _, id in ipairs(fim:tokenize(prompt, { add_special = false })) do
    tokens[#tokens + 1] = id
  end
  tokens[#tokens + 1] = 510
  for _, id in ipairs(fim:tokenize(suffix, { add_special = false })) do
    tokens[#tokens + 1] = id
  end
  tokens[#tokens + 1] = 511
  t.is(outcome.n_prompt, #tokens, 'prefix, suffix, middle')
  local wanted = fim:generate({ tokens = tokens, max_tokens = 10, temperature = 0 })
  t.is(text, wanted, 'in that order')
  t.is(#outcome.alternatives, 1, 'and not several times')
  filled.prompt, filled.suffix = prompt:rep(40), suffix:rep(40)
  outcome = select(2, fim:generate(filled))
  t.ok(outcome.n_prompt < 512 and outcome.n_dropped > 0, 'what is too long is cut', outcome.n_prompt)
  filled.prompt, filled.suffix = prompt, suffix
  local submitted = assert(fim:submit(filled))
  repeat
    local all = fim:take() -- looks at the request while the worker decides how to run it
    local ended = all[#all] and all[#all].kind == 'done' and all[#all]
  until ended and t.is(ended.text, text, 'submitted, it says the same')
    and t.is(#ended.alternatives, 1, 'once')
    and t.is(ended.id, submitted, 'and ends')
  fim:close()
  os.remove(path)

  -- as events
  local id = assert(model:submit({ prompt = prompt, suffix = suffix, weigh = 3, max_tokens = 10, seed = 1 }))
  local events, done = t.until_end(model, id)
  t.is(#events, 1, 'nothing is told before it is weighed')
  t.is(done.infill, 'weighed', 'and then all at once')
  -- long enough to be told in time; a machine that is busy elsewhere gets another try
  local in_time
  for _ = 1, 20 do
    id = assert(model:submit({ prompt = prompt:rep(20), suffix = ('x'):rep(5000), weigh = 4, max_tokens = 10, fit = true }))
    in_time = model:cancel(id)
    done = select(2, t.until_end(model, id))
    if in_time then
      break
    end
    t.is(done.finish, 'length', 'it ended before')
  end
  t.is(done.finish, 'cancelled', 'it can be cancelled')
  t.raises("option 'suffix' must be a string", 'a suffix of another type', model.generate, model, 'x', { suffix = 1 })
  t.raises("option 'weigh' must be an integer from 0 to 16", 'too many', model.generate, model, 'x', { weigh = 17 })
  model:close()
end
