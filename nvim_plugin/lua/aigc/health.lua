--- :checkhealth aigc
local M = {}

local health = vim.health or require('health')
-- Neovim before 0.10 has these under other names.
local start = health.start or health.report_start
local ok = health.ok or health.report_ok
local info = health.info or health.report_info
local warn = health.warn or health.report_warn
local error_ = health.error or health.report_error

local BUILD = 'Run `make nvim` in the repository, then restart Neovim.'
local REBUILD = 'Run `make clean nvim` in the repository, then restart Neovim.'

--- What `make nvim` needs, where the module is missing.
local function check_build()
  local function needs(what, programs, package)
    for _, program in ipairs(programs) do
      if vim.fn.executable(program) == 1 then
        ok(what .. ': ' .. program)
        return
      end
    end
    error_(what .. ' is missing', { 'Debian: apt-get install ' .. package })
  end
  needs('a C compiler', { 'gcc', 'cc', 'clang' }, 'gcc libc6-dev')
  needs('make', { 'make', 'gmake' }, 'make')
  vim.fn.system('pkg-config --exists luajit')
  if vim.v.shell_error == 0 or vim.fn.glob('/usr/include/luajit*/lauxlib.h') ~= '' then
    ok("LuaJIT's headers")
  else
    warn("LuaJIT's headers were not found", { 'Debian: apt-get install libluajit-5.1-dev' })
  end
end

local function check_module()
  start('aigc: module')
  local found, core = pcall(require, 'aigc.core')
  if not found then
    local file = vim.api.nvim_get_runtime_file('lua/aigc/core.so', false)[1]
    if file then
      error_('The C module ' .. file .. ' does not load.', { REBUILD })
      info((tostring(core):gsub('\n.*', '')))
    else
      error_('The C module lua/aigc/core.so is not there.', { BUILD })
    end
    check_build()
    return nil
  end
  local version = require('aigc.client').VERSION
  if core.version() ~= version then
    local both = 'core.so is version %s, the Lua side is %s.'
    error_(both:format(core.version(), version), { BUILD })
  else
    ok('core.so ' .. core.version())
  end
  ok('CPU level: ' .. core.cpu_level())
  return core
end

local function check_options()
  start('aigc: options')
  local config, problems = require('aigc.config').get()
  for _, problem in ipairs(problems) do
    error_(problem, { 'See :help aigc-options.' })
  end
  if #problems == 0 then
    ok('all known and in range')
  end
  info('prompt: up to ' .. config.prompt_bytes .. ' bytes before the cursor')
  return config
end

---@param model table
local function describe(model)
  local about, message = model:info()
  if not about then
    error_(message)
    return
  end
  ok(
    ('%s: %s, %s, %.1f million parameters, %.1f MB, context %d'):format(
      about.name ~= '' and about.name or vim.fn.fnamemodify(about.path, ':t'),
      about.architecture,
      about.quantisation,
      about.n_params / 1e6,
      about.file_bytes / 1e6,
      about.n_context
    )
  )
  local runnable
  runnable, message = model:check()
  if not runnable then
    error_(message)
  end
end

local function check_model(core, config)
  start('aigc: model')
  info(config.model)
  local model, message = core.open(config.model, { parts = 'description' })
  if not model then
    error_(message, {
      "Set the path of a GGUF file: vim.g.aigc = { model = '...' }, or $AIGC_MODEL.",
    })
    return
  end
  describe(model)
  model:close()
end

--- Where Neovim shows the suggestions itself.
local function check_inline_completion()
  if not (vim.lsp and vim.lsp.inline_completion) then
    info('this Neovim has no inline completion of its own (0.12 has), see :help aigc-lsp')
    return
  end
  local n = #vim.tbl_filter(require('aigc.lsp').shows, vim.api.nvim_list_bufs())
  local where = 'which shows suggestions nowhere'
  if n > 0 then
    where = ('which shows them in %d buffer%s'):format(n, n > 1 and 's' or '')
  end
  info(('this Neovim has inline completion of its own, %s, see :help aigc-lsp'):format(where))
end

local function check_editor(config)
  start('aigc: editor')
  local polite = require('aigc.polite')
  local cores, threads = polite.cores(), polite.threads(config)
  local reason = config.polite and config.threads == 0 and polite.reason()
  local text = ('threads: %s of %d cores%s'):format(
    threads == 0 and 'chosen by the engine' or tostring(threads),
    cores,
    reason and (' (%s)'):format(reason) or ''
  )
  local current = require('aigc.client').threads()
  if current and current ~= threads then
    text = text .. (', %d until nothing is asked for a minute'):format(current)
  end
  if threads > cores then
    warn(text, { 'More threads than cores make completion slower.' })
  else
    ok(text)
  end
  local how = require('aigc.ghost').has_inline() and 'pushed aside (inline)'
    or 'repeated behind the suggestion'
  info('text behind the cursor is ' .. how)
  check_inline_completion()
  info(('suggestions come: %s, %d ms after the last key'):format(config.trigger, config.debounce))
  if vim.g.aigc_disable then
    warn('g:aigc_disable is set: there are no suggestions anywhere', { ':Aigc toggle' })
  end
  info('state: ' .. require('aigc').status().state)
end

--- Less than this may not do for what is kept.
local SCARCE_BYTES = 16e6

--- Where the personal layer is kept, and whether it can be.
local function check_personal(config)
  start('aigc: personal layer')
  local folder = require('aigc.personal').path(config)
  if not folder then
    info("off: the option 'personal' switches it on")
    return
  end
  if vim.fn.filewritable(folder) == 2 then
    ok(folder .. ' can be written')
  else
    error_(folder .. ' cannot be written: what is learned is lost when Neovim ends')
  end
  local disk = (vim.uv or vim.loop).fs_statfs(folder)
  local free = disk and disk.bavail * disk.bsize
  if free and free < SCARCE_BYTES then
    warn(('its disk is nearly full: %.1f MB are free'):format(free / 1e6))
  end
end

--- What went wrong in this session.
local function check_log()
  local errors = vim.tbl_filter(function(line)
    return line:find('^%S+ error: ') ~= nil
  end, require('aigc.log').lines())
  if #errors > 0 then
    start('aigc: lately')
    for i = math.max(1, #errors - 4), #errors do
      warn(errors[i], { 'See :Aigc log.' })
    end
  end
end

function M.check()
  local core = check_module()
  local config = check_options()
  if core then
    check_model(core, config)
  end
  check_personal(config)
  check_editor(config)
  check_log()
end

return M
