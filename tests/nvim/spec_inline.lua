-- Neovim's own inline completion (0.12) with the language server in the editor: Neovim asks, shows and
-- accepts; the tests look at its screen and press keys that are mapped to its functions.

return function(t, child)
  if not (vim.lsp.inline_completion and vim.lsp.inline_completion.get) then
    t.skip_all('this Neovim has no vim.lsp.inline_completion (0.12 has)')
    return
  end

  -- Our own suggestions come after 20 ms where they come, long before Neovim asks (200 ms).
  local AUTO = { debounce = 20, extent = 'free', speculate = false, min_logprob = -5 }

  local KEYS = [[
    vim.keymap.set('i', '<Tab>', function()
      return vim.lsp.inline_completion.get() and '<C-g>u' or 'no'
    end, { expr = true, desc = 'as the help says' })
    vim.keymap.set('i', '<C-x>n', function() vim.lsp.inline_completion.select({ count = 1 }) end)
    vim.keymap.set('i', '<C-x>p', function() vim.lsp.inline_completion.select({ count = -1 }) end)
    _G.outcomes, _G.deprecated = {}, {}
    table.insert(require('aigc.hooks').outcome, function(o) outcomes[#outcomes + 1] = o end)
    local deprecate = vim.deprecate
    vim.deprecate = function(name, ...) deprecated[#deprecated + 1] = name return deprecate(name, ...) end
  ]]

  local function wait(c, code, ...)
    local args = { ... }
    return child.wait(5000, function()
      return c:lua(code, unpack(args))
    end)
  end
  local function marks(c, namespace)
    local code = 'return #vim.api.nvim_buf_get_extmarks(0, vim.api.nvim_create_namespace(...), 0, -1, {})'
    return c:lua(code, namespace)
  end
  -- Whose suggestions are there: '' for nobody's.
  local function shown_by(c)
    local neovim = marks(c, 'nvim.lsp.inline_completion') > 0 and 'Neovim' or ''
    return neovim .. (marks(c, 'aigc') > 0 and 'ours' or '')
  end
  -- Until Neovim watches the buffer for it, which is a little later than the server is attached.
  local function attached(c)
    return wait(
      c,
      [[return vim.lsp.get_clients({ bufnr = 0 })[1] ~= nil and #vim.api.nvim_get_autocmds({
        event = 'CursorMovedI', buffer = 0 }) > 0]]
    )
  end
  local function start(options, file)
    local c = child.start({ aigc = vim.tbl_extend('force', AUTO, options or {}) })
    c:lua(KEYS)
    if file then
      c:request('nvim_command', 'edit ' .. file)
    end
    c:lua("_G.id, _G.message = require('aigc.lsp').start()")
    t.ok(attached(c), 'the server is attached', c:lua('return message'))
    return c
  end
  local function requests(c)
    return c:lua('return #fake.requests')
  end
  -- Until Neovim has asked so many times.
  local function asked(c, n)
    return wait(c, 'return #fake.requests >= ...', n or 1)
  end
  local function says(c, text, ...)
    c:say(text)
    c:finish(...)
  end
  -- Longer than Neovim waits before it asks.
  local function rest(c)
    c:lua('vim.wait(260)')
    c:settle()
  end

  -- shown, accepted
  local c = start()
  c:keys('iOnce')
  t.ok(asked(c), 'Neovim asks')
  says(c, ' upon a time')
  t.is(c:screen(), 'Once upon a time', 'what we suggest is on the screen')
  t.is(shown_by(c), 'Neovim', 'put there by Neovim')
  t.is(tostring(c:visible()) .. requests(c), 'false1', 'and not by us, though suggestions come by themselves')
  t.is(c:buffer(), 'Once', 'it is not in the buffer')
  c:keys('<Tab>')
  c:settle()
  t.is(c:buffer(), 'Once upon a time', 'inline_completion.get() accepts')
  local outcome = c:lua('return outcomes[1]')
  t.is(outcome.kind .. outcome.taken .. outcome.prompt, 'accepted upon a timeOnce', 'the personal layer is told')
  t.is(c:lua('return vim.inspect(vim.api.nvim_win_get_cursor(0))'), '{ 1, 16 }', 'the cursor is behind it')
  asked(c, 2)
  t.is(requests(c), 2, 'the next is asked for')
  says(c, ' there')
  t.is(c:screen(), 'Once upon a time there', 'and shown')
  c:keys('<Esc>u')
  t.is(c:buffer(), 'Once', 'accepting is an undo step')
  t.is(shown_by(c), '', 'nothing is left of the other one')
  t.is(c:lua('return outcomes[2].kind .. #outcomes'), 'rejected2', 'which counts as rejected')
  c:stop()

  c = start()
  c:keys('iOnce')
  asked(c)
  says(c, ' upon')
  c:keys('<Tab>')
  c:settle()
  c:keys('<CR><Esc>.')
  t.is(c:buffer(), 'Once upon\nOnce upon\n', '`.` repeats it')
  c:stop()

  -- typed along
  c = start()
  c:keys('iOnce')
  asked(c)
  says(c, ' upon a time')
  c:keys(' u')
  t.is(c:screen(), 'Once upon a time', 'typing what it says keeps it')
  rest(c)
  t.is(c:screen() .. requests(c), 'Once upon a time1', 'and asks for nothing when Neovim asks again')
  c:keys('<BS>')
  t.is(c:screen(), 'Once upon a time', 'back within it, too')
  c:keys('up<Tab>')
  c:settle()
  t.is(c:buffer(), 'Once upon a time', 'typed and accepted in one go: the rest, behind what was typed')
  t.is(c:lua('return outcomes[1].kind .. outcomes[1].taken'), 'accepted upon a time', 'all of it counts')
  c:stop()
  c = start()
  c:keys('iOnce')
  asked(c)
  says(c, ' up')
  c:keys(' up')
  t.is(shown_by(c) .. c:lua('return outcomes[1].kind .. #outcomes'), 'typed1', 'typed to its end')
  c:keys('<Tab>')
  t.is(c:buffer(), 'Once upno', 'there is nothing to accept then')
  c:stop()

  -- a menu that is a window of another plugin
  c = start()
  c:keys('iOnce')
  asked(c)
  says(c, ' upon')
  c:lua("vim.api.nvim_exec_autocmds('User', { pattern = 'BlinkCmpMenuOpen' })")
  c:keys(' ')
  t.is(shown_by(c), '', 'it makes room for such a menu')
  c:lua("vim.api.nvim_exec_autocmds('User', { pattern = 'BlinkCmpMenuClose' })")
  c:keys('u')
  t.is(shown_by(c) .. c:screen() .. requests(c), 'NeovimOnce upon1', 'and comes back')
  c:stop()

  -- typed otherwise
  c = start()
  c:keys('iOnce')
  asked(c)
  c:keys('!')
  c:settle()
  t.is(c:lua('return #fake.cancelled'), 1, 'typing cancels what is computed')
  asked(c, 2)
  says(c, ' What')
  t.is(c:screen(), 'Once! What', 'the answer to the new text is shown')
  c:keys('?')
  t.is(c:screen() .. shown_by(c), 'Once!?', 'typing something else takes it away at once')
  t.is(c:lua('return outcomes[1].kind .. #outcomes'), 'rejected1', 'that is a rejection')
  c:keys('<Tab>')
  t.is(c:buffer(), 'Once!?no', 'and it cannot be accepted any more')
  c:stop()

  -- left
  c = start()
  c:keys('iOnce')
  asked(c)
  c:keys('<Esc>')
  c:settle()
  t.is(c:lua('return #fake.cancelled'), 1, 'leaving insert mode cancels')
  t.is(c:lua('return vim.tbl_count(vim.lsp.get_clients()[1].requests)'), 0, 'no request stays open')
  c:keys('A')
  asked(c, 2)
  says(c, ' upon')
  t.is(c:screen(), 'Once upon', 'coming back asks again')
  c:keys('<Left>')
  t.is(shown_by(c), '', 'moving away takes it away')
  c:keys('<End>?')
  asked(c, 3)
  says(c, ' upon')
  c:keys('<C-c>')
  c:settle()
  t.is(shown_by(c), '', '<C-c> takes it away, too')
  t.is(c:lua('return outcomes[#outcomes].kind'), 'rejected', 'which is a rejection')
  c:keys('A!')
  t.ok(asked(c, 4), 'and Neovim still asks')
  c:keys('<C-c>')
  rest(c)
  t.is(requests(c) .. #c:lua('return fake.cancelled'), '42', 'what was computed stops, and nothing is asked in normal mode')
  c:stop()

  -- what was shown is no part of the column that moving up wants
  for keys, column in pairs({ ['<C-c>k'] = 0, ['<Right><Up>'] = 1 }) do
    c = start()
    c:keys('iabcdefgh<CR>rest<Esc>I')
    asked(c)
    says(c, 'xyz ')
    t.is(c:screen(), 'abcdefgh\nxyzrest', 'text behind the cursor is pushed aside')
    local first, second = keys:match('^(<[^>]*>)(.*)$')
    c:keys(first)
    c:keys(second)
    t.is(c:request('nvim_win_get_cursor', 0)[2], column, 'what was shown counts for no column, ' .. keys)
    c:stop()
  end

  -- alternatives
  c = start({ speculate = true })
  c:keys('iOnce')
  asked(c)
  says(c, ' upon')
  asked(c, 2)
  t.is(c:lua('return fake.requests[2].n'), 3, 'a suggestion that stands a while gets alternatives')
  t.is(c:screen(), 'Once upon', 'it stays meanwhile')
  c:finish({ ' more', ' again', ' upon' })
  t.is(c:screen(), 'Once upon', 'and when they are there')
  c:keys('<C-x>n')
  t.is(c:screen(), 'Once more (2/3)', 'inline_completion.select(): the next')
  c:keys('<C-x>n')
  t.is(c:screen(), 'Once again (3/3)', 'and the next')
  c:keys('<C-x>p<C-x>p')
  t.is(c:screen(), 'Once upon (1/3)', 'and back')
  c:keys('<C-x>n m')
  t.is(c:screen(), 'Once more', 'typing chooses, too')
  c:keys('<Tab>')
  c:settle()
  t.is(c:buffer(), 'Once more', 'the chosen one is accepted')
  t.is(c:lua('return outcomes[1].taken'), ' more', 'and learned from')
  c:stop()

  -- several lines, text behind the cursor, wide characters
  c = start()
  c:keys('iOnce.<Left>日')
  asked(c)
  says(c, '本\nand more')
  t.is(c:screen(), 'Once日本.\nand more', 'several lines, the rest of the line pushed aside')
  c:keys('本<CR>an')
  t.is(c:screen(), 'Once日本\nand more.', 'typed along over the line end')
  c:keys('<Tab>')
  c:settle()
  t.is(c:buffer(), 'Once日本\nand more.', 'accepted there')
  c:stop()

  -- prose that is wrapped
  c = start()
  c:lua("vim.bo.textwidth = 20 vim.bo.filetype = 'text'")
  c:keys('i  Once upon')
  asked(c)
  says(c, ' a time there was')
  t.is(c:screen(), '  Once upon a time\n  there was', 'text is broken at textwidth')
  c:keys(' a')
  t.is(c:screen(), '  Once upon a time\n  there was', 'also when a part was typed')
  c:keys('<Tab>')
  c:settle()
  t.is(c:buffer(), '  Once upon a time\n  there was', 'and so it is inserted')
  t.is(c:lua('return outcomes[1].taken'), ' a time there was', 'but learned as it was said')
  c:stop()

  -- one of the two
  c = start()
  c:keys('iOnce')
  asked(c)
  says(c, ' upon a')
  c:keys('<C-k>')
  t.is(shown_by(c), '', 'a key that asks for ours takes the other one away')
  says(c, ' upon a')
  t.is(shown_by(c) .. c:screen(), 'oursOnce upon a', 'ours comes')
  rest(c)
  t.is(shown_by(c), 'ours', 'Neovim has nothing to show')
  c:keys(' ')
  rest(c)
  t.is(shown_by(c) .. c:screen(), 'oursOnce upon a', 'also when one types along')
  c:keys('<C-g>d')
  t.is(shown_by(c), '', 'dismissed')
  c:keys('t')
  asked(c, 3)
  says(c, 'hen')
  t.is(shown_by(c) .. c:screen(), 'NeovimOnce then', "it is Neovim's turn again")
  c:lua('vim.lsp.inline_completion.enable(false, { bufnr = 0 })')
  t.is(shown_by(c), '', 'switched off, it is gone')
  local n = requests(c)
  c:keys('e')
  asked(c, n + 1)
  says(c, 'n once')
  t.is(shown_by(c) .. c:screen(), 'oursOnce ten once', 'and ours come by themselves')
  c:keys('x')
  c:lua('vim.lsp.inline_completion.enable(true, { bufnr = 0 })')
  n = requests(c)
  c:keys('y')
  asked(c, n + 1)
  c:lua('vim.lsp.inline_completion.enable(false, { bufnr = 0 })')
  says(c, 'z')
  t.is(shown_by(c) .. c:lua('return vim.v.errmsg'), '', 'an answer that comes after that is lost, without an error')
  c:stop()
  c = child.start({ aigc = AUTO })
  c:lua("_G.id = require('aigc.lsp').start()")
  attached(c)
  c:lua('vim.lsp.inline_completion.enable(false, { bufnr = 0 })')
  c:keys('iOnce')
  asked(c)
  says(c, ' upon')
  rest(c)
  t.is(shown_by(c) .. requests(c), 'ours1', 'with the server but without inline completion there are only ours')
  c:stop()

  -- where nothing should come unasked
  for _, case in ipairs({
    { 'trigger is manual', { trigger = 'manual' }, '', 'iOnce' },
    { 'suggestions are off', {}, 'vim.b.aigc_disable = true', 'iOnce' },
    { 'a word is being mended', {}, '', 'iOnce<Left>' },
    { 'a macro is recorded', {}, '', 'qaiOnce' },
  }) do
    c = start(case[2])
    c:lua(case[3])
    c:keys(case[4])
    rest(c)
    rest(c)
    local allowed = case[1]:find('mended') and c:lua('return #fake.cancelled') or 0
    t.is(requests(c) - allowed .. shown_by(c), '0', 'nothing where ' .. case[1])
    c:stop()
  end
  c = start({}, '/tmp/aigc-inline/.env')
  c:keys('iKEY=')
  rest(c)
  t.is(requests(c), 0, 'nothing in a file of secrets')
  c:stop()

  -- as Neovim 0.11 and later start servers: lsp/aigc.lua
  c = child.start({ aigc = AUTO })
  c:lua("vim.lsp.enable('aigc') vim.lsp.inline_completion.enable()")
  c:request('nvim_command', 'edit aigc-inline.txt | set filetype=text')
  t.ok(attached(c), "vim.lsp.enable('aigc') attaches the server")
  c:keys('iOnce')
  asked(c)
  says(c, ' upon')
  t.is(shown_by(c) .. c:screen(), 'NeovimOnce upon', 'and Neovim shows what it says')
  c:lua("vim.o.completeopt = 'menuone'")
  c:keys('<C-x><C-o>')
  t.ok(wait(c, 'return vim.fn.pumvisible() == 1'), 'the menu of <C-x><C-o> opens')
  t.is(shown_by(c), '', 'and there is no suggestion beside it')
  c:keys('<C-e>')
  t.ok(
    child.wait(5000, function()
      return shown_by(c) == 'Neovim'
    end),
    'it comes back when the menu is closed'
  )
  t.is(c:screen() .. requests(c), 'Once upon1', 'and is not asked for again')
  c:keys('<Esc>')
  c:request('nvim_command', 'silent checkhealth aigc')
  t.ok(c:buffer():find('inline completion.*shows them in 1 buffer,'), 'checkhealth knows', c:buffer())
  c:lua([[vim.cmd('silent checkhealth vim.deprecated')]])
  t.ok(c:buffer():find('No deprecated functions detected', 1, true), 'nothing of ours is deprecated', c:buffer())
  c:lua("vim.lsp.enable('aigc', false)")
  t.ok(wait(c, 'return #vim.lsp.get_clients() == 0'), 'the server can be stopped')
  c:stop()

  -- with a model
  if not t.model_exists() then
    t.note('no ' .. t.model)
    return
  end
  c = child.start({ fake = false, aigc = { model = vim.fn.fnamemodify(t.model, ':p'), min_logprob = -100 } })
  c:lua(KEYS)
  c:lua("require('aigc.lsp').start()")
  attached(c)
  c:keys('iOnce upon a')
  t.ok(
    child.wait(20000, function()
      return shown_by(c) == 'Neovim'
    end),
    'a real model: Neovim shows what it says',
    c:screen() .. '\n' .. c:request('nvim_exec', 'Aigc status | messages', true)
  )
  local seen = c:screen():gsub('\n', '') -- of one line, which is wider than the screen
  c:keys('<Tab>')
  c:settle()
  t.is(c:buffer(), seen, 'and accepting inserts what is on the screen')
  t.ok(vim.startswith(seen, 'Once upon a time'), 'which makes sense', seen)
  c:stop()
end
