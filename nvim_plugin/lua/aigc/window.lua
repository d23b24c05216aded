--- Lines of ours in a window of their own, for :Aigc log and :Aigc memory show.
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

local HEIGHT = 12

--- Opens the window, and a turn later has Neovim look for files for the filetype, which takes it a millisecond.
---@param lines string[]
---@param filetype string
---@param row integer from 1, where the cursor is
function M.show(lines, filetype, row)
  local buf = vim.api.nvim_create_buf(false, true)
  vim.api.nvim_buf_set_lines(buf, 0, -1, false, lines)
  vim.bo[buf].modifiable = false
  vim.bo[buf].bufhidden = 'wipe'
  vim.cmd(('botright %dsplit'):format(HEIGHT))
  vim.api.nvim_win_set_buf(0, buf)
  vim.api.nvim_win_set_cursor(0, { row, 0 })
  require('aigc.timer').soon(function()
    if vim.api.nvim_buf_is_valid(buf) then
      vim.bo[buf].filetype = filetype
    end
  end)
end

return M
