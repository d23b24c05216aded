-- A model's file that is cut short, overwritten or replaced while it is used: an error, not the host's end.
return function(t)
  local core = require('aigc.core')
  local whole = t.slurp(t.model)

  local function write(path, content)
    local file = assert(io.open(path, 'wb')) -- what was there is cut off
    file:write(content)
    file:close()
  end

  for name, content in pairs({
    ['emptied'] = '',
    ['cut short'] = whole:sub(1, 300000),
    ['overwritten by another'] = ('x'):rep(200000),
  }) do
    local path = t.temporary(whole)
    local model = assert(core.open(path, { threads = 3, context = t.ROOM }))
    local id = assert(model:submit(t.endless()))
    t.until_text(model, id)
    write(path, content)
    local _, last = t.until_end(model, id)
    t.is(last.kind .. '/' .. tostring(last.code), 'error/io', name .. ': an error event')
    t.ok(tostring(last.message):find(path .. ': was overwritten', 1, true), 'that names the file', last.message)
    t.fails('io', 'load it again', name .. ': an error of generate', model:generate('Once'))
    t.fails('io', 'load it again', name .. ': and of score', model:score('Once upon a time'))
    t.ok(#model:tokenize('Once upon a time') > 2, 'what was copied can still be used')
    model:close()

    write(path, whole)
    model = assert(core.open(path))
    t.ok(#assert(model:generate('Once', { max_tokens = 5, temperature = 0 })) > 0, name .. ': opened anew it works')
    model:close()
    os.remove(path)
  end

  -- while the caller waits for it
  local path = t.temporary(whole)
  local model = assert(core.open(path, { threads = 3 }))
  local n = 0
  local text, message, code = model:generate('Once', {
    max_tokens = 100,
    ignore_eos = true,
    on_piece = function()
      n = n + 1
      if n == 3 then
        write(path, '')
      end
    end,
  })
  t.fails('io', 'was overwritten', 'in the middle of generate', text, message, code)
  model:close()

  -- with no other request in between
  write(path, whole)
  model = assert(core.open(path))
  assert(model:load())
  write(path, whole:sub(1, 5000))
  t.fails('io', 'was overwritten', 'before the first request', model:generate('Once'))
  model:close()

  -- overwritten while nobody reads, so that no page is missed
  write(path, whole)
  model = assert(core.open(path))
  assert(model:generate('Once', { max_tokens = 5 }))
  write(path, whole:reverse())
  t.fails('io', 'was overwritten', 'between two requests', model:generate('Once'))
  model:close()

  write(path, whole:sub(1, 5000))
  t.fails('format', '', 'a file that is still incomplete', assert(core.open(path)):generate('Once'))

  -- at any time, also while it is being opened: what comes of that nobody knows, but we are still here
  if not t.in_nvim then
    local running = t.temporary('')
    local shell = io.popen(
      ('while [ -e %s ]; do cat %s >%s; sleep 0.001; : >%s; done'):format(running, t.model, path, path)
    )
    local ended = os.time() + 2
    local opened = 0
    while os.time() < ended do
      local one = core.open(path, { threads = 2 })
      if one then
        one:generate('Once', { max_tokens = 3 })
        one:close()
        opened = opened + 1
      end
    end
    os.remove(running)
    shell:close()
    t.ok(opened > 0, 'written to all the time', opened)
  end

  -- a file renamed over it is another one
  write(path, whole)
  model = assert(core.open(path))
  local before = assert(model:generate('Once', { max_tokens = 5, temperature = 0 }))
  local other = t.temporary('not a model')
  assert(os.rename(other, path))
  t.is(model:generate('Once', { max_tokens = 5, temperature = 0 }), before, 'replaced by rename: nothing happens')
  model:close()
  os.remove(path)
end
