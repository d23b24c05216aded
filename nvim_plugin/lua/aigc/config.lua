--- The options in force: where they come from, and what is wrong with them.
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

local options = require('aigc.options')

local FILE = 'aigc-base.gguf'

--- The model that comes with the plugin, once it was there.
---@type string?
local own_model

--- The default model: what the environment names, or the one that comes with the plugin (beside it
--- in the repository, inside it when installed, elsewhere in 'runtimepath' when luarocks has sorted the files).
---@return string
function M.default_model()
  local named = os.getenv('AIGC_MODEL')
  if named and named ~= '' then
    return named
  elseif own_model then
    return own_model
  end
  -- Resolved, because the plugin may be a link into a clone.
  local file = vim.fn.resolve(debug.getinfo(1, 'S').source:sub(2))
  local plugin = vim.fn.fnamemodify(file, ':p:h:h:h')
  local installed = plugin .. '/models/' .. FILE
  local repository = vim.fn.fnamemodify(plugin, ':h') .. '/models/' .. FILE
  local elsewhere = vim.api.nvim_get_runtime_file('models/' .. FILE, false)[1]
  for _, path in ipairs({ repository, installed, elsewhere }) do
    if vim.fn.filereadable(path) == 1 then
      own_model = path
      return path
    end
  end
  return installed
end

--- A file that one has only looked into may hold anything: a few characters of it, none that controls.
local function printable(text)
  text = text:gsub('%c', ' ')
  return vim.fn.strchars(text) > 40 and vim.fn.strcharpart(text, 0, 40) .. '…' or text
end

local function describe(value)
  return type(value) == 'string' and ("'%s'"):format(printable(value))
    or type(value) == 'number' and ('%.14g'):format(value)
    or type(value) == 'boolean' and tostring(value)
    or type(value)
end

--- Copies what is right from `from` into `config` and says what is not.
---@param config table
---@param from any
---@param where string
---@param problems string[]
---@param allowed? table<string, true> option names
local function merge(config, from, where, problems, allowed)
  if type(from) ~= 'table' then
    problems[#problems + 1] = ('%s must be a table, got %s'):format(where, describe(from))
    return
  end
  for key, value in pairs(from) do
    local kind = options.kinds[key]
    if not kind then
      local name = printable(tostring(key))
      problems[#problems + 1] = ("%s has an unknown option '%s'"):format(where, name)
    elseif allowed and not allowed[key] then
      local message = "%s: option '%s' is not for projects to set"
      problems[#problems + 1] = message:format(where, key)
    elseif not kind.check(value) then
      problems[#problems + 1] = ("%s: option '%s' must be %s, got %s"):format(
        where,
        key,
        kind.wanted,
        describe(value)
      )
    elseif key == 'filetypes' then
      config.filetypes = vim.tbl_extend('force', config.filetypes, value)
    else
      config[key] = value
    end
  end
end

--- The option list of vim.g.aigc may be a function's.
local function global_options(problems)
  local global = vim.g.aigc
  if type(global) == 'function' then
    local ok, result = pcall(global)
    if not ok then
      problems[#problems + 1] = 'vim.g.aigc: ' .. tostring(result)
      return nil
    end
    return result
  end
  return global
end

---@type aigc.Options?
local from_setup = package.loaded['aigc'] and package.loaded['aigc'].given

--- What :Aigc model chose in this session.
---@type string?
M.chosen_model = nil

---@param opts? aigc.Options
function M.setup(opts)
  from_setup = opts
  local _, problems = M.get()
  M.report(problems)
end

--- What was put together last, and from what: most calls come from the same buffer as the one before.
---@class aigc.MergedOptions
---@field global any
---@field setup any
---@field project? table
---@field message? string
---@field model? string
---@field config aigc.Config
---@field problems string[]

---@type aigc.MergedOptions?
local last

---@param buf? integer
---@param config { project: boolean }
---@return table? project
---@return string? path
---@return string? message
local function project_options(buf, config)
  if buf and config.project then
    return require('aigc.project').get(buf)
  end
end

--- Defaults, then vim.g.aigc, then what setup() was given.
---@return table config
local function user_options(global, problems)
  local config = {}
  for key, value in pairs(options.defaults) do
    config[key] = value
  end
  if global ~= nil then
    merge(config, global, 'vim.g.aigc', problems)
  end
  if from_setup ~= nil then
    merge(config, from_setup, 'setup()', problems)
  end
  return config
end

--- The options in force: defaults, then vim.g.aigc, then what setup() was given, then the .aigc.json
--- of the buffer's project. Wrong ones are left out. The table is for reading: others get it, too.
---@param buf? integer
---@return aigc.Config config
---@return string[] problems
function M.get(buf)
  local problems = {}
  local global = global_options(problems)
  local model = M.chosen_model or M.default_model()
  local same = last
    and #problems == 0
    and last.setup == from_setup
    and last.model == model
    and vim.deep_equal(last.global, global)
  local config = same and last.config or user_options(global, problems)
  local project, path, message = project_options(buf, config)
  if same and last.project == project and last.message == message then
    return last.config, last.problems
  elseif same then
    config = user_options(global, problems)
  end
  if project then
    merge(config, project, path, problems, options.of_projects)
  elseif message then
    problems[#problems + 1] = message
  end
  config.model = vim.fn.expand(M.chosen_model or config.model or M.default_model())
  config.lora = config.lora and vim.fn.expand(config.lora)
  config.stop = type(config.stop) == 'string' and { config.stop } or config.stop
  table.sort(problems)
  last = {
    global = global,
    setup = from_setup,
    project = project,
    message = message,
    model = model,
    config = config,
    problems = problems,
  }
  return config, problems
end

--- Of more problems at once only so many are told.
local MOST_TOLD = 5

---@type table<string, true>
local logged = {}
--- How problems were told together: in a line, or at length.
---@type table<string, 'line'|'length'>
local told = {}

--- Says problems once in a session. While somebody types, in one line: Neovim takes the next key as the
--- answer to a message that needs more. Who asks later is told at length.
---@param problems string[]
---@param typing? boolean
function M.report(problems, typing)
  if #problems == 0 then
    return
  end
  for i = 1, math.min(#problems, MOST_TOLD) do
    if not logged[problems[i]] then
      logged[problems[i]] = true
      require('aigc.log').add('error: %s', problems[i])
    end
  end
  local all = table.concat(problems, '\n')
  if told[all] == 'length' or (typing and told[all]) then
    return
  end
  told[all] = typing and 'line' or 'length'
  local shown = vim.list_slice(problems, 1, typing and 1 or MOST_TOLD)
  if #problems > #shown then
    shown[#shown] = ('%s (and %d more)'):format(shown[#shown], #problems - #shown)
  end
  local text = 'aigc: ' .. table.concat(shown, '\naigc: ')
  vim.notify(typing and require('aigc.log').in_a_line(text) or text, vim.log.levels.ERROR)
end

--- How suggestions come in a buffer.
---@param config aigc.Config
---@param filetype string
---@return aigc.Trigger
function M.trigger(config, filetype)
  return config.filetypes[filetype] or config.filetypes['*'] or config.trigger
end

return M
