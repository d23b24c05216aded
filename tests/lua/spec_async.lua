-- Requests on the worker thread: submit, take, cancel; the newest wins.

local function text_of(events, id)
  local parts = {}
  for _, event in ipairs(events) do
    if event.id == id and event.kind == 'token' then
      parts[#parts + 1] = event.text
    end
  end
  return table.concat(parts)
end

local function ends_of(events)
  local ends = {}
  for _, event in ipairs(events) do
    if event.kind ~= 'token' then
      ends[event.id] = (ends[event.id] and ends[event.id] .. '+' or '') .. (event.finish or event.kind)
    end
  end
  return ends
end

return function(t)
  local model = t.open({ context = t.ROOM, sequences = 4 })
  local short = { prompt = 'Once upon a time', max_tokens = 40, temperature = 0 }
  t.is(#model:take(), 0, 'nothing to take at first')
  t.is(model:wait(0), false, 'nothing to wait for')
  t.is(model:cancel(), false, 'nothing to cancel')

  local id = assert(model:submit(short))
  local events, last = t.until_end(model, id)
  t.is(last.finish, 'length', 'a request ends')
  t.is(text_of(events, id), last.text, 'its events are its text')
  t.is(last.n_generated, 40, 'the end has the counts')
  t.is(model:state(), 'idle', 'idle after it')
  t.is(model:wait(0), false, 'the descriptor is quiet after the last event')
  local reference = last.text
  t.is(model:generate(short), reference, 'waited for, the same text')

  -- cancel
  id = assert(model:submit(t.endless()))
  t.until_text(model, id)
  t.is(model:state(), 'running', 'running')
  t.fails('limit', 'busy with request ' .. id, 'generate while it runs', model:generate('x'))
  t.ok(assert(model:info()).engine == nil, 'info while it runs leaves the engine alone')
  t.is(model:detokenize({ 274, 287 }), 'Tom', 'detokenize while it runs')
  t.is(model:cancel(id + 1), false, 'cancel of another id')
  t.is(model:cancel(id), true, 'cancel')
  t.is(model:cancel(id), false, 'cancel again')
  events, last = t.until_end(model, id)
  t.is(last.finish, 'cancelled', 'the end says cancelled')
  t.is(text_of(events, id), '', 'no text after a cancel')
  t.ok(#last.text > 0, 'the end has the text so far')

  -- the newest wins
  local first = assert(model:submit(t.endless()))
  t.until_text(model, first)
  local second = assert(model:submit(t.endless('Tom')))
  local third = assert(model:submit(short))
  t.ok(first < second and second < third, 'ids grow')
  events, last = t.until_end(model, third)
  local ends = ends_of(events)
  t.is(ends[first], 'cancelled', 'the running one is cancelled')
  t.is(ends[second], 'cancelled', 'so is the waiting one')
  t.is(text_of(events, second), '', 'which has no text')
  t.is(last.text, reference, 'the newest has all of its text')
  t.is(#model:take(), 0, 'each has ended once')

  -- many submissions at once
  local ids = {}
  for i = 1, 200 do
    ids[i] = assert(model:submit(i < 200 and t.endless() or short))
  end
  events, last = t.until_end(model, ids[200])
  ends = ends_of(events)
  local cancelled = 0
  for i = 1, 199 do
    cancelled = cancelled + (ends[ids[i]] == 'cancelled' and 1 or 0)
  end
  t.is(cancelled, 199, '199 of 200 are cancelled')
  t.is(last.text, reference, 'the last one is whole')

  -- alternatives
  id = assert(model:submit({ prompt = 'Lily', n = 3, max_tokens = 15, logprobs = true, seed = 5 }))
  events, last = t.until_end(model, id)
  local pieces = { '', '', '' }
  for _, event in ipairs(events) do
    if event.kind == 'token' then
      pieces[event.alternative] = pieces[event.alternative] .. event.text
    end
  end
  local same = #last.alternatives == 3
  for _, alternative in ipairs(last.alternatives) do
    same = same and alternative.text == pieces[alternative.alternative] and #alternative.tokens > 0
  end
  t.ok(same, 'events of three alternatives')

  -- what the pieces were made of
  local tokens, logprobs, ends_well = { 0, 0, 0 }, { 0, 0, 0 }, true
  for _, event in ipairs(events) do
    if event.kind == 'token' then
      for _, mark in ipairs(event.marks) do
        tokens[event.alternative] = tokens[event.alternative] + mark[2]
        logprobs[event.alternative] = logprobs[event.alternative] + mark[3]
      end
      ends_well = ends_well and event.marks[#event.marks][1] == #event.text
    end
  end
  t.ok(ends_well, "the last piece's mark is the end of the text")
  for _, alternative in ipairs(last.alternatives) do
    local i = alternative.alternative
    t.is(tokens[i], #alternative.tokens, 'marks count the tokens of alternative ' .. i)
    t.near(logprobs[i], alternative.logprob, 1e-4, 'and add up their log-probabilities')
  end

  -- errors are events
  id = assert(model:submit({ prompt = 'a\xff' }))
  last = select(2, t.until_end(model, id))
  t.is(last.kind .. '/' .. last.code, 'error/text', 'a bad prompt is an error event')
  t.ok(#last.message > 0, 'with a message')
  id = assert(model:submit(short))
  last = select(2, t.until_end(model, id))
  t.is(last.text, reference, 'the next request works')
  model:close()

  local core = require('aigc.core')
  t.fails('io', 'cannot read the model', 'a file that is not there', core.open('/nonexistent/model.gguf'))
  local path = t.temporary('not a GGUF file at all')
  model = assert(core.open(path))
  id = assert(model:submit(short))
  last = select(2, t.until_end(model, id))
  t.is(last.kind .. '/' .. last.code, 'error/format', 'a broken file is an error event')
  t.is(model:state(), 'unloaded', 'and nothing is loaded')
  t.fails('format', '', 'and an error of generate', model:generate('x'))
  t.fails('format', '', 'and of info', model:info())
  t.fails('format', '', 'and of load', model:load())
  model:close()
  os.remove(path)
end
