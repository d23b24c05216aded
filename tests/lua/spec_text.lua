-- Tokens, descriptions and log-probabilities.

local function float_at(bytes, i)
  local b1, b2, b3, b4 = bytes:byte(4 * i + 1, 4 * i + 4)
  local sign = b4 >= 128 and -1 or 1
  local exponent = (b4 % 128) * 2 + math.floor(b3 / 128)
  local mantissa = ((b3 % 128) * 256 + b2) * 256 + b1
  if exponent == 0 then
    return sign * mantissa * 2 ^ -149
  end
  return sign * (1 + mantissa * 2 ^ -23) * 2 ^ (exponent - 127)
end

-- Log-probability of a token by another program's logits at a position.
local function golden_logprob(logits, n_vocab, position, id)
  local top = -math.huge
  for i = 0, n_vocab - 1 do
    top = math.max(top, float_at(logits, position * n_vocab + i))
  end
  local sum = 0
  for i = 0, n_vocab - 1 do
    sum = sum + math.exp(float_at(logits, position * n_vocab + i) - top)
  end
  return float_at(logits, position * n_vocab + id) - top - math.log(sum)
end

return function(t)
  local model = t.open({ kv = 'f32' })

  local ids = assert(model:tokenize('Tom had a red ball'))
  t.is(table.concat(ids, ' '), '1 274 287 381 261 352 266 268 388', 'tokenize: the reference ids')
  local plain = assert(model:tokenize('Tom had a red ball', { add_special = false }))
  t.is(table.concat(plain, ' '), '274 287 381 261 352 266 268 388', 'tokenize: without BOS')
  t.is(model:detokenize(plain), 'Tom had a red ball', 'detokenize')
  t.is(model:detokenize({}), '', 'detokenize nothing')
  t.is(#assert(model:tokenize('', { add_special = false })), 0, 'tokenize nothing')
  local bytes = 'naïve 日本語 🙂'
  t.is(model:detokenize(assert(model:tokenize(bytes, { add_special = false }))), bytes, 'bytes that are no tokens')
  t.fails('text', '', 'tokenize: not UTF-8', model:tokenize('a\xff'))
  t.fails('text', '', 'detokenize: no such id', model:detokenize({ 512 }))

  local info = assert(model:info())
  t.is(info.architecture, 'llama', 'info: architecture')
  t.is(info.n_vocab, 512, 'info: vocabulary')
  t.is(info.n_layers, 5, 'info: layers')
  t.is(info.n_heads .. '/' .. info.n_kv_heads, '8/4', 'info: heads')
  t.is(info.bos, 1, 'info: BOS')
  t.is(info.path, t.model, 'info: path')
  t.is(info.file_bytes, #t.slurp(t.model), 'info: size of the file')
  t.is(info.engine, nil, 'info: no engine yet')
  t.is(model:check(), true, 'check')
  t.is(model:load(), true, 'load')
  t.ok(assert(model:info()).engine.context >= 128, 'info: the engine')

  -- The greedy text's first 64 tokens against the logits that run.c had for them.
  local logits = t.slurp(t.data .. 'stories260K.logits.f32')
  local golden = {}
  for id in t.slurp(t.data .. 'stories260K.greedy.ids'):gmatch('%d+') do
    golden[#golden + 1] = tonumber(id)
  end
  local first = {}
  for i = 1, 60 do
    first[i] = golden[i]
  end
  local text = assert(model:detokenize(first))
  local score = assert(model:score(text))
  local same, worst = #score.tokens == #first, 0
  for i = 2, #first do
    same = same and score.tokens[i].id == golden[i]
    worst = math.max(worst, math.abs(score.tokens[i].logprob - golden_logprob(logits, 512, i - 2, golden[i])))
  end
  t.ok(same, 'score: the reference tokens')
  t.ok(worst < 1e-3, 'score: the reference log-probabilities', 'off by ' .. worst)
  t.is(score.n_scored, #score.tokens - 1, 'score: the first token is given')
  t.near(score.perplexity, math.exp(-score.logprob / score.n_scored), 1e-6, 'score: perplexity')
  t.near(score.bits_per_byte, -score.logprob / math.log(2) / #text, 1e-6, 'score: bits per byte')
  local empty = assert(model:score(''))
  t.is(empty.n_scored, 0, 'score: nothing to score in nothing')
  t.is(empty.perplexity, nil, 'score: and no perplexity')
  model:close()

  local words = t.open({ parts = 'tokenizer' })
  t.is(#assert(words:tokenize('Tom')), 3, 'a tokenizer without weights')
  t.ok(words:generate('Tom') == nil, 'and without generate')
  words:close()
  local description = t.open({ parts = 'description' })
  t.is(assert(description:info()).n_embd, 64, 'a description without a tokenizer')
  t.fails('argument', '', 'tokenize needs the tokenizer', description:tokenize('Tom'))
  description:close()
end
