-- Where a writer would stop, and how prose is joined for the model and broken again.

return function(t)
  vim.opt.runtimepath:prepend('nvim_plugin')
  local stop, prose = require('aigc.stop'), require('aigc.prose')

  -- sentences: { text, what of it, whole (default true) }
  for _, case in ipairs({
    { ' upon a time. Then', ' upon a time.' },
    { ' upon a time', nil },
    { ' Mr. Smith went. He', ' Mr. Smith went.' },
    { ' at 3.14 today. So', ' at 3.14 today.' },
    { ' J. R. Tolkien wrote. He', ' J. R. Tolkien wrote.' },
    { ' he asked, "Why?" She', ' he asked, "Why?"' },
    { ' (or not.) Then', ' (or not.)' },
    { ' apples, pears etc. and so on. Then', ' apples, pears etc. and so on.' },
    { ' wait... what? No', ' wait... what?' },
    { ' wait. lower goes on. Then', ' wait. lower goes on.' },
    { ' really?! Yes', ' really?!' },
    { ' the end.', ' the end.' },
    { ' the end.', nil, false },
    { ' the end. ', nil, false },
    { ' the end. T', ' the end.', false },
    { ' the end.\nNext', ' the end.', false },
    { '日本語です。次の文', '日本語です。', false },
    { '「どうして？」と聞いた。次', '「どうして？」', false },
    { '. Then he went. So', '. Then he went.' },
    { ' e.g. this one. Then', ' e.g. this one.' },
    { ' he said no. Then he', ' he said no.' },
    { ' see No. 5 of it. Then', ' see No. 5 of it.' },
    { ' see No. 5 of it', nil, false },
    { ' see No. ', nil, false },
  }) do
    local last = stop.sentence(case[1], case[3] ~= false)
    t.is(last and case[1]:sub(1, last) or nil, case[2], ('the sentence of %q'):format(case[1]))
  end

  -- what is suggested: { extent, text, what of it, is it over, fields }
  local function stop_of(fields)
    local o = { extent = 'free', words = 4, lines = 1, before = '', after = '', below = {}, tabstop = 8 }
    return vim.tbl_extend('force', o, fields or {})
  end
  for _, case in ipairs({
    { 'free', ' a\nb. C', ' a\nb. C', false },
    { 'words', ' one two three four five', ' one two three four', true },
    { 'words', ' one two three four', ' one two three four', false },
    { 'words', ' one', ' one', true, { words = 1, whole = true } },
    { 'words', ' one, two three', ' one,', true, { words = 1 } },
    { 'sentence', ' ends here. Next', ' ends here.', true },
    { 'sentence', ' line\nnext', ' line', true },
    { 'sentence', ' line\nnext', ' line\nnext', false, { joined = true } },
    { 'sentence', '\nline\nnext', '\nline', true },
    { 'paragraph', ' one. Two. Three', ' one. Two. Three', false },
    { 'paragraph', ' one. Two.\nThree', ' one. Two.', true },
    { 'lines', ' one\ntwo\nthree', ' one', true },
    { 'lines', ' one\ntwo\nthree', ' one\ntwo', true, { lines = 2 } },
    { 'lines', '\none\ntwo', '\none', true },
    -- code
    { 'statement', ' = 1\ny = 2', ' = 1', true, { before = 'x' } },
    { 'statement', ' = 1', ' = 1', false, { before = 'x' } },
    { 'statement', ' x do\n  y\nend\nz', ' x do\n  y\nend', true, { before = 'for' } },
    { 'statement', '(x) {\n    return 1;\n}\n\nint', '(x) {\n    return 1;\n}', true, { before = 'int f' } },
    { 'statement', '(x):\n    return 1\n\ndef g', '(x):\n    return 1', true, { before = 'def f' } },
    { 'statement', ' {\n  a\n} else {\n  b\n}\nc', ' {\n  a\n} else {\n  b\n}', true, { before = 'if (x)' } },
    { 'statement', '  x = 1\n  y = 2', '  x = 1', true },
    { 'statement', '\n  x = 1\n  y = 2', '\n  x = 1', true, { before = '' } },
    { 'statement', ' x do\n  y\n', ' x do\n  y', false, { before = 'for' } },
    { 'statement', '(\n  a,\n  b\n)\nc', '(\n  a,\n  b\n)', true, { before = 'call' } },
  }) do
    local o = stop_of(case[5])
    o.extent = case[1]
    local last, over = stop.cut(case[2], o, o.whole or false)
    t.is(case[2]:sub(1, last), case[3], ('%s of %q'):format(case[1], case[2]))
    t.is(over, case[4], ('  is%s over'):format(case[4] and '' or ' not'))
  end

  -- a stream never takes back what it has shown
  for _, case in ipairs({
    { 'sentence', ' Mr. Smith, of 3.14 Elm St. in town, went home. Then he' },
    { 'statement', ' x do\n  y()\n  if z then\n    w()\n  end\nend\nnext' },
    { 'words', ' one two three four five six' },
    { 'lines', ' one\ntwo' },
  }) do
    local shown, grows = '', true
    for i = 1, #case[2] do
      local o = stop_of({ extent = case[1], before = 'for' })
      local last = stop.cut(case[2]:sub(1, i), o, false)
      local text = case[2]:sub(1, math.min(last, i))
      grows = grows and vim.startswith(text, shown)
      shown = text
    end
    t.ok(grows, case[1] .. ' letter by letter only grows', shown)
  end

  -- what follows the cursor is not repeated: { text, after, below, what is left }
  for _, case in ipairs({
    { 'x)', ')', {}, 'x' },
    { 'f(x), y) + 1', ')', {}, 'f(x), y' },
    { 'f(x) + 1', ')', {}, 'f(x) + 1' },
    { 'a, b)', ')', {}, 'a, b' },
    { 'quick brown fox', ' fox jumps', {}, 'quick brown' },
    { 'quick fox jumps over', ' fox jumps', {}, 'quick' },
    { 'the', 'e end', {}, 'the' },
    { ' x\nend', '', { 'end' }, ' x' },
    { ' x\n  }\n}', '', { '}' }, ' x\n  }' },
    { ' one two three', '', { 'other words here' }, ' one two three' },
    { 'same line', '', { 'same line' }, '' },
  }) do
    local text = stop.without_repetition(case[1], stop_of({ after = case[2], below = case[3] }))
    t.is(text, case[4], ('%q before %q'):format(case[1], case[2] .. '|' .. table.concat(case[3])))
  end

  for _, case in ipairs({
    { ' pipe.', '', 'sentence', '' },
    { ' pipe and', '', 'sentence', ' pipe and' },
    { ' pipe.', ' more', 'sentence', ' pipe.' },
    { ' pipe.', '', 'statement', ' pipe.' },
  }) do
    local o = stop_of({ after = case[2], below = { 'pipe. He sat down.' }, extent = case[3] })
    t.is(stop.without_repetition(case[1], o), case[4], ('%q as a %s before a line that begins so'):format(case[1], case[3]))
  end

  -- paragraphs
  local hard = 'The first line of a paragraph\nthat goes on and on for a\nwhile.\n\nAnother one.\n'
    .. '- a list item that is rather long\n- b'
  t.is(
    prose.join(hard, 30),
    'The first line of a paragraph that goes on and on for a while.\n\nAnother one.\n'
      .. '- a list item that is rather long\n- b',
    'lines of a paragraph are joined, lists and short lines are not'
  )
  t.is(
    prose.join('> a quotation that is rather\n> long and goes on\n>\n> end', 30),
    '> a quotation that is rather long and goes on\n>\n> end',
    'quotations are joined without their marks'
  )
  t.is(
    prose.join('10. an item that is rather\n    long and goes on with\n    words\n\n    code', 30),
    '10. an item that is rather long and goes on with words\n\n    code',
    'and list items without the indent of their text'
  )
  local begun = prose.join('A line that is long enough\n', 30)
  t.is(begun, 'A line that is long enough ', 'the line that is begun is joined')
  t.is(prose.join('日本語の文章を続けて\n書きます', 20), '日本語の文章を続けて書きます', 'wide text without a space')
  t.is(prose.join('# A heading that is rather long\ntext', 30), '# A heading that is rather long\ntext', 'headings')
  local function fold(text, before)
    return (prose.fold(text, before, 20, 0))
  end
  local ten = ('x'):rep(10)
  t.is(fold(' one two three four five', ten), ' one two\nthree four five', 'broken at the column')
  t.is(fold(' one two three four', '  xxxxxxxx'), ' one two\n  three four', 'with the indent')
  t.is(fold('日本語の文章', ten .. 'xxxx'), '日本語の文章', 'wide characters are words')
  vim.bo.formatoptions = 'tcqjm'
  t.is(fold('日本語の文章', ten .. 'xxxx'), '日本語\nの文章', "with m in 'formatoptions' they are broken anywhere")
  vim.bo.formatoptions = 'tcqj'
  t.is(fold(' ' .. ('x'):rep(30), ten), '\n' .. ('x'):rep(30), 'a long word stays whole')
  t.is(fold(' a\nb c', ('x'):rep(18)), ' a\nb c', 'line ends that are there stay')
  t.is(select(2, prose.fold('three four', ten .. ' one two ', 20, 0)), '\n', 'a line that is broken right there')
  for _, case in ipairs({
    { ' one two', ' one', 4 },
    { ' one two', ' one\ntw', 7 },
    { ' one two', '\n  one two', 8 },
    { ' one two', ' oen', nil },
    { 'one', 'o\nne', nil },
    { '日本語', '日本\n語', 9 },
    { ' one', ' one more', nil },
    { '  one  two', '  one\n  tw', 9 },
    { '', '', 0 },
  }) do
    t.is(prose.follow(case[1], case[2], 0), case[3], ('%q typed into %q'):format(case[2], case[1]))
  end

  -- places in a line. A buffer has a zero byte as \n in Lua.
  local place, source = require('aigc.place'), require('aigc.source')
  local here = { buf = 0, row = 4, col = 7, before = 'a\nb: 日本', after = '!' }
  for _, case in ipairs({
    { ' one', 4, 'a\nb: 日本 one' },
    { '', 4, 'a\nb: 日本' },
    { ' one\n  two', 5, '  two' },
    { '\n\n', 6, '' },
  }) do
    local behind = place.behind(here, case[1])
    t.is(behind.row, case[2], ('the row behind %q'):format(case[1]))
    t.is(behind.before, case[3], 'what stands before it there')
    t.is(behind.col, #case[3], 'and its column')
  end
  for before, keyword in pairs({
    ['two words'] = 'words',
    ['one'] = 'one',
    ['it ends. '] = '',
    [''] = '',
    ['x1 日本語'] = '日本語',
    ['(a_b'] = 'a_b',
  }) do
    t.is(source.keyword({ before = before }), keyword, ('the word at the end of %q'):format(before))
    local ends = before ~= '' and keyword ~= ''
    t.is(place.inside_word({ before = before, after = 's more' }), ends, 'is cut in two before another letter')
    t.is(place.inside_word({ before = before, after = ' more' }), false, 'and not before a space')
  end
  -- Patterns that look for a line's end from each of its characters take seconds for this one.
  local long = ('word '):rep(200000) .. '\n'
  t.is(place.behind({ row = 0, before = '', after = '' }, long .. 'x').before, 'x', 'behind a text of a megabyte')
  t.is(source.keyword({ before = ('日本語'):rep(100000) .. '. x' }), 'x', 'and the word behind another')
end
