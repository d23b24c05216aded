-- views: two editors get the same keys, one with a suggestion at nearly each step and one without the plugin, in windows of
-- all shapes and with all that changes how a line is shown. What is written must be the same, the cursor must be where
-- it is without a suggestion, and nothing may be on the screen that drawing all of it anew would not draw. Where fuzz.lua
-- tries all keys this one tries all views: what a suggestion takes up moves text about, and Neovim has to scroll for it.
--
--   AIGC_FUZZ_SECONDS=3600 tests/nvim/views.t     for an hour (default 20 seconds)
--   AIGC_FUZZ_SEED=17      tests/nvim/views.t     the same steps again
package.path = 'tests/nvim/?.lua;tests/lua/?.lua;' .. package.path

local child, pair, tap = require('child'), require('pair'), require('tap')
local uv = vim.loop

local SECONDS = tonumber(os.getenv('AIGC_FUZZ_SECONDS')) or 20
local SEED = tonumber(os.getenv('AIGC_FUZZ_SEED')) or os.time()
local STEPS = 40 -- with one pair of editors

local WORDS = {
  'the', 'a', 'sea', 'letter', 'wonderful', 'extraordinarily', '日本語', 'é', 'naïve', 'I', 'was', 'house', '(x)', 'b_c', '🙂',
  'e\204\129',
}
local FILETYPES = { 'python', 'markdown', 'text', 'lua', 'c' }
local OPTIONS = {
  'scrolloff=3', 'scrolljump=4', 'linebreak', 'breakindent', 'showbreak=>', 'number', 'relativenumber', 'signcolumn=yes',
  'foldcolumn=2', 'list', 'conceallevel=2', 'cursorline', 'cursorcolumn', 'colorcolumn=20', 'spell', 'nowrap',
  'nowrap sidescroll=5', 'foldmethod=indent foldlevel=0', 'virtualedit=onemore', 'virtualedit=all', 'textwidth=30',
  'textwidth=40 formatoptions=tcqawn2', 'textwidth=25 formatoptions+=a', 'expandtab tabstop=4', 'display=truncate',
  'laststatus=0', 'cmdheight=1', 'winminheight=0',
}
-- From insert mode and back to it. Nothing that goes by how far a window is scrolled, as <PageDown> does: for a
-- suggestion it is.
local KEYS = {
  'a', 'x', ' the', ' sea', ' ', '. ', '(', '日', '<CR>', '<CR><CR>', '<Tab>', '<BS>', '<BS><BS><BS>', '<Del>', '<C-w>',
  '<C-u>', '<C-t>', '<C-d>', '<C-y>', '<C-e>', '<C-r>a', '<C-r>b', '<C-v>u65e5', '<Left>', '<Right>', '<Up>', '<Down>',
  '<Home>', '<End>', '<C-Left>', '<C-Right>', '<C-Home>', '<C-End>', '<C-n>', '<C-n><C-n>', '<C-n><C-y>', '<C-o>0',
  '<C-o>$', '<C-o>zz', '<C-o>zt', '<C-o>zb', '<C-o>u', '<C-o>dd', '<C-o>p', '<C-o>J', '<Esc>', '<Esc>u', '<C-c>', '<Esc>o',
  '<Esc>O', '<Esc>ciw', '<Esc>A', '<Esc>ggI', '<Esc>Go', '<Esc>.a', '<Esc>V>A', '<Esc>"bpA', '<Esc>"aPI', '<Esc>yypA',
  '<Esc>ddo', '<Esc>J a', '<Esc>gqapA', '<Esc>:silent! normal! zc<CR>A', '<Esc>:silent! normal! zo<CR>A',
  '<Esc>:split<CR>A', '<Esc>:vsplit<CR>A', '<Esc>:only<CR>A', '<Esc><C-w>wA',
}
local BEGINS = { 'i', 'a', 'A', 'I', 'o', 'O' }

local random = math.random

local function pick(list)
  return list[random(#list)]
end

local function words(n)
  local list = {}
  for i = 1, n do
    list[i] = pick(WORDS)
  end
  return table.concat(list, ' ')
end

local LINES = {
  function() return '' end,
  function() return '\t' .. words(random(6)) end,
  function() return (' '):rep(random(8)) .. words(random(6)) end,
  function() return '- ' .. words(random(20)) end,
  function() return words(random(12)) end,
  function() return words(random(20, 60)) end,
}

local function lines()
  local list = {}
  for i = 1, random(30) do
    list[i] = pick(LINES)()
  end
  return list
end

local function said()
  local text = pick({ '', ' ' }) .. words(random(0, 30))
  for _ = 1, random(-3, 6) do
    text = text .. '\n' .. (' '):rep(random(0, 4)) .. words(random(0, 8))
  end
  return text
end

local SET_UP = [[
  local view = ...
  vim.cmd('syntax on | set noruler')
  vim.cmd('silent! set filetype=' .. view.filetype)
  for _, option in ipairs(view.options) do
    vim.cmd('silent! set ' .. option)
  end
  vim.fn.setreg('a', view.long)
  vim.fn.setreg('b', view.lines_of_it)
  vim.api.nvim_buf_set_lines(0, 0, -1, true, view.lines)
  vim.api.nvim_win_set_cursor(0, { view.row, 0 })
]]

-- Two editors that show the same text in the same way. Returns them and the view.
local function start()
  local one = child.start({ aigc = { trigger = 'manual', min_logprob = -100 } })
  local other = pair.without()
  local view = { filetype = pick(FILETYPES), options = {}, lines = lines(), long = words(random(40)) }
  for i = 1, random(0, 4) do
    view.options[i] = pick(OPTIONS)
  end
  view.row = random(#view.lines)
  view.lines_of_it = words(random(8)) .. '\n' .. words(random(8)) .. pick({ '', '\n' })
  view.columns, view.rows = random(24, 70), random(10, 20)
  pair.resize(one, other, view.columns, view.rows)
  for _, c in ipairs({ one, other }) do
    pair.prepare(c)
    c:lua(SET_UP, view)
  end
  pair.request(one, other, 'nvim_input', 'A')
  return one, other, view
end

-- What is to be seen is drawn in a turn of its own; not at all while its place is off the screen.
local DRAWN = [[
  vim.wait(200, function()
    local marks = vim.api.nvim_buf_get_extmarks(0, vim.api.nvim_create_namespace('aigc'), 0, -1, {})
    return #marks == (require('aigc').visible() and 1 or 0)
  end, 1)
]]

-- Whether something is suggested then.
local function suggest(one, text)
  one:keys('<Cmd>lua require("aigc").complete()<CR>')
  one:lua('if fake.live then fake.say(...) end', text)
  if random(2) == 1 then
    one:lua('if fake.live then fake.finish() end')
  end
  one:settle_frame()
  one:lua(DRAWN)
  one:settle()
  return one:visible()
end

-- What Neovim itself leaves: halves of wide characters beside a menu, text of a suggestion in other windows of its buffer,
-- and with 'linebreak' rows behind text that is pushed in (0.10 and later).
local CLEAN = [[
  return vim.fn.pumvisible() == 0
    and #vim.api.nvim_tabpage_list_wins(0) == 1
    and not (vim.wo.linebreak and require('aigc.ghost').has_inline())
]]

-- What is on the screen and would not be if all of it were drawn again.
local function stray(one)
  if not one:lua(CLEAN) then
    return nil
  end
  local screens = {}
  for i, command in ipairs({ 'redraw', 'redraw!' }) do
    one:request('nvim_command', command)
    one:settle()
    local rows = {}
    for r = 1, one.shown.lines do
      rows[r] = one.shown:row(r)
    end
    screens[i] = table.concat(rows, '\n')
  end
  if screens[1] ~= screens[2] then
    return ('on the screen:\n%s\nas it should be:\n%s\n'):format(unpack(screens))
  end
end

-- One step; what is wrong then, and whether something was suggested.
local function step(one, other, view, history)
  local mode = one:request('nvim_get_mode').mode
  local text = mode == 'i' and random(5) > 1 and said() or nil
  local shown = text ~= nil and suggest(one, text)
  history[#history + 1] = shown and ('[%s]'):format(text) or nil
  local wrong = random(4) == 1 and stray(one)
  if wrong then
    return wrong, shown
  end
  if random(30) == 1 then
    local columns, rows = random(24, 70), random(10, 20)
    history[#history + 1] = ('[%dx%d]'):format(columns, rows)
    pair.resize(one, other, columns, rows)
  end
  if mode == 'i' and random(12) == 1 then
    history[#history + 1] = '[paste]'
    pair.request(one, other, 'nvim_paste', view.long, true, -1)
  else
    history[#history + 1] = pick(mode:sub(1, 1) == 'i' and KEYS or BEGINS)
    pair.request(one, other, 'nvim_input', history[#history])
  end
  wrong = pair.difference(one, other)
  if not wrong and random(3) == 1 then
    one:lua("require('aigc').dismiss()")
    wrong = stray(one)
  end
  return wrong, shown
end

-- Returns { steps, shown, lives, wrong }.
local function run()
  math.randomseed(SEED)
  local result = { steps = 0, shown = 0, lives = 0 }
  local till = uv.hrtime() + SECONDS * 1e9
  while not result.wrong and (uv.hrtime() < till or result.shown == 0) do
    local one, other, view = start()
    local history = {}
    result.lives = result.lives + 1
    for _ = 1, STEPS do
      local wrong, shown = step(one, other, view, history)
      result.steps = result.steps + 1
      result.shown = result.shown + (shown and 1 or 0)
      if wrong then
        view.lines = #view.lines
        local last = table.concat(vim.list_slice(history, math.max(1, #history - 8)), ' ')
        result.wrong = ('%s\nlast keys: %s\nview: %s'):format(wrong, last, vim.inspect(view))
        break
      end
    end
    one:stop()
    other:stop()
  end
  return result
end

tap.begin('views')
local ok, result = xpcall(run, debug.traceback)
if not ok then
  tap.ok(false, ('seed %d runs to its end'):format(SEED), result)
else
  tap.ok(not result.wrong, ('seed %d: text, cursor and screen as without suggestions'):format(SEED), result.wrong)
  local counts = ('%d steps, %d with a suggestion, %d lives'):format(result.steps, result.shown, result.lives)
  tap.ok(result.shown > 0, 'as many as this: ' .. counts)
end
child.stop_all()
tap.finish()
