-- spec_outgrow: a change that makes the cursor's line outgrow its window, with a suggestion below it. The cursor stays
-- behind what was written: Neovim alone, which has drawn the change before it tells of it, puts it into the next line.
return function(t, child)
  local BELOW = 12

  -- Lines above a line of prose and below it, whose end has a suggestion of so many rows more.
  local function suggest(c, above, rows)
    local lines = {}
    for i = 1, above + 1 + BELOW do
      lines[i] = i == above + 1 and 'some words that are there' or 'line ' .. i
    end
    c:keys('<Esc>:enew!<CR>:set filetype=python indentexpr= noautoindent<CR>')
    c:request('nvim_buf_set_lines', 0, 0, -1, true, lines)
    c:keys((above + 1) .. 'GA<C-k>')
    c:say(('\n  of the suggestion'):rep(rows))
    c:screen()
    return c:request('nvim_win_get_cursor', 0)
  end

  local long = ('word '):rep(60)
  local ways = {
    ['a register'] = function(c)
      c:lua("vim.fn.setreg('a', ...)", long)
      c:keys('<C-r>a')
    end,
    ['a paste'] = function(c)
      c:request('nvim_paste', long, true, -1)
      c:settle()
    end,
    ['keys'] = function(c)
      c:keys((long:gsub(' ', '<Space>')))
    end,
  }
  local c = child.start({})
  c:lua("vim.o.hidden = true vim.cmd('syntax on')") -- Neovim draws before CursorMovedI then
  for name, write in pairs(ways) do
    for above = 4, 8 do
      for _, rows in ipairs({ 1, 2, 4 }) do
        local at = suggest(c, above, rows)
        write(c)
        c:screen()
        local to = c:request('nvim_win_get_cursor', 0)
        local got, wanted = to[1] .. ',' .. to[2], at[1] .. ',' .. at[2] + #long
        t.is(got, wanted, ('%s of %d bytes, %d lines above and %d rows below'):format(name, #long, above, rows))
      end
    end
  end

  -- what was put into two lines, with the suggestion going on in the second
  c:lua("vim.fn.setreg('a', ...)", long)
  local at = suggest(c, 7, 2)
  c:keys('<CR><C-r>a')
  local to = c:request('nvim_win_get_cursor', 0)
  t.is(to[1] - at[1] .. ',' .. to[2], '1,' .. #long, 'a line end, and a register')

  -- typing what is suggested keeps it, though it is taken out on the way
  suggest(c, 7, 2)
  c:keys('<CR>  of')
  local both = '  of the suggestion\n  of the suggestion'
  t.ok(c:screen():find(both, 1, true), 'what is typed as suggested stays', c:screen())
  t.is(c:lua("return require('aigc').visible()"), true, 'and can be accepted')
  c:stop()
end
