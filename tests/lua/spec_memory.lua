-- The personal layer: learned on the worker, used by requests, shared between editors, forgotten.
return function(t)
  local core = require('aigc.core')
  local folder = os.tmpname()
  os.remove(folder)
  assert(os.execute("mkdir -p '" .. folder .. "'"))
  folder = folder .. '/'
  local phrase = 'The gardener of Zwolle, Marigold Quillfeather, sold blue tulips.\n'
  local prompt = 'The gardener of Zwolle, Marigold'

  local function rest(model)
    local info, message, code
    repeat
      info, message, code = model:memory(5)
    until code ~= 'limit'
    return info, message
  end
  local function say(model)
    local text = model:generate(prompt, { max_tokens = 10, temperature = 0, personal = true })
    return text or ''
  end

  -- What the worker sees when it has done what it was told before.
  local function looked(model, n)
    assert(model:look(n))
    local info, message, code
    repeat
      info, message, code = model:looked()
    until code ~= 'limit'
    return info, message, code
  end

  local plain = t.open()
  t.fails('argument', 'without a layer for personal text', 'a model that was opened without one', plain:learn(phrase))
  t.fails('argument', 'without a layer for personal text', 'nor can it be looked at', plain:memory())
  t.fails('argument', 'without a layer for personal text', 'nor by the worker', plain:look())
  t.raises('must be from 0 to 1000', 'no more phrases than a window can show', plain.look, plain, 1001)
  t.ok(pcall(core.settle, 0), 'waiting no longer than that')
  t.raises('must be milliseconds', 'nor less', core.settle, -2)
  local without = plain:generate(prompt, { max_tokens = 10, temperature = 0, personal = true })
  t.ok(without and not without:find('Quill'), 'asking for a layer that is not there changes nothing', without)
  plain:close()

  local model = t.open({ personal = folder })
  t.is(assert(rest(model)).tokens, 0, 'a layer begins empty')
  t.is(say(model), without, 'and says nothing then')
  for _ = 1, 3 do
    t.is(model:learn(phrase), true, 'learning is put in line')
  end
  local info = assert(rest(model))
  t.ok(info.tokens > 60, 'then it is learned', info.tokens)
  t.is(info.phrases[1].count, 3, 'with its count')
  local seen = looked(model, 5)
  t.is(#seen.phrases, 5, 'the worker sees it too')
  for key, value in pairs(info) do
    local same = key == 'phrases' and seen.phrases[5].text == value[5].text and seen.phrases[5].count == value[5].count
    t.ok(same or seen[key] == value, 'the same: ' .. key)
  end
  t.fails('limit', 'nobody has looked', 'once', model:looked())
  t.ok(say(model):find('^ Quillfeather'), 'and used', say(model))
  t.is(model:generate(prompt, { max_tokens = 10, temperature = 0 }), without, 'by those who ask for it')

  local taught, why
  model:generate(prompt, {
    max_tokens = 2,
    on_piece = function()
      taught, why = model:learn(phrase)
    end,
  })
  t.ok(taught == nil and why:find('a callback of its own'), 'not while the engine runs on this thread', why)

  -- on the worker, with feedback
  local id = assert(model:submit({ prompt = prompt, fit = true, max_tokens = 10, temperature = 0, personal = true }))
  local done
  while not done do
    model:wait(1000)
    for _, event in ipairs(model:take()) do
      done = event.kind ~= 'token' and event.id == id and event or done
    end
  end
  t.ok(done.text:find('^ Quillfeather'), 'a submitted request uses it too', done.text)
  t.is(done.alternatives[1].tokens, nil, 'and shows tokens only to those who ask')
  t.is(model:feedback(done.text, #done.text, false), true, 'feedback: accepted')
  t.is(model:feedback(done.text, 3, true), true, 'a part of it')
  t.is(model:feedback('never said', 0, true), true, 'of what nobody remembers')
  t.is(assert(rest(model)).ngrams, info.ngrams, 'feedback learns no text')
  t.raises('a number of bytes of the text', 'more taken than was shown', model.feedback, model, 'abc', 4)
  t.raises('from 0 to 1000', 'a number of phrases below 0', model.memory, model, -1)

  t.raises("must be 'personal' or 'documents'", 'a layer that there is not', model.learn, model, 'abc', 'x')
  t.fails('argument', 'a layer for documents', 'a model without a layer for documents', model:learn(phrase, 'documents'))
  local near = t.open({ documents = true })
  for _ = 1, 3 do
    near:learn(phrase, 'documents')
  end
  local said
  repeat
    local _, _, code = near:generate('x', { max_tokens = 1 })
    said = near:generate(prompt, { max_tokens = 10, temperature = 0, documents = true }) or ''
  until code ~= 'limit'
  t.ok(said:find('^ Quillfeather'), 'the layer of the documents at hand', said)
  t.is(near:generate(prompt, { max_tokens = 10, temperature = 0 }), without, 'for those who ask for it')
  near:close()

  -- another session of the same user
  local other = t.open({ personal = folder })
  t.is(assert(rest(other)).tokens, 0, 'nothing is saved yet')
  model:close()
  other:learn('Something else altogether, said the harbour master.\n')
  other:close()
  local both = t.open({ personal = folder })
  local together = assert(rest(both))
  t.ok(together.tokens > info.tokens, 'both sessions are remembered', together.tokens)
  t.ok(say(both):find('^ Quillfeather'), 'the first one too')
  both:unlearn(phrase)
  t.is(assert(rest(both)).phrases[1].count, 2, 'taken back once')
  both:forget('Quillfeather')
  assert(rest(both))
  t.ok(not say(both):find('Quillfeather'), 'a word is forgotten')
  both:forget()
  t.is(assert(rest(both)).ngrams, 0, 'and everything')
  both:learn(phrase)
  assert(rest(both))
  t.is(both:memory().unwritten, nil, 'nothing has gone wrong with the file')
  both:close()
  both = t.open({ personal = folder })
  both:forget()
  both:close() -- before the worker has begun
  both = t.open({ personal = folder })
  t.is(assert(rest(both)).ngrams, 0, 'as the last thing that is asked for as well')
  both:close()
  local again = t.open({ personal = folder })
  t.is(assert(rest(again)).ngrams, 0, 'on the disk as well')
  again:close()

  -- two that write at the same time
  local pair = { t.open({ personal = folder }), t.open({ personal = folder }) }
  for i, one in ipairs(pair) do
    one:learn(('Harbour master number %d has a wooden leg.\n'):format(i))
  end
  for _, one in ipairs(pair) do
    one:save()
  end
  for _, one in ipairs(pair) do
    assert(rest(one))
  end
  for _, one in ipairs(pair) do
    one:close()
  end
  again = t.open({ personal = folder })
  t.is(assert(rest(again)).phrases[1].count, 2, 'of two that write at the same time nothing is lost')
  again:forget()
  assert(rest(again))
  again:close()

  -- files that are none
  local pipe = assert(io.popen("ls '" .. folder .. "'"))
  local name = pipe:read('*l')
  pipe:close()
  t.ok(name and name:find('^%x+%.aigc$'), 'the file is named after the vocabulary', name)
  local file = assert(io.open(folder .. name, 'wb'))
  file:write('no such thing')
  file:close()
  local damaged = t.open({ personal = folder })
  local _, message = rest(damaged)
  t.ok(message and message:find('not a personal file'), 'a damaged file is told of', message)
  local nothing, problem, kind = looked(damaged)
  t.fails('format', 'not a personal file', 'by the worker, too', nothing, problem, kind)
  t.is(say(damaged), without, 'and done without')
  damaged:learn(phrase)
  damaged:close()
  file = assert(io.open(folder .. name, 'rb'))
  t.is(file:read('*a'), 'no such thing', 'and left alone')
  file:close()

  -- discarded: the thread writes the file, here as soon as it gets the folder's lock, which it is kept from
  os.remove(folder .. name)
  local lock = folder .. 'held'
  local holder = assert(io.popen(("flock '%s' sh -c 'echo; while [ -e %s ]; do sleep 0.01; done'"):format(folder, lock)))
  assert(io.open(lock, 'w')):close()
  assert(holder:read('*l'))
  local left = t.open({ personal = folder })
  left:learn(phrase)
  assert(rest(left))
  left:discard()
  t.is(io.open(folder .. name), nil, 'discarding does not wait for the file')
  t.is(core.settle(0), false, 'nor does settling for no longer than that')
  t.is(core.settle(20), false, 'or that')
  os.remove(lock)
  t.is(core.settle(), true, 'and for as long as it takes')
  again = t.open({ personal = folder })
  t.ok(assert(rest(again)).tokens > 20, 'settling does')
  again:forget()
  again:discard() -- before the worker has come to it
  core.settle()
  again = t.open({ personal = folder })
  t.is(assert(rest(again)).ngrams, 0, 'what was asked for is done all the same')
  again:close()
  holder:close()

  if not t.in_nvim then -- which does not end its state
    local program = ([[
      local model = require('aigc.core').open('%s', { personal = '%s' })
      model:memory() -- opens the layer
      model:learn('%s')
      model:discard()
    ]]):format(t.model, folder, phrase:gsub('\n', ''))
    local script = t.temporary(program)
    os.execute(("'%s' '%s'"):format(arg[-1], script))
    os.remove(script)
    again = t.open({ personal = folder })
    t.ok(assert(rest(again)).tokens > 20, 'a state that ends settles')
    again:close()
  end
  os.execute("rm -r '" .. folder .. "'")
end
