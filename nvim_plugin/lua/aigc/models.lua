--- Which models there are, and the choice among them (:Aigc model).
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

local config = require('aigc.config')
local timer = require('aigc.timer')

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

--- Opens a file without its weights.
---@return table? model
---@return string? message
local function open_described(path)
  local core, message = require('aigc.client').core()
  if not core then
    return nil, message
  end
  return core.open(path, { parts = 'description' })
end

--- Size and kind, without reading the weights.
---@param path string
---@return string
function M.describe(path)
  local name = vim.fn.fnamemodify(path, ':t')
  local model = open_described(path)
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

--- Whether the engine can run what is in a file; closes it.
---@param model table
---@return boolean? ok
---@return string? message
local function check(model)
  local ok, message = model:check()
  model:close()
  return ok, message
end

---@param path? string nil for what the options say
local function switch_to(path)
  config.chosen_model = path
  require('aigc').stop()
  require('aigc.generation').forget()
end

local function unknown(name)
  return ("there is no model '%s'"):format(name)
end

--- Uses another model from now on, in this session.
---@param name string path, or name of a listed file
---@return boolean
---@return string? message
function M.use(name)
  local path = resolve(name)
  if not path then
    return false, unknown(name)
  end
  local model, message = open_described(path)
  local ok
  if model then
    ok, message = check(model)
  end
  if not ok then
    return false, message
  end
  switch_to(path)
  require('aigc.log').add('model: %s', path)
  return true
end

--- The same at once; then looks at what is in the file, in turns of the main loop, and goes back if it cannot be
--- used, and says so.
---@param name string
function M.use_and_check(name)
  local path, before = resolve(name), config.chosen_model
  local function fail(message)
    if config.chosen_model == path then
      switch_to(before)
    end
    vim.notify('aigc: ' .. message, vim.log.levels.ERROR)
    return false
  end
  if not path then
    vim.notify('aigc: ' .. unknown(name), vim.log.levels.ERROR)
    return
  end
  switch_to(path)
  local model, ok, message
  timer.in_turns({
    function()
      model, message = open_described(path)
      if not model then
        return fail(message)
      end
    end,
    function()
      ok, message = model:info() -- opens it
      if not ok then
        model:close()
        return fail(message)
      end
    end,
    function()
      ok, message = check(model)
      if not ok then
        return fail(message)
      end
      require('aigc.log').add('model: %s', path)
    end,
  })
end

---@param paths string[]
---@param described table<string, string>
local function choose(paths, described)
  local used = vim.fn.fnamemodify(config.get().model, ':p')
  vim.ui.select(paths, {
    prompt = 'Model for aigc',
    format_item = function(path)
      local mark = vim.fn.fnamemodify(path, ':p') == used and '* ' or '  '
      return mark .. described[path]
    end,
  }, function(path)
    if path then
      M.use_and_check(path)
    end
  end)
end

--- Lets the user choose, when each model has been described in a turn of its own.
function M.pick()
  local paths = M.list()
  if #paths == 0 then
    local where = table.concat(directories(config.get()), ', ')
    vim.notify('aigc: no GGUF file in ' .. where, vim.log.levels.WARN)
    return
  end
  local described, steps = {}, {}
  for _, path in ipairs(paths) do
    steps[#steps + 1] = function()
      described[path] = M.describe(path)
    end
  end
  steps[#steps + 1] = function()
    choose(paths, described)
  end
  timer.in_turns(steps)
end

return M
