--- Options: their defaults, where they come from, and what is wrong with them.
local M = {}

--- What a user may set, in vim.g.aigc or through setup(). See :help aigc-options.
---@class aigc.Options
---@field model? string
---@field max_tokens? integer
---@field stop? string|string[]
---@field temperature? number
---@field top_p? number
---@field top_k? integer
---@field min_p? number
---@field repetition_penalty? number
---@field frequency_penalty? number
---@field presence_penalty? number
---@field seed? integer
---@field prompt_bytes? integer
---@field suffix_bytes? integer
---@field ring_bytes? integer
---@field context? integer
---@field threads? integer
---@field kv? 'f16'|'f32'

--- The same, complete.
---@class aigc.Config: aigc.Options
---@field model string
---@field max_tokens integer
---@field stop string[]
---@field prompt_bytes integer
---@field suffix_bytes integer
---@field ring_bytes integer

local function number(min, max)
  local range = max and ('a number from %g to %g'):format(min, max)
    or ('a number not below %g'):format(min)
  return {
    wanted = range,
    check = function(x)
      return type(x) == 'number' and x >= min and x <= (max or math.huge)
    end,
  }
end

local function integer(min, max)
  local inner = number(min, max)
  return {
    wanted = inner.wanted:gsub('^a number', 'an integer'),
    check = function(x)
      return inner.check(x) and x == math.floor(x)
    end,
  }
end

local function is_text(x)
  return type(x) == 'string' and x ~= '' and not x:find('%z')
end

local kinds = {
  model = { wanted = 'the path of a GGUF file', check = is_text },
  max_tokens = integer(1, 1000000),
  stop = {
    wanted = 'a non-empty string or a list of such',
    check = function(x)
      if type(x) ~= 'table' then
        return is_text(x)
      end
      local n = 0
      for _, text in pairs(x) do
        n = n + 1
        if not is_text(text) then
          return false
        end
      end
      return n == #x
    end,
  },
  temperature = number(0),
  top_p = {
    wanted = 'a number above 0 and at most 1',
    check = function(x)
      return type(x) == 'number' and x > 0 and x <= 1
    end,
  },
  top_k = integer(0),
  min_p = number(0, 1),
  repetition_penalty = {
    wanted = 'a number above 0',
    check = function(x)
      return type(x) == 'number' and x > 0
    end,
  },
  frequency_penalty = number(-2, 2),
  presence_penalty = number(-2, 2),
  seed = integer(0, 2 ^ 53),
  prompt_bytes = integer(256, 2 ^ 24),
  suffix_bytes = integer(0, 2 ^ 20),
  ring_bytes = integer(0, 2 ^ 20),
  context = integer(0, 2 ^ 31 - 1),
  threads = integer(0, 64),
  kv = {
    wanted = "'f16' or 'f32'",
    check = function(x)
      return x == 'f16' or x == 'f32'
    end,
  },
}

local defaults = {
  max_tokens = 64,
  stop = { '\n\n' },
  temperature = 0,
  prompt_bytes = 4096,
  suffix_bytes = 1024,
  ring_bytes = 0,
  context = 0,
  threads = 0,
  kv = 'f16',
}

local FILE = 'aigc-base.gguf'

--- The default model: what the environment names, or the one that comes with the plugin (beside it
--- in the repository, inside it when installed).
---@return string
function M.default_model()
  local named = os.getenv('AIGC_MODEL')
  if named and named ~= '' then
    return named
  end
  -- Resolved, because the plugin may be a link into a clone.
  local file = vim.fn.resolve(debug.getinfo(1, 'S').source:sub(2))
  local plugin = vim.fn.fnamemodify(file, ':p:h:h:h')
  local installed = plugin .. '/models/' .. FILE
  local repository = vim.fn.fnamemodify(plugin, ':h') .. '/models/' .. FILE
  return vim.fn.filereadable(repository) == 1 and repository or installed
end

local function describe(value)
  return type(value) == 'string' and ("'%s'"):format(value:sub(1, 40))
    or type(value) == 'number' and ('%.14g'):format(value)
    or type(value) == 'boolean' and tostring(value)
    or type(value)
end

--- Copies what is right from `options` into `config` and says what is not.
---@param config table
---@param options any
---@param where string
---@param problems string[]
local function merge(config, options, where, problems)
  if type(options) ~= 'table' then
    problems[#problems + 1] = ('%s must be a table, got %s'):format(where, describe(options))
    return
  end
  for key, value in pairs(options) do
    local kind = kinds[key]
    if not kind then
      problems[#problems + 1] = ("%s has an unknown option '%s'"):format(where, tostring(key))
    elseif not kind.check(value) then
      problems[#problems + 1] = ("%s: option '%s' must be %s, got %s"):format(
        where,
        key,
        kind.wanted,
        describe(value)
      )
    else
      config[key] = value
    end
  end
end

---@type aigc.Options?
local from_setup

---@param opts? aigc.Options
function M.setup(opts)
  from_setup = opts
  local _, problems = M.get()
  M.report(problems)
end

--- The options in force: defaults, then vim.g.aigc, then what setup() was given. Wrong ones are
--- left out.
---@return aigc.Config config
---@return string[] problems
function M.get()
  local config = vim.deepcopy(defaults)
  local problems = {}
  local global = vim.g.aigc
  if type(global) == 'function' then
    local ok, result = pcall(global)
    global = ok and result or nil
    if not ok then
      problems[#problems + 1] = 'vim.g.aigc: ' .. tostring(result)
    end
  end
  if global ~= nil then
    merge(config, global, 'vim.g.aigc', problems)
  end
  if from_setup ~= nil then
    merge(config, from_setup, 'setup()', problems)
  end
  config.model = vim.fn.expand(config.model or M.default_model())
  config.stop = type(config.stop) == 'string' and { config.stop } or config.stop
  table.sort(problems)
  return config, problems
end

--- Says each problem once in a session.
---@param problems string[]
function M.report(problems)
  if #problems > 0 then
    vim.notify_once('aigc: ' .. table.concat(problems, '\naigc: '), vim.log.levels.ERROR)
  end
end

return M
