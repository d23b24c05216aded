--- Brings the plugin's modules in, so that nobody who types feels it: a thread loads the C module and parses the
--- others, the main loop runs one of them a turn. Begins when insert mode does for the first time
--- (plugin/aigc.lua).
---
---     a thread    load core.so, parse a, b, c ...
---     main loop                                  |run a|  |run b|  ...  |what a first suggestion needs|
---
--- Who is faster loses nothing: require() brings in at once what is asked for, ready() all of it as soon as that
--- can be done in short turns, and what was typed before somebody watched counts as typed when somebody does.
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

local uv = vim.uv or vim.loop

local FOLDER = debug.getinfo(1, 'S').source:match('^@(.*)load%.lua$') or ''
--- Between two turns, for whatever else the editor has to do.
local PAUSE_MS = 1

--- Those that a suggestion or a command needs, each behind those that it needs itself. The last one hears what is
--- typed: it comes when all else is there, so that nothing is brought in where somebody waits.
local MODULES = {
  'option',
  'garbage',
  'timer',
  'options',
  'project',
  'config',
  'log',
  'polite',
  'client',
  'prompt',
  'leader',
  'prose',
  'stop',
  'generation',
  'wrap',
  'outgrow',
  'room',
  'ghost',
  'float',
  'guard',
  'place',
  'hooks',
  'idle',
  'menu',
  'suggestion',
  'accept',
  'trigger',
  'privacy',
  'ring',
  'context',
  'paragraphs',
  'documents',
  'personal',
  'outcomes',
  'thread',
  'outcomes_file',
  'continue',
  'window',
  'status',
  'models',
  'memory',
  'command',
  'init',
  'events',
}

---@type (fun())[]? what is to be done, a turn each; nil before it has begun
local steps
--- How many of them have been.
local taken = 0
--- Whether the thread has come to its end, or there is none.
local is_read = false
local done = false
---@type (fun())[]
local waiting = {}
---@type { buf: integer, tick: integer } where one began to type, and the buffer's changedtick before
local began

-- ---- what is to be done ------------------------------------------------------------------------

--- What fails is told when it is asked for.
local function bring_in(name)
  pcall(require, name)
  package.preload[name] = nil
end

local function full_name(module)
  return module == 'init' and 'aigc' or 'aigc.' .. module
end

---@param module string
---@param codes string what the thread has made of all of them
---@param first integer
---@param last integer less than `first` if it could make nothing of this one
local function add_module(module, codes, first, last)
  local name = full_name(module)
  steps[#steps + 1] = function()
    if not package.loaded[name] and last >= first then
      package.preload[name] = package.preload[name] or loadstring(codes:sub(first, last))
    end
    bring_in(name)
  end
end

--- What the first suggestion would have to find out.
local function add_preparations()
  vim.list_extend(steps, {
    function()
      require('aigc.polite').cores()
    end,
    function()
      require('aigc.polite').look()
    end,
    function()
      require('aigc.ghost').has_inline()
    end,
    function()
      require('aigc.config').get(vim.api.nvim_get_current_buf())
    end,
    function()
      require('aigc.hooks').load()
    end,
    function()
      -- Makes the folder, if there is to be one.
      require('aigc.personal').path(require('aigc.config').get())
    end,
    function()
      -- What changes from now on is learned, if it is to be.
      require('aigc.personal').watch()
    end,
  })
end

-- ---- one after the other ------------------------------------------------------------------------

local pending = false
local take_step

--- Without collecting garbage, and without beginning at once behind it: at each of so many allocations LuaJIT would
--- do a bit of a collection, up to a millisecond together. It begins when there is twice as much (garbage.lua).
local function run_step()
  if vim.v.exiting ~= vim.NIL then
    return -- as in timer.lua
  end
  pending = false
  taken = taken + 1
  local collects = collectgarbage('isrunning')
  collectgarbage('stop')
  local ok, message = pcall(steps[taken])
  if collects then
    collectgarbage('restart', -1)
  end
  if not ok and tostring(message):find('Keyboard interrupt', 1, true) then
    taken = taken - 1 -- <C-c> while it ran, which was meant for the editor
  elseif not ok then
    vim.notify('aigc: ' .. tostring(message), vim.log.levels.ERROR)
  end
  take_step()
end

--- The next one, at leisure or, if somebody waits, in the next turn.
function take_step()
  if pending then
    return
  elseif taken < #steps then
    pending = true
    if #waiting > 0 then
      vim.schedule(run_step)
    else
      vim.defer_fn(run_step, PAUSE_MS)
    end
  elseif is_read then
    done = true
    for _, f in ipairs(waiting) do
      require('aigc.timer').soon(f)
    end
    waiting = {}
  end
end

-- ---- the thread ---------------------------------------------------------------------------------

local CORE = 'aigc.core'

local function core_path()
  local beside = FOLDER .. 'core.so'
  if uv.fs_access(beside, 'R') then
    return beside
  end
  return package.searchpath and package.searchpath(CORE, package.cpath) or ''
end

--- Runs on the thread, in a Lua state of its own. Loads the C module into the process: what is left to do is to
--- look up its name. Returns the other modules as bytecode, each behind its length.
local function read(core, folder, modules)
  if core ~= '' then
    package.loadlib(core, 'luaopen_aigc_core')
  end
  local parts = {}
  for module in modules:gmatch('%S+') do
    local chunk = loadfile(folder .. module .. '.lua')
    local code = chunk and string.dump(chunk) or ''
    parts[#parts + 1] = ('%8d'):format(#code)
    parts[#parts + 1] = code
  end
  return table.concat(parts)
end

local function add_core(core)
  steps[#steps + 1] = function()
    if core ~= '' then
      package.preload[CORE] = package.loadlib(core, 'luaopen_aigc_core')
    end
    bring_in(CORE)
  end
end

--- What is to be done when the thread has done its part.
local function add_steps(core, codes)
  local at = 1
  for i, module in ipairs(MODULES) do
    if i == #MODULES then
      add_core(core)
      add_preparations()
    end
    local length = tonumber(codes:sub(at, at + 7)) or 0
    add_module(module, codes, at + 8, at + 7 + length)
    at = at + 8 + length
  end
  steps[#steps + 1] = function()
    require('aigc.events').catch_up(began.buf, began.tick)
  end
  is_read = true
  take_step()
end

local function start_thread()
  local core = (package.loaded[CORE] or package.preload[CORE]) and '' or core_path()
  local ok, work = pcall(uv.new_work, read, vim.schedule_wrap(function(codes)
    add_steps(core, codes or '')
  end))
  if not ok or not work:queue(core, FOLDER, table.concat(MODULES, ' ')) then
    add_steps(core, '')
  end
end

-- ---- when ---------------------------------------------------------------------------------------

--- Begins, once.
---@param buf integer where one types
---@param tick integer its changedtick before that
function M.begin(buf, tick)
  if steps then
    return
  end
  began = { buf = buf, tick = tick }
  steps = { start_thread }
  take_step()
end

--- Calls a function when all is there: at once if it is.
---@param f fun()
function M.ready(f)
  if done then
    f()
    return
  end
  waiting[#waiting + 1] = f
  M.begin(vim.api.nvim_get_current_buf(), vim.b.changedtick)
end

--- The same for what can be called off: f returns what does so, if there is anything to call off.
---@param f fun(): (fun())?
---@return fun() cancel also before f was called
function M.ready_unless_cancelled(f)
  local cancelled, cancel = false, nil
  M.ready(function()
    if not cancelled then
      cancel = f()
    end
  end)
  return function()
    cancelled = true
    if cancel then
      cancel()
    end
  end
end

--- Whether somebody waits for that.
---@return boolean
function M.is_awaited()
  return #waiting > 0
end

return M
