-- The ring and the personal layer: what they keep, what they never look at, what reaches the model.

local PHRASE = 'Marigold Quillfeather of Zwolle sold blue tulips.'

return function(t, child)
  local function options(more)
    return vim.tbl_extend('force', child.QUIET, more)
  end
  local function last_request(c)
    return c:lua('return fake.requests[#fake.requests]')
  end
  local function chunks(c)
    return c:lua([[
      return vim.tbl_map(function(x) return x.source .. ': ' .. x.text end, require('aigc.ring').chunks())
    ]])
  end

  -- `:Aigc memory` with these words, to its end: it says something then.
  local function command(c, words)
    local before = c:lua('return #notes')
    c:keys(':Aigc memory ' .. words .. '<CR>')
    child.wait(5000, function()
      return c:lua('return #notes') > before
    end, 1)
  end

  -- ---- the ring ---------------------------------------------------------------------------------
  local c = child.start({ aigc = options({ ring_bytes = 300 }) })
  local folder = c:lua('local name = vim.fn.tempname() vim.fn.mkdir(name) return name .. "/"')
  c:keys('iOnce upon a time<C-k>')
  t.is(last_request(c).prompt, 'Once upon a time', 'the ring is empty at first')
  c:keys('<Esc>')
  c:request('nvim_command', 'edit! ' .. folder .. 'notes.txt')
  c:keys('iThe harbour master of Zwolle had a wooden leg.<Esc>')
  c:request('nvim_command', 'write')
  t.is(table.concat(chunks(c), '|'), 'written: The harbour master of Zwolle had a wooden leg.', 'a written buffer')
  c:request('nvim_command', 'enew')
  t.is(#chunks(c), 1, 'left as it was: not twice')
  c:keys('iIt was a dark night<C-k>')
  t.is(
    last_request(c).prompt,
    'The harbour master of Zwolle had a wooden leg.\n\nIt was a dark night',
    'it stands before the text of another buffer'
  )
  c:keys('<Esc>yy')
  c:keys('A and stormy<C-k>')
  t.is(#chunks(c), 1, 'a yank of less than its place is worth is not kept')
  local before = last_request(c).prompt
  c:lua("require('aigc.ring').add('Something else that was read in the meantime.', 'yanked')")
  c:keys(' and cold<C-k>')
  t.ok(
    vim.startswith(last_request(c).prompt, before),
    'while one types the prompt begins as before',
    last_request(c).prompt
  )
  c:keys('<Esc>')
  c:request('nvim_command', 'edit! ' .. folder .. 'other.txt')
  c:keys('iAnd so<C-k>')
  t.ok(
    last_request(c).prompt:find('^The harbour master.*\n\nSomething else.*\n\n.*And so$'),
    'in another buffer the ring is looked at anew, oldest first',
    last_request(c).prompt
  )
  t.ok(#last_request(c).prompt <= 300 + 6, 'within its budget', #last_request(c).prompt)
  c:keys('<Esc>')
  local second = last_request(c).prompt
  c:lua("require('aigc.ring').add('And one more thing that was read just now.', 'yanked')")
  c:request('nvim_command', 'set hidden | buffer 1')
  c:keys('A then<C-k><Esc>')
  c:request('nvim_command', 'buffer other.txt')
  c:keys('A on<C-k><Esc>')
  t.ok(vim.startswith(last_request(c).prompt, second), 'back in a buffer its prompts begin as they did there',
    last_request(c).prompt)
  c:request('nvim_command', 'enew')
  c:lua([[
    local lines = {}
    for i = 1, 100 do lines[i] = ('row %d of it'):format(i) end
    vim.api.nvim_buf_set_lines(0, 0, -1, true, lines)
    vim.api.nvim_win_set_cursor(0, { 50, 0 })
  ]])
  c:request('nvim_command', 'enew')
  local around = chunks(c)[#chunks(c)]
  t.ok(around:find('^left: row 34 of it\n') and around:find('row 65 of it$'), 'of a long buffer the lines around the cursor',
    around)
  c:lua([[for i = 1, 40 do
    require('aigc.ring').add(('chunk number %d of a long day, %s'):format(i, ('word%d '):format(i):rep(5)), 'yanked')
  end]])
  local kept = chunks(c)
  t.ok(#kept <= 16 and #kept >= 8, 'it is bounded', #kept)
  t.ok(kept[#kept]:find('number 40 '), 'and keeps the newest', kept[#kept])
  c:lua([[require('aigc.ring').add('chunk number 40 of a long day, word40 word40 word40 word40 word40 x', 'left')]])
  t.is(#chunks(c), #kept, 'what is nearly the same takes the place of the old')

  c:request('nvim_command', 'enew')
  c:keys('iA new page<C-k>')
  t.ok(last_request(c).prompt:find('number 40 of', 1, true), 'another buffer has the newest')
  c:lua("require('aigc.context').reset() require('aigc.ring').clear() require('aigc.generation').forget()")
  c:keys('<C-k>')
  t.is(last_request(c).prompt, 'A new page', 'what is forgotten stands before no prompt, also where it stood before')
  c:keys('<Esc>')

  -- what may not be kept
  for _, setup in ipairs({
    'edit! ' .. folder .. '.env',
    'edit! ' .. folder .. 'id_rsa',
    'enew | set buftype=nofile',
    'edit! ' .. folder .. 'plain.txt | let b:aigc_disable = v:true',
    'edit! ' .. folder .. 'binary.txt | set binary',
  }) do
    c:lua("require('aigc.ring').clear()")
    c:request('nvim_command', setup)
    c:keys('ipassword=correct horse battery staple, four words<Esc>')
    c:keys('yy')
    c:request('nvim_command', 'silent! write!')
    c:request('nvim_command', 'enew!')
    t.is(table.concat(chunks(c)), '', 'not kept: ' .. setup:gsub('%S*/', ''))
  end
  c:stop()
  c = child.start({ aigc = options({ ring_bytes = 0 }) })
  c:keys('iOnce upon a time<C-k><Esc>')
  t.is(c:lua("return vim.fn.exists('#aigc_ring')"), 0, 'without a ring nothing is watched')
  t.is(c:lua("return vim.fn.exists('#aigc_personal')"), 0, 'nor without a personal layer')
  t.is(last_request(c).personal, nil, 'which is off unless it is asked for')
  t.is(c:lua('return fake.opened[1].options.personal'), nil, 'and has no file')
  c:keys(':Aigc memory show<CR>')
  t.ok(c:lua('return table.concat(notes)'):find('personal layer is off'), 'and nothing to show')
  c:stop()

  -- ---- what the personal layer is told ----------------------------------------------------------
  local TOLD = [[
    _G.told = {}
    local core = package.loaded['aigc.core']
    local open = core.open
    core.open = function(path, o)
      local model = open(path, o)
      local methods = getmetatable(model).__index
      methods.memory = function()
        return {
          unwritten = unwritten, vocabulary = 'f1', phrases = {}, tokens = 0, ngrams = 0, most_ngrams = 0, bytes = 0,
        }
      end
      methods.looked = methods.memory
      methods.look = function() return true end
      for _, name in ipairs({ 'learn', 'unlearn', 'feedback', 'save', 'forget' }) do
        methods[name] = function(_, ...)
          told[#told + 1] = table.concat(vim.tbl_map(tostring, { name, ... }), '|')
          return true
        end
      end
      return model
    end
  ]]
  c = child.start({ aigc = options({ ring_bytes = 0, documents = false, personal = folder .. 'early' }) })
  c:lua(TOLD)
  c:keys(':edit! ' .. folder .. 'early.txt<CR>iAll of it was written before.<C-k><Esc>')
  c:request('nvim_command', 'write')
  local early = c:lua('return told')
  t.ok(vim.tbl_contains(early, 'learn|All of it was written before.\n'), 'what was written before the first suggestion',
    vim.inspect(early))
  c:stop()
  c = child.start({ aigc = options({ ring_bytes = 0, documents = false, personal = folder .. 'early' }) })
  c:lua(TOLD)
  c:keys(':edit! ' .. folder .. 'earlier.txt<CR>i')
  t.ok(child.wait(5000, function()
    return c:lua("return vim.fn.exists('#aigc_personal#BufWritePost')") == 1
  end, 5), 'changes are watched when insert mode has begun')
  c:keys('Nobody asked for anything.<CR><CR>Nor here.<CR><CR>But now:<C-k><Esc>')
  c:request('nvim_command', 'write')
  t.ok(child.wait(5000, function()
    early = table.concat(c:lua('return told'), '')
    return early:find('learn|Nobody asked for anything.\n', 1, true) and early:find('learn|Nor here.\n', 1, true)
  end, 5), 'and all paragraphs learned from then on', early)
  c:stop()
  c = child.start({ aigc = options({ ring_bytes = 0, documents = false, personal = folder .. 'layer' }) })
  c:lua(TOLD)
  local function told()
    c:settle()
    return table.concat(c:lua('local x = told told = {} return x'), '\n')
  end
  c:request('nvim_command', 'edit! ' .. folder .. 'story.txt')
  c:keys('iOnce upon<C-k>')
  t.is(c:lua('return fake.opened[1].options.personal'), folder .. 'layer/', 'its folder is the option')
  t.is(last_request(c).personal, true, 'requests are to use it')
  t.is(c:lua('return vim.fn.getfperm(...)', folder .. 'layer'), 'rwx------', 'the folder is private')
  c:keys(' a time there was a cat.<CR><CR>It slept.<Esc>')
  told()
  c:request('nvim_command', 'write')
  t.is(
    told(),
    'learn|Once upon a time there was a cat.\n\nlearn|It slept.\n\nsave',
    'paragraphs are learned when written'
  )
  c:request('nvim_command', 'write')
  t.is(told(), '', 'once')
  t.is(#c:lua('return notes'), 0, 'without a word')
  c:keys('A A lot.<Esc>')
  c:request('nvim_command', 'write')
  t.is(
    told(),
    'unlearn|It slept.\n\nlearn|It slept. A lot.\n\nsave',
    'a paragraph that changes counts once, as it stands'
  )
  c:keys('ggONew here.<CR><CR>And this.<CR><Esc>G')
  c:request('nvim_command', 'write')
  t.ok(not told():find('unlearn', 1, true), 'one that moves stays as it is')
  c:keys('dd')
  c:request('nvim_command', 'write')
  t.ok(told():find('^unlearn|It slept%. A lot%.'), 'one that goes is taken back, wherever it has moved to')
  c:keys('ggA<C-k>')
  c:say(' The end of it.')
  c:finish()
  c:keys('<C-g>w')
  c:keys(' dog')
  t.is(told(), 'feedback| The end of it.|4|true', 'what was taken of a suggestion, and that the rest was not')
  c:keys('<Esc>')
  -- many paragraphs take many turns of the main loop; the model that is closed meanwhile has heard of all
  local many = c:lua([[
    local lines = {}
    for i = 1, 40 do
      lines[2 * i - 1], lines[2 * i] = 'Paragraph ' .. i, ''
    end
    vim.api.nvim_buf_set_lines(0, -1, -1, true, lines)
    vim.cmd('write')
    local at_once = #told
    require('aigc').stop()
    return { at_once, #told, told[#told - 1], told[#told] }
  ]])
  t.ok(many[1] < 5, 'of many paragraphs few are learned at once', many)
  t.ok(many[2] > 40 and many[3] == 'learn|Paragraph 40\n' and many[4] == 'save', 'and all when the model is closed',
    vim.inspect(many))
  c:keys('i<C-k><Esc>')
  told()
  -- so do those of a long one, which is taken back as it was told, and goes on when its buffer is left at once
  local LONG = [[
    local lines = { '' }
    for i = 1, 100 do
      lines[#lines + 1] = ('Line %03d of a paragraph that goes on, and on, and on.'):format(i)
    end
    vim.api.nvim_buf_set_lines(0, -1, -1, true, lines)
    vim.cmd('write')
  ]]
  local at_once = c:lua(LONG .. 'return #told')
  local long = told()
  local _, n_slices = long:gsub('%f[%w]learn|', '')
  t.ok(at_once <= 1 and n_slices >= 5, 'a long paragraph is learned in slices', at_once .. long:sub(1, 200))
  local first, last = long:find('Line 001.*Line 100[^\n]*\n')
  t.is(
    first and long:sub(first, last):gsub('\nlearn|', ''):gsub('\n+', ' ') or long,
    c:lua("return table.concat(vim.api.nvim_buf_get_lines(0, -101, -1, true), ' ') .. ' '"),
    'all of it, once'
  )
  c:keys('GA It ends.<Esc>')
  c:request('nvim_command', 'write')
  local again = told()
  t.is(
    again:match('^(unlearn.-)\nlearn|'),
    (long:gsub('\nsave$', ''):gsub('%f[%w]learn|', 'unlearn|')),
    'and taken back as it was told'
  )
  t.ok(again:find(' It ends.\n\nsave', 1, true), 'to be learned as it stands', again)
  c:request('nvim_command', 'enew! | set bufhidden=wipe')
  c:request('nvim_command', 'edit! ' .. folder .. 'left.txt')
  c:keys('i<C-k><Esc>')
  told()
  c:lua(LONG .. 'vim.cmd("bwipeout")')
  t.ok(told():find('Line 100[^\n]*\n\nsave$'), 'also when its buffer is left at once')
  c:request('nvim_command', 'edit! ' .. folder .. 'secrets.txt')
  c:keys('iOpen sesame, said the thief.<C-k><Esc>')
  c:request('nvim_command', 'write')
  t.is(told(), '', 'secrets are not learned')
  c:request('nvim_command', 'set hidden | edit! ' .. folder .. 'wrapped.txt | set textwidth=20')
  c:keys('iThe cat sat on the mat and looked at the moon.<Esc>')
  c:request('nvim_command', 'write')
  t.ok(told():find('learn|The cat sat on the mat and looked at the moon.', 1, true), 'hard wraps are no line ends')
  -- rows that change are noted, whatever changes: after many edits, every line that is new is in a range
  local missed = c:lua([[
    vim.cmd('enew!')
    local buf = vim.api.nvim_get_current_buf()
    local old, lines = {}, {}
    for i = 1, 60 do
      lines[i] = 'line ' .. i
      old[lines[i] ] = true
    end
    vim.api.nvim_buf_set_lines(buf, 0, -1, true, lines)
    local tracker = require('aigc.paragraphs').new(function() end)
    tracker:attach(buf)
    math.randomseed(7)
    for i = 1, 300 do
      local n = vim.api.nvim_buf_line_count(buf)
      local first = math.random(0, n)
      local last = math.min(n, first + math.random(0, 2))
      local new = {}
      for k = 1, math.random(0, 2) do new[k] = ('new %d %d'):format(i, k) end
      vim.api.nvim_buf_set_lines(buf, first, last, true, new)
    end
    local ranges, missed = tracker.buffers[buf].ranges, {}
    for row, line in ipairs(vim.api.nvim_buf_get_lines(buf, 0, -1, true)) do
      local noted = old[line] ~= nil
      for _, r in ipairs(ranges) do noted = noted or (row - 1 >= r[1] and row - 1 < r[2]) end
      if not noted then missed[#missed + 1] = row end
    end
    for i = 2, #ranges do
      if ranges[i][1] <= ranges[i - 1][2] then missed[#missed + 1] = 'ranges touch' end
    end
    return missed
  ]])
  t.is(table.concat(missed, ' '), '', 'every row that has changed is noted')
  command(c, 'forget blue moon')
  t.is(told(), 'forget|blue moon\nforget|blue moon|documents', 'a phrase is forgotten')
  t.is(#chunks(c), 0, 'and the ring is empty')
  local function last_note()
    return c:lua('return notes[#notes]')
  end
  t.is(last_note(), "aigc: forgotten: 'blue moon'", 'and that is told')
  vim.fn.writefile({ 'of another model' }, folder .. 'layer/f2.aigc')
  command(c, 'forget blue moon')
  t.ok(last_note():find('but not what another vocabulary has learned: .*/f2%.aigc$'), 'but for other vocabularies', last_note())
  c:lua("unwritten = 'the disk is full'")
  command(c, 'forget blue moon')
  t.is(last_note(), "aigc: 'blue moon' is not forgotten: the disk is full", 'not if the disk has it still')
  c:keys(':Aigc memory show<CR>')
  child.wait(5000, function()
    return c:lua('return vim.bo.filetype') == 'aigcmemory'
  end, 1)
  t.ok(c:buffer():find('could not be written the last time: the disk is full', 1, true), 'which is shown, too', c:buffer())
  c:keys(':close<CR>')
  c:lua('notes = {}')
  for time = 1, 2 do
    c:keys('GoOn it went.<Esc>')
    c:request('nvim_command', 'silent write! ' .. folder .. 'again.txt')
    c:lua('local time = ... vim.wait(time == 1 and 5000 or 1300, function() return time == 1 and #notes > 0 end)', time)
  end
  t.is(#c:lua('return notes'), 1, 'and told once when a buffer is written', c:lua('return notes'))
  t.ok(last_note():find('^aigc: w.*is full'), 'in one line', last_note())
  c:lua('unwritten = nil')
  told()
  c:lua('vim.ui.select = function(items, _, choose) choose(items[_G.choice]) end choice = 1')
  c:keys(':Aigc memory forget<CR>')
  t.is(told(), '', 'everything only if one means it')
  c:lua('choice = 2')
  vim.fn.writefile({ 'left behind' }, folder .. 'layer/f1.aigc.123.tmp')
  vim.fn.writefile({ 'not ours' }, folder .. 'layer/notes.txt')
  local closed = c:lua('return fake.closed')
  c:lua([[
    local path = ...
    fake.at_settle = function() vim.fn.writefile({ 'still being written' }, path) fake.at_settle = nil end
  ]], folder .. 'layer/f2.aigc')
  command(c, 'forget')
  t.is(c:lua('return fake.closed'), closed + 1, 'then it is: in memory with the model')
  c:lua('if fake.at_settle then fake.at_settle() end') -- nobody has waited for it
  t.is(vim.fn.glob(folder .. 'layer/*'), folder .. 'layer/notes.txt', 'on the disk with all files of the layer')
  t.is(last_note(), 'aigc: the personal layer is empty', 'and that is told')
  c:lua("(vim.uv or vim.loop).fs_unlink = function() return nil, 'EACCES: no', 'EACCES' end")
  vim.fn.writefile({ 'cannot be removed' }, folder .. 'layer/f1.aigc')
  command(c, 'forget')
  t.is(last_note(), 'aigc: not all is forgotten: EACCES: no', 'as is what stays')
  c:lua('vim.g.aigc = nil _G.asked = false vim.ui.select = function() asked = true end')
  command(c, 'forget')
  t.ok(last_note():find('the personal layer is off') and not c:lua('return asked'), 'nothing is asked where it is off')
  t.is(
    table.concat(c:lua("return vim.fn.getcompletion('Aigc memory ', 'cmdline')"), ' '),
    'export forget show',
    'completion'
  )
  c:stop()

  -- ---- what became of suggestions -----------------------------------------------------------------
  c = child.start({ aigc = options({ ring_bytes = 0, documents = false, personal = folder .. 'outcomes' }) })
  c:lua(TOLD)
  c:request('nvim_command', 'edit! ' .. folder .. 'report.txt')
  local function exported(kind)
    local path = folder .. 'export.jsonl'
    t.ok(c:lua([[
      local path, kind = ...
      local written
      require('aigc.outcomes').export(path, kind, function(n) written = n end)
      vim.wait(5000, function() return written ~= nil end, 1)
      return written
    ]], path, kind), 'exported: ' .. kind)
    local list = {}
    for i, line in ipairs(vim.fn.readfile(path)) do
      local r = vim.json.decode(line)
      list[i] = table.concat({ r.prompt, r.response or r.chosen, r.rejected }, '|')
    end
    return table.concat(list, '\n')
  end
  local function suggest_after(keys, text)
    c:keys(keys .. '<C-k>')
    c:say(text)
    c:finish()
  end
  suggest_after('iOnce upon ', 'a time.')
  c:keys('<C-j><Esc>')
  t.is(exported('responses'), 'Once upon| a time.', 'an accepted one, with the space before it')
  suggest_after('oThe cat', ' was black.')
  c:keys(' sat on the mat and slept')
  t.is(exported('preferences'), '', 'nothing is settled while one writes on')
  c:keys('<Esc>')
  local preference = 'Once upon a time.\nThe cat| sat on the| was black.'
  t.is(exported('preferences'), preference, 'typed otherwise: as much as was shown')
  t.is(
    exported('responses'),
    'Once upon| a time.\nOnce upon a time.\nThe cat| sat on the',
    'what was written instead is a response, too'
  )
  suggest_after('oIt rained', ' cats.')
  c:keys('<C-g>d')
  c:keys(' all day long<C-k>')
  t.ok(
    exported('preferences'):find('It rained| all day| cats.', 1, true),
    'dismissed, and settled by the next request',
    exported('preferences')
  )
  c:keys('<Esc>')
  suggest_after('oWe went', ' home by bus.')
  c:keys('<C-g>w')
  c:keys(' on foot through the rain<Esc>')
  t.ok(
    exported('preferences'):find('We went| home on foot| home by bus.', 1, true),
    'a part is accepted, and the rest is not',
    exported('preferences')
  )
  suggest_after('oThey saw', ' a dog.')
  c:keys('<C-g>d a dog.<Esc>')
  t.ok(not exported('preferences'):find('They saw|', 1, true), 'dismissed and then written all the same: no preference')
  t.ok(exported('responses'):find('They saw| a dog.', 1, true), 'but a response')
  suggest_after('oShe said', ' yes.')
  c:keys('<C-g>d<Esc>')
  t.ok(not exported('responses'):find('She said|', 1, true), 'nothing written instead says nothing')
  suggest_after('oHe ran', ' away.')
  c:keys('<C-g>d<Esc>ddggOEverything is different now here<Esc>')
  t.ok(not exported('responses'):find('He ran|', 1, true), 'nor does a text that has gone')
  c:request('nvim_command', 'edit! ' .. folder .. 'secrets.txt')
  c:lua([[
    local buf = vim.api.nvim_get_current_buf()
    local outcome = { buf = buf, kind = 'accepted', shown = ' is lost.', prompt = 'The password', left_out = '' }
    require('aigc.outcomes').note(outcome)
  ]])
  t.ok(not exported('responses'):find('password', 1, true), 'secrets are not kept')
  c:request('nvim_command', 'edit! ' .. folder .. 'report.txt')
  t.is(c:lua('return vim.fn.getfperm(...)', folder .. 'outcomes/outcomes.jsonl'), 'rw-------', 'the file is private')
  local counts = c:lua([[
    local counts
    require('aigc.outcomes').count(function(...) counts = table.concat({ ... }, ' ') end)
    vim.wait(5000, function() return counts end, 1)
    return counts
  ]])
  t.is(counts, '2 3', 'counts, for :Aigc memory show')
  command(c, 'export responses ' .. folder .. 'by command')
  t.ok(c:lua('return notes[#notes]'):find('5 responses written to', 1, true), 'the command', c:lua('return notes'))
  t.is(#vim.fn.readfile(folder .. 'by command'), 5, 'writes them')
  t.ok(c:lua('return notes[#notes]'):find('.jsonl', 1, true), 'says under which name they can be trained on')
  for _, kind in ipairs({ 'preferences', 'responses' }) do
    command(c, ('export %s %s%s.jsonl'):format(kind, folder, kind))
    t.ok(not c:lua('return notes[#notes]'):find('name', 1, true), kind .. ': and does not where it has such a name')
  end
  command(c, 'forget home by bus')
  local rest = exported('preferences')
  t.ok(not rest:find('bus', 1, true) and rest:find('cats', 1, true), 'a phrase is forgotten there, too')
  command(c, 'forget They saw a dog')
  t.ok(not exported('responses'):find('a dog', 1, true), 'also where the cursor was in its midst')
  suggest_after('oA tale of old Mari<CR>gold', ' Jones.')
  c:keys('<C-j><Esc>')
  command(c, 'forget gold Jones')
  t.ok(not exported('responses'):find('Jones', 1, true), 'or a line ends in it')
  -- a file that cannot be read is not said to have forgotten
  local path = folder .. 'outcomes/outcomes.jsonl'
  assert(vim.loop.fs_rename(path, path .. '.kept'))
  assert(vim.loop.fs_symlink(path, path)) -- a link to itself
  command(c, 'forget home by bus')
  t.ok(c:lua('return notes[#notes]'):find('not forgotten: .*outcomes.jsonl'), 'what is not read is not forgotten')
  assert(vim.loop.fs_unlink(path))
  assert(vim.loop.fs_rename(path .. '.kept', path))
  -- where there are no threads to be had, on the main loop
  c:lua([[
    local uv = vim.uv or vim.loop
    new_work = uv.new_work
    uv.new_work = function() error('EAGAIN') end
  ]])
  t.ok(exported('responses'):find('^Once upon| a time'), 'without a thread')
  command(c, 'export /nonexistent/x')
  t.ok(c:lua('return notes[#notes]'):find('ENOENT', 1, true), 'with what goes wrong')
  c:lua('(vim.uv or vim.loop).new_work = new_work')
  command(c, 'export')
  t.ok(c:lua('return notes[#notes]'):find('which file', 1, true), 'export needs a file')
  command(c, 'export /nonexistent/x')
  t.ok(c:lua('return notes[#notes]'):find('ENOENT', 1, true), 'and one that can be written')
  -- bounded
  c:lua([[
    local outcomes = require('aigc.outcomes')
    local function size() return vim.fn.getfsize(outcomes.path()) end
    for i = 1, 2200 do
      local buf = vim.api.nvim_get_current_buf()
      local shown = ('n%d '):format(i) .. ('x'):rep(2000)
      outcomes.note({ buf = buf, kind = 'accepted', shown = shown, taken = '', prompt = 'p', left_out = '' })
      if i % 200 == 0 then
        local before = size()
        outcomes.save()
        vim.wait(5000, function() return size() ~= before end, 1) -- longer, or shorter: it has been replaced
      end
    end
    vim.wait(5000, function() return size() < 4 * 1024 * 1024 end, 1)
  ]])
  local size = c:lua("return vim.fn.getfsize(require('aigc.outcomes').path())")
  t.ok(size < 4.5 * 1024 * 1024 and size > 1024 * 1024, 'the file is bounded', size)
  t.ok(exported('responses'):find('p|n2200 ', 1, true), 'and keeps the newest')
  c:lua('vim.ui.select = function(items, _, choose) choose(items[2]) end')
  command(c, 'forget')
  t.is(c:lua("return vim.fn.filereadable(require('aigc.outcomes').path())"), 0, 'forgetting all removes the file')
  c:stop()

  -- what is forgotten is, also by a Neovim that ends at once; nothing else goes with it
  c = child.start({ aigc = options({ ring_bytes = 0, documents = false, personal = folder .. 'outcomes' }) })
  c:lua(TOLD)
  c:lua([[
    local outcomes, buf = require('aigc.outcomes'), vim.api.nvim_get_current_buf()
    outcomes.watch()
    local function note(shown)
      outcomes.note({ buf = buf, kind = 'accepted', shown = shown, taken = '', prompt = 'p', left_out = '' })
    end
    note('a red fox')
    note('a grey goose')
    outcomes.forget('red fox', function() end)
    note('a late hen')
  ]])
  c:notify('nvim_command', 'qall!')
  t.ok(child.wait(5000, function()
    return c.code ~= nil
  end, 5), 'Neovim ends')
  c:stop()
  local left = table.concat(vim.fn.readfile(folder .. 'outcomes/outcomes.jsonl'), '\n')
  t.ok(not left:find('red fox', 1, true) and left:find('grey goose', 1, true), 'a phrase is forgotten as it ends', left)
  t.ok(left:find('late hen', 1, true), 'and what came meanwhile is kept', left)

  -- ---- the documents at hand --------------------------------------------------------------------
  c = child.start({ aigc = options({ ring_bytes = 0 }) })
  c:lua(TOLD)
  c:request('nvim_command', 'edit! ' .. folder .. 'long.txt')
  c:lua([[
    local lines = {}
    for i = 1, 2000 do lines[i] = 'line ' .. i end
    vim.api.nvim_buf_set_lines(0, 0, -1, true, lines)
    vim.api.nvim_win_set_cursor(0, { 900, 0 })
  ]])
  c:keys('A and<C-k>')
  t.is(last_request(c).documents, true, 'requests are to use the layer of the documents at hand')
  t.is(last_request(c).personal, nil, 'and not the personal one')
  t.ok(
    child.wait(5000, function()
      return c:lua("return (told[#told] or ''):find('line 2000\\n|documents$') ~= nil")
    end, 5),
    'the buffer is learned',
    c:lua('return #told')
  )
  local slices = c:lua('local x = told told = {} return x')
  local text = table.concat(slices):gsub('|documents', ''):gsub('learn|', '')
  t.ok(#slices > 10 and #slices < 24, 'slice by slice', #slices)
  t.ok(text:find('^line 1\nline 2\n') and select(2, text:gsub('\n', '')) == 2000, 'all of it, once', text)
  c:lua("require('aigc').stop()")
  c:keys('<C-k>')
  t.ok(
    child.wait(5000, function()
      return c:lua("return (told[#told] or ''):find('line 2000\\n|documents$') ~= nil")
    end, 5),
    'a model that is opened anew learns it anew'
  )
  told()
  c:keys(' so on<Esc>')
  t.ok(told():find('^learn|.*line 900 and so on\n.*|documents$'), 'what has changed when insert mode ends')
  c:keys('A<C-k><Esc>')
  t.is(told(), '', 'once')
  c:request('nvim_command', 'edit! ' .. folder .. '.env')
  c:lua("require('aigc.documents').attach(vim.api.nvim_get_current_buf(), 0)")
  t.is(told(), '', 'secrets are not')
  c:stop()

  -- ---- with the real engine ---------------------------------------------------------------------
  if not t.model_exists() then
    return
  end
  for kind, wanted in pairs({ preferences = 'examples 3 to train on', responses = 'examples 5 to train on' }) do
    local said = vim.fn.system({
      'build/aigc', 'finetune', t.model, '--data', folder .. kind .. '.jsonl', '-o', folder .. kind .. '.gguf',
      '--context', '64', '--epochs', '1', '--threads', '1',
    })
    t.ok(vim.v.shell_error == 0 and said:find(wanted, 1, true), '`aigc finetune` takes exported ' .. kind, said)
  end
  local function real()
    local r = child.start({ fake = false, lines = 24, columns = 80 })
    r:lua(
      'vim.g.aigc = ...',
      options({
        model = vim.fn.fnamemodify(t.model, ':p'),
        personal = folder .. 'real',
        max_tokens = 12,
        ring_bytes = 0,
        documents = false,
        threads = 1,
      })
    )
    return r
  end
  local function wait_for(r, code, what)
    local ok = child.wait(30000, function()
      return r:lua(code)
    end, 10)
    t.ok(ok, what)
  end
  local IDLE = "return require('aigc').status().state == 'idle'"
  local function suggest(r)
    r:lua("require('aigc.generation').forget()") -- its cache of answers
    r:request('nvim_command', 'enew!')
    r:keys('iThe gardener was Marigold<C-k>')
    wait_for(r, "return require('aigc').visible()", 'a suggestion comes')
    wait_for(r, IDLE, 'and ends')
    vim.wait(100)
    local seen = r:screen()
    r:keys('<C-g>d<Esc>')
    return seen
  end
  c = real()
  t.ok(not suggest(c):find('Quillfeather'), 'the model does not know the name')
  c:request('nvim_command', 'edit! ' .. folder .. 'tale.txt')
  c:keys('i' .. ((PHRASE .. '<CR><CR>'):rep(3)) .. '<Esc>')
  c:request('nvim_command', 'write')
  wait_for(c, IDLE, 'it is learned')
  t.ok(suggest(c):find('Marigold Quillfeather'), 'and then the layer does', c:screen())
  c:request('nvim_command', 'Aigc memory show')
  c:request('nvim_command', 'Aigc memory forget nothing of it')
  wait_for(c, "return table.concat(notes):find('forgotten: .nothing of it') ~= nil", 'two at once: one is done')
  wait_for(c, "return vim.bo.filetype == 'aigcmemory'", ':Aigc memory show opens a window')
  t.ok(c:buffer():find('tokens learned') and c:buffer():find('\n +3  '), 'with what it knows', c:buffer())
  c:stop()
  c = real()
  t.ok(suggest(c):find('Marigold Quillfeather'), 'another session knows it too', c:screen())
  command(c, 'forget Quillfeather')
  wait_for(c, IDLE, 'it is forgotten')
  t.ok(not suggest(c):find('Quillfeather'), 'and not said any more')
  c:stop()
  c = real()
  c:request('nvim_command', 'edit! ' .. folder .. 'tale.txt')
  c:keys('i<C-k>')
  c:keys('<C-g>d' .. (('Wendeline Ruppertshoven came.<CR><CR>'):rep(3)) .. '<Esc>')
  c:request('nvim_command', 'write')
  wait_for(c, IDLE, 'another name is learned')
  local function leave(by)
    c:notify('nvim_command', by .. 'qall!')
    t.ok(child.wait(5000, function()
      return c.code ~= nil
    end, 5), 'Neovim ends')
    c:stop()
  end
  leave('')
  local function phrases(of)
    of:keys(':Aigc memory show<CR>')
    wait_for(of, "return vim.bo.filetype == 'aigcmemory'", 'what is known is shown')
    return of:buffer()
  end
  c = real()
  t.ok(phrases(c):find('pert', 1, true), 'and kept', c:buffer())
  c:stop()
  -- another editor has the folder to itself: the file is written when this one is waited for no longer
  local locked = false
  local other = vim.fn.jobstart({ 'flock', folder .. 'real', 'sh', '-c', 'echo; exec sleep 60' }, {
    on_stdout = function()
      locked = true
    end,
  })
  t.ok(
    child.wait(5000, function()
      return locked
    end),
    'its folder is locked'
  )
  c = real()
  leave("call luaeval('require([[aigc.memory]]).forget_phrase([[Ruppertshoven]])') | ")
  vim.fn.jobstop(other)
  c = real()
  t.ok(not phrases(c):find('pert', 1, true), 'and forgotten, also by a Neovim that ends at once', c:buffer())
  c:stop()
  c = child.start({ fake = false, lines = 24, columns = 80 })
  c:lua(
    'vim.g.aigc = ...',
    options({ model = vim.fn.fnamemodify(t.model, ':p'), max_tokens = 12, ring_bytes = 0, threads = 1, prompt_bytes = 256 })
  )
  c:request('nvim_command', 'edit! ' .. folder .. 'novel.txt')
  local far = { PHRASE, '', PHRASE, '', PHRASE, '' }
  for i = 1, 100 do
    far[#far + 1] = ('Then they went home for the %dth time.'):format(i)
  end
  far[#far + 1] = 'The gardener was Marigold'
  c:request('nvim_buf_set_lines', 0, 0, -1, true, far)
  c:keys('GA<C-k>')
  wait_for(c, IDLE, 'the document is read')
  vim.wait(100)
  wait_for(c, IDLE, 'and learned')
  c:keys('<C-g>d')
  c:lua("require('aigc.generation').forget()")
  c:keys('<C-k>')
  wait_for(c, "return require('aigc').visible()", 'another suggestion comes')
  wait_for(c, IDLE, 'and ends')
  vim.wait(100)
  t.ok(c:screen():find('Marigold Quillfeather'), 'names from far above are known without a personal layer', c:screen())
  t.is(vim.fn.glob(folder .. 'real/*'), vim.fn.glob(folder .. 'real/*.aigc'), 'and nothing else is on the disk')
  c:stop()
  local file = vim.fn.glob(folder .. 'real/*.aigc')
  vim.fn.writefile({ 'damaged' }, file)
  c = real()
  t.ok(not suggest(c):find('Quillfeather'), 'a damaged file does not keep suggestions from coming')
  c:keys(':Aigc memory show<CR>')
  wait_for(c, "return table.concat(notes):find('not a personal file') ~= nil", 'but is told of')
  t.is(vim.fn.readfile(file)[1], 'damaged', 'and is left as it is')
  command(c, 'forget blue moon')
  wait_for(c, "return notes[#notes]:find('is not forgotten: .*not a personal file') ~= nil", 'what is in it as well')
  c:lua('vim.ui.select = function(items, _, choose) choose(items[2]) end')
  command(c, 'forget')
  wait_for(c, "return notes[#notes]:find('the personal layer is empty') ~= nil", 'until all is forgotten')
  t.is(vim.fn.glob(folder .. 'real/*'), '', 'and then it is gone')
  c:keys(':Aigc memory show<CR>')
  wait_for(c, "return vim.bo.filetype == 'aigcmemory'", 'which begins anew')
  c:stop()

  -- what cannot be kept: the folder is gone, or a file is in its way
  for name, problem in pairs({
    gone = function()
      vim.fn.delete(folder .. 'real', 'rf')
    end,
    damaged = function()
      vim.fn.writefile({ 'damaged' }, file)
    end,
  }) do
    vim.fn.mkdir(folder .. 'real', 'p')
    c = real()
    c:request('nvim_command', 'edit! ' .. folder .. name .. '.txt')
    c:keys('iThe gardener was Marigold<C-k>')
    wait_for(c, "return require('aigc').visible()", name .. ': a suggestion comes')
    problem()
    c:keys('<C-g>d' .. PHRASE .. '<Esc>')
    c:request('nvim_command', 'silent write')
    wait_for(
      c,
      "return table.concat(require('aigc.log').lines(), '\\n'):find('what was learned is not kept: .') ~= nil",
      name .. ': the log says that it is not kept'
    )
    t.is(#c:lua('return notes'), 1, 'and one message')
    c:stop()
    vim.fn.delete(folder .. 'real', 'rf')
  end
end
