-- Prompts that are too long for the context.
return function(t)
  local model = t.open()
  local long = ('Lily went to the park. '):rep(100)
  t.fails('limit', '', 'a prompt longer than the context', model:generate(long))
  local fitted, fit = model:generate(long, { fit = true, max_tokens = 10, temperature = 0 })
  t.is(fit and fit.finish, 'length', 'fit makes room')
  t.ok(fit and fit.n_dropped > 0 and fit.n_prompt < assert(model:info()).engine.context - 10, 'by leaving out tokens')
  t.is(fit and fit.n_dropped + fit.n_prompt, #assert(model:tokenize(long)), 'and no others')
  local _, fit2 = model:generate(long .. fitted, { fit = true, max_tokens = 10 })
  t.is(fit2 and fit2.n_dropped, fit and fit.n_dropped, 'the beginning stays while the text grows')
  t.ok(fit2 and fit2.n_prompt_hit > 200, 'so that the prefix cache helps', fit2 and fit2.n_prompt_hit)
  model:close()
end
