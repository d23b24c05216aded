-- Options, commands, messages, the prompt, :checkhealth.

return function(t, child)
  local function notes(c)
    return table.concat(c:lua('return notes'), '\n')
  end
  local function last_request(c)
    return c:lua('return fake.requests[#fake.requests]')
  end

  -- nothing is loaded before it is used
  local c = child.start()
  local loaded = c:lua([[
    local names = {}
    for name in pairs(package.loaded) do
      if name:find('^aigc') and name ~= 'aigc.core' then names[#names + 1] = name end
    end
    return names
  ]])
  t.is(#loaded, 0, 'start-up loads no module')
  local maps = c:lua([[
    local tab, line = vim.fn.maparg('<Tab>', 'i', false, true), vim.fn.maparg('<C-l>', 'i')
    return (tab.desc or tab.rhs or tab.callback and 'a function' or '') .. line
  ]])
  t.ok(maps == '' or vim.startswith(maps, 'vim.snippet.jump'), 'and maps no key', maps) -- 0.11 has a <Tab>
  t.is(c:lua("return vim.fn.exists('#aigc')"), 0, 'and watches nothing')

  c:keys('i')
  t.ok(
    child.wait(5000, function()
      return c:lua("return package.loaded['aigc.suggestion'] ~= nil")
    end, 10),
    'in insert mode it loads by and by'
  )
  t.is(c:lua('return #fake.opened'), 0, 'and opens no model')
  c:keys('<Esc>')

  -- setup() before anything else
  local early = child.start({ aigc = vim.empty_dict() })
  local at_once = early:lua([[
    require('aigc').setup({ max_tokens = 7, nonsense = 1 })
    local before = package.loaded['aigc.config'] ~= nil
    return { before, require('aigc.config').get().max_tokens }
  ]])
  t.is(at_once[1], false, 'setup() only takes the options')
  t.is(at_once[2], 7, 'which are in force for who asks')
  early:settle()
  t.ok(notes(early):find("setup() has an unknown option 'nonsense'", 1, true), 'what is wrong is told later', notes(early))
  early:stop()

  -- a command that is the first thing waits until all is loaded, in turns
  for how, wanted in pairs({
    ['Aigc toggle'] = 'false false', -- whether its modules are there, and what it does is done
    ['silent Aigc dismiss'] = 'true false',
    ['silent! Aigc toggle'] = 'true true',
  }) do
    local fresh = child.start()
    local done = fresh:lua([[
      vim.cmd(...)
      return ('%s %s'):format(package.loaded['aigc.command'] ~= nil, vim.g.aigc_disable == true)
    ]], how)
    t.is(done, wanted, how .. ': whether it is done at once')
    fresh:stop()
  end
  local fresh = child.start()
  fresh:lua([[
    vim.cmd('Aigc model /x/first.gguf')
    vim.cmd('Aigc nonsense')
    vim.cmd('Aigc accept')
  ]])
  t.ok(
    child.wait(5000, function()
      return notes(fresh):find('there is no suggestion', 1, true) ~= nil
    end, 10),
    'all of several are done',
    notes(fresh)
  )
  t.ok(notes(fresh):find('/x/first.gguf.*nonsense.*no suggestion'), 'in their order', notes(fresh))
  fresh:lua("for name in pairs(package.loaded) do if name:find('^aigc%.load') then package.loaded[name] = nil end end")
  fresh:keys(':Aigc toggle<CR>')
  t.ok(
    child.wait(5000, function()
      return fresh:lua('return vim.g.aigc_disable == true')
    end, 10),
    'and by who has unloaded what loads'
  )
  fresh:stop()

  -- the command
  local function completion(line)
    return table.concat(c:lua('return vim.fn.getcompletion(..., "cmdline")', line), ' ')
  end
  local names = 'accept complete continue dismiss log model next prev status stop toggle'
  -- `memory` is there if its module is.
  t.is((completion('Aigc '):gsub('memory ', '')), names, 'completion of sub-commands')
  t.is(completion('Aigc st'), 'status stop', 'by their beginning')
  t.is(completion('Aigc stop x'), '', 'and of nothing else')
  c:keys(':Aigc nonsense<CR>')
  t.ok(notes(c):find("no sub-command 'nonsense', there are: accept, complete", 1, true), 'an unknown one', notes(c))
  for words, rest in pairs({ ['status now'] = 'now', ['toggle buffer please'] = 'please', ['accept word x y'] = 'x y' }) do
    c:keys(':Aigc ' .. words .. '<CR>')
    local said = ("too many words for %s: '%s'"):format(words:match('%a+'), rest)
    t.ok(notes(c):find(said, 1, true), 'words that nothing is done with: ' .. words, notes(c))
  end
  t.is(c:lua('return vim.b.aigc_disable'), nil, 'and then nothing is done')
  c:keys(':Aigc accept<CR>')
  t.ok(notes(c):find('there is no suggestion'), 'accept without one', notes(c))
  c:request('nvim_command', 'Aigc stop')
  t.is(c:lua("return require('aigc').status().state"), 'stopped', 'stop before anything')
  t.ok(c:request('nvim_exec', 'Aigc status', true):find('aigc 0.1.0 %(generic%), stopped'), 'status')

  c:lua("require('aigc.polite').on_battery = true require('aigc.client').threads = function() return 2 end")
  local figures = c:request('nvim_exec', 'Aigc status', true)
  t.ok(figures:find('2 threads (on battery)', 1, true), 'status says why there are few threads', figures)
  t.ok(figures:find('suggestions here: manual\n', 1, true), 'and how suggestions come here', figures)
  c:lua("require('aigc.polite').on_battery = false")

  -- the request
  c:keys('iOnce upon a <C-k>')
  local request = last_request(c)
  t.is(request.prompt, 'Once upon a', 'the prompt: text before the cursor, without a space at its end')
  t.is(request.parse_special, false, 'special tokens in the text are text')
  t.is(request.fit, true, 'the prompt is made to fit')
  t.is(request.max_tokens, 64, 'default of max_tokens')
  t.is(request.temperature, 0, 'default of temperature')
  t.is(table.concat(request.stop), '\n\n', 'default of stop')
  c:say(' time')
  t.is(c:screen(), 'Once upon a time', 'the space is taken off the answer')
  c:finish()
  t.ok(c:request('nvim_exec', 'Aigc status', true):find('idle, .*last: 3 tokens, first after %d+ ms, 6 tokens/s'),
    'status with figures', c:request('nvim_exec', 'Aigc status', true))
  c:keys('<Esc>Go<C-k>')
  t.is(last_request(c).prompt, 'Once upon a \n', 'further lines')
  c:keys('  <C-k>')
  t.is(last_request(c).prompt, 'Once upon a \n  ', 'indentation stays')
  c:stop()

  -- the budget
  c = child.start()
  c:lua("vim.g.aigc = { prompt_bytes = 1000 }")
  c:lua([[
    local lines = {}
    for i = 1, 200 do lines[i] = ('line %03d of the text'):format(i) end
    vim.api.nvim_buf_set_lines(0, 0, -1, true, lines)
  ]])
  c:keys('G$<C-k>')
  local prompt = last_request(c).prompt
  t.ok(#prompt <= 1000 and #prompt >= 500, 'the prompt keeps to its budget', #prompt)
  t.ok(prompt:find('^line %d%d%d of the text\n') and prompt:find('line 200 of the text$'), 'in whole lines', prompt)
  local begins = { [prompt:sub(1, 20)] = true }
  for i = 1, 40 do
    c:keys('oline ' .. i .. '<C-k><Esc>')
    begins[last_request(c).prompt:sub(1, 20)] = true
  end
  t.ok(vim.tbl_count(begins) <= 4, 'its beginning moves in steps', vim.inspect(begins))
  c:lua("vim.api.nvim_buf_set_lines(0, 0, -1, true, { ('日本語'):rep(1000) })")
  c:keys('gg$<C-k>')
  prompt = last_request(c).prompt
  t.ok(#prompt <= 1000 and #prompt % 3 == 0 and prompt:find('語$'), 'one long line is cut between characters', #prompt)
  c:lua("vim.api.nvim_buf_set_lines(0, 0, -1, true, { ('some words '):rep(1000) })")
  c:keys('gg$<C-k>')
  prompt = last_request(c).prompt
  t.ok(#prompt <= 1000 and (prompt:find('^some ') or prompt:find('^words ')), 'or between words', prompt:sub(1, 20))
  c:keys('0<C-k>')
  t.is(last_request(c).prompt, 's', 'nothing behind the cursor is sent')
  c:stop()

  -- options
  c = child.start()
  c:lua("vim.g.aigc = { max_tokens = 7, stop = '.', temperatur = 1, top_p = 3, model = '/x/a.gguf' }")
  c:lua("require('aigc').setup({ max_tokens = 9, seed = 5, kv = 'f32', context = 100, threads = 2 })")
  local said = notes(c)
  t.ok(said:find("vim.g.aigc has an unknown option 'temperatur'", 1, true), 'an unknown option is reported', said)
  local wrong = "vim.g.aigc: option 'top_p' must be a number from 0 to 1, got 3"
  t.ok(said:find(wrong, 1, true), 'a wrong value too', said)
  c:keys('ix<C-k>')
  request = last_request(c)
  t.is(request.max_tokens, 9, 'setup() comes after vim.g.aigc')
  t.is(request.stop[1], '.', 'a stop string alone')
  t.is(request.seed, 5, 'seed')
  t.is(request.top_p, nil, 'a wrong value is left out')
  t.is(request.temperature, 0, 'and an unknown one changes nothing')
  local opened = c:lua('return fake.opened[1]')
  t.is(opened.path, '/x/a.gguf', 'model')
  t.is(opened.options.kv .. opened.options.context .. opened.options.threads, 'f321002', 'options of the engine')
  t.is(#c:lua('return notes'), 1, 'problems are told once')
  c:keys('<C-k>')
  t.is(#c:lua('return fake.opened'), 1, 'the model stays open')
  c:lua("require('aigc').setup({ model = '/x/b.gguf' })")
  c:keys('<C-k>')
  t.is(c:lua('return fake.opened[2].path'), '/x/b.gguf', 'another model is opened')
  t.is(c:lua('return fake.closed'), 1, 'and the first one closed')
  c:keys('<Esc>:Aigc stop<CR>')
  t.is(c:lua('return fake.closed'), 2, 'stop closes it')
  c:stop()
  for _, case in ipairs({
    { 'max_tokens = 0', "'max_tokens' must be an integer from 1 to 1e+06, got 0" },
    { 'max_tokens = 1.5', "'max_tokens' must be an integer" },
    { 'stop = { 1 }', "'stop' must be a non-empty string or a list of such, got table" },
    { "stop = ''", "'stop' must be" },
    { 'temperature = -1', "'temperature' must be a number not below 0, got -1" },
    { "threads = 'two'", "'threads' must be an integer from 0 to 64, got 'two'" },
    { "kv = 'f8'", "'kv' must be 'f16' or 'f32', got 'f8'" },
    { 'min_p = true', "'min_p' must be a number from 0 to 1, got true" },
  }) do
    c = child.start()
    c:lua(("require('aigc').setup({ %s })"):format(case[1]))
    t.ok(notes(c):find(case[2], 1, true), 'setup: ' .. case[2], notes(c))
    c:stop()
  end
  c = child.start()
  c:lua("vim.g.aigc = function() return { max_tokens = 3 } end")
  c:keys('ix<C-k>')
  t.is(last_request(c).max_tokens, 3, 'vim.g.aigc as a function')
  c:stop()
  c = child.start({ env = { AIGC_MODEL = '~/models/x.gguf' } })
  c:keys('ix<C-k>')
  t.is(c:lua('return fake.opened[1].path'), vim.env.HOME .. '/models/x.gguf', 'AIGC_MODEL, with ~')
  c:stop()
  c = child.start({ env = { AIGC_MODEL = '' } })
  c:keys('ix<C-k>')
  t.ok(c:lua('return fake.opened[1].path'):find('models/aigc%-base.gguf$'), 'the default model')
  c:stop()

  -- what goes wrong
  c = child.start()
  c:lua("vim.g.aigc = { model = '/x/missing.gguf' }")
  c:keys('ix<C-k>')
  c:keys('<C-k>')
  said = c:lua('return notes')
  t.is(said[1], "aigc: cannot read the model '/x/missing.gguf'", 'a model that is not there')
  t.ok(said[2] and not said[2]:find('missing'), 'is told at length once', vim.inspect(said))
  t.is(c:visible(), false, 'and nothing is shown')
  c:stop()
  c = child.start()
  c:keys('ix<C-k>')
  c:lua("fake.fail('the file is broken')")
  c:settle_frame()
  t.is(notes(c), 'aigc: the file is broken', 'an error of the engine is told')
  t.is(table.concat(c:lua('return seen'), ' '), 'AigcStart AigcDone', 'and ends the request')
  c:stop()
  c = child.start()
  c:lua("fake.version_text = '9.9'")
  c:keys('ix<C-k>')
  t.ok(notes(c):find('the C module is version 9.9, the plugin is 0.1.0', 1, true), 'another version', notes(c))
  c:stop()
  c = child.start()
  c:lua("local m = getmetatable(require('aigc.core').open('x', {})) m.__index.submit = function() error('unknown') end")
  c:keys('ix<C-k>')
  t.ok(notes(c):find('unknown (after an update run `make nvim`', 1, true), 'a module that knows less', notes(c))
  c:stop()
  local copy = vim.fn.tempname()
  vim.fn.system({ 'cp', '-r', 'nvim_plugin', copy })
  for _, case in ipairs({
    { 'without the C module', 'is not built: run `make nvim`', 'ERROR: The C module lua/aigc/core.so is not there' },
    { 'one that is damaged', 'does not load: run `make clean nvim`', 'ERROR: The C module ' .. copy .. '/lua/aigc/core.so' },
  }) do
    vim.fn.delete(copy .. '/lua/aigc/core.so')
    if case[1] ~= 'without the C module' then
      vim.fn.writefile({ 'damaged' }, copy .. '/lua/aigc/core.so')
    end
    c = child.start({ fake = false, plugin = copy })
    c:keys('ix<C-k>')
    child.wait(5000, function()
      return notes(c) ~= ''
    end, 10)
    t.ok(notes(c):find('the C module ' .. case[2], 1, true), case[1], notes(c))
    t.is(#c:lua('return notes'), 1, 'in one message')
    c:keys('<Esc>:silent checkhealth aigc<CR>')
    local text = c:buffer():gsub('ERROR ', 'ERROR: ')
    t.ok(text:find(case[3], 1, true), 'checkhealth: ' .. case[1], text)
    c:stop()
  end
  vim.fn.delete(copy, 'rf')

  -- before the prompt's beginning moves, the prompt with the next one is read
  c = child.start({ aigc = { trigger = 'manual', extent = 'free', ring_bytes = 0, documents = false } })
  local lines = {}
  for i = 1, 60 do
    lines[i] = ('%02d '):format(i) .. ('word '):rep(15)
  end
  c:request('nvim_buf_set_lines', 0, 0, -1, true, lines)
  c:keys('GA<C-k>')
  local first = last_request(c).prompt
  c:finish({})
  local read = child.wait(5000, function()
    return c:lua('return #fake.requests') == 2
  end)
  t.ok(read, 'a request of its own, in idle time')
  local ahead = last_request(c)
  t.is(ahead.max_tokens, 1, 'for the prompt alone')
  t.ok(#ahead.prompt < #first - 500 and first:sub(-#ahead.prompt) == ahead.prompt, 'which begins later', #ahead.prompt)
  c:finish({})
  c:keys(('more '):rep(85) .. '<C-k>')
  t.ok(vim.startswith(last_request(c).prompt, ahead.prompt), 'as prompts do a little later', last_request(c).prompt)
  t.is(c:lua('return #fake.requests'), 3, 'it was read once')
  c:finish({})
  c:lua('vim.wait(200)')
  t.is(c:lua('return #fake.requests'), 3, 'and nothing is read where the beginning does not move soon')
  c:stop()

  -- :checkhealth
  local function health(setup, options)
    local one = child.start(options)
    one:lua(setup)
    one:request('nvim_command', 'silent checkhealth aigc') -- 0.12 reports its progress
    -- Later versions write '- ✅ OK text' and '- text'.
    local text = one:buffer():gsub('\n%- [^%w%s]+%s*(%u+) ', '\n%1: '):gsub('\n%- INFO: ', '\n- ')
    text = text:gsub('\n%s+%- INFO: ', '\n- '):gsub('INFO: ', '')
    one:stop()
    return text
  end
  local text = health("vim.g.aigc = { model = '/x/fake.gguf', threads = 1 }")
  for _, line in ipairs({
    'OK: core.so 0.1.0',
    'OK: CPU level: generic',
    'OK: all known and in range',
    '- /x/fake.gguf',
    'OK: fake: llama, F32, 1.0 million parameters, 4.0 MB, context 512',
    'OK: threads: 1 of ',
    '- state: stopped',
  }) do
    t.ok(text:find(line, 1, true), 'checkhealth: ' .. line, text)
  end
  t.ok(not text:find('ERROR', 1, true), 'checkhealth: no error', text)
  text = health("vim.g.aigc = { model = '/x/missing.gguf', thread = 1, threads = 64 }")
  t.ok(text:find("ERROR: cannot read the model '/x/missing.gguf'", 1, true), 'checkhealth: a missing model', text)
  t.ok(text:find("ERROR: vim.g.aigc has an unknown option 'thread'", 1, true), 'checkhealth: an unknown option', text)
  t.ok(text:find('WARNING: threads: 64 of', 1, true), 'checkhealth: too many threads', text)
  text = health("fake.version_text = '9.9'")
  t.ok(text:find('ERROR: core.so is version 9.9, the Lua side is 0.1.0', 1, true), 'checkhealth: another version', text)
  text = health("package.preload['aigc.core'] = function() error('no') end", { fake = false })
  t.ok(text:find('ERROR: The C module', 1, true), 'checkhealth: no C module', text)

  -- the help file
  local tags = t.slurp('nvim_plugin/doc/tags')
  for _, tag in ipairs({ ':Aigc', '<Plug>(aigc-accept)', 'g:aigc', 'aigc-core', 'AigcDone', 'b:aigc_disable' }) do
    t.ok(tags:find(tag .. '\taigc.txt', 1, true), 'help has ' .. tag)
  end
  local help = t.slurp('nvim_plugin/doc/aigc.txt')
  local options = 'model max_tokens stop temperature top_p top_k min_p repetition_penalty seed kv '
    .. 'frequency_penalty presence_penalty prompt_bytes context threads'
  for option in options:gmatch('%S+') do
    t.ok(help:find('\n' .. option .. '\t', 1, true), 'help has the option ' .. option)
  end
end
