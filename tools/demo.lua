-- The editor's part of tools/demo, run by a headless nvim. It starts a second one and types into it over RPC, as a
-- person would: some text, the key for a completion, the key that accepts it.

local indent = (' '):rep(24)

local function say(label, ...)
  local text = string.format(...):gsub('\n', '\n' .. indent)
  io.stdout:write(('%-24s%s\n'):format(label, text))
end

-- Runs in the second editor: the suggestion as it stands on the screen, and whether it is complete.
local look = [[
  local rows = {}
  local marks = vim.api.nvim_buf_get_extmarks(0, vim.api.nvim_create_namespace('aigc'), 0, -1, { details = true })
  for _, mark in ipairs(marks) do
    local details = mark[4]
    rows[#rows + 1] = details.virt_text and details.virt_text[1][1] or ''
    for _, line in ipairs(details.virt_lines or {}) do
      rows[#rows + 1] = line[1] and line[1][1] or ''
    end
  end
  return {
    ghost = table.concat(rows, '\n'),
    done = vim.g.demo_done,
    lines = vim.api.nvim_buf_get_lines(0, 0, -1, true),
  }
]]

local function main()
  local command = { vim.v.progpath, '--clean', '--embed', '--headless', '--cmd', 'set rtp^=nvim_plugin' }
  local editor = vim.fn.jobstart(command, { rpc = true })
  assert(editor > 0, 'the second editor does not start')
  local function ask(method, ...)
    return vim.fn.rpcrequest(editor, method, ...)
  end
  -- Waits until `ready` is true of what is seen, and returns that.
  local function wait_for(what, ready)
    local seen
    local done = vim.wait(30000, function()
      seen = ask('nvim_exec_lua', look, {})
      return ready(seen)
    end, 5)
    assert(done, what .. ' did not come')
    return seen
  end

  ask('nvim_command', 'imap <C-g> <Plug>(aigc-complete)')
  ask('nvim_command', 'imap <C-y> <Plug>(aigc-accept)')
  ask('nvim_command', 'autocmd User AigcDone let g:demo_done = v:true')
  local text = 'One day, a little girl named Lily'
  ask('nvim_input', 'i' .. text)
  say('typed:', '%s', text)
  local begun = vim.loop.hrtime()
  ask('nvim_input', '<C-g>')
  wait_for('the first text', function(seen)
    return seen.ghost ~= ''
  end)
  local first = (vim.loop.hrtime() - begun) / 1e6
  local shown = wait_for('the completion', function(seen)
    return seen.done
  end)
  say('<Plug>(aigc-complete):', '%s\27[2m%s\27[0m', text, shown.ghost)
  say('', '(first text after %.0f ms, the opening of the model included)', first)
  ask('nvim_input', '<C-y><Esc>')
  local accepted = wait_for('the accepted text', function(seen)
    return seen.ghost == '' and seen.lines[1] ~= text
  end)
  say('<Plug>(aigc-accept):', '%s', table.concat(accepted.lines, '\n'))
  ask('nvim_input', 'u')
  wait_for('the undo', function(seen)
    return seen.lines[1] == text
  end)
  say('u:', '%s', text)
  vim.fn.rpcnotify(editor, 'nvim_command', 'qall!')
  vim.fn.jobwait({ editor }, 1000)
end

local ok, message = pcall(main)
if not ok then
  io.stderr:write('demo: ', tostring(message), '\n')
  vim.cmd('cquit')
end
vim.cmd('qall!')
