-- The editor's part of tools/demo: asks for a completion, shows the buffer with its ghost text, accepts it. Run by nvim.

local function say(...)
  io.stdout:write(string.format(...), '\n')
end

local function fail(...)
  io.stderr:write('demo: ', string.format(...), '\n')
  vim.cmd('cquit')
end

-- The text of the suggestion as it stands on the screen: what follows the cursor, then lines below.
local function ghost_text()
  local namespace = vim.api.nvim_get_namespaces().aigc
  local marks = vim.api.nvim_buf_get_extmarks(0, namespace, 0, -1, { details = true })
  local rows = {}
  for _, mark in ipairs(marks) do
    local details = mark[4]
    rows[#rows + 1] = details.virt_text and details.virt_text[1][1] or ''
    for _, line in ipairs(details.virt_lines or {}) do
      rows[#rows + 1] = line[1] and line[1][1] or ''
    end
  end
  return table.concat(rows, '\n')
end

local function main()
  local text = 'One day, a little girl named Lily'
  vim.api.nvim_buf_set_lines(0, 0, -1, true, { text })
  vim.cmd('normal! $')
  say('the buffer:              %s', text)
  local begun = vim.loop.hrtime()
  vim.cmd('Aigc complete')
  local aigc = require('aigc')
  local ended = vim.wait(30000, function()
    return aigc.visible() and aigc.status().state == 'idle'
  end, 5)
  if not ended then
    fail('no completion came; the state is %s', aigc.status().state)
  end
  local shown = ghost_text()
  say(':Aigc complete shows:    %s\27[2m%s\27[0m', text, (shown:gsub('\n', '\n' .. (' '):rep(25))))
  say('                         (%.0f ms, the model opened in that time)', (vim.loop.hrtime() - begun) / 1e6)
  aigc.accept()
  vim.wait(1000, function()
    return vim.api.nvim_buf_get_lines(0, 0, -1, true)[1] ~= text
  end, 5)
  local lines = vim.api.nvim_buf_get_lines(0, 0, -1, true)
  say('accepted, the buffer:    %s', table.concat(lines, '\n' .. (' '):rep(25)))
  if lines[1] == text then
    fail('the completion was not inserted')
  end
end

local ok, message = pcall(main)
if not ok then
  fail('%s', message)
end
vim.cmd('qall!')
