-- A suggestion from the request to its end: what keeps it, what ends it, what accepting it does.

return function(t, child)
  -- A child with a suggestion on the screen.
  local function suggest(keys, text, options)
    local c = child.start(options)
    c:keys(keys)
    if text then
      c:say(text)
    end
    return c
  end
  local function cancelled(c)
    return c:lua('return #fake.cancelled')
  end

  -- what ends it
  for _, case in ipairs({
    { '<C-g>d', 'the key for it' },
    { 'x', 'typing something else' },
    { '<BS>', 'deleting before it' },
    { '<CR>', 'a new line' },
    { '<Left>', 'moving' },
    { '<Up>', 'moving to another line' },
    { '<Esc>', 'leaving insert mode' },
    { '<C-c>', 'leaving it by <C-c>' },
    { '<C-o>:new<CR>', 'another window' },
    { '<C-o>:enew!<CR>', 'another buffer' },
    { '<C-o>v', 'visual mode' },
    { '<C-o>u', 'undo' },
    { '<C-o>:call setline(".", "changed")<CR>', 'a change from elsewhere' },
    { '<C-o>:Aigc dismiss<CR>', 'the command' },
    { '<C-o>:Aigc stop<CR>', 'stopping' },
  }) do
    local c = suggest('ifirst<CR>Once<C-k>', ' upon a time')
    c:keys(case[1])
    t.is(c:visible(), false, case[2] .. ' ends it')
    t.ok(not c:screen():find('upon', 1, true), 'and it is gone from the screen', c:screen())
    if not case[1]:find('stop') then
      t.is(cancelled(c), 1, 'and its request is cancelled')
    end
    c:stop()
  end

  -- <C-c> where the cursor does not move: no event tells of it
  local c = suggest('i<C-k>', 'upon')
  c:keys('<C-c>')
  t.is(c:visible(), false, '<C-c> in an empty line ends it')
  t.is(c:screen(), '', 'and it is gone from the screen')
  c:stop()

  -- what comes late is not shown
  c = suggest('iOnce<C-k>', ' upon')
  c:keys('x')
  c:lua("fake.live = 1; fake.say(' late')")
  c:settle_frame()
  t.is(c:screen(), 'Oncex', 'text of a request that was given up is not shown')
  c:stop()

  -- what keeps it
  c = suggest('iOnce<C-k>', ' upon a')
  c:keys(' u')
  t.is(c:screen(), 'Once upon a', 'typing what it says keeps it')
  t.is(c:buffer(), 'Once u', 'with what was typed in the buffer')
  c:say(' time')
  t.is(c:screen(), 'Once upon a time', 'and it goes on')
  c:keys('<BS>')
  t.is(c:screen(), 'Once upon a time', 'deleting what was typed of it keeps it')
  c:keys('upon a time')
  t.is(c:screen(), 'Once upon a time', 'typing all of it')
  t.is(cancelled(c), 0, 'waits for more')
  c:say(' there')
  t.is(c:screen(), 'Once upon a time there', 'which comes')
  c:finish()
  t.is(c:visible(), true, 'it stays when it is complete')
  c:keys('<C-j>')
  t.is(c:buffer(), 'Once upon a time there', 'accepting inserts the rest')
  c:stop()
  c = suggest('iOnce<C-k>', ' upon')
  c:finish()
  c:keys(' upon')
  t.is(c:lua('return require("aigc").dismiss()'), false, 'typed to its end it is over')
  c:stop()
  c = suggest('iOnce<C-k>', ' upon')
  c:keys('<C-o>:echo 1<CR>')
  t.is(c:visible(), true, 'a command from insert mode keeps it')
  c:stop()

  -- accepting
  c = suggest('iOnce <C-k>', 'upon a')
  c:keys('<C-j>')
  t.is(c:buffer(), 'Once upon a', 'accept inserts')
  t.is(c:request('nvim_win_get_cursor', 0)[2], 11, 'the cursor is behind it')
  t.is(cancelled(c), 1, 'accepting stops the rest')
  t.is(c:visible(), false, 'nothing is shown any more')
  c:keys(' time<Esc>')
  c:keys('u')
  t.is(c:buffer(), 'Once upon a', 'undo takes what was typed after it')
  c:keys('u')
  t.is(c:buffer(), 'Once ', 'undo takes it, and only it')
  c:keys('u')
  t.is(c:buffer(), '', 'undo takes what was typed before it')
  c:keys('<C-r><C-r><C-r>')
  t.is(c:buffer(), 'Once upon a time', 'redo')
  c:stop()

  c = suggest('iOnce <C-k>', 'upon a time')
  c:keys('<C-j><Esc>')
  c:keys('o<Esc>')
  c:lua([[vim.api.nvim_buf_set_lines(0, 1, -1, true, { '>', '>' })]])
  c:keys('gg0')
  c:stop()

  for _, case in ipairs({
    { 'iOnce <C-k>', 'upon', 'j0.', 'Once upon\nOnce upon>', 'dot repeats typed and accepted text' },
    { 'A <C-k>', 'a\nb', 'j0.', ' a\nb\n>', 'dot repeats' },
  }) do
    c = child.start()
    c:lua("vim.api.nvim_buf_set_lines(0, 0, -1, true, { '', '>' })")
    c:keys(case[1])
    c:say(case[2])
    c:keys('<C-j><Esc>')
    if case[2]:find('\n') then
      t.is(c:buffer(), ' a\nb\n>', 'several lines are inserted')
      c:keys('u')
      t.is(c:buffer(), ' \n>', 'and undone at once')
    else
      c:keys(case[3])
      t.is(c:buffer(), case[4], case[5])
      c:keys('u')
      t.is(c:buffer(), 'Once upon\n>', 'and undo takes that back')
    end
    c:stop()
  end

  c = suggest(':set filetype=lua textwidth=20 autoindent shiftwidth=2<CR>:iabbrev upon UPON<CR>i  Once<C-k>')
  c:say(' upon a time there was a girl\nwho\n\tlived')
  c:keys('<C-j>')
  t.is(c:buffer(), '  Once upon a time there was a girl\nwho\n\tlived', 'the text is inserted literally')
  c:stop()

  c = suggest('ihello (world)<Left><Left><C-k>', 'XX')
  c:keys('<C-j>')
  t.is(c:buffer(), 'hello (worlXXd)', 'accept in the middle of a line')
  c:stop()

  c = suggest('iOnce<C-k>', ' upon')
  c:lua("vim.paste = function() error('no') end")
  c:keys('<C-j>')
  t.is(c:buffer(), 'Once upon', 'accept where pasting fails')
  c:keys('!')
  t.is(c:buffer(), 'Once upon!', 'leaves the cursor behind it')
  c:stop()

  c = suggest('iOnce')
  c:keys('<C-j>')
  t.is(c:buffer(), 'Once', 'accept without a suggestion does nothing')
  t.is(c:lua("return require('aigc').accept()"), false, 'and says so')
  c:stop()

  -- normal mode
  c = suggest('iOnce<Esc>:Aigc complete<CR>', ' upon')
  t.is(c:screen(), 'Once upon', 'in normal mode it stands behind the cursor')
  c:keys(':Aigc accept<CR>')
  t.is(c:buffer(), 'Once upon', 'and is accepted there')
  t.is(c:request('nvim_get_mode').mode, 'n', 'in normal mode')
  c:keys('.')
  t.is(c:buffer(), 'Once upon upon', 'dot repeats it')
  c:keys('uu')
  t.is(c:buffer(), 'Once', 'undo takes it')
  c:stop()
  c = suggest('iOnce<Esc><C-k>', ' upon')
  c:keys('a')
  t.is(c:visible(), true, 'it stays when insert mode begins there')
  c:keys(' up<C-j>')
  t.is(c:buffer(), 'Once upon', 'and can be typed and accepted')
  c:stop()
  for _, keys in ipairs({ 'i', 'h', 'x', 'v', 'R', 'o' }) do
    c = suggest('iOnce<Esc><C-k>', ' upon')
    c:keys(keys)
    t.is(c:visible(), false, keys .. ' in normal mode ends it')
    c:stop()
  end
  c = suggest('i吾輩は<Esc><C-k>', '猫')
  c:keys('<C-j>')
  t.is(c:buffer(), '吾輩は猫', 'behind a wide character')
  c:stop()
  c = suggest('iOnce')
  c:keys('<C-o>:Aigc complete<CR>')
  c:say(' upon')
  t.is(c:screen(), 'Once upon', 'from insert mode by <C-o>')
  c:keys('<C-o>:Aigc accept<CR>')
  t.is(c:buffer(), 'Once upon', 'accepted by <C-o>')
  c:stop()

  -- the newest wins
  c = suggest('iOnce<C-k>', ' upon')
  c:keys('<C-k>')
  t.is(c:visible(), false, 'asking again takes the old one away')
  c:say(' there')
  t.is(c:screen(), 'Once there', 'and shows the new one')
  t.is(cancelled(c), 1, 'the old request was cancelled')
  c:keys('<C-g>d')
  local once = 'AigcStart AigcShow AigcDone AigcHide'
  t.is(table.concat(c:lua('return seen'), ' '), once .. ' ' .. once, 'events')
  c:stop()

  -- nothing to say
  c = suggest('iOnce<C-k>')
  c:finish()
  t.is(c:lua('return require("aigc").dismiss()'), false, 'an empty answer is over at once')
  t.is(table.concat(c:lua('return seen'), ' '), 'AigcStart AigcDone', 'with both events')
  c:stop()

  -- control characters and line ends
  c = suggest('iOnce<C-k>', ' a\r\nb\7c\0d\r')
  c:keys('<C-j>')
  t.is(c:buffer(), 'Once a\nbcd\n', 'line ends as in a buffer, no other control characters')
  c:stop()

  -- where there is none
  for _, case in ipairs({
    { ':help<CR>:Aigc complete<CR>', "not in a buffer of type 'help'" },
    { ':set nomodifiable<CR>:Aigc complete<CR>', 'the buffer cannot be changed' },
    { ':let b:aigc_disable = 1<CR>:Aigc complete<CR>', 'b:aigc_disable is set' },
    { 'qqA<C-k>', '' },
    { ':set buftype=nofile<CR>i<C-k>', '' },
  }) do
    c = suggest(case[1])
    t.is(c:lua('return #fake.requests'), 0, 'no request: ' .. case[1])
    if case[2] ~= '' then
      t.is(table.concat(c:lua('return notes')), 'aigc: ' .. case[2], 'the command says why')
    else
      t.is(#c:lua('return notes'), 0, 'the map says nothing')
    end
    c:stop()
  end

  -- <C-c> while the modules are brought in, which Neovim gives to whatever Lua runs
  c = child.start({ aigc = { debounce = 20, extent = 'free', speculate = false, min_logprob = -5 } })
  c:lua([[
    interrupted = 0
    local get = vim.api.nvim_get_current_buf
    vim.api.nvim_get_current_buf = function()
      if package.loaded.aigc and interrupted == 0 then
        interrupted = 1
        error('Keyboard interrupt')
      end
      return get()
    end
  ]])
  c:keys('iOnce')
  child.wait(5000, function()
    return c:lua('return fake.live ~= nil')
  end)
  t.is(c:lua('return interrupted'), 1, 'loading is interrupted by <C-c>')
  t.ok(c:lua('return fake.live ~= nil'), 'and goes on: a suggestion is asked for')
  t.is(c:lua('return #notes'), 0, 'nothing is told')
  c:stop()
end
