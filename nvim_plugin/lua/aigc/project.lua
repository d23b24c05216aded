--- A project's .aigc.json: found above the buffer's file, read as data, kept until it changes.
---
--- Nothing in it is executed. options.lua says which options a project may set.
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

local uv = vim.uv or vim.loop

local NAME = '.aigc.json'
local MAX_BYTES = 65536
local MAX_DEPTH = 40

--- How long an answer holds, so that typing does not ask the disk again and again.
local HOLDS_MS = 2000

---@type table<string, { path?: string, looked: number }> by folder
local found = {}

---@type table<string, { mtime: string, options?: table, message?: string }> by path
local read = {}

--- The nearest file of that name at or above a folder.
local function find(folder)
  local known = found[folder]
  if known and uv.now() - known.looked < HOLDS_MS then
    return known.path
  end
  local path
  local at = folder
  for _ = 1, MAX_DEPTH do
    local candidate = (at == '/' and '' or at) .. '/' .. NAME
    local stat = uv.fs_stat(candidate)
    if stat and stat.type == 'file' then
      path = candidate
      break
    end
    local above = at:match('^(.+)/[^/]*$') or '/'
    if above == at then
      break
    end
    at = above
  end
  found[folder] = { path = path, looked = uv.now() }
  return path
end

---@return table? options
---@return string? message
local function parse(path, size)
  if size > MAX_BYTES then
    return nil, ('%s is larger than %d bytes'):format(path, MAX_BYTES)
  end
  local file, message = io.open(path, 'rb')
  if not file then
    return nil, tostring(message)
  end
  local text = file:read('*a')
  file:close()
  local ok, options = pcall(vim.json.decode, text or '', { luanil = { object = true } })
  if not ok then
    return nil, ('%s is not JSON: %s'):format(path, options)
  elseif type(options) ~= 'table' then
    return nil, ('%s must hold an object, got %s'):format(path, type(options))
  end
  return options
end

--- The options of the project that a buffer's file lies in.
---@param buf integer
---@return table? options
---@return string? path
---@return string? message what is wrong with the file
function M.get(buf)
  local name = vim.api.nvim_buf_get_name(buf)
  local folder = name ~= '' and name:match('^(/.*)/[^/]*$') or uv.cwd()
  local path = folder and find(folder)
  local stat = path and uv.fs_stat(path)
  if not stat then
    return nil
  end
  local mtime = stat.mtime.sec .. '.' .. stat.mtime.nsec .. '.' .. stat.size
  local known = read[path]
  if not known or known.mtime ~= mtime then
    local options, message = parse(path, stat.size)
    known = { mtime = mtime, options = options, message = message }
    read[path] = known
  end
  return known.options, path, known.message
end

return M
