-- An adapter beside the model. build/aigc makes one.

return function(t)
  local data, adapter = os.tmpname(), os.tmpname()
  local out = assert(io.open(data, 'w'))
  for _ = 1, 60 do
    out:write('Once upon a time the moon was made of green cheese. ')
  end
  out:close()
  local made = os.execute(
    ('build/aigc finetune %s --data %s -o %s --context 64 --epochs 6 --threads 2 >/dev/null 2>&1'):format(
      t.model,
      data,
      adapter
    )
  )
  t.ok(made == true or made == 0, 'build/aigc finetune makes an adapter')

  local greedy = { prompt = 'Once upon a time', max_tokens = 12, temperature = 0 }
  local plain, adapted = t.open(), t.open({ lora = adapter })
  local text = assert(adapted:generate(greedy))
  t.ok(text:find('the moon was made', 1, true), 'with it the model says what it learned', text)
  t.ok(plain:generate(greedy) ~= text, 'without it, it does not')
  t.is(adapted:generate(greedy), text, 'again the same')

  local wrong = t.open({ lora = t.model })
  t.fails('format', 'it is no adapter', 'a model is no adapter', wrong:generate(greedy))
  local no_model = assert(require('aigc.core').open(adapter))
  t.fails('unsupported', 'it is an adapter', 'an adapter is no model', no_model:generate(greedy))
  t.raises("'lora'", 'not a path', t.open, { lora = 3 })
  for _, model in ipairs({ plain, adapted, wrong, no_model }) do
    model:close()
  end
  os.remove(data)
  os.remove(adapter)
  os.remove(adapter .. '.checkpoint')
end
