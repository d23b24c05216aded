-- What other frameworks get: nvim-cmp, blink.cmp, 'completefunc', the language server, statuslines.
-- Those plugins are not needed: the tests call what they would call.

return function(t, child)
  local function typed(text)
    local c = child.start()
    c:keys('i' .. text)
    c:lua("require('aigc.events')")
    return c
  end

  -- Until the engine has so many requests: putting one together takes some turns of the main loop.
  local function asked(c, n)
    child.wait(5000, function()
      return c:lua('return #fake.requests') == n
    end, 2)
  end

  -- nvim-cmp
  local c = typed('日本 upo')
  c:lua([[
    local source = require('aigc.cmp').new()
    _G.name, _G.available = source:get_debug_name(), source:is_available()
    source:complete({}, function(response) _G.got = response end)
  ]])
  t.is(c:lua('return name') .. tostring(c:lua('return available')), 'aigctrue', 'cmp: a source')
  t.is(c:lua('return got'), nil, 'cmp: does not wait')
  asked(c, 1)
  c:say('n a time')
  c:finish()
  local got = c:lua('return got')
  local item = got.items[1]
  t.is(item.label, 'upon a time', 'cmp: an item')
  t.is(item.textEdit.newText, 'upon a time', 'cmp: with the word that is begun')
  t.is(item.filterText, 'upon a time', 'cmp: found by what is typed of it')
  t.is(
    item.textEdit.range.start.character .. '-' .. item.textEdit.range['end'].character,
    '3-6',
    'cmp: in UTF-16 columns'
  )
  t.is(got.isIncomplete, true, 'cmp: to be asked again')
  c:lua([[require('aigc.cmp').new():complete({}, function(response) _G.again = response end)]])
  child.wait(5000, function()
    return c:lua('return again') ~= nil
  end, 2)
  t.is(c:lua('return #fake.requests') .. #c:lua('return again').items, '11', 'cmp: known answers come without the model')
  c:stop()
  c = child.start()
  c:lua("_G.available = require('aigc.cmp').new():is_available() and require('aigc.blink').new({}, {}):enabled()")
  t.is(
    c:lua("return tostring(available) .. tostring(package.loaded['aigc.suggestion'])"),
    'truenil',
    'cmp, blink: asked before anything is loaded they load nothing'
  )
  c:stop()
  c = typed('x')
  c:lua("vim.b.aigc_disable = true _G.available = require('aigc.cmp').new():is_available()")
  t.is(c:lua('return available'), false, 'cmp: not where suggestions are off')
  c:stop()

  -- blink.cmp
  c = typed('Once')
  c:lua([[
    local source = require('aigc.blink').new({}, {})
    _G.enabled = source:enabled()
    _G.cancel = source:get_completions({}, function(response) _G.got = response end)
  ]])
  t.is(c:lua('return enabled'), true, 'blink: a source')
  asked(c, 1)
  c:say(' upon')
  c:finish()
  got = c:lua('return got')
  t.is(got.items[1].textEdit.newText, 'Once upon', 'blink: an item')
  t.is(got.is_incomplete_forward, true, 'blink: to be asked again')
  c:keys(' then')
  local begin = [[_G.got = nil
    _G.cancel = require('aigc.blink').new():get_completions({}, function(response) _G.got = response end)]]
  c:lua(begin)
  asked(c, 2)
  c:lua('cancel()')
  t.is(c:lua('return #fake.cancelled'), 1, 'blink: can be cancelled')
  c:settle()
  t.is(c:lua('return got'), nil, 'blink: and then nothing comes')
  c:keys(' more')
  c:lua(begin .. ' cancel()')
  c:settle()
  t.is(c:lua('return #fake.requests .. tostring(got)'), '2nil', 'blink: cancelled before that the engine is not asked')
  c:keys(' and')
  c:lua(begin .. " vim.api.nvim_input('x')")
  child.wait(5000, function()
    return c:lua('return got') ~= nil
  end, 2)
  t.is(#c:lua('return got.items'), 0, 'blink: nothing where one has typed on meanwhile')
  c:stop()

  -- with a suggestion at the same place there is one request for both
  c = child.start({ aigc = { debounce = 20, extent = 'free', speculate = false, min_logprob = -5 } })
  c:keys('iOnce')
  child.wait(5000, function()
    return c:lua('return #fake.requests') == 1
  end, 5)
  c:lua([[require('aigc.blink').new():get_completions({}, function(response) _G.got = response end)]])
  c:say(' upon a')
  c:finish()
  t.is(c:lua('return #fake.requests .. got.items[1].textEdit.newText'), '1Once upon a', 'one request for both')
  t.is(c:screen(), 'Once upon a', 'and the suggestion is there')
  c:stop()

  -- their menus count as menus: a suggestion makes room
  local function with_menu(menu)
    local m = child.start({ aigc = { debounce = 20, extent = 'free', speculate = false, min_logprob = -5, menu = menu } })
    m:lua([[
      _G.heard = {}
      package.loaded['cmp'] = { event = { on = function(_, event, f) heard[event] = f end } }
    ]])
    m:keys('iOnce')
    child.wait(5000, function()
      return m:lua('return #fake.requests') == 1
    end, 5)
    m:say(' upon a')
    m:finish()
    return m
  end
  for _, how in ipairs({
    { 'cmp', 'heard.menu_opened()', 'heard.menu_closed()' },
    { 'blink', "vim.cmd('doautocmd User BlinkCmpMenuOpen')", "vim.cmd('doautocmd User BlinkCmpMenuClose')" },
  }) do
    c = with_menu('hide')
    t.is(c:screen(), 'Once upon a', how[1] .. ': shown before the menu')
    c:lua(how[2])
    c:settle()
    t.is(c:screen(), 'Once', how[1] .. ': not while it is open')
    c:keys(' ')
    t.is(c:screen(), 'Once', how[1] .. ': nor when something is typed')
    c:lua('vim.wait(60)')
    t.is(c:lua('return #fake.requests'), 1, how[1] .. ': and no other one comes')
    c:lua(how[3])
    c:settle()
    t.is(c:screen(), 'Once upon a', how[1] .. ': back when it closes')
    c:stop()
    c = with_menu('show')
    c:lua(how[2])
    c:settle()
    t.is(c:screen(), 'Once upon a', how[1] .. ": or beside it, as the option 'menu' says")
    c:stop()
  end

  -- 'completefunc'
  c = child.start()
  c:request('nvim_command', "set completeopt=menuone completefunc=v:lua.require'aigc'.completefunc")
  c:keys('iOnce up<C-x><C-u>')
  asked(c, 1)
  c:say('on a')
  c:finish()
  c:settle()
  t.is(c:lua('return vim.fn.pumvisible()'), 1, 'completefunc: the menu opens when the answer is there')
  c:keys('<C-y>')
  t.is(c:buffer(), 'Once upon a', 'completefunc: and inserts it')
  c:stop()
  c = child.start()
  c:request('nvim_command', "set completefunc=v:lua.require'aigc'.completefunc")
  c:keys('iOnce up<C-x><C-u>')
  asked(c, 1)
  c:keys('x')
  c:say('on a')
  c:finish()
  c:settle()
  t.is(c:lua('return vim.fn.pumvisible()') .. c:buffer(), '0Once upx', 'completefunc: not if one has typed on')
  c:stop()

  for _, leaves in ipairs({ '<C-y>', '<C-e>' }) do
    c = child.start()
    c:request('nvim_command', "set completeopt=menuone,noinsert completefunc=v:lua.require'aigc'.completefunc")
    c:keys('ifor x<C-x><C-u>')
    asked(c, 1)
    c:say(' do\n  y\nend')
    c:finish()
    c:settle()
    c:keys(leaves)
    t.is(
      c:buffer(),
      leaves == '<C-y>' and 'for x do\n  y\nend' or 'for x',
      'completefunc: several lines, left by ' .. leaves
    )
    c:stop()
  end
  c = child.start()
  c:keys(':set ft=text textwidth=20<CR>iOnce upon<C-o>:lua require("aigc").request(function(texts) _G.got = texts end)<CR>')
  asked(c, 1)
  c:say(' a time there was a girl')
  c:finish()
  t.is(table.concat(c:lua('return got')), ' a time\nthere was a girl', "sources: broken where 'textwidth' would")
  c:stop()

  -- what goes wrong is told to those who see no suggestion of ours, too
  c = child.start()
  c:request('nvim_command', "set completefunc=v:lua.require'aigc'.completefunc")
  for i = 1, 2 do
    c:keys('iOnce<C-x><C-u>')
    asked(c, i)
    c:lua("fake.fail('the model is broken')")
    c:settle_frame()
    c:keys('<Esc>')
  end
  t.is(table.concat(c:lua('return notes'), '|'), 'aigc: the model is broken', 'an error of the engine is told, once')
  c:stop()

  -- the language server
  c = typed('Once')
  c:lua([[
    _G.replies = {}
    _G.server = require('aigc.lsp').server({ on_exit = function(code) _G.exited = code end })
    _G.call = function(method, params)
      return select(2, server.request(method, params, function(error, result)
        replies[#replies + 1] = { error = error, result = result }
      end, function(id) _G.over = id end))
    end
    _G.at = { position = { line = 0, character = 4 }, context = { triggerKind = 1 },
      textDocument = { uri = vim.uri_from_bufnr(vim.api.nvim_get_current_buf()) } }
    call('initialize', {})
    call('textDocument/inlineCompletion', at)
  ]])
  c:settle()
  local replies = c:lua('return replies')
  t.is(replies[1].result.capabilities.inlineCompletionProvider, true, 'server: inline completion')
  t.is(#replies, 1, 'server: does not wait')
  c:say(' upon')
  c:finish()
  c:settle()
  replies = c:lua('return replies')
  t.is(replies[2].result.items[1].insertText, ' upon', 'server: an inline item')
  c:lua("call('textDocument/completion', at)")
  asked(c, 2)
  c:say(' upon')
  c:finish()
  t.is(c:lua('return replies[3].result.items[1].textEdit.newText'), 'Once upon', 'server: a completion item')
  c:lua("at.position.line = 5 call('textDocument/completion', at)")
  c:settle()
  t.is(#c:lua('return replies[4].result.items'), 0, 'server: nothing for another place')
  c:lua("call('textDocument/hover', at)")
  t.is(c:lua('return replies[5].error.code'), -32601, 'server: other methods')
  c:keys(' there')
  local n = c:lua('return #fake.requests')
  c:lua("at.position.line = 0 _G.id = call('textDocument/completion', at)")
  asked(c, n + 1)
  c:lua("server.notify('$/cancelRequest', { id = id })")
  t.is(c:lua('return #fake.cancelled'), 1, 'server: a request is cancelled')
  c:settle()
  t.is(c:lua('return over .. #replies'), '65', 'server: which is over then, without an answer')
  c:lua("call('shutdown') server.notify('exit')")
  t.is(c:lua('return exited .. tostring(server.is_closing())'), '0true', 'server: leaves')
  t.ok(
    c:lua("return select(2, require('aigc.lsp').start()) or vim.lsp.start ~= nil"),
    'server: an old Neovim is told, a new one starts it'
  )
  c:stop()

  -- statuslines and the Lua API
  c = typed('Once')
  local function statusline()
    return c:lua("return require('aigc').statusline()")
  end
  t.is(statusline(), '', 'statusline: nothing while the model rests')
  c:lua("require('aigc').request(function(texts) _G.got = texts end)")
  asked(c, 1)
  t.is(statusline(), 'aigc ●', 'statusline: while it works')
  c:say(' upon')
  c:finish()
  t.is(table.concat(c:lua('return got')), ' upon', 'request() hands the texts on')
  c:keys('<C-k>')
  c:say(' upon')
  t.is(c:lua("return require('aigc').text()"), ' upon', 'text() is what is shown')
  c:lua("require('aigc').toggle('buffer')")
  t.is(statusline(), 'aigc off', 'statusline: off')
  c:stop()
end
