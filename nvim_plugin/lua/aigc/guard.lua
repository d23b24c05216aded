--- Where there are no suggestions: special buffers, huge files, secrets, macros, several cursors.
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

local option = require('aigc.option')

local uv = vim.uv or vim.loop

--- A line longer than this is data, and looking at it at each key would be felt.
local MAX_LINE_BYTES = 50000

---@type table<string, table> compiled by pattern
local compiled = {}

--- Which of the patterns a path matches. Those with a slash are for the path, others for the name.
local function matching(path, patterns)
  local name = path:match('[^/]*$')
  for _, pattern in ipairs(patterns) do
    local regex = compiled[pattern]
    if not regex then
      regex = vim.regex(vim.fn.glob2regpat(pattern))
      compiled[pattern] = regex
    end
    if regex:match_str(pattern:find('/', 1, true) and path or name) then
      return pattern
    end
  end
end

--- Whether a file, or the one that it is a link to, matches one of the patterns.
---@param path string
---@param patterns string[]
---@return string? pattern
function M.secret(path, patterns)
  local pattern = matching(path, patterns)
  local target = not pattern and uv.fs_realpath(path)
  return pattern or (target and target ~= path and matching(target, patterns)) or nil
end

--- Kept by buffer name, because it is asked at each suggestion.
---@type { path: string, patterns: string[], pattern?: string }?
local last_secret

local function secret_of(path, patterns)
  if not last_secret or last_secret.path ~= path or last_secret.patterns ~= patterns then
    last_secret = { path = path, patterns = patterns, pattern = M.secret(path, patterns) }
  end
  return last_secret.pattern
end

--- `buf` is the current one.
--- Who has several cursors in the current buffer says so in ways of their own: vim-visual-multi, multicursor.nvim,
--- multiple-cursors.nvim.
local function has_several_cursors()
  if vim.b.visual_multi then
    return true
  end
  local ok, found = pcall(function()
    local one = package.loaded['multicursor-nvim']
    local other = package.loaded['multiple-cursors.virtual_cursors']
    return one and one.hasCursors() or other and other.get_num_virtual_cursors() > 0
  end)
  return ok and found == true
end

local function buffer_reason(buf, config)
  local buftype, filetype = option.of_buffer(buf, 'buftype'), option.of_buffer(buf, 'filetype')
  if buftype ~= '' then
    return ("not in a buffer of type '%s'"):format(buftype)
  elseif not option.of_buffer(buf, 'modifiable') or option.of_buffer(buf, 'readonly') then
    return 'the buffer cannot be changed'
  elseif vim.g.aigc_disable then
    return 'g:aigc_disable is set'
  elseif vim.b.aigc_disable then
    return 'b:aigc_disable is set'
  elseif has_several_cursors() then
    return 'several cursors are in use'
  elseif require('aigc.config').trigger(config, filetype) == 'off' then
    return ("off for the filetype '%s'"):format(filetype)
  end
end

local function file_reason(buf, config)
  local path = vim.api.nvim_buf_get_name(buf)
  local pattern = path ~= '' and secret_of(path, config.secrets)
  if pattern then
    return ("the file may hold secrets (it matches '%s')"):format(pattern)
  end
  local n_lines = vim.api.nvim_buf_line_count(buf)
  local bytes = vim.api.nvim_buf_get_offset(buf, n_lines)
  if config.max_file_bytes > 0 and bytes > config.max_file_bytes then
    return ('the buffer has %d bytes, more than max_file_bytes (%d)'):format(
      bytes,
      config.max_file_bytes
    )
  end
end

--- Why there should be no suggestion at the cursor of the current window, or nil.
---@param config aigc.Config
---@return string?
function M.reason_against(config)
  local buf = vim.api.nvim_get_current_buf()
  local reason = buffer_reason(buf, config) or file_reason(buf, config)
  if reason then
    return reason
  elseif vim.fn.reg_recording() ~= '' or vim.fn.reg_executing() ~= '' then
    return 'a macro is being recorded or executed'
  elseif require('aigc.place').is_beyond_text() then
    return 'the cursor is where there is no text'
  elseif vim.fn.col('$') > MAX_LINE_BYTES then
    return ('the line has more than %d bytes'):format(MAX_LINE_BYTES)
  elseif config.attach then
    local ok, wanted = pcall(config.attach, buf)
    if not ok then
      return 'option attach: ' .. tostring(wanted)
    elseif not wanted then
      return 'option attach says no'
    end
  end
end

return M
