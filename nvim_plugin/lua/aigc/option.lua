--- Options of buffers and windows by one call. vim.bo[buf] and vim.wo[win] make some ten Lua objects each
--- time, which was a tenth of what a suggestion costs the main loop.
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

local api = vim.api

--- 0.7 knows the old functions only, later versions call those deprecated.
local has_scopes = pcall(api.nvim_get_option_value, 'tabstop', { buf = 0 })

---@param buf integer
---@param name string
---@return any
function M.of_buffer(buf, name)
  if has_scopes then
    return api.nvim_get_option_value(name, { buf = buf })
  end
  return api.nvim_buf_get_option(buf, name)
end

---@param win integer
---@param name string
---@return any
function M.of_window(win, name)
  if has_scopes then
    return api.nvim_get_option_value(name, { win = win })
  end
  return api.nvim_win_get_option(win, name)
end

---@param win integer
---@param name string
---@param value any
function M.set_for_window(win, name, value)
  if has_scopes then
    api.nvim_set_option_value(name, value, { scope = 'local', win = win })
  else
    api.nvim_win_set_option(win, name, value)
  end
end

return M
