-- The text that another implementation generates from this model, byte for byte.
return function(t)
  local greedy = t.slurp(t.data .. 'stories260K.greedy.txt')
  local prompted = t.slurp(t.data .. 'stories260K.prompted.txt')
  for _, threads in ipairs({ 1, 2, 4 }) do
    local model = t.open({ threads = threads })
    local text, info = model:generate('', { max_tokens = 200, temperature = 0 })
    t.is(text, greedy, threads .. ' threads: 200 greedy tokens after BOS')
    t.is(info and info.finish, 'length', 'finish')
    t.is(info and info.n_generated, 200, 'tokens')
    local id = assert(model:submit({ prompt = '', max_tokens = 200, temperature = 0 }))
    local _, last = t.until_end(model, id)
    t.is(last.text, greedy, threads .. ' threads: submitted')
    model:close()

    model = t.open({ threads = threads, kv = 'f32' })
    local prompt = 'Tom had a red ball'
    text = model:generate(prompt, { max_tokens = 120, temperature = 0 })
    t.is(prompt .. tostring(text), prompted, threads .. ' threads: prompted, F32 keys and values')
    model:close()
  end
end
