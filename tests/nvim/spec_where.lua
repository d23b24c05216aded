-- Where there are no suggestions, what a project may set, and what goes wrong without harm.

return function(t, child)
  local folder = vim.fn.tempname()
  vim.fn.mkdir(folder .. '/sub/.ssh', 'p')
  local function write(name, text)
    local file = assert(io.open(folder .. '/' .. name, 'w'))
    file:write(text)
    file:close()
    return folder .. '/' .. name
  end
  local function notes(c)
    return table.concat(c:lua('return notes'), '\n')
  end

  -- secrets
  for _, case in ipairs({
    { '.env', false },
    { '.env.local', false },
    { 'prod.env', false },
    { 'server.pem', false },
    { 'id_ed25519', false },
    { 'credentials.json', false },
    { 'sub/.ssh/config', false },
    { 'environment.md', true },
    { 'keys.lua', true },
  }) do
    local c = child.start()
    c:keys(':edit ' .. folder .. '/' .. case[1] .. '<CR>iSECRET=<C-k>')
    t.is(c:lua('return #fake.requests') > 0, case[2], (case[2] and 'suggestions in ' or 'none in ') .. case[1])
    if not case[2] then
      c:keys('<Esc>:Aigc complete<CR>')
      t.ok(notes(c):find('the file may hold secrets (it matches', 1, true), 'and the command says why', notes(c))
    end
    c:stop()
  end
  local c = child.start({ aigc = vim.tbl_extend('force', child.QUIET, { secrets = { '*.private' } }) })
  c:keys(':edit ' .. folder .. '/my.private<CR>ix<C-k>')
  t.is(c:lua('return #fake.requests'), 0, 'patterns of the user')
  c:keys('<Esc>:edit! ' .. folder .. '/.env<CR>ix<C-k>')
  t.is(c:lua('return #fake.requests'), 1, 'in place of ours')
  c:stop()

  -- all that is known to hold them
  c = child.start()
  local open = c:lua([[
    local open = {}
    local patterns = require('aigc.options').defaults.secrets
    for path in ([[.env .env.local prod.env .envrc .netrc _netrc .pgpass .npmrc .pypirc .htpasswd .git-credentials a.pem a.key
      a.p12 a.pfx a.asc a.gpg a.kdbx a.jks a.keystore a.tfvars a.tfstate id_rsa id_rsa.pub id_ed25519 id_ecdsa credentials
      credentials.json secrets secrets.yml shadow sudoers .ssh/config .gnupg/x .aws/config .kube/config .docker/config.json
      .password-store/mail]].."]]"..[[):gmatch('%S+') do
      if not require('aigc.guard').secret('/home/me/' .. path, patterns) then open[#open + 1] = path end
    end
    if not require('aigc.guard').secret('/dev/shm/pass.x/mail.txt', patterns) then open[#open + 1] = '/dev/shm' end
    return open
  ]])
  t.is(table.concat(open, ' '), '', 'every kind of file that holds secrets')
  c:stop()

  -- a link with a harmless name
  write('.env', 'TOKEN=abc')
  assert(vim.loop.fs_symlink(folder .. '/.env', folder .. '/notes.txt'))
  c = child.start()
  c:keys(':edit ' .. folder .. '/notes.txt<CR>ix<C-k>')
  t.is(c:lua('return #fake.requests'), 0, 'none in what a link leads to')
  c:stop()

  -- several cursors, by what their plugins say
  for _, says in ipairs({
    'vim.b.visual_multi = 1',
    "package.loaded['multicursor-nvim'] = { hasCursors = function() return true end }",
    "package.loaded['multiple-cursors.virtual_cursors'] = { get_num_virtual_cursors = function() return 2 end }",
  }) do
    c = child.start()
    c:lua(says)
    c:keys(':Aigc complete<CR>')
    t.ok(notes(c):find('several cursors', 1, true) and c:lua('return #fake.requests') == 0, 'none with ' .. says, notes(c))
    c:stop()
  end
  c = child.start()
  c:lua([[package.loaded['multicursor-nvim'] = { hasCursors = function() return false end }
    package.loaded['multiple-cursors.virtual_cursors'] = { get_num_virtual_cursors = function() return 0 end }]])
  c:keys('ix<C-k>')
  t.is(c:lua('return #fake.requests'), 1, 'but with one')
  c:stop()

  -- a macro that begins
  c = child.start()
  c:keys('iOnce<C-k>')
  c:say(' upon')
  c:keys('<C-o>qa')
  t.is(c:screen() .. tostring(c:visible()), 'Oncefalse', 'recording a macro takes what is shown away')
  c:keys('x<Esc>q')
  t.is(c:lua("return vim.fn.getreg('a')"), 'x\27', 'and the macro is what was typed')
  c:stop()

  -- sizes
  c = child.start({ aigc = vim.tbl_extend('force', child.QUIET, { max_file_bytes = 1000 }) })
  c:lua("vim.api.nvim_buf_set_lines(0, 0, -1, true, vim.split(('line\\n'):rep(300), '\\n'))")
  c:keys(':Aigc complete<CR>')
  t.ok(notes(c):find('more than max_file_bytes (1000)', 1, true), 'a huge file', notes(c))
  c:stop()
  c = child.start()
  c:lua("vim.api.nvim_buf_set_lines(0, 0, -1, true, { ('x'):rep(60000) })")
  c:keys('$:Aigc complete<CR>')
  t.ok(notes(c):find('the line has more than 50000 bytes', 1, true), 'a huge line', notes(c))
  c:stop()

  -- a predicate of the user
  c = child.start()
  c:lua([[vim.g.aigc = nil require('aigc').setup({ trigger = 'manual', extent = 'free',
    attach = function(buf) return vim.bo[buf].filetype ~= 'diary' end })]])
  c:keys(':set ft=diary<CR>ix<C-k>')
  t.is(c:lua('return #fake.requests'), 0, 'attach says no')
  c:keys('<Esc>:set ft=text<CR>ax<C-k>')
  t.is(c:lua('return #fake.requests'), 1, 'attach says yes')
  c:lua([[require('aigc').setup({ attach = function() error('oops') end })]])
  c:keys('<Esc>:Aigc complete<CR>')
  t.ok(notes(c):find('option attach: .*oops'), 'attach raises', notes(c))
  c:stop()

  -- a project's file
  local project = write('.aigc.json', '{ "max_tokens": 7, "extent": "words", "model": "/x/evil.gguf", "nonsense": 1 }')
  c = child.start({ aigc = { trigger = 'manual' } })
  c:keys(':edit ' .. folder .. '/sub/a.txt<CR>ix<C-k>')
  t.is(c:lua('return fake.requests[1].max_tokens'), 7, '.aigc.json above the file is read')
  t.ok(not c:lua('return fake.opened[1].path'):find('evil'), 'it cannot choose a model')
  t.ok(notes(c):find("option 'model' is not for projects to set", 1, true), 'and that is told', notes(c))
  t.ok(notes(c):find("has an unknown option 'nonsense'", 1, true), 'an unknown option too', notes(c))
  c:keys('<Esc>:edit! /tmp/elsewhere.txt<CR>ix<C-k>')
  t.is(c:lua('return fake.requests[2].max_tokens'), 64, 'not for files elsewhere')
  c:stop()
  for _, case in ipairs({
    { '{ not json', 'is not JSON' },
    { '[]', 'has an unknown option' },
    { '"text"', 'must hold an object' },
    { '{ "debounce": "soon" }', "option 'debounce' must be an integer" },
    { ('x'):rep(70000), 'is larger than 65536 bytes' },
  }) do
    write('.aigc.json', case[1])
    c = child.start()
    c:keys(':edit ' .. folder .. '/sub/a.txt<CR>ix<C-k>')
    local said = notes(c)
    t.ok(case[1] == '[]' or said:find(case[2], 1, true), 'a project with ' .. case[1]:sub(1, 20), said)
    t.is(c:lua('return #fake.requests'), 1, 'and suggestions all the same')
    c:keys(' and<C-k>')
    local last = c:lua('return notes[#notes]') or ''
    t.ok(case[1] == '[]' or last:find(case[2], 1, true), 'who has been told at length is not told in a line', notes(c))
    c:keys(' so<C-k><Esc>:edit!<CR>iOnce more')
    t.ok(case[1] == '[]' or #c:lua('return notes') <= 2, 'nor told again', notes(c))
    c:stop()
  end
  c = child.start()
  t.is(
    c:lua("local names = vim.tbl_keys(require('aigc.options').of_projects) table.sort(names) return table.concat(names, ' ')"),
    'alternatives debounce extent filetypes frequency_penalty lines max_tokens min_logprob min_p presence_penalty '
      .. 'repetition_penalty seed stop temperature top_k top_p trigger words',
    'what a project may set is what the help says'
  )
  c:stop()
  local keys = {}
  for i = 1, 2000 do
    keys[i] = ('"k\\n%d": 1'):format(i)
  end
  write('.aigc.json', '{' .. table.concat(keys, ',') .. ', "temperature": Infinity, "extent": "\\u001b]0;x\\u0007\\n" }')
  c = child.start({ aigc = { debounce = 20 } })
  c:keys(':edit ' .. folder .. '/sub/a.txt<CR>ix<C-k>')
  local longest = 0
  for _, note in ipairs(c:lua('return notes')) do
    longest = math.max(longest, #note)
    t.ok(not note:gsub('\n', ' '):find('%c'), 'a hostile project: no control characters are told', note)
  end
  t.ok(longest > 0 and longest < 1000, 'and not all of it', longest)
  t.is(c:lua('return fake.requests[1].temperature'), 0, 'and an infinite number is none')
  t.is(c:request('nvim_get_mode').blocking, false, 'and nobody is asked for <CR>')
  c:keys('<Esc>:checkhealth aigc<CR>')
  t.ok(c:buffer():find("error: .*has an unknown option 'k 1'"), ':checkhealth tells it later', c:buffer())
  c:stop()
  os.remove(project)

  -- a model that cannot be read, while one types: told once, in one line, and no key is lost
  c = child.start({ fake = false, aigc = { debounce = 20, model = folder .. '/no-such-model-with-a-long-name.gguf' } })
  c:lua('package.loaded["vim.notify"] = nil _G.told = 0')
  c:lua([[vim.notify = function(text) told = told + 1 vim.api.nvim_echo({ { text } }, true, {}) end]])
  c:keys('iOnce')
  t.ok(child.wait(5000, function()
    return c:lua('return told') > 0
  end, 10), 'a missing model is told while one types')
  for letter in (' upon a time'):gmatch('.') do
    c:keys(letter == ' ' and '<Space>' or letter)
    c:lua('vim.wait(30)')
  end
  t.is(c:buffer() .. c:lua('return told'), 'Once upon a time1', 'once, and no key is lost')
  t.is(c:request('nvim_get_mode').blocking, false, 'in one line')
  c:keys('<Esc>:checkhealth aigc<CR>')
  t.ok(c:buffer():find('no-such-model-with-a-long-name', 1, true), 'and :checkhealth has all of it', c:buffer())
  c:stop()

  -- a full disk
  vim.fn.mkdir(folder .. '/full', 'p')
  assert(vim.loop.fs_symlink('/dev/full', folder .. '/full/outcomes.jsonl'))
  c = child.start({
    columns = 80,
    aigc = { trigger = 'manual', extent = 'free', speculate = false, personal = folder .. '/full' },
  })
  c:keys(':edit ' .. folder .. '/prose.txt<CR>iOnce<C-k>')
  c:say(' upon a time')
  c:finish()
  c:keys('<C-j><Esc>:silent write<CR>')
  child.wait(3000, function()
    return notes(c) ~= ''
  end, 10)
  t.ok(notes(c):find('aigc: outcomes of', 1, true) and #c:lua('return notes') == 1, 'a full disk is told once', notes(c))
  c:lua([[local uv = vim.uv or vim.loop
    uv.fs_statfs = function() return { bavail = 2, bsize = 4096 } end]])
  c:keys(':checkhealth aigc<CR>')
  t.ok(c:buffer():find('its disk is nearly full: 0.0 MB are free', 1, true), ':checkhealth looks at the disk', c:buffer())
  t.ok(c:buffer():find('outcomes of suggestions are not kept', 1, true), 'and says what went wrong', c:buffer())
  c:stop()

  -- models
  write('small.gguf', '')
  write('large.gguf', '')
  c = child.start({ aigc = vim.tbl_extend('force', child.QUIET, { model_directories = { folder } }) })
  local listed = c:lua("return require('aigc.models').list()")
  t.ok(vim.tbl_contains(listed, folder .. '/small.gguf'), 'models are listed', vim.inspect(listed))
  c:lua([[vim.ui.select = function(items, options, choose)
    _G.offered = vim.tbl_map(options.format_item, items)
    choose(items[1])
  end]])
  -- of the last one that was opened to be used, not only described
  local function used()
    return c:lua([[
      for i = #fake.opened, 1, -1 do
        if fake.opened[i].options.parts ~= 'description' then return fake.opened[i].path end
      end
    ]])
  end
  c:keys(':Aigc model<CR>')
  child.wait(5000, function()
    return c:lua('return offered ~= nil')
  end, 5)
  local offered = table.concat(c:lua('return offered'), '\n')
  t.ok(offered:find('large.gguf  llama, 1 million parameters, F32, context 512', 1, true), 'and described', offered)
  c:keys('ix<C-k>')
  t.is(used(), folder .. '/large.gguf', 'the chosen one is used')
  c:keys('<Esc>:Aigc model small<CR>ax<C-k>')
  t.is(used(), folder .. '/small.gguf', 'by name')
  c:keys('<Esc>:cd ' .. folder .. ' | Aigc model ./large.gguf<CR>:cd / | Aigc stop<CR>ay<C-k>')
  t.is(used(), folder .. '/large.gguf', 'by a path, also when one has gone elsewhere')
  c:lua([[
    local model = getmetatable(require('aigc.core').open('x', {})).__index
    local info, check = model.info, model.check
    model.info = function() model.info = info return nil, 'not a GGUF file', 'format' end
    _G.refuse = function() model.check = function() model.check = check return nil, 'no such kind', 'unsupported' end end
  ]])
  for i, message in ipairs({ 'not a GGUF file', 'no such kind' }) do
    c:lua(i == 1 and '' or 'refuse()')
    c:keys('<Esc>:Aigc model small<CR>')
    child.wait(5000, function()
      return notes(c):find(message, 1, true) ~= nil
    end, 5)
    t.ok(notes(c):find('aigc: ' .. message, 1, true), 'one that cannot be used: ' .. message, notes(c))
    c:keys('ay<C-k>')
    t.is(used(), folder .. '/large.gguf', 'and what there was before goes on')
  end
  c:keys('<Esc>:Aigc model nothing<CR>')
  t.ok(notes(c):find("there is no model 'nothing'", 1, true), 'an unknown one', notes(c))
  local names = table.concat(c:lua('return vim.fn.getcompletion("Aigc model s", "cmdline")'), ' ')
  t.ok(names:find('small.gguf', 1, true), 'completion of names', names)
  c:stop()

  -- the log
  c = child.start()
  c:keys('ix<C-k>')
  c:say(' secret text')
  c:finish()
  c:keys('<Esc>:Aigc log<CR>')
  t.ok(c:buffer():find('length: 10 tokens of prompt, 4 of them known; 3 generated'), ':Aigc log', c:buffer())
  t.ok(not c:buffer():find('secret', 1, true), 'which does not repeat what was written')
  c:keys(':Aigc complete<CR>')
  t.ok(notes(c):find("buffer of type 'nofile'", 1, true), 'nothing in special buffers', notes(c))
  c:stop()

  -- memory comes back
  c = child.start({ aigc = vim.tbl_extend('force', child.QUIET, { unload_after = 1 }) })
  c:keys('ix<C-k>')
  c:finish()
  t.is(c:lua('return fake.closed'), 0, 'the model stays for a while')
  local closed = child.wait(5000, function()
    return c:lua('return fake.closed') == 1
  end, 20)
  t.ok(closed, 'and is unloaded after disuse')
  c:keys('y<C-k>')
  t.is(c:lua('return #fake.opened'), 2, 'the next request opens it again')
  c:stop()

  -- threads
  c = child.start()
  local function threads(setup)
    return c:lua(setup .. " return require('aigc.polite').threads(require('aigc.config').get())")
  end
  c:lua([[polite = require('aigc.polite') polite.cores = function() return 8 end
    vim.loop.cpu_info = function() return { 1, 2, 3, 4, 5, 6, 7, 8 } end
    loads = 0 vim.loop.loadavg = function() return loads end]])
  t.is(threads('polite.on_battery = false'), 7, 'a core is left to the editor')
  t.is(threads('polite.on_battery = true'), 3, 'half of them on battery')
  t.is(threads('polite.on_battery = false loads = 7'), 3, 'and on a loaded machine')
  c:lua('loads = 0')
  c:keys('ix<C-k>')
  t.is(c:lua('return fake.opened[1].options.threads'), 7, 'the model has as many')
  c:lua('loads = 7')
  c:keys('<Esc>:silent checkhealth aigc<CR>')
  local line = 'threads: 3 of 8 cores (the machine is loaded), 7 until nothing is asked for a minute'
  t.ok(c:buffer():find(line, 1, true), ':checkhealth says how many it has, and will have', c:buffer())
  c:keys(':bdelete<CR>')
  t.is(threads("require('aigc').setup({ threads = 8 })"), 8, 'as many as were asked for')
  t.is(threads("require('aigc').setup({ polite = false })"), 0, 'or as the engine likes')

  -- what a battery is
  local SOCKET, EMPTY_SOCKET = { type = 'USB', online = '1' }, { type = 'USB', online = '0' }
  local MAINS, NO_MAINS = { type = 'Mains', online = '1' }, { type = 'Mains', online = '0' }
  local function battery(status)
    return { type = 'Battery', status = status, online = '1' }
  end
  local MOUSE = { type = 'Battery', scope = 'Device', status = 'Discharging', online = '0' }
  for name, case in pairs({
    ['a machine without any'] = { false, {} },
    ['a desktop whose mouse has one'] = { false, { MOUSE } },
    ['a plugged laptop'] = { false, { MAINS, battery('Charging'), EMPTY_SOCKET, MOUSE } },
    ['the same, in another order'] = { false, { EMPTY_SOCKET, battery('Full'), MAINS } },
    ['a laptop on the way'] = { true, { NO_MAINS, battery('Discharging'), EMPTY_SOCKET, MOUSE } },
    ['whose battery says little'] = { true, { NO_MAINS, battery('Unknown') } },
    ['whose battery is charged up to a bound'] = { false, { battery('Not charging'), MAINS } },
    ['a laptop with sockets only'] = { true, { battery('Discharging'), EMPTY_SOCKET, EMPTY_SOCKET } },
    ['and one of them plugged'] = { false, { battery('Discharging'), EMPTY_SOCKET, SOCKET } },
  }) do
    local supplies = folder .. '/supplies'
    for i, supply in ipairs(case[2]) do
      vim.fn.mkdir(('%s/%d'):format(supplies, i), 'p')
      for file, text in pairs(supply) do
        vim.fn.writefile({ text }, ('%s/%d/%s'):format(supplies, i, file))
      end
    end
    t.is(
      c:lua(
        [[polite.supplies, polite.on_battery = ..., nil
        polite.look()
        vim.wait(5000, function() return polite.on_battery ~= nil end, 1)
        return polite.on_battery]],
        supplies
      ),
      case[1],
      'on battery: ' .. name
    )
    vim.fn.delete(supplies, 'rf')
  end
  c:stop()

  -- writing into the buffer
  c = child.start()
  c:keys('iOnce<C-g>c')
  t.is(c:lua('return fake.requests[1].max_tokens'), 300, 'continue asks for more than a suggestion')
  t.is(c:lua('return fake.requests[1].temperature'), 0.7, 'and not for the most probable text, which goes in circles')
  c:say(' upon a time')
  t.is(c:buffer(), 'Once upon a', 'its words go into the buffer')
  c:say(' there was a girl.')
  t.is(c:buffer(), 'Once upon a time there was a', 'as they come')
  t.is(c:request('nvim_win_get_cursor', 0)[2], 28, 'the cursor goes along')
  c:finish()
  t.is(c:buffer(), 'Once upon a time there was a girl.', 'to the end')
  c:keys('<Esc>u')
  t.is(c:buffer(), 'Once', 'one undo step')
  c:keys('<C-r>')
  t.is(c:buffer(), 'Once upon a time there was a girl.', 'and redo')
  c:stop()
  for _, case in ipairs({
    { '<C-g>d', 'Once upon a', 'the key for dismissing stops it' },
    { '<C-o>:Aigc stop<CR>', 'Once upon a', ':Aigc stop stops it' },
    { '!', 'Once upon a!', 'typing stops it' },
  }) do
    c = child.start()
    c:keys('iOnce<C-g>c')
    c:say(' upon a time')
    c:keys(case[1])
    c:lua("if fake.live then fake.say(' late text') end")
    c:settle_frame()
    t.is(c:buffer(), case[2], case[3])
    c:stop()
  end
  for _, case in ipairs({
    { 'bdelete!', nil, 'deleting the buffer stops it' },
    { 'bwipeout!', nil, 'wiping it out, too' },
    { 'undo', 'Once', 'undo stops it, and takes all of it' },
    { 'set nomodifiable', 'Once upon a', 'a buffer that cannot be changed any more stops it' },
    { 'enew', 'Once upon a time there', 'it goes on in a buffer that one has left' },
  }) do
    c = child.start()
    c:keys(':set hidden<CR>iOnce<Esc>:Aigc continue<CR>')
    c:say(' upon a time')
    local buf = c:request('nvim_get_current_buf')
    c:request('nvim_command', case[1])
    c:settle()
    c:lua("if fake.live then fake.say(' there was') end")
    c:settle_frame()
    local is_loaded = c:lua('return vim.api.nvim_buf_is_loaded(...)', buf)
    t.is(is_loaded and table.concat(c:request('nvim_buf_get_lines', buf, 0, -1, true), '\n') or nil, case[2], case[3])
    if case[1] ~= 'enew' then
      t.is(c:lua('return tostring(fake.live)'), 'nil', 'and the model')
    end
    t.ok(not notes(c):find('stack', 1, true), 'without an error', notes(c))
    c:stop()
  end
  -- while the request is put together, which takes some turns of the main loop
  for _, case in ipairs({
    { "require('aigc').dismiss()", 'Once', 'dismissing stops it before the model is asked' },
    { "vim.api.nvim_buf_set_lines(0, 0, 1, true, { 'Twice' })", 'Twice', 'a change of the buffer stops it as early' },
    { "vim.cmd('bwipeout!')", '', 'so does wiping the buffer out' },
  }) do
    c = child.start()
    c:keys('iOnce<Esc>')
    c:lua("require('aigc').continue() " .. case[1])
    c:settle()
    t.is(c:buffer() .. c:lua('return #fake.requests'), case[2] .. '0', case[3])
    t.is(c:lua("return tostring(require('aigc.continue').running())"), 'false', 'and that is all')
    t.is(notes(c), '', 'without an error')
    c:stop()
  end
  c = child.start()
  c:keys(':set ft=text textwidth=20<CR>iOnce<Esc>:Aigc continue<CR>')
  c:say(' upon a time there was a little girl')
  c:finish()
  t.is(c:buffer(), 'Once upon a time\nthere was a little\ngirl', 'from normal mode, hard-wrapped')
  c:keys('u')
  t.is(c:buffer(), 'Once', 'one undo step again')
  c:stop()
  c = child.start()
  c:keys(':set nomodifiable<CR>:Aigc continue<CR>')
  t.ok(notes(c):find('the buffer cannot be changed', 1, true), 'continue where it cannot', notes(c))
  c:stop()

  -- modules that join in
  c = child.start()
  c:lua([[
    local hooks = require('aigc.hooks')
    hooks.run('opened') -- loads those that there are
    notes, hooks.opened = {}, {}
    hooks.outcome = { function() calls = (calls or 0) + 1 error('Keyboard interrupt') end }
    hooks.prompt = { function() error('a broken hook') end }
    hooks.run('outcome', {}) hooks.run('outcome', {}) hooks.run('prompt', {}) hooks.run('prompt', {})
  ]])
  t.is(c:lua('return calls'), 2, 'a hook that <C-c> interrupts stays')
  c:keys('i')
  t.is(c:request('nvim_get_mode').mode, 'i', 'insert mode')
  c:lua("vim.schedule(function() require('aigc.hooks').run('outcome', {}) end)")
  c:settle()
  t.is(c:request('nvim_get_mode').mode, 'n', 'and the key does what it was for')
  t.is(#c:lua('return notes'), 1, 'one that raises is told once and taken off')
  t.ok(notes(c):find('a broken hook', 1, true), 'with what it said', notes(c))
  c:stop()

  -- an old Neovim
  c = child.start({ fake = false })
  local message = c:lua([[
    vim.g.loaded_aigc = nil
    local has = vim.fn.has
    vim.fn.has = function(what) return what == 'nvim-0.7.2' and 0 or has(what) end
    vim.cmd('delcommand Aigc | runtime plugin/aigc.lua')
    return vim.fn.execute('Aigc complete')
  ]])
  t.ok(message:find('aigc needs Neovim 0.7.2 or later', 1, true), 'an old Neovim', message)
  c:stop()
  vim.fn.delete(folder, 'rf')

  c = child.start({ fake = false })
  c:lua("package.preload['aigc.core'] = function() error('not there') end")
  c:lua("local e = vim.fn.executable vim.fn.executable = function(x) return x == 'make' and 0 or x == 'gmake' and 0 or e(x) end")
  c:keys(':checkhealth aigc<CR>')
  t.ok(c:buffer():find('a C compiler: ', 1, true) and c:buffer():find('make is missing', 1, true),
    ':checkhealth tells what the build needs where the module is missing', c:buffer())
  c:stop()

  -- what the build lacks is told in one line, before anything is compiled
  local function make(arguments)
    return vim.fn.system('env -u MAKEFLAGS -u MAKELEVEL make ' .. arguments .. ' BUILD=' .. vim.fn.tempname())
  end
  for _, where in ipairs({ 'nvim', '-s -C nvim_plugin' }) do
    for _, case in ipairs({
      { 'CC=no-such-compiler', "there is no C compiler 'no-such-compiler': install one" },
      { 'LUAJIT_CFLAGS=-I/nonexistent', 'LuaJIT has no headers here: install them' },
    }) do
      local said = make(where .. ' ' .. case[1])
      t.ok(said:find(case[2], 1, true), where .. ' with ' .. case[1], said)
      t.is(select(2, said:gsub('\n', '')), 1, 'is told in one line')
    end
  end
  local plan = make('-n -C nvim_plugin LUA54_CFLAGS=-I/nonexistent')
  t.ok(plan:find('luajit/module.o', 1, true), 'without headers of Lua 5.4 the module for the editor is built', plan)
  t.ok(not plan:find('lua54/module.o', 1, true), 'and that alone', plan)
end
