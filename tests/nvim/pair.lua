-- pair: two editors that get the same keys, one with suggestions and one without the plugin, and what differs then.
-- For fuzz.lua and views.lua.
local child = require('child')

local pair = {}

-- The one without.
function pair.without()
  local c = child.start({ fake = false })
  c.name = 'without the plugin'
  c:lua("vim.cmd('autocmd! InsertEnter') vim.opt.runtimepath:remove('nvim_plugin')")
  return c
end

-- No question of Neovim's takes a key.
function pair.prepare(c)
  c:lua("vim.o.hidden = true vim.o.swapfile = false vim.o.timeout = false vim.o.shada = ''")
  c:lua("vim.opt.shortmess:append('aWcsT') vim.o.cmdheight = 2")
  c:lua("vim.fn.setreg('\"', 'yank')") -- there is something to put: 0.12 wants <CR> after saying that there is not
  c:lua("vim.fn.setreg('l', ('some words '):rep(20))") -- more than a window has room for
end

-- Before 0.12 Neovim scrolls a long line where its window was and not where it is, and so beyond the new screen: by no
-- more lines at once there than status line and command line take below the window.
local MAX_LESS = vim.fn.has('nvim-0.12') == 1 and math.huge or 3

function pair.resize(one, other, columns, lines)
  for _, c in ipairs({ one, other }) do
    local now = c:lua('return vim.o.lines')
    while now - lines > MAX_LESS do
      now = now - MAX_LESS
      c:request('nvim_ui_try_resize', columns, now)
      c:lua("vim.cmd('redraw')")
    end
    c:request('nvim_ui_try_resize', columns, lines)
  end
end

-- Another window's cursor may stand where a change here has left no text: Neovim mends that when it next draws that
-- window, which it has to when the same buffer has a suggestion or a small window has lain over it. So both draw theirs.
-- Text may be there again by then, when the other has drawn nothing meanwhile: follow().
local LOOK = [[
  if #vim.api.nvim_tabpage_list_wins(0) > 1 or vim.wo.rightleft then
    vim.cmd('redraw!')
  end
]]

-- The same for both: the method of a request and what goes with it, such as 'nvim_input' and keys.
function pair.request(one, other, ...)
  for _, c in ipairs({ one, other }) do
    c:request(...)
    c:settle()
    c:lua(LOOK)
  end
end

-- What must be equal: the mode, what is recorded, all buffers, what windows there are and where in the current one the cursor
-- is; and where the others have theirs.
local STATE = [[
  local state, others = { vim.api.nvim_get_mode().mode .. ' ' .. vim.fn.reg_recording() }, {}
  local numbers, n = {}, 0 -- the plugin takes some buffers' numbers for its own
  for _, buf in ipairs(vim.api.nvim_list_bufs()) do
    if vim.bo[buf].buflisted and vim.api.nvim_buf_is_loaded(buf) then
      n = n + 1
      numbers[buf] = n
      state[#state + 1] = table.concat(vim.api.nvim_buf_get_lines(buf, 0, -1, true), '\n')
    end
  end
  for _, win in ipairs(vim.api.nvim_list_wins()) do
    if vim.api.nvim_win_get_config(win).relative == '' then
      local cursor = vim.api.nvim_win_get_cursor(win)
      local number = tostring(numbers[vim.api.nvim_win_get_buf(win)])
      if win == vim.api.nvim_get_current_win() then
        state[#state + 1] = number .. ':' .. cursor[1] .. ',' .. cursor[2]
      else
        state[#state + 1] = number
        others[#others + 1] = { win, cursor[1], cursor[2] }
      end
    end
  end
  return { state, others }
]]

-- Moves the cursors of other windows to where `one` has them, if `other` has them further on: in both, so that both want
-- the same column from there.
local function follow(one, other, got, wanted)
  for i = 1, #wanted do
    local win, row, column = unpack(wanted[i])
    local same_win, to_row, to_column = unpack(got[i])
    if to_row < row or (to_row == row and to_column < column) then
      one:request('nvim_win_set_cursor', same_win, { to_row, to_column })
      other:request('nvim_win_set_cursor', win, { to_row, to_column })
    elseif to_row ~= row or to_column ~= column then
      return ('another cursor: got %d,%d, wanted %d,%d\n'):format(to_row, to_column, row, column)
    end
  end
end

-- For who looks for the reason: the lines about the cursor, what they are shown by, and what changed last.
local SCENE = [[
  local row = vim.api.nvim_win_get_cursor(0)[1]
  local scene = { from = math.max(1, row - 3), windows = #vim.api.nvim_tabpage_list_wins(0), tick = vim.b.changedtick }
  scene.lines = vim.api.nvim_buf_get_lines(0, scene.from - 1, row + 3, false)
  for _, name in ipairs({ 'textwidth', 'filetype', 'wrap', 'rightleft', 'indentexpr', 'autoindent', 'columns', 'lines' }) do
    scene[name] = vim.o[name]
  end
  local view, undo = vim.fn.winsaveview(), vim.fn.undotree()
  return vim.inspect({ scene, view, { undo.seq_cur, undo.seq_last }, vim.fn.getpos("'^"), vim.fn.getpos("'.") })
]]

-- What differs, or nil; and the mode, with what is recorded.
function pair.difference(one, other)
  local got, got_others = unpack(one:lua(STATE))
  local wanted, wanted_others = unpack(other:lua(STATE))
  local wrong
  for k = 1, math.max(#got, #wanted) do
    if got[k] ~= wanted[k] then
      wrong = (wrong or '') .. ('%d: got %s, wanted %s\n'):format(k, vim.inspect(got[k]), vim.inspect(wanted[k]))
    end
  end
  wrong = wrong or follow(one, other, got_others, wanted_others)
  if wrong then
    wrong = ('%s\nwith the plugin: %s\nwithout: %s\n'):format(wrong, one:lua(SCENE), other:lua(SCENE))
  end
  return wrong, wanted[1]
end

return pair
