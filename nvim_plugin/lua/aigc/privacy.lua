--- Which buffers' text may be kept for later: in the ring, in the personal layer.
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

local option = require('aigc.option')

--- Why a buffer's text must not be kept, or nil.
---@param buf integer
---@param settings? aigc.Config
---@return string?
function M.reason(buf, settings)
  local buftype = option.of_buffer(buf, 'buftype')
  if buftype ~= '' then
    return ("it is of type '%s'"):format(buftype)
  elseif vim.g.aigc_disable or vim.b[buf].aigc_disable then
    return 'aigc is off there'
  elseif option.of_buffer(buf, 'binary') then
    return 'it is binary'
  end
  local config = require('aigc.config')
  settings = settings or config.get()
  local filetype = option.of_buffer(buf, 'filetype')
  if config.trigger(settings, filetype) == 'off' then
    return ("aigc is off for the filetype '%s'"):format(filetype)
  end
  local path = vim.api.nvim_buf_get_name(buf)
  local pattern = path ~= '' and require('aigc.guard').secret(path, settings.secrets)
  if pattern then
    return ("the file may hold secrets (it matches '%s')"):format(pattern)
  end
  local bytes = vim.api.nvim_buf_get_offset(buf, vim.api.nvim_buf_line_count(buf))
  if settings.max_file_bytes > 0 and bytes > settings.max_file_bytes then
    return ('it has %d bytes, more than max_file_bytes'):format(bytes)
  end
end

return M
