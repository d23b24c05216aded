-- What is on the screen while there is a suggestion.

local function marks(c)
  return c:lua([[
    return vim.api.nvim_buf_get_extmarks(0, vim.api.nvim_get_namespaces().aigc, 0, -1, { details = true })
  ]])
end

return function(t, child)
  -- One child for each case: nothing is left over from the one before.
  local function case(name, keys, text, screen, options)
    local c = child.start(options)
    c:keys(keys)
    c:say(text)
    local before = c:buffer()
    t.is(c:screen(), screen, name)
    t.is(c:buffer(), before, name .. ': the buffer is untouched')
    return c
  end

  case('at the end of a line', 'iOnce<C-k>', ' upon a time', 'Once upon a time'):stop()
  case('in an empty buffer', 'i<C-k>', 'Once', 'Once'):stop()
  case('several lines', 'ifor x<C-k>', ' do\n  y\nend', 'for x do\n  y\nend'):stop()
  case('above other lines', 'ibelow<Esc>Oabove<C-k>', ' one\ntwo', 'above one\ntwo\nbelow'):stop()
  case('a line feed first', 'iend<C-k>', '\nnext', 'end\nnext'):stop()
  case(
    'soft wrap: what fits, then words',
    'iLorem ipsum dolor sit amet,<C-k>',
    ' consectetur adipiscing elit, sed do eiusmod',
    'Lorem ipsum dolor sit amet, consectetur\nadipiscing elit, sed do eiusmod'
  ):stop()
  case(
    'no room for the first word',
    'iLorem ipsum dolor sit amet, consectetur<C-k>',
    'adipiscing elit',
    'Lorem ipsum dolor sit amet, consectetur\nadipiscing elit'
  ):stop()
  case(
    'a word longer than the window',
    'i<C-k>',
    ('x'):rep(50),
    ('x'):rep(40) .. '\n' .. ('x'):rep(10)
  ):stop()
  case('a tab', 'iab<C-k>', 'c\td\n\te', 'abc     d\n        e'):stop()
  case(
    'wide characters',
    'i吾輩は<C-k>',
    '日本語の文章を続けて書きます。とても長い文章なので',
    '吾輩は日本語の文章を続けて書きます。とて\nも長い文章なので'
  ):stop()
  case('behind wide characters and accents', 'ié日本<C-k>', '語é', 'é日本語é'):stop()
  case('text behind the cursor', 'ihello (world)<Left><Left><C-k>', 'XX YY', 'hello (worlXX YYd)'):stop()
  case(
    'text behind the cursor, wide',
    'i日本語)<Left><C-k>',
    'です',
    '日本語です)'
  ):stop()
  case(
    'text behind the cursor, several lines',
    'i(a, b)<Left><C-k>',
    ' c,\n d',
    '(a, b c,\n d)'
  ):stop()
  -- Where Neovim pushes the rest of the line aside (0.10 and later) it wraps that line itself.
  local probed = child.start()
  local inline = probed:lua("return require('aigc.ghost').has_inline()")
  probed:stop()
  case(
    'a rest of the line that wraps itself',
    'i' .. ('word '):rep(12) .. '<Home><C-k>',
    'FIRST',
    inline and 'FIRST' .. ('word '):rep(7):sub(1, -2) .. '\n' .. ('word '):rep(5):sub(1, 24)
      or ('word '):rep(8):sub(1, 39) .. '\nword word word word\nFIRST'
  ):stop()
  case(
    'with line numbers',
    ':set number<CR>iOnce upon a time there was<C-k>',
    ' a little girl named Lily',
    '  1 Once upon a time there was a little\n    girl named Lily'
  ):stop()
  -- rows of an indented line, where Neovim indents them
  local words = ' amet, consectetur adipiscing elit, sed do eiusmod'
  for _, one in ipairs({
    { 'breakindent', '    Lorem ipsum dolor sit amet,\n    consectetur adipiscing elit, sed do\n    eiusmod' },
    {
      'breakindent breakindentopt=shift:2',
      '    Lorem ipsum dolor sit amet,\n      consectetur adipiscing elit, sed\n      do eiusmod',
    },
    { 'showbreak=>>', '    Lorem ipsum dolor sit amet,\n  consectetur adipiscing elit, sed do\n  eiusmod' },
    { 'nowrap breakindent', '    Lorem ipsum dolor sit amet,\nconsectetur adipiscing elit, sed do\neiusmod' },
  }) do
    case("with '" .. one[1] .. "'", ':set ' .. one[1] .. '<CR>i    Lorem ipsum dolor sit<C-k>', words, one[2]):stop()
  end
  case(
    "with 'breakindent', further lines",
    ':set breakindent<CR>iif x<C-k>',
    '\n  a comment that is longer than one row of them',
    'if x\n  a comment that is longer than one row\n  of them'
  ):stop()
  case(
    'without wrap',
    ':set nowrap<CR>iLorem ipsum dolor sit amet, <C-k>',
    'consectetur adipiscing',
    'Lorem ipsum dolor sit amet, consectetur\nadipiscing'
  ):stop()
  case(
    'at the bottom of the window: scrolls',
    'i' .. ('line<CR>'):rep(12) .. 'last<C-k>',
    ' a\nb\nc',
    ('line\n'):rep(7) .. 'last a\nb\nc'
  ):stop()
  local two, three = ('x'):rep(40) .. '\ny', ('x'):rep(40) .. '\n' .. ('x'):rep(40) .. '\ny'
  case(
    'below paragraphs of several rows: scrolls by whole ones, and no more than it must',
    'i' .. (three .. '\n' .. three .. '\n' .. two .. '\n'):gsub('x\n', 'x'):gsub('\n', '<CR>') .. 'last<C-k>',
    ' a\nb\nc\nd',
    three .. '\n' .. two .. '\nlast a\nb\nc\nd'
  ):stop()
  case(
    'of more rows than there are: the cursor stays',
    'i' .. (three .. '\n' .. three .. '\n'):gsub('x\n', 'x'):gsub('\n', '<CR>') .. 'last<C-k>',
    ' a' .. ('\nb'):rep(20),
    'last a' .. ('\nb'):rep(9)
  ):stop()
  case(
    'below a line that begins left of the window: scrolls no more than it must',
    ':set nowrap sidescroll=1<CR>i' .. ('line<CR>'):rep(9) .. ('x'):rep(39) .. 'last<C-k>',
    ' a\nb\nc',
    ('\n'):rep(6) .. ('x'):rep(35) .. 'last\na\nb\nc'
  ):stop()
  case(
    'below a closed fold, which is one row: scrolls it away',
    'i' .. ('fold<CR>'):rep(3) .. ('line<CR>'):rep(7) .. 'line<Esc>ggzfjjGolast<C-k>',
    ' a\nb',
    ('line\n'):rep(8) .. 'last a\nb'
  ):stop()

  -- scripts and decorations
  case(
    'combining characters behind the cursor',
    'ie\204\129tude x<Left><C-k>',
    'e\204\129le\204\128ve ',
    'e\204\129tude e\204\129le\204\128ve x'
  ):stop()
  case('right-to-left text', 'iשָׁלוֹם<C-k>', ' עוֹלָם', 'שָׁלוֹם עוֹלָם'):stop()
  local rightleft = "a window with 'rightleft'"
  local rows = (' '):rep(32) .. ' fed cba\n' .. (' '):rep(28) .. ' txet tsohg'
  local c = case(rightleft, ':set rightleft<CR>iabc def<C-k>', ' ghost text', rows)
  c:say(' grows')
  t.is(c:screen(), (' '):rep(32) .. ' fed cba\n' .. (' '):rep(22) .. ' sworg txet tsohg', rightleft .. ': as it comes')
  c:keys('<C-j>')
  t.is(c:buffer(), 'abc def ghost text grows', rightleft .. ': accepted')
  t.is(#c:request('nvim_list_wins'), 1, rightleft .. ': leaves no window')
  c:stop()
  -- Neovim 0.7 writes beyond its line buffer where a line of such a window is shorter than the window.
  rows = (' '):rep(37) .. 'cba\n' .. (' '):rep(18) .. 'dna sdrow regnol emos\n' .. (' '):rep(32) .. 'owt 本日'
  c = case(rightleft .. ', rows', ':set rightleft<CR>iabc<C-k>', ' some longer words and\n日本 two', rows)
  local widths = c:lua([[
    local widths = {}
    for _, win in ipairs(vim.api.nvim_list_wins()) do
      if vim.api.nvim_win_get_config(win).relative ~= '' then
        for _, line in ipairs(vim.api.nvim_buf_get_lines(vim.api.nvim_win_get_buf(win), 0, -1, true)) do
          table.insert(widths, vim.fn.strdisplaywidth(line) - vim.api.nvim_win_get_width(win))
        end
      end
    end
    return widths
  ]])
  t.is(table.concat(widths, ' '), '0 0', rightleft .. ': rows as wide as the window')
  c:say(' more')
  local changes = c:lua([[
    for _, win in ipairs(vim.api.nvim_list_wins()) do
      if vim.api.nvim_win_get_config(win).relative ~= '' then
        return vim.api.nvim_buf_call(vim.api.nvim_win_get_buf(win), function() return #vim.fn.undotree().entries end)
      end
    end
  ]])
  t.is(changes, 0, rightleft .. ': nothing to undo adds up')
  c:stop()
  -- While a menu opens no window may be closed.
  rows = (' '):rep(28) .. 'a sala enola\n' .. (' '):rep(31) .. ' dna gnol'
  c = case(rightleft .. ', menu', ':set rightleft<CR>ialone alas a<C-k>', 'long and ', rows)
  c:keys('<C-x><C-n>')
  t.is(c:lua('return vim.fn.pumvisible()'), 1, rightleft .. ': a menu opens')
  t.is(#c:request('nvim_list_wins'), 1, rightleft .. ': the window makes room for it')
  t.is(c:lua('return vim.v.errmsg'), '', rightleft .. ': without an error')
  c:stop()
  rows = (' '):rep(39) .. 'a\n' .. (' '):rep(31) .. ' dna gnol'
  c = case(rightleft .. ', words', ':set rightleft<CR>ia <C-k>', 'long and ', rows)
  c:keys('<C-n>')
  t.is(c:buffer(), 'a ', rightleft .. ': its words are not completed with')
  c:stop()
  case(
    'concealed text before the cursor',
    ':set conceallevel=2 concealcursor=i<CR>:syntax match X /SECRET/ conceal<CR>iab SECRET cd<C-k>',
    ' ghost text and more words than fit', -- broken as if nothing were concealed
    'ab  cd ghost text and more words\nthan fit'
  ):stop()
  case('a closed fold opens', 'ia<CR>b<CR>c<Esc>ggzfGA<C-k>', ' ghost', 'a ghost\nb\nc'):stop()
  -- Where Neovim before 0.10 would draw neither the rows below nor the fold.
  local probe = child.start()
  local below = probe:lua("return require('aigc.ghost').has_inline()") and '\n  b\n' or '…\n'
  probe:stop()
  case(
    'above a closed fold',
    'ia<CR>c<CR>d<Esc>kzfjggA<C-k>',
    ' ghost\n  b',
    'a ghost' .. below .. '+--  2 lines: c' .. ('·'):rep(25)
  ):stop()
  case('a tab before and in it', ':set tabstop=4 shiftwidth=4<CR>i\tx<C-k>', '\ty\tz', '    x   y   z'):stop()
  case('a tab behind the cursor', ':set tabstop=4<CR>ia\tb<Left><Left><C-k>', 'Z', 'aZ  b'):stop()
  case('inside a word', 'ihello<Left><Left><C-k>', 'XX', 'helXXlo'):stop()
  case("with 'list'", ':set list<CR>iab <C-k>', 'cd ef', 'ab-cd ef'):stop()
  case(
    'with all columns at the left',
    ':set number signcolumn=yes foldcolumn=1<CR>iab<C-k>',
    (' cd'):rep(12),
    '     1 ab cd cd cd cd cd cd cd cd cd cd\n       cd cd'
  ):stop()
  case(
    'an insertion into a line that wraps',
    'i' .. ('word '):rep(7) .. 'abc def<Left><Left><Left><C-k>',
    'INSERT ',
    inline and ('word '):rep(7) .. 'abc I\nNSERT def' or ('word '):rep(7) .. 'abc d\nef\nINSERT'
  ):stop()

  -- virtual text of others behind the line
  c = child.start()
  c:keys('iOnce')
  c:lua([[
    _G.theirs = vim.api.nvim_create_namespace('theirs')
    vim.api.nvim_buf_set_extmark(0, theirs, 0, 0, { virt_text = { { 'a warning from elsewhere' } } })
  ]])
  c:keys('<C-k>')
  c:say(' upon')
  t.is(c:screen(), inline and 'Once upon a warning from elsewhere' or 'Once upon',
    "no rest of others' text stands behind it as if it were its end")
  c:keys('<C-g>d')
  t.is(c:screen(), 'Once a warning from elsewhere', 'which is back when it is gone')
  c:stop()

  -- rows of the window that are not of its text
  c = child.start()
  if c:lua("return vim.fn.exists('&winbar')") == 1 then
    c:request('nvim_command', 'set winbar=BAR')
    c:keys('i' .. ('line<CR>'):rep(8) .. 'last<C-k>')
    c:say(' a\nb')
    t.is(c:screen(), 'BAR\n' .. ('line\n'):rep(7) .. 'last a\nb', 'scrolls no more than it must')
  end
  c:stop()

  -- as it comes
  c = case('a stream', 'iOnce<C-k>', ' upon', 'Once upon')
  c:say(' a')
  t.is(c:screen(), 'Once upon a', 'grows')
  c:say(' time there was a little girl who')
  t.is(c:screen(), 'Once upon a time there was a little girl\nwho', 'wraps')
  c:say(' lived')
  t.is(c:screen(), 'Once upon a time there was a little girl\nwho lived', 'grows below')
  c:request('nvim_command', 'set columns=30')
  c:settle()
  t.is(c:screen(), 'Once upon a time there was a\nlittle girl who lived', 'follows the window')
  local mark = marks(c)
  t.is(#mark, 1, 'is one extmark')
  t.is(mark[1][4].virt_text[1][2], 'AigcSuggestion', 'in its highlight group')
  c:keys('<C-g>d')
  t.is(c:screen(), 'Once', 'goes away')
  t.is(#marks(c), 0, 'and leaves no mark')
  c:stop()

  -- more rows than the window has
  c = case('as many rows as the window', 'i<C-k>', ('a\n'):rep(50), ('a\n'):rep(10):sub(1, -2))
  t.is(#marks(c)[1][4].virt_lines, 9, 'no more')
  c:stop()

  -- where the next line is only begun, Neovim 0.7 draws nothing above it by itself
  for _, split in ipairs({ '', ':split<CR>', ':vsplit<CR>' }) do
    c = child.start({ columns = 60, lines = 20 })
    c:keys('itwo words<CR>' .. ('long '):rep(300) .. '<Esc>ggz<CR>' .. split .. 'A<C-k>')
    c:say(' a\n b')
    local drawn = c:screen()
    c:request('nvim_command', 'redraw!')
    t.is(drawn, c:screen(), 'above a line that is only begun, in all windows after ' .. split)
    t.ok(drawn:find('\n b', 1, true), 'and is there', drawn)
    c:stop()
  end

  -- rows that no scrolling would show
  c = child.start()
  c:keys('i' .. ('words '):rep(30) .. '<CR>next<Esc>ggA<C-k>')
  c:say(('\nof it'):rep(9))
  t.is(#marks(c)[1][4].virt_lines, 5, 'no more rows than there are below a line of five')
  c:keys('<C-o>zb')
  t.is(c:request('nvim_win_get_cursor', 0)[1], 1, 'so `zb` leaves the cursor in its line')
  c:stop()

  -- rows to the window's end, which Neovim leaves on the screen
  for _, keys in ipairs({ '<C-g>d', 'x', '<Esc>', '<C-c>', '<Left>', '<Down>', '<C-w>', '<CR>' }) do
    for _, where in ipairs({ 'gg', '10Gzt4j', ':split<CR>gg' }) do
      c = child.start()
      c:keys('i' .. ('line<CR>'):rep(20) .. 'last<Esc>' .. where .. 'A<C-k>')
      c:say((' a\n'):rep(15))
      c:screen()
      c:keys(keys)
      local rest = c:screen()
      c:request('nvim_command', 'redraw!')
      t.is(rest, c:screen(), 'rows to the end are gone after ' .. keys .. ' from ' .. where)
      c:stop()
    end
  end

  -- or draws in the line below, which it has scrolled to with the rows above it
  for _, n in ipairs({ 4, 6 }) do
    c = child.start({ columns = 50, lines = 10 })
    c:request('nvim_buf_set_lines', 0, 0, -1, true, { ('word '):rep(28), 'short', ('words '):rep(40), 'last' })
    c:keys(':set cmdheight=2 noruler<CR>A<C-k>')
    c:say(('\n  of it'):rep(n))
    c:request('nvim_ui_try_resize', 30, 12)
    c:settle()
    c:keys('<Down>')
    local rest = c:screen()
    c:request('nvim_command', 'redraw!')
    t.is(rest, c:screen(), 'no row is left, and none drawn twice, after <Down> from ' .. n)
    c:stop()
  end

  for _, keys in ipairs({ '<C-g>d', '<Up>', '<CR>' }) do
    c = child.start()
    c:keys('i' .. ('line<CR>'):rep(20) .. 'last<Esc>:vsplit<CR>10Gzt4ji<C-k>')
    c:say(' a\n b\n c\n d\n e')
    c:screen()
    c:keys(keys)
    local rest = c:screen()
    c:request('nvim_command', 'redraw!')
    t.is(rest, c:screen(), 'of windows side by side, too, after ' .. keys)
    c:stop()
  end

  -- the column that `k` wants is settled by moving, not by drawing
  for _, key in ipairs({ '<Esc>', '<C-c>', '<C-g>d<Esc>', '<CR><Esc>' }) do
    c = child.start()
    c:keys('iabcdefgh<CR>rest<Esc>I<C-k>')
    c:say('xyz ')
    c:keys(key)
    c:keys('k')
    local cursor = c:request('nvim_win_get_cursor', 0)
    t.is(cursor[2], 0, '`k` goes where it would without a suggestion, after ' .. key)
    c:stop()
  end
  for key, column in pairs({ ['<Right>'] = 3, ['<S-Right>'] = 7, ['<C-Right>'] = 7 }) do
    c = child.start()
    c:keys('iabcdef ghi<CR>abcdef ghi<Esc>gg02li<C-k>')
    c:say('xyz ')
    c:keys(key)
    c:keys('<Down>')
    local cursor = c:request('nvim_win_get_cursor', 0)
    t.is(cursor[2], column, '<Down>, too, after ' .. key)
    c:stop()
  end
  for _, key in ipairs({ 'p', 'l' }) do
    c = child.start()
    c:keys('i' .. ('abc '):rep(9) .. '<CR>' .. ('abc '):rep(3) .. '<Esc>ylA<Left><Left><Left><C-k>')
    c:say('xyz xyz ')
    c:keys('<C-o>' .. key)
    c:keys('<Up>')
    t.is(c:request('nvim_win_get_cursor', 0)[2], key == 'p' and 11 or 10, '<Up>, too, after <C-o>' .. key)
    c:stop()
  end
  -- text that comes after <C-c> and before Neovim tells of it
  c = child.start()
  c:lua([[
    local on_key = vim.on_key
    vim.on_key = function(f, namespace)
      return on_key(f and function(key)
        if key == '\3' then
          vim.schedule(require('aigc.suggestion').redraw)
        end
        f(key)
      end, namespace)
    end
  ]])
  c:keys('iabcdefgh<CR>rest<Esc>I<C-k>')
  c:say('xyz ')
  c:lua([[
    modes = ''
    local draw = require('aigc.ghost').draw
    require('aigc.ghost').draw = function(...)
      modes = modes .. vim.api.nvim_get_mode().mode
      draw(...)
    end
  ]])
  c:keys('<C-c>')
  t.is(c:lua('return modes'), '', 'text that comes after <C-c> is not drawn')
  c:stop()

  -- behind the last character of a line, after a command with 'virtualedit'
  for _, dismiss in ipairs({ '<C-g>d', '' }) do
    c = child.start()
    c:keys(':set virtualedit=all<CR>i' .. ('line<CR>'):rep(10) .. 'naïveté<Esc>A<C-k>')
    c:say(' x\ny\nz')
    c:screen()
    c:keys('<C-o>:<CR>')
    c:keys(dismiss)
    c:keys(', and')
    t.is(c:buffer():match('[^\n]*$'), 'naïveté, and', 'the cursor is where it was after a command, ' .. dismiss)
    c:stop()
  end

  -- lines that Neovim breaks by itself are broken by the columns of the text alone
  for keys, before in pairs({ ['<BS>'] = '<C-o>0', [','] = '<Left>', ['<C-o>gqq'] = '<Left>' }) do
    local texts = {}
    for i, says in ipairs({ '', ' of a suggestion that is rather long' }) do
      c = child.start()
      c:keys(':set textwidth=40 formatoptions=tcqaw<CR>iletter I extraordinarily b_c<CR>over there' .. before)
      c:keys('<C-k>')
      c:say(says)
      c:keys(keys)
      texts[i] = c:buffer()
      c:stop()
    end
    t.is(texts[2], texts[1], 'the paragraph is formatted as if nothing were suggested, by ' .. keys)
  end

  -- what a Neovim with inline text would be asked to draw
  c = child.start()
  c:lua([[
    require('aigc.ghost').has_inline = function() return true end
    local set = vim.api.nvim_buf_set_extmark
    vim.api.nvim_buf_set_extmark = function(buf, namespace, row, col, mark)
      _G.asked = vim.deepcopy(mark)
      mark.virt_text_pos = 'overlay'
      return set(buf, namespace, row, col, mark)
    end
  ]])
  c:keys('i(a, b)<Left><C-k>')
  c:say(' c,')
  local asked = c:lua('return asked')
  t.is(asked.virt_text_pos, 'inline', 'inline: the text behind the cursor is pushed aside')
  t.is(asked.virt_text[1][1] .. '|' .. #asked.virt_text, ' c,|1', 'inline: by the suggestion')
  c:keys('<C-g>d')
  t.is(#marks(c), 0, 'inline: and is taken away')
  c:keys('<C-k>')
  c:say(' c,\n\td and more')
  t.is(c:lua('return asked.virt_text_pos'), 'overlay', 'inline: several lines have it behind the last')
  c:keys('<C-g>d')
  c:lua('package.loaded["vim.lsp.inlay_hint"] = { is_enabled = function() return true end }')
  c:keys('<C-k>')
  c:say(' c,\n\td and more words than a row of forty cells can hold')
  asked = c:lua('return asked')
  t.is(asked.virt_text_pos, 'inline', 'inline: where there may be inlay hints')
  t.is(
    asked.virt_lines[1][1][1] .. '|' .. asked.virt_lines[2][1][1],
    '        d and more words than a row of|forty cells can hold',
    'inline: the other lines stand below, wrapped'
  )
  c:lua('package.loaded["vim.lsp.inlay_hint"] = nil')
  c:keys('<C-g>d<End><C-k>')
  c:say(' e')
  t.is(c:lua('return asked.virt_text_pos'), 'overlay', 'inline: not at the end of a line')
  c:lua('package.loaded["vim.lsp.inlay_hint"] = { is_enabled = function() return true end }')
  c:keys('<C-g>d<C-k>')
  c:say(' e')
  t.is(c:lua('return asked.virt_text_pos'), 'inline', 'inline: at the end of a line that may have inlay hints')
  c:stop()
end
