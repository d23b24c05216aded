-- What a caller gets wrong without looking at a file is an error that names it.
return function(t)
  local core = require('aigc.core')
  t.is(core.version(), '0.1.0', 'version')
  t.ok(('generic avx2 avx512 neon'):find(core.cpu_level(), 1, true), 'CPU level', core.cpu_level())

  local function open(options)
    return function()
      return core.open(t.model, options)
    end
  end
  t.raises('bad argument #1', 'open without a path', core.open)
  t.raises("unknown option 'thread'", 'open: unknown option', open({ thread = 1 }))
  t.raises('options must be a table, got number', 'open: options of another type', open(4))
  t.raises('options must have names', 'open: a list of options', open({ 'threads' }))
  t.raises("'threads' must be an integer from 0 to 64, got 65", 'open: range', open({ threads = 65 }))
  t.raises("'threads' must be an integer from 0 to 64, got 1.5", 'open: fraction', open({ threads = 1.5 }))
  t.raises("'threads' must be an integer from 0 to 64, got '2'", 'open: string', open({ threads = '2' }))
  t.raises("'kv' must be 'f16' or 'f32', got 'f8'", 'open: kv', open({ kv = 'f8' }))
  t.raises("'prefix_cache' must be true or false, got 1", 'open: boolean', open({ prefix_cache = 1 }))
  t.raises("'parts' must be 'all', 'tokenizer' or 'description'", 'open: parts', open({ parts = 'some' }))
  t.raises("'sequences' must be an integer from 1 to 256, got 0", 'open: sequences', open({ sequences = 0 }))
  t.raises("'kv_bytes' must be an integer not below 1", 'open: kv_bytes', open({ kv_bytes = -1 }))

  local model = t.open()
  for _, case in ipairs({
    { { temperature = -1 }, "'temperature' must be a number not below 0, got -1" },
    { { temperature = 0 / 0 }, "'temperature' must be a number not below 0" },
    { { temperature = math.huge }, "'temperature' must be a number not below 0, got inf" },
    { { top_p = -0.1 }, "'top_p' must be a number from 0 to 1, got -0.1" },
    { { top_p = 2 }, "'top_p' must be a number from 0 to 1, got 2" },
    { { min_p = 1.5 }, "'min_p' must be a number from 0 to 1, got 1.5" },
    { { top_k = -1 }, "'top_k' must be an integer from 0" },
    { { max_tokens = -5 }, "'max_tokens' must be an integer from 0" },
    { { max_tokens = 'ten' }, "'max_tokens' must be an integer from 0 to 2147483647, got 'ten'" },
    { { repetition_penalty = 0 }, "'repetition_penalty' must be a number above 0" },
    { { frequency_penalty = 3 }, "'frequency_penalty' must be a number from -2 to 2, got 3" },
    { { presence_penalty = -3 }, "'presence_penalty' must be a number from -2 to 2, got -3" },
    { { seed = -1 }, "'seed' must be an integer not below 0, got -1" },
    { { n = 0 }, "'n' must be an integer from 1 to 256, got 0" },
    { { stop = '' }, "'stop' must be a non-empty string" },
    { { stop = { 'a', 2 } }, "'stop' must be a non-empty string without NULs, or an array of such, got 2" },
    { { stop = 'a\0b' }, "'stop' must be a non-empty string without NULs" },
    { { logprobs = 21 }, "'logprobs' must be true, false or an integer from 0 to 20, got 21" },
    { { logit_bias = { a = 1 } }, "'logit_bias' must be a table from token ids to numbers" },
    { { logit_bias = { [3] = 'x' } }, "'logit_bias' must be a table from token ids to numbers" },
    { { on_piece = 1 }, "'on_piece' must be a function, got 1" },
    { { fit = 'yes' }, "'fit' must be true or false, got 'yes'" },
    { { temprature = 1 }, "unknown option 'temprature'" },
  }) do
    t.raises(case[2], 'request: ' .. case[2], model.generate, model, 'x', case[1])
    case[1].prompt = 'x'
    t.raises(case[2], 'submit: ' .. case[2], model.submit, model, case[1])
  end
  t.raises("'prompt' must be a string, got 1", 'prompt of another type', model.submit, model, { prompt = 1 })
  t.raises('needs a prompt or tokens', 'neither prompt nor tokens', model.generate, model, {})
  t.raises('not both', 'prompt and tokens', model.generate, model, { prompt = 'a', tokens = { 1 } })
  t.raises('element 2 is none', 'tokens', model.generate, model, { tokens = { 1, -1 } })
  t.raises('element 1 is none', 'detokenize', model.detokenize, model, { 'a' })
  t.raises('on_piece', 'submit with a callback', model.submit, model, { prompt = 'x', on_piece = print })
  t.raises('bad argument', 'generate without a prompt', model.generate, model)
  t.raises('bad argument', 'a method of something else', model.info, io.stdout)
  t.raises("unknown option 'special'", 'tokenize', model.tokenize, model, 'x', { special = true })
  t.raises('must be what submit() returned', 'cancel', model.cancel, model, 0)
  t.raises('must be milliseconds', 'wait', model.wait, model, -2)
  t.is(model:state(), 'unloaded', 'nothing of this has touched the file')

  t.fails('argument', 'n', 'more alternatives than sequences', model:generate('x', { n = 17 }))
  t.fails('text', '', 'a prompt that is not UTF-8', model:generate('\255'))
  t.fails('text', '600', 'a token that does not exist', model:generate({ tokens = { 1, 600 } }))
  model:close()
end
