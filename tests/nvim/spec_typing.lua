-- Suggestions as one types: when they come, what they cost, what of them is taken.

local AUTO = { debounce = 30, extent = 'free', speculate = false, min_logprob = -1 }

return function(t, child)
  local function start(aigc, options)
    return child.start(vim.tbl_extend('force', { aigc = vim.tbl_extend('force', AUTO, aigc or {}) }, options or {}))
  end
  local function requests(c)
    return c:lua('return #fake.requests')
  end
  -- Until so many requests have been made. True if they were.
  local function wait_for_requests(c, n)
    return child.wait(5000, function()
      return requests(c) >= n
    end, 5)
  end
  -- Longer than the pause, and what it sets off.
  local function pause(c)
    c:lua('vim.wait(80)')
    c:settle()
  end

  -- when they come
  local c = start()
  c:keys('iOnce')
  t.ok(wait_for_requests(c, 1), 'after a pause there is a request')
  c:say({ { ' upon', -0.1 }, { ' a', -0.1 }, { ' time', -0.1 } })
  t.is(c:screen(), 'Once upon a', 'what it says is shown, word by word')
  c:finish()
  t.is(c:screen(), 'Once upon a time', 'to its end')
  c:keys(' up')
  pause(c)
  t.is(c:screen(), 'Once upon a time', 'typing its first characters keeps it')
  t.is(requests(c), 1, 'without a new request')
  c:keys('x')
  t.is(c:screen(), 'Once upx', 'anything else takes it away at once')
  t.ok(wait_for_requests(c, 2), 'and there is a new request')
  c:keys('y')
  t.is(c:lua('return #fake.cancelled'), 1, 'which the next key cancels')
  c:stop()

  -- a burst of keys
  c = start({ debounce = 100 })
  c:request('nvim_input', 'i')
  for _ = 1, 20 do
    c:request('nvim_input', 'word ')
    vim.wait(10)
  end
  t.ok(wait_for_requests(c, 1), 'a burst of keys is followed by a request')
  t.is(requests(c), 1, 'by one')
  t.is(c:buffer(), ('word '):rep(20), 'and no key is lost')
  c:stop()

  -- when they do not come
  for _, case in ipairs({
    { { trigger = 'manual' }, 'iOnce', 'trigger = manual' },
    { { trigger = 'off' }, 'iOnce', 'trigger = off' },
    { { filetypes = { markdown = 'manual' } }, ':set ft=markdown<CR>iOnce', 'manual for the filetype' },
    { { filetypes = { ['*'] = 'off' } }, 'iOnce', 'off for all filetypes' },
    { {}, 'iOnce<Esc>', 'left insert mode' },
    { {}, 'iOnce<Left>', 'moved after typing' },
    { {}, 'ihello<Esc>0lix', 'inside a word' },
    { {}, ':let b:aigc_disable = 1<CR>iOnce', 'b:aigc_disable' },
    { {}, ':let g:aigc_disable = 1<CR>iOnce', 'g:aigc_disable' },
    { {}, ':let b:visual_multi = 1<CR>iOnce', 'several cursors' },
    { {}, ':Aigc toggle<CR>iOnce', 'switched off' },
    { {}, ':Aigc toggle buffer<CR>iOnce', 'switched off for the buffer' },
    { {}, 'qqiOnce', 'a macro is recorded' },
    { {}, 'i', 'nothing was typed' },
  }) do
    c = start(case[1])
    c:keys(case[2])
    pause(c)
    t.is(requests(c), 0, 'none: ' .. case[3])
    c:stop()
  end
  c = start({ trigger = 'off', filetypes = { markdown = 'auto' } })
  c:keys(':set ft=markdown<CR>iOnce')
  t.ok(wait_for_requests(c, 1), 'on for one filetype')
  c:stop()
  c = start()
  c:keys('<C-g>x<C-g>xiOnce')
  t.ok(wait_for_requests(c, 1), 'switched off and on again')
  c:say({ { ' upon', -0.1 }, { ' a', -0.1 } })
  c:keys('<C-g>b')
  t.is(c:screen(), 'Once', 'switching off takes the suggestion away')
  c:stop()

  -- only what the model is sure of
  c = start()
  c:keys('iOnce')
  wait_for_requests(c, 1)
  c:say({ { ' zebra', -3 }, { ' crossing', -0.1 }, { ' the', -0.1 } })
  t.is(c:screen(), 'Once', 'an unsure first word: nothing')
  t.is(c:lua('return #fake.cancelled'), 1, 'and the model stops')
  c:stop()
  c = start()
  c:keys('iOnce')
  wait_for_requests(c, 1)
  c:say({ { ' up', -0.2 }, { 'on', -0.1 }, { ' a', -0.3 }, { ' quux', -9 }, { ' the', -0.1 } })
  t.is(c:screen(), 'Once upon a', 'up to the word at which it becomes unsure')
  local status = c:request('nvim_exec', 'Aigc status', true)
  t.ok(status:find('mean log-probability -1.00, last -2.40', 1, true), ':Aigc status shows the threshold', status)
  c:stop()
  c = start()
  c:keys('iOnce<C-k>')
  c:say({ { ' zebra', -3 }, { ' crossing', -5 } })
  t.is(c:screen(), 'Once zebra crossing', 'who asks is told whatever it is')
  c:stop()

  -- many pieces at once: in several turns, with the same result
  local pieces = {}
  for i = 1, 40 do
    pieces[i] = { i % 2 == 0 and ('b%d'):format(i) or ' a', i == 31 and -99 or -0.1 }
  end
  for _, case in ipairs({ { '<C-k>', 40 }, { '', 30 } }) do
    c = start()
    c:keys('iOnce' .. case[1])
    wait_for_requests(c, 1)
    c:lua([[
      local stop = require('aigc.stop')
      local cut = stop.cut
      _G.n_looks = 0
      function stop.cut(...)
        n_looks = n_looks + 1
        return cut(...)
      end
    ]])
    c:say(pieces)
    local said = {}
    for i = 1, case[2] do
      said[i] = pieces[i][1]
    end
    t.is(c:lua("return require('aigc').text()"), table.concat(said), 'of forty pieces at once ' .. case[2])
    t.ok(c:lua('return n_looks') > 1, 'looked at in turns')
    c:stop()
  end

  c = start()
  c:keys('i吾輩は')
  wait_for_requests(c, 1)
  c:say({ { '猫', -0.1 }, { 'で', -0.1 }, { 'ある', -0.1 }, { '薔薇', -9 }, { '。', -0.1 } })
  t.is(c:screen(), '吾輩は猫である', 'a script without spaces')
  c:stop()

  -- where a writer stops
  c = start({ extent = 'auto' })
  c:keys('iOnce')
  wait_for_requests(c, 1)
  c:say({ { ' there', -0.1 }, { ' was', -0.1 }, { '.', -0.1 }, { ' Then', -0.1 }, { ' he', -0.1 } })
  t.is(c:screen(), 'Once there was.', 'at the end of a sentence')
  t.is(c:lua('return #fake.cancelled'), 1, 'and the model stops there')
  c:stop()
  c = start({ extent = 'auto' })
  c:keys(':set ft=lua<CR>ifor x')
  wait_for_requests(c, 1)
  c:say({ { ' do', -0.1 }, { '\n ', -0.1 }, { ' y', -0.1 }, { '\nend', -0.1 }, { '\nz', -0.1 }, { ' =', -0.1 } })
  t.is(c:screen(), 'for x do\n  y\nend', 'at the end of a block of code')
  c:stop()
  c = start({ extent = 'words', words = 2 })
  c:keys('iOnce')
  wait_for_requests(c, 1)
  c:say({ { ' one', -0.1 }, { ' two', -0.1 }, { ' three', -0.1 }, { ' four', -0.1 } })
  t.is(c:screen(), 'Once one two', 'after so many words')
  c:stop()
  c = start()
  c:keys('icall()<Left>a, b')
  wait_for_requests(c, 1)
  c:say({ { ', c', -0.1 }, { ')', -0.1 }, { ' next', -0.1 }, { ' x', -0.1 } })
  t.is(c:screen(), 'call(a, b, c)', 'what follows the cursor is not repeated')
  c:stop()

  -- a model that goes in circles
  local circling = {}
  for i, word in ipairs({ ' he', ' was', ' very', ' pale', ' and', ' very', ' pale', ' and', ' very', ' pale', ' and' }) do
    circling[i] = { word, -0.1 }
  end
  c = start({ extent = 'auto' })
  c:keys('iAnd')
  wait_for_requests(c, 1)
  c:say(circling)
  t.is(c:screen(), 'And he was very pale and very pale and', 'what says the same again ends there')
  t.is(c:lua('return #fake.cancelled'), 1, 'and the model stops')
  c:stop()
  c = start({ extent = 'free' })
  c:keys('iAnd')
  wait_for_requests(c, 1)
  c:say(circling)
  c:finish()
  t.is(c:screen(), 'And he was very pale and very pale and\nvery pale and', "but for 'free'")
  c:stop()

  -- where there is no text
  c = start()
  c:keys(':set virtualedit=all<CR>iab<Esc>5li')
  c:keys('<C-k>')
  t.is(requests(c), 0, "none behind the end of a line, where 'virtualedit' lets the cursor go")
  c:keys('<End><C-k>')
  c:say(' upon')
  c:finish()
  t.is(c:screen(), 'ab upon', 'but at the end')
  c:keys('<Right>')
  t.is(c:screen() .. tostring(c:visible()), 'abfalse', 'which it does not outlive')
  c:stop()

  -- the completion menu
  c = start()
  c:keys('iOnly Onto<CR>On')
  c:lua('vim.wait(80)')
  wait_for_requests(c, 1)
  c:say({ { 'ce', -0.1 }, { ' upon', -0.1 }, { ' a', -0.1 } })
  t.ok(c:screen():find('Once upon'), 'shown before the menu', c:screen())
  c:keys('<C-x><C-n>')
  t.is(c:lua('return vim.fn.pumvisible()'), 1, 'the menu opens')
  t.ok(not c:screen():find('upon', 1, true), 'the suggestion makes room for it', c:screen())
  t.is(c:visible(), false, 'and is not there to be accepted')
  c:keys('<C-e>')
  t.ok(c:screen():find('Once upon'), 'and is back when it closes', c:screen())
  c:keys('<C-x><C-n><C-n><C-y>')
  t.is(c:buffer():match('[^\n]*$'), 'Onto', 'an item of the menu is inserted as it is')
  c:stop()

  c = start({ menu = 'show' })
  c:keys('iOnly Onto<CR>On')
  c:lua('vim.wait(80)')
  wait_for_requests(c, 1)
  c:say({ { 'ly', -0.1 }, { ' you', -0.1 }, { ' and', -0.1 } })
  c:keys('<C-x><C-n>')
  t.ok(c:screen():find('Only you', 1, true), "menu = 'show': both are there", c:screen())
  c:stop()

  -- a Neovim that completes all the time (0.12): then that is the mode, whether or not there is a menu
  c = start()
  if c:lua("return vim.fn.exists('&autocomplete')") == 1 then
    c:keys(':set autocomplete<CR>iOnly upon Onto<CR>One<Space>')
    t.ok(wait_for_requests(c, 1), "'autocomplete': a request after a pause")
    c:say(' upon a time')
    c:finish()
    t.ok(c:screen():find('One upon a time', 1, true), "'autocomplete': shown", c:screen())
    c:keys('u')
    t.is(c:lua('return vim.fn.pumvisible()') .. tostring(c:visible()), '1false', "'autocomplete': makes room for the menu")
    pause(c)
    t.is(c:visible(), false, "'autocomplete': as long as that is open")
    c:keys('<C-e>')
    c:keys('<C-g>w')
    t.is(c:buffer(), 'Only upon Onto\nOne upon', "'autocomplete': accepted behind it")
    t.is(c:visible(), true, "'autocomplete': and the rest stays")
    c:keys('<C-j>')
    t.ok(wait_for_requests(c, 2), "'autocomplete': the next request")
  end
  c:stop()

  -- parts
  local function shown(text, aigc)
    local one = child.start({ aigc = aigc })
    one:keys('iOnce<C-k>')
    one:say(text)
    return one
  end
  c = shown(' upon a time, there was. Then it went.\nAnd so on.')
  c:keys('<C-g>w')
  t.is(c:buffer(), 'Once upon', 'accept a word')
  t.ok(c:screen():find('^Once upon a time, there was'), 'the rest stays', c:screen())
  c:keys('<C-g>w<C-g>w<C-g>w')
  t.is(c:buffer(), 'Once upon a time,', 'punctuation is a word of its own')
  c:keys('<C-g>s')
  t.is(c:buffer(), 'Once upon a time, there was.', 'accept a sentence')
  c:keys('<C-g>l')
  t.is(c:buffer(), 'Once upon a time, there was. Then it went.', 'accept a line')
  t.is(c:lua('return #fake.cancelled'), 0, 'the request goes on all the time')
  c:keys('<C-g>l')
  t.is(c:buffer(), 'Once upon a time, there was. Then it went.\nAnd so on.', 'accept the next line')
  t.is(c:visible(), false, 'and all is taken')
  c:keys('<Esc>u')
  t.is(c:buffer(), 'Once upon a time, there was. Then it went.', 'each part is an undo step')
  c:stop()
  c = shown(' upon a (time) x')
  c:keys('<C-g>t)')
  t.is(c:buffer(), 'Once upon a (time)', 'accept up to a character')
  c:keys('<C-g>tz')
  t.is(c:buffer(), 'Once upon a (time)', 'one that is not in it')
  c:keys('<C-g>t<Esc>')
  t.is(c:buffer() .. c:request('nvim_get_mode').mode, 'Once upon a (time)i', '<Esc> gives up')
  c:stop()
  c = shown(') x')
  c:keys('<C-g>t)')
  t.is(c:buffer(), 'Once)', 'one that it begins with')
  c:stop()
  c = shown("n't go")
  c:keys('<C-g>w')
  t.is(c:buffer(), "Oncen't", 'an apostrophe inside a word')
  c:stop()
  c = shown('日本語を書く')
  c:keys('<C-g>w')
  t.is(c:buffer(), 'Once日本語', 'words of a script without spaces')
  c:stop()
  c = shown(' upon')
  c:keys('<C-o>:Aigc accept nothing<CR>')
  t.ok(table.concat(c:lua('return notes')):find("no part 'nothing', there are: all, line"), 'an unknown part')
  c:keys('<C-o>:Aigc accept word<CR>')
  t.is(c:buffer(), 'Once upon', 'by the command')
  c:stop()

  c = shown(' upon a time, there was')
  c:keys('<C-g>d<Esc><C-k>')
  c:say(' upon a time, there was')
  c:keys('<C-g>w')
  t.is(c:buffer() .. c:request('nvim_get_mode').mode, 'Once uponn', 'accept a word in normal mode')
  t.is(c:screen(), 'Once upon a time, there was', 'the rest stays there too')
  c:keys('<C-g>w<C-g>t,')
  t.is(c:buffer() .. c:screen(), 'Once upon a time,Once upon a time, there was', 'and further')
  c:keys('<C-j>')
  t.is(c:buffer() .. tostring(c:visible()), 'Once upon a time, there wasfalse', 'to its end')
  c:keys('.uu')
  t.is(c:buffer(), 'Once upon a time,', "each part is what '.' and u are about")
  c:stop()
  c = shown(' upon\n a time')
  c:lua([[
    local paste = vim.paste
    vim.paste = function(...)
      paste(...)
      error('a broken vim.paste')
    end
  ]])
  c:keys('<C-j>')
  t.is(c:buffer(), 'Once upon\n a time', 'a vim.paste() that fails behind its work: inserted once')
  c:lua("vim.paste = function() error('a broken vim.paste') end")
  c:keys('<C-k>')
  c:say(' there\nwas')
  c:keys('<C-j>!')
  t.is(c:buffer(), 'Once upon\n a time there\nwas!', 'one that does nothing else: inserted all the same')
  c:stop()

  -- alternatives
  c = shown(' upon')
  c:finish()
  c:keys('<C-g>n')
  local request = c:lua('return fake.requests[#fake.requests]')
  t.is(request.n, 3, 'the next alternative asks for some')
  t.ok(request.temperature > 0, 'that differ')
  c:finish({ ' there', ' upon', ' in' })
  t.is(c:screen(), 'Once there (2/3)', 'the next one, of those that differ')
  c:keys('<C-g>n')
  t.is(c:screen(), 'Once in (3/3)', 'the one after it')
  c:keys('<C-g>n')
  t.is(c:screen(), 'Once upon (1/3)', 'and round')
  c:keys('<C-g>p<C-g>p')
  t.is(c:screen(), 'Once there (2/3)', 'backwards')
  t.is(requests(c), 2, 'without further requests')
  c:keys('<C-j>')
  t.is(c:buffer(), 'Once there', 'accepted like any other')
  c:stop()
  c = shown(' upon')
  c:keys('<C-g>n')
  t.is(requests(c), 1, 'asked for while the first one streams')
  c:finish()
  c:finish({ ' there' })
  t.is(c:screen(), 'Once there (2/2)', 'it comes after it')
  c:stop()

  -- the next one is there before it is asked for
  c = start({ speculate = true })
  c:keys('iOnce')
  wait_for_requests(c, 1)
  c:say({ { ' upon', -0.1 }, { ' a', -0.1 } })
  c:finish()
  t.ok(wait_for_requests(c, 2), 'while one is shown the next is asked for')
  t.is(c:lua('return fake.requests[2].prompt'), 'Once upon a', 'as if it were accepted')
  c:say({ { ' time', -0.1 }, { ' there', -0.1 } })
  c:finish()
  t.is(c:screen(), 'Once upon a', 'it is not shown yet')
  c:keys('<C-j>')
  c:settle()
  t.is(c:screen(), 'Once upon a time there', 'but at once when the first is accepted')
  t.is(c:buffer(), 'Once upon a', 'not in the buffer')
  t.is(c:lua("return require('aigc').status().from_cache"), 1, 'from the cache')
  t.ok(wait_for_requests(c, 3), 'and the one after that is asked for')
  t.is(c:lua('return fake.requests[3].prompt'), 'Once upon a time there', 'as if that were accepted too')
  c:stop()

  -- known answers
  c = start()
  c:keys('iOnce')
  wait_for_requests(c, 1)
  c:say({ { ' upon', -0.1 } })
  c:finish()
  c:keys('x')
  wait_for_requests(c, 2)
  c:keys('<BS>')
  pause(c)
  t.is(c:screen(), 'Once upon', 'back where one was: the same again')
  t.is(requests(c), 2, 'without asking the model')
  c:stop()

  -- prose with line ends in its paragraphs
  c = child.start({ columns = 60 })
  c:keys(':set ft=text textwidth=30<CR>iThis is a first line of a long<CR>paragraph, which<C-k>')
  t.is(
    c:lua('return fake.requests[1].prompt'),
    'This is a first line of a long paragraph, which',
    'hard wrap: the paragraph is joined for the model'
  )
  c:say(' goes on for another line or two')
  t.is(
    c:screen(),
    'This is a first line of a long\nparagraph, which goes on for\nanother line or two',
    'and the answer broken on the screen'
  )
  c:keys(' goes on for anot')
  t.is(
    c:buffer(),
    'This is a first line of a long\nparagraph, which goes on for\nanot',
    'typing it breaks the line'
  )
  t.is(c:visible(), true, 'and keeps it')
  c:keys('<C-j>')
  t.is(
    c:buffer(),
    'This is a first line of a long\nparagraph, which goes on for\nanother line or two',
    'accepting inserts it broken'
  )
  c:keys('<Esc>u')
  t.is(c:buffer():match('[^\n]*$'), 'anot', 'in one undo step')
  c:stop()
  c = child.start()
  c:keys(':set ft=text textwidth=20 formatoptions-=t<CR>ifirst some words<CR>and more<C-k>')
  t.is(c:lua('return fake.requests[1].prompt'), 'first some words and more', "without t in 'formatoptions': joined all the same")
  c:say(' that go on past the column')
  c:keys('<C-j>')
  t.is(c:buffer(), 'first some words\nand more that go on past the column', 'but not broken: typing would not either')
  c:stop()

  c = child.start({ columns = 60 })
  c:keys(':set ft=mail textwidth=22<CR>isome text that goes ex<C-k>')
  c:say('traordinarily far')
  t.is(c:buffer(), 'some text that goes ex', '(that much of it fits)')
  c:keys('<C-j>')
  t.is(c:buffer(), 'some text that goes\nextraordinarily far', 'a word that gets too long takes a new line')
  c:stop()

  -- what is accepted is what typing would have made of it, and typing it keeps what is left of it
  local said = ' goes on and on for a while and then ends'
  for _, case in ipairs({
    { 'ft=markdown textwidth=30', '- a list item that', 'a list item' },
    { 'ft=markdown textwidth=30 noautoindent', '  * a list item that', 'a list item without autoindent' },
    { 'ft=text textwidth=30 formatoptions+=n', '12. a list item that', 'a numbered list item' },
    { 'ft=text textwidth=30 tabstop=4 noexpandtab', '\t- a list item', 'a list item behind a tab' },
    { 'ft=text textwidth=30', '• a list item', 'a list item with a wide mark' },
    { 'ft=text textwidth=30 noautoindent', '    an indented paragraph', 'an indent without autoindent' },
    { 'ft=mail textwidth=30', '> > a quotation of one', 'a quotation' },
    { 'ft=c textwidth=30', '    /* a comment that', 'the beginning of a comment' },
    { 'ft=c textwidth=30', '     * a comment that', 'a line of a comment' },
    { 'ft=lua textwidth=30', '  -- a comment that', 'a comment of one line' },
    { 'ft=lua textwidth=30', 'local x = a_longer_name', 'no comment: code is left alone', true },
    { 'ft=text wrapmargin=28', 'a line that', "'wrapmargin'" },
    { 'ft=text wrapmargin=20 number signcolumn=yes', 'a line that', "'wrapmargin' with columns at the left" },
    { 'ft=text textwidth=30 formatoptions+=w', 'a line that', 'flowed text' },
    { 'ft=text textwidth=20', 'the extra', 'a word that gets too long', false, 'ordinarily long word of it all' },
    { 'ft=text textwidth=20', 'two  spaces', 'several spaces', false, '  go  on  and  on  for  a  while' },
  }) do
    local text = case[5] or said
    local made = {}
    for _, way in ipairs({ 'typed', 'accepted', 'typed through' }) do
      c = child.start({ columns = 60 })
      c:keys(':filetype plugin on<CR>:set ' .. case[1] .. '<CR>')
      c:lua('vim.api.nvim_buf_set_lines(0, 0, -1, true, { (...) })', case[2])
      c:keys('A<C-k>')
      if way == 'typed' then
        c:keys('<C-g>d')
      else
        c:say(text)
      end
      if way == 'accepted' then
        c:keys('<C-j>')
      else
        c:keys((text:gsub(' ', '<Space>'):sub(1, way == 'typed' and -1 or -2)))
        made.kept = c:visible()
      end
      made[way] = c:buffer()
      c:stop()
    end
    if case[4] then
      t.is(made.accepted, case[2] .. text, case[3])
    else
      t.is(made.accepted, made.typed, case[3] .. ': accepted as typed')
      t.ok(made.typed:find('\n', 1, true), '  which breaks it', made.typed)
      t.is(made.kept, true, '  and typing it keeps it')
    end
  end
end
