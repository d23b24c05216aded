-- Requests that the caller waits for.

local function mean(alternative)
  return alternative.logprob / #alternative.tokens
end

return function(t)
  local model = t.open()
  local greedy = { prompt = 'Once upon a time', max_tokens = 40, temperature = 0 }
  local text = assert(model:generate(greedy))

  -- pieces
  local pieces, only_one = {}, true
  greedy.on_piece = function(piece, alternative)
    pieces[#pieces + 1] = piece
    only_one = only_one and alternative == 1
  end
  t.is(model:generate(greedy), text, 'with a callback the same text')
  t.is(table.concat(pieces), text, 'the pieces are the text')
  t.ok(#pieces > 10, 'and many', #pieces)
  t.ok(only_one, 'of one alternative')
  local seen = 0
  greedy.on_piece = function()
    seen = seen + 1
    return seen < 3
  end
  local part, info = model:generate(greedy)
  t.is(text:sub(1, #part), part, 'a callback that returns false ends it')
  t.is(info.finish, 'cancelled', 'and finish says so')
  greedy.on_piece = function()
    error('from the callback')
  end
  t.raises('from the callback', 'an error in the callback arrives', model.generate, model, greedy)
  greedy.on_piece = function()
    t.fails('limit', 'busy', 'generate inside the callback', model:generate('x'))
    t.fails('limit', 'busy', 'submit inside the callback', model:submit({ prompt = 'x' }))
    t.raises('busy', 'close inside the callback', model.close, model)
    t.is(#assert(model:tokenize('Tom')), 3, 'tokenize inside the callback')
    return false
  end
  model:generate(greedy)
  greedy.on_piece = nil
  t.is(model:generate(greedy), text, 'the model is usable after all that')

  -- prefix cache and stop strings
  local again, cached = model:generate(greedy)
  t.is(again, text, 'the same text again')
  t.is(cached.n_prompt, #assert(model:tokenize(greedy.prompt)), 'tokens of the prompt')
  local stops = { max_tokens = 40, temperature = 0, stop = { 'xyzzy', 'named' } }
  local stopped, how = model:generate('Once upon a time', stops)
  t.is(how.finish, 'stop', 'a stop string ends it')
  t.is(stopped, text:sub(1, text:find('named', 1, true) - 1), 'and is not part of it')
  local nothing, none = model:generate('Once', { max_tokens = 0 })
  t.is(nothing .. none.finish .. none.n_generated, 'length0', 'max_tokens 0')

  -- seeds
  local function draw(seed)
    return (assert(model:generate('Once', { max_tokens = 30, seed = seed })))
  end
  t.is(draw(7), draw(7), 'a seed repeats')
  t.ok(draw(7) ~= draw(8) or draw(9) ~= draw(7), 'another gives another text')

  local none_but_best = assert(model:generate('Tom', { max_tokens = 40, temperature = 2, top_p = 0 }))
  t.is(none_but_best, assert(model:generate('Tom', { max_tokens = 40, temperature = 0 })), 'top_p 0 is greedy')

  -- alternatives and log-probabilities
  local by_alternative = {}
  local best, many = model:generate('Lily', {
    max_tokens = 20,
    n = 4,
    logprobs = 3,
    seed = 3,
    on_piece = function(piece, alternative)
      by_alternative[alternative] = (by_alternative[alternative] or '') .. piece
    end,
  })
  t.is(#many.alternatives, 4, 'four alternatives')
  t.is(best, many.alternatives[1].text, 'the best comes back')
  for rank, alternative in ipairs(many.alternatives) do
    local sum = 0
    local tops = true
    for _, token in ipairs(alternative.tokens) do
      sum = sum + token.logprob
      tops = tops and #token.top == 3 and token.top[1].logprob >= token.top[2].logprob
        and token.top[1].logprob >= token.logprob - 1e-6
    end
    t.near(alternative.logprob, sum, 1e-3, 'logprob is the sum over tokens')
    t.ok(tops, 'the most probable tokens beside each')
    t.is(by_alternative[alternative.alternative] or '', alternative.text, 'its pieces')
    local next_one = many.alternatives[rank + 1]
    t.ok(not next_one or mean(alternative) >= mean(next_one), 'in order')
  end
  local biased = assert(model:generate('Once', { max_tokens = 3, temperature = 0, logit_bias = { [388] = 100 } }))
  t.is(biased, assert(model:detokenize({ 388, 388, 388 })), 'logit_bias')
  model:close()
end
