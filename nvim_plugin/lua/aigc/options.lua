--- The options that there are: what each may be, and what it is when nobody says. Read by
--- config.lua; :help aigc-options tells what they do.
local M = {}

--- What a user may set, in vim.g.aigc or through setup().
---@class aigc.Options
---@field model? string
---@field model_directories? string[]
---@field trigger? aigc.Trigger
---@field filetypes? table<string, aigc.Trigger>
---@field debounce? integer
---@field extent? aigc.Extent
---@field words? integer
---@field lines? integer
---@field min_logprob? number
---@field alternatives? integer
---@field speculate? boolean
---@field menu? 'hide'|'show'
---@field attach? fun(buf: integer): boolean
---@field lora? string
---@field secrets? string[]
---@field max_file_bytes? integer
---@field project? boolean
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
---@field documents? boolean
---@field personal? boolean|string
---@field context? integer
---@field threads? integer
---@field kv? 'f16'|'f32'
---@field polite? boolean
---@field unload_after? integer

---@alias aigc.Trigger 'auto'|'manual'|'off'
---@alias aigc.Extent 'auto'|'words'|'sentence'|'paragraph'|'statement'|'lines'|'free'

--- The same, complete.
---@class aigc.Config: aigc.Options
---@field model string
---@field trigger aigc.Trigger
---@field filetypes table<string, aigc.Trigger>
---@field debounce integer
---@field extent aigc.Extent
---@field words integer
---@field lines integer
---@field min_logprob number
---@field alternatives integer
---@field max_tokens integer
---@field stop string[]
---@field prompt_bytes integer
---@field suffix_bytes integer
---@field ring_bytes integer
---@field documents boolean
---@field secrets string[]
---@field max_file_bytes integer
---@field unload_after integer

---@class aigc.Kind
---@field wanted string
---@field check fun(x: any): boolean

local function number(min, max)
  local range = max and ('a number from %g to %g'):format(min, max)
    or ('a number not below %g'):format(min)
  return {
    wanted = range,
    check = function(x)
      return type(x) == 'number' and x >= min and x <= (max or math.huge) and x < math.huge
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

--- A number above 0, which is not allowed itself.
local above_zero = {
  wanted = 'a number above 0',
  check = function(x)
    return type(x) == 'number' and x > 0 and x < math.huge
  end,
}

local function of_type(name, wanted)
  return {
    wanted = wanted,
    check = function(x)
      return type(x) == name
    end,
  }
end

local function one_of(...)
  local allowed, shown = {}, {}
  for _, value in ipairs({ ... }) do
    allowed[value] = true
    shown[#shown + 1] = ("'%s'"):format(value)
  end
  local last = table.remove(shown)
  return {
    wanted = table.concat(shown, ', ') .. ' or ' .. last,
    check = function(x)
      return allowed[x] == true
    end,
  }
end

local function is_text(x)
  return type(x) == 'string' and x ~= '' and not x:find('%z')
end

local function is_list_of_texts(x)
  if type(x) ~= 'table' then
    return false
  end
  local n = 0
  for _, text in pairs(x) do
    n = n + 1
    if not is_text(text) then
      return false
    end
  end
  return n == #x
end

local trigger = one_of('auto', 'manual', 'off')
local boolean = of_type('boolean', 'true or false')

---@type table<string, aigc.Kind>
M.kinds = {
  model = { wanted = 'the path of a GGUF file', check = is_text },
  lora = { wanted = 'the path of a GGUF file', check = is_text },
  model_directories = { wanted = 'a list of folders', check = is_list_of_texts },
  trigger = trigger,
  filetypes = {
    wanted = "a table from filetypes to 'auto', 'manual' or 'off'",
    check = function(x)
      if type(x) ~= 'table' then
        return false
      end
      for filetype, value in pairs(x) do
        if type(filetype) ~= 'string' or not trigger.check(value) then
          return false
        end
      end
      return true
    end,
  },
  debounce = integer(0, 60000),
  extent = one_of('auto', 'words', 'sentence', 'paragraph', 'statement', 'lines', 'free'),
  words = integer(1, 1000),
  lines = integer(1, 1000),
  min_logprob = {
    wanted = 'a number from -100 to 0',
    check = number(-100, 0).check,
  },
  alternatives = integer(1, 8),
  speculate = boolean,
  menu = one_of('hide', 'show'),
  attach = of_type('function', 'a function'),
  secrets = { wanted = 'a list of file patterns', check = is_list_of_texts },
  max_file_bytes = integer(0, 2 ^ 40),
  project = boolean,
  max_tokens = integer(1, 1000000),
  stop = {
    wanted = 'a non-empty string or a list of such',
    check = function(x)
      return is_text(x) or is_list_of_texts(x)
    end,
  },
  temperature = number(0),
  top_p = number(0, 1),
  top_k = integer(0),
  min_p = number(0, 1),
  repetition_penalty = above_zero,
  frequency_penalty = number(-2, 2),
  presence_penalty = number(-2, 2),
  seed = integer(0, 2 ^ 53),
  prompt_bytes = integer(256, 2 ^ 24),
  suffix_bytes = integer(0, 2 ^ 20),
  ring_bytes = integer(0, 2 ^ 20),
  documents = boolean,
  personal = {
    wanted = 'true, false or the path of a folder',
    check = function(x)
      return type(x) == 'boolean' or is_text(x)
    end,
  },
  context = integer(0, 2 ^ 31 - 1),
  threads = integer(0, 64),
  kv = one_of('f16', 'f32'),
  polite = boolean,
  unload_after = integer(0, 2 ^ 20),
}

M.defaults = {
  trigger = 'auto',
  filetypes = {},
  debounce = 150,
  extent = 'auto',
  words = 4,
  lines = 1,
  min_logprob = -1.6, -- geometric mean of the tokens' probabilities: a fifth
  alternatives = 3,
  speculate = true,
  menu = 'hide',
  secrets = {
    '.env',
    '.env.*',
    '*.env',
    '.envrc',
    '.netrc',
    '_netrc',
    '.pgpass',
    '.npmrc',
    '.pypirc',
    '.htpasswd',
    '.git-credentials',
    '*.pem',
    '*.key',
    '*.p12',
    '*.pfx',
    '*.asc',
    '*.gpg',
    '*.kdbx',
    '*.jks',
    '*.keystore',
    '*.tfvars',
    '*.tfstate',
    'id_rsa*',
    'id_ed25519*',
    'id_ecdsa*',
    'credentials',
    'credentials.*',
    'secrets',
    'secrets.*',
    'shadow',
    'sudoers',
    '*/.ssh/*',
    '*/.gnupg/*',
    '*/.aws/*',
    '*/.kube/*',
    '*/.docker/*',
    '*/.password-store/*',
    '/dev/shm/*', -- where password managers let one edit
  },
  max_file_bytes = 2 ^ 24,
  project = true,
  max_tokens = 64,
  stop = { '\n\n' },
  temperature = 0,
  prompt_bytes = 4096,
  suffix_bytes = 512,
  ring_bytes = 1024,
  documents = true,
  context = 0,
  threads = 0,
  kv = 'f16',
  polite = true,
  unload_after = 600,
}

--- What a project's .aigc.json may set: how suggestions come, not what runs on whose machine. A
--- folder that one has only looked into must not choose a model or switch a protection off.
M.of_projects = {
  trigger = true,
  filetypes = true,
  debounce = true,
  extent = true,
  words = true,
  lines = true,
  min_logprob = true,
  alternatives = true,
  max_tokens = true,
  stop = true,
  temperature = true,
  top_p = true,
  top_k = true,
  min_p = true,
  repetition_penalty = true,
  frequency_penalty = true,
  presence_penalty = true,
  seed = true,
}

return M
