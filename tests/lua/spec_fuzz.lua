-- Random calls of every function with arguments of every kind, right and wrong: a Lua error or nil and a message, and
-- the model works afterwards. AIGC_TEST_CALLS: how many (a build with AddressSanitizer likes more), AIGC_TEST_SEED.
return function(t)
  local core = require('aigc.core')
  local unpack = unpack or table.unpack
  local calls = tonumber(os.getenv('AIGC_TEST_CALLS')) or 3000
  local state = tonumber(os.getenv('AIGC_TEST_SEED')) or 1

  -- The same numbers in each Lua.
  local function random(n)
    state = (state * 16807) % 2147483647
    return state % n + 1
  end

  local models = {}
  local path = t.temporary('not a model')
  local layer = os.tmpname()
  os.remove(layer)

  local closer = setmetatable({}, {
    __index = function()
      for _, model in ipairs(models) do
        pcall(model.close, model)
      end
      return print
    end,
  })

  local ATOMS = {
    0,
    1,
    2,
    3,
    20,
    -1,
    1.5,
    0 / 0,
    math.huge,
    -math.huge,
    2 ^ 31,
    2 ^ 53,
    1e300,
    '',
    'x',
    'Once upon a time',
    'a\0b',
    'a\255b',
    '\228\184\173',
    ('word '):rep(400),
    true,
    false,
    print,
    error,
    closer,
    io.stdout,
    t.model,
    path,
    layer,
    '/nonexistent/file',
    'personal',
    'documents',
    'f32',
    'tokenizer',
    coroutine.create(print),
  }

  local NAMES = {
    open = {
      'threads',
      'context',
      'sequences',
      'batch',
      'kv_bytes',
      'kv',
      'prefix_cache',
      'parts',
      'lora',
      'personal',
      'documents',
    },
    request = {
      'prompt',
      'tokens',
      'suffix',
      'weigh',
      'add_special',
      'parse_special',
      'fit',
      'personal',
      'documents',
      'max_tokens',
      'n',
      'stop',
      'ignore_eos',
      'logprobs',
      'seed',
      'temperature',
      'top_p',
      'top_k',
      'min_p',
      'repetition_penalty',
      'frequency_penalty',
      'presence_penalty',
      'logit_bias',
      'on_piece',
    },
    text = { 'add_special', 'parse_special', 'render_special' },
  }

  local any

  -- NaN and nil cannot be keys.
  local function set(made, key, value)
    if key ~= nil and key == key then
      made[key] = value
    end
  end

  local function list()
    local items = {}
    for i = 1, random(5) - 1 do
      items[i] = random(3) == 1 and any(1) or random(600) - 2
    end
    return items
  end

  function any(depth)
    local k = random(12)
    if k == 1 then
      return nil
    elseif k == 2 and depth < 3 then
      return list()
    elseif k == 3 and depth < 3 then
      local made = {}
      set(made, any(3), any(depth + 1))
      return made
    elseif k == 4 and models[1] then
      return models[random(#models)]
    end
    return ATOMS[random(#ATOMS)]
  end

  local function options(kind)
    local names, made = NAMES[kind], {}
    if random(20) == 1 then
      return any(0)
    end
    for _ = 1, random(5) - 1 do
      set(made, random(30) == 1 and any(1) or names[random(#names)], any(1))
    end
    if kind == 'request' then
      set(made, 'prompt', random(4) == 1 and any(1) or 'Once upon a time')
      set(made, 'max_tokens', random(8) == 1 and any(1) or random(6) - 1)
      -- As many as these would take minutes.
      made.n = type(made.n) == 'number' and made.n > 20 and made.n < 257 and 4 or made.n
    elseif kind == 'open' then
      set(made, 'threads', random(9) == 1 and any(1) or random(3))
      set(made, 'context', random(9) == 1 and any(1) or 256)
      set(made, 'personal', random(3) == 1 and layer or made.personal)
    end
    return random(15) == 1 and setmetatable(made, getmetatable(closer)) or made
  end

  local METHODS = {
    'state',
    'info',
    'check',
    'load',
    'tokenize',
    'detokenize',
    'generate',
    'score',
    'submit',
    'learn',
    'unlearn',
    'forget',
    'save',
    'feedback',
    'memory',
    'look',
    'looked',
    'take',
    'cancel',
    'fd',
    'wait',
    'close',
    'discard',
  }
  -- What they are meant to get, for every other call.
  local USUAL = {
    detokenize = { { 10, 300, 20 } },
    learn = { 'Once upon a time', 'documents' },
    unlearn = { 'Once upon a time' },
    forget = { 'time' },
    feedback = { ' there was', 6, true },
    memory = { 5 },
    look = { 5 },
    cancel = { 3 },
  }
  local KINDS = { generate = 'request', submit = 'request', score = 'text', tokenize = 'text', detokenize = 'text' }

  local function open()
    local made = options('open')
    if type(made) == 'table' and type(rawget(made, 'personal')) == 'string' then
      made.personal = layer -- it will be written
    end
    local ok, model = pcall(core.open, random(10) == 1 and any(0) or t.model, made)
    if ok and model then
      models[#models + 1] = model
      if #models > 3 then
        table.remove(models, 1)
      end
    end
  end

  -- Some on_piece closes, submits or raises in the middle of generate().
  local function reentrant(model, made)
    if type(made) == 'table' and random(4) == 1 then
      rawset(made, 'on_piece', function()
        local method = METHODS[random(#METHODS)]
        if method ~= 'wait' then
          pcall(model[method], model, any(0), any(0))
        end
        return random(5) > 1 or error('enough')
      end)
    end
    return made
  end

  local function call()
    local at = random(#models)
    local model = models[at]
    local method = METHODS[random(#METHODS)]
    if (method == 'close' or method == 'discard') and random(16) > 1 then
      return
    elseif tostring(model):find('closed') and random(5) > 1 then
      table.remove(models, at)
    elseif USUAL[method] and random(2) == 1 then
      pcall(model[method], model, unpack(USUAL[method]))
    elseif method == 'wait' then
      pcall(model.wait, model, random(3) == 1 and 'soon' or random(5))
    elseif KINDS[method] then
      local made = options(KINDS[method])
      if method == 'generate' then
        made = reentrant(model, made)
      end
      if random(2) == 1 then
        pcall(model[method], model, random(2) == 1 and 'Once upon a time' or any(0), made)
      else
        pcall(model[method], model, made)
      end
    else
      pcall(model[method], random(30) > 1 and model or any(0), any(0), any(0), any(0))
    end
  end

  for i = 1, calls do
    if #models == 0 or random(60) == 1 then
      open()
    end
    if #models > 0 then
      call()
    end
    if i % 200 == 0 then
      collectgarbage()
    end
  end
  for _, model in ipairs(models) do
    model:close()
  end
  models = {}
  collectgarbage()
  core.settle() -- for the layer that is removed below

  local model = t.open()
  local text = assert(model:generate('Once upon a time', { max_tokens = 10, temperature = 0 }))
  t.is(text, t.slurp(t.data .. 'stories260K.greedy.txt'):sub(17, 16 + #text), 'the model works after any of it')
  model:close()
  os.remove(path)
  os.remove(layer)
end
