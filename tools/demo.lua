-- The editor's part of tools/demo, run by a headless nvim from the repository's root. It starts a second one with a
-- screen of its own (tests/nvim/child.lua) and types into it as a person would; what a terminal would show is printed,
-- and the moment with a suggestion is kept as a picture.
package.path = 'tests/nvim/?.lua;tools/?.lua;' .. package.path

local child, to_svg = require('child'), require('screen_svg')

local PICTURE, SESSION = 'build/demo/neovim.svg', 'build/demo/neovim.txt'
local COLUMNS, LINES = 78, 8
local TYPED = 'One day, a little girl named Lily went to the park with her mom. She'

local said = {}

local function say(text)
  said[#said + 1] = text .. '\n'
  io.stdout:write(text, '\n')
  io.stdout:flush()
end

-- The rows of the window, the suggestion dim.
local function show(c, label)
  c:request('nvim_command', 'redraw')
  say(('-- %s'):format(label))
  local screen = c.shown
  local ghost = c:lua("return vim.api.nvim_get_hl_by_name('AigcSuggestion', true).foreground") or -1
  local rows = {}
  for r = 1, screen.lines - 1 do
    local row, dim = '', false
    for _, cell in ipairs(screen.rows[r]) do
      local a = screen.highlights[cell.highlight] or {}
      local is_ghost = a.foreground == ghost and cell.text ~= ' '
      if is_ghost ~= dim and cell.text ~= ' ' then
        row = row .. (is_ghost and '\27[2m' or '\27[0m')
        dim = is_ghost
      end
      row = row .. cell.text
    end
    rows[r] = (row .. (dim and '\27[0m' or '')):gsub('%s+$', '')
  end
  while #rows > 0 and (rows[#rows]:gsub('\27%[%dm', '') == '~' or rows[#rows] == '') do
    rows[#rows] = nil
  end
  say('   ' .. table.concat(rows, '\n   ') .. '\n')
end

local function wait_for(c, what, code)
  local done = vim.wait(30000, function()
    return c:lua(code)
  end, 5)
  assert(done, what .. ' did not come')
end

local function main()
  local c = child.start({
    fake = false,
    columns = COLUMNS,
    lines = LINES,
    aigc = { min_logprob = -3 },
    env = { AIGC_MODEL = os.getenv('AIGC_MODEL') or '' },
  })
  c:request('nvim_command', 'set termguicolors background=dark linebreak laststatus=0 fillchars=eob:\\ ')
  c:request('nvim_command', 'highlight Normal guifg=#d4d4d4 guibg=#1b1f24 | highlight Comment guifg=#7a8794 gui=italic')
  c:request('nvim_command', "autocmd User AigcDone let g:demo_done = v:true")
  for letter in ('i' .. TYPED):gmatch('.') do
    c:request('nvim_input', letter == ' ' and '<Space>' or letter)
    vim.wait(15)
  end
  wait_for(c, 'a suggestion', "return vim.g.demo_done and require('aigc').visible()")
  c:settle()
  show(c, 'typed, and after a pause there is a suggestion:')
  vim.fn.mkdir(vim.fn.fnamemodify(PICTURE, ':h'), 'p')
  local file = assert(io.open(PICTURE, 'w'))
  assert(file:write(to_svg(c.shown, 'Neovim with a suggestion behind the cursor')))
  file:close()
  wait_for(c, 'the next suggestion', [[
    return require('aigc').status().asked == 2 and require('aigc').status().state == 'idle'
  ]])
  c:keys('<C-g>w<C-g>w')
  show(c, 'two words of it accepted, <Plug>(aigc-accept-word):')
  c:keys('<C-j>')
  wait_for(c, 'the next suggestion on the screen', "return require('aigc').visible()")
  show(c, 'all of it, <Plug>(aigc-accept); the next one had been computed meanwhile:')
  c:keys('<Esc>u')
  show(c, 'u takes back what was accepted last:')
  say('   ' .. c:request('nvim_exec', 'Aigc status', true):gsub('\n', '\n   '))
  say(('   the picture: %s, this text: %s'):format(PICTURE, SESSION))
  local session = assert(io.open(SESSION, 'w'))
  assert(session:write(table.concat(said)))
  session:close()
  c:stop()
end

local ok, message = pcall(main)
child.stop_all()
if not ok then
  io.stderr:write('demo: ', tostring(message), '\n')
  vim.cmd('cquit')
end
vim.cmd('qall!')
