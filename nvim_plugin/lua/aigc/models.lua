--- Which models there are, and the choice among them (:Aigc model).
local M = {}

local config = require('aigc.config')

--- Folders that are looked through for GGUF files.
---@return string[]
local function directories(options)
  local list = {}
  local seen = {}
  local function add(path)
    path = vim.fn.fnamemodify(vim.fn.expand(path), ':p'):gsub('/+$', '')
    if path ~= '' and not seen[path] and vim.fn.isdirectory(path) == 1 then
      seen[path] = true
      list[#list + 1] = path
    end
  end
  for _, path in ipairs(options.model_directories or {}) do
    add(path)
  end
  add(vim.fn.fnamemodify(options.model, ':h'))
  add(vim.fn.fnamemodify(config.default_model(), ':h'))
  add(vim.fn.stdpath('data') .. '/aigc')
  return list
end

--- Paths of the models, in alphabetical order of their folders' order.
---@return string[]
function M.list()
  local options = config.get()
  local found, seen = {}, {}
  for _, directory in ipairs(directories(options)) do
    local paths = vim.fn.glob(vim.fn.fnameescape(directory) .. '/*.gguf', true, true)
    table.sort(paths)
    for _, path in ipairs(paths) do
      if not seen[path] then
        seen[path] = true
        found[#found + 1] = path
      end
    end
  end
  return found
end

--- Size and kind, without reading the weights.
---@param path string
---@return string
function M.describe(path)
  local name = vim.fn.fnamemodify(path, ':t')
  local core = require('aigc.client').core()
  local model = core and core.open(path, { parts = 'description' })
  local about = model and model:info()
  if model then
    model:close()
  end
  if not about then
    return name .. ' (cannot be read)'
  end
  return ('%s  %s, %.0f million parameters, %s, context %d'):format(
    name,
    about.architecture,
    about.n_params / 1e6,
    about.quantisation,
    about.n_context
  )
end

--- A path for what somebody typed: a path, or the name of a listed file.
local function resolve(name)
  local path = vim.fn.expand(name)
  if vim.fn.filereadable(path) == 1 then
    return vim.fn.fnamemodify(path, ':p') -- the same after :cd
  end
  for _, listed in ipairs(M.list()) do
    local file = vim.fn.fnamemodify(listed, ':t')
    if file == name or file:gsub('%.gguf$', '') == name then
      return listed
    end
  end
end

--- Uses another model from now on, in this session.
---@param name string path, or name of a listed file
---@return boolean
---@return string? message
function M.use(name)
  local path = resolve(name)
  if not path then
    return false, ("there is no model '%s'"):format(name)
  end
  local core, message = require('aigc.client').core()
  if not core then
    return false, message
  end
  local model
  model, message = core.open(path, { parts = 'description' })
  local ok
  if model then
    ok, message = model:check()
    model:close()
  end
  if not ok then
    return false, message
  end
  config.chosen_model = path
  require('aigc').stop()
  require('aigc.generation').forget()
  require('aigc.log').add('model: %s', path)
  return true
end

--- Lets the user choose.
function M.pick()
  local paths = M.list()
  if #paths == 0 then
    local where = table.concat(directories(config.get()), ', ')
    vim.notify('aigc: no GGUF file in ' .. where, vim.log.levels.WARN)
    return
  end
  local used = vim.fn.fnamemodify(config.get().model, ':p')
  vim.ui.select(paths, {
    prompt = 'Model for aigc',
    format_item = function(path)
      local mark = vim.fn.fnamemodify(path, ':p') == used and '* ' or '  '
      return mark .. M.describe(path)
    end,
  }, function(path)
    if path then
      local ok, message = M.use(path)
      if not ok then
        vim.notify('aigc: ' .. message, vim.log.levels.ERROR)
      end
    end
  end)
end

return M
