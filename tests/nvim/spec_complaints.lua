-- The twelve things that users of other plugins complain about (docs/neovim.md names them), each as a
-- test. Most are looked at more closely in another spec.

return function(t, child)
  local auto = { debounce = 40, extent = 'free', speculate = false, min_logprob = -5 }
  local function case(number, what, f)
    f(function(condition, detail)
      t.ok(condition, number .. '. ' .. what, detail)
    end)
  end
  local function requests(c)
    return c:lua('return #fake.requests')
  end
  local function wait_for(condition)
    return vim.wait(5000, condition, 2)
  end

  case(1, 'it waits for a pause: typing costs no request', function(ok)
    local c = child.start({ aigc = vim.tbl_extend('force', auto, { debounce = 150 }) })
    c:keys('iA')
    wait_for(function()
      return c:lua("return package.loaded['aigc.events'] ~= nil")
    end)
    local before = requests(c)
    for _ = 1, 10 do
      c:request('nvim_input', 'x')
      vim.wait(20)
    end
    local during = requests(c) - before
    wait_for(function()
      return requests(c) > before
    end)
    ok(during == 0 and requests(c) == before + 1, ('%d during, %d in all'):format(during, requests(c) - before))
    c:stop()
  end)

  case(2, 'keys are left alone: <Tab> falls back to what it did', function(ok)
    local c = child.start()
    c:lua([[vim.keymap.set('i', '<Tab>', function()
      return require('aigc').visible() and '<Plug>(aigc-accept)' or '<Tab>'
    end, { expr = true, remap = true })]])
    c:keys('ia<Tab>b<C-k>')
    c:say(' ghost')
    c:keys('<Tab><Tab>c')
    ok(c:buffer() == 'a\tb ghost\tc', c:buffer())
    c:stop()
  end)

  case(3, 'editors share the weights: the file is mapped shared and read-only', function(ok)
    if not t.model_exists() then
      ok(true)
      return
    end
    local model = vim.fn.fnamemodify(t.model, ':p')
    local c = child.start({ fake = false, aigc = vim.tbl_extend('force', child.QUIET, { model = model }) })
    c:keys('iOnce<C-k>')
    wait_for(function()
      return c:visible()
    end)
    local mapping
    for line in io.lines('/proc/' .. c.pid .. '/maps') do
      mapping = line:find(vim.fn.fnamemodify(model, ':t'), 1, true) and line or mapping
    end
    ok(mapping and mapping:find(' r%-%-s '), mapping)
    c:stop()
  end)

  case(4, 'a part can be accepted, the rest stays', function(ok)
    local c = child.start()
    c:keys('iOnce<C-k>')
    c:say(' upon a time')
    c:keys('<C-g>w')
    ok(c:buffer() == 'Once upon' and c:screen() == 'Once upon a time', c:screen())
    c:stop()
  end)

  case(5, 'no flicker: no screen without it while it is typed', function(ok)
    local c = child.start()
    c:keys('iOnce<C-k>')
    c:say(' upon a time')
    c:screen()
    local without
    c.shown.on_flush = function(screen)
      local row = screen:row(1):gsub('%s+$', '')
      without = row ~= 'Once upon a time' and row or without
    end
    for letter in (' upon a tim'):gmatch('.') do
      c:keys(letter == ' ' and '<Space>' or letter)
      c:screen()
    end
    ok(not without and requests(c) == 1, without)
    c:stop()
  end)

  case(6, 'it can be short', function(ok)
    local c = child.start({ aigc = { trigger = 'manual', extent = 'words', words = 2, speculate = false } })
    c:keys('iOnce<C-k>')
    c:say(' upon a time there was')
    ok(c:screen() == 'Once upon a' and c:lua('return #fake.cancelled') == 1, c:screen())
    c:stop()
  end)

  case(7, 'it works beside the completion menu', function(ok)
    local c = child.start()
    c:keys('iOnly Onto<CR>On<C-k>')
    c:say('ce upon')
    c:keys('<C-x><C-n><C-n><C-y>')
    ok(c:buffer() == 'Only Onto\nOnto' and not c:visible(), c:buffer())
    c:stop()
  end)

  case(8, 'text behind the cursor is neither hidden nor moved away', function(ok)
    local c = child.start()
    c:keys('i日本\té(x)<Left><Left><C-k>')
    c:say('語')
    local shown = c:screen()
    c:keys('<C-g>d')
    ok(shown == '日本    é(語x)' and c:screen() == '日本    é(x)', shown)
    c:stop()
  end)

  case(9, 'undo takes only what was accepted, . repeats it, macros are undisturbed', function(ok)
    local c = child.start()
    c:keys('iOnce<C-k>')
    c:say(' upon')
    c:keys('<C-j><Esc>u')
    local undone = c:buffer()
    c:keys('<C-r>0qqAx<C-k><Esc>q@q')
    ok(undone == 'Once' and c:buffer() == 'Once uponxx' and requests(c) == 1, undone .. '|' .. c:buffer())
    c:stop()
  end)

  case(10, 'secrets are not read', function(ok)
    local c = child.start({ aigc = auto })
    c:keys(':edit /tmp/.env<CR>iTOKEN=abc')
    c:lua('vim.wait(120)')
    c:settle()
    ok(requests(c) == 0 and c:lua('return #fake.opened') == 0)
    c:stop()
  end)

  case(11, 'nothing lingers in normal mode, by whatever way', function(ok)
    local left = {}
    for _, keys in ipairs({ '<Esc>', '<C-c>', '<C-\\><C-n>', '<C-o>:stopinsert<CR>', '<C-w><C-c>' }) do
      local c = child.start()
      c:keys('i<C-k>')
      c:say('ghost')
      c:keys(keys)
      if c:screen() ~= '' then
        left[#left + 1] = keys
      end
      c:stop()
    end
    ok(#left == 0, table.concat(left, ' '))
  end)

  case(12, 'prose: on for some filetypes, and it fits the lines', function(ok)
    local c = child.start({ aigc = vim.tbl_extend('force', auto, { trigger = 'off', filetypes = { mail = 'auto' } }) })
    c:keys(':set ft=lua<CR>ix = 1')
    c:lua('vim.wait(100)')
    c:settle()
    local in_code = requests(c)
    c:keys('<Esc>:%d | set ft=mail textwidth=20<CR>iDear reader of this')
    wait_for(function()
      return requests(c) == 1
    end)
    c:say({ { ' letter', -0.1 }, { ' here', -0.1 } })
    c:finish()
    ok(in_code == 0 and c:screen() == 'Dear reader of this\nletter here', c:screen())
    c:stop()
  end)
end
