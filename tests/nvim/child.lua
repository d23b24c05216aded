-- child: a second Neovim, driven over RPC, with a screen that can be read.
local screen = require('screen')

local uv = vim.loop

local child = {}
child.__index = child

local COLUMNS, LINES = 40, 12

-- Those that have not been stopped: Neovim does not leave while there are any.
local live = {}

-- The fake engine: what aigc.core does, with text that the test chooses. Runs in the child.
local FAKE = [[
local uv = vim.loop
local fake = { requests = {}, cancelled = {}, opened = {}, closed = 0, events = {}, version_text = '0.1.0' }
_G.fake = fake
local ends = uv.pipe({ nonblock = true }, { nonblock = true })
local model = {}
model.__index = model
local core = {
  version = function() return fake.version_text end,
  cpu_level = function() return 'generic' end,
  cpu_count = function() return 4 end,
  settle = function() if fake.at_settle then fake.at_settle() end return true end,
  open = function(path, options)
    if path:find('missing') then return nil, "cannot read the model '" .. path .. "'", 'io' end
    fake.opened[#fake.opened + 1] = { path = path, options = options }
    return setmetatable({}, model)
  end,
}
local function event(e)
  fake.events[#fake.events + 1] = e
  if #fake.events == 1 then uv.fs_write(ends.write, 'x') end
end
function model:fd() return ends.read end
function model:state() return fake.live and 'running' or 'idle' end
function model:submit(options)
  if fake.live then self:cancel(fake.live) end
  fake.requests[#fake.requests + 1] = options
  fake.live, fake.text = #fake.requests, ''
  return fake.live
end
function model:cancel(id)
  if id ~= fake.live then return false end
  fake.cancelled[#fake.cancelled + 1] = id
  event({ id = id, kind = 'done', finish = 'cancelled', text = fake.text, n_generated = 0,
    decode_seconds = 0, n_prompt = 0, n_prompt_hit = 0, alternatives = {} })
  fake.live = nil
  return true
end
function model:take()
  uv.fs_read(ends.read, 10)
  local events = fake.events
  fake.events = {}
  return events
end
function model:info()
  return { path = 'x.gguf', name = 'fake', architecture = 'llama', quantisation = 'F32', n_params = 1e6,
    file_bytes = 4e6, n_context = 512 }
end
function model:check() return true end
function model:discard() fake.closed, fake.live, fake.events = fake.closed + 1, nil, {} end
model.close = model.discard
-- text: a piece of one token, or a list of { text, log-probability }
function fake.say(text)
  local pieces = type(text) == 'table' and text or { { text, -0.1 } }
  local marks, said = {}, ''
  for i, piece in ipairs(pieces) do
    said = said .. piece[1]
    marks[i] = { #said, 1, piece[2] }
  end
  fake.text = fake.text .. said
  event({ id = fake.live, kind = 'token', text = said, alternative = 1, marks = marks })
end
function fake.finish(alternatives, infill)
  local list = {}
  for i, text in ipairs(alternatives or { fake.text }) do
    list[i] = { text = text, alternative = i }
  end
  event({ id = fake.live, kind = 'done', finish = 'length', text = fake.text, n_generated = 3, decode_seconds = 0.5,
    n_prompt = 10, n_prompt_hit = 4, alternatives = list, infill = infill })
  fake.live = nil
end
function fake.fail(message)
  event({ id = fake.live, kind = 'error', message = message, code = 'format' })
  fake.live = nil
end
package.loaded['aigc.core'] = core
]]

local MAPS = [[
local keys = {
  complete = '<C-k>', accept = '<C-j>', dismiss = '<C-g>d', next = '<C-g>n', prev = '<C-g>p',
  continue = '<C-g>c', ['accept-word'] = '<C-g>w', ['accept-line'] = '<C-g>l',
  ['accept-sentence'] = '<C-g>s', ['accept-until'] = '<C-g>t', toggle = '<C-g>x',
  ['toggle-buffer'] = '<C-g>b',
}
for name, key in pairs(keys) do
  vim.keymap.set({ 'i', 'n' }, key, '<Plug>(aigc-' .. name .. ')', { remap = true })
end
_G.seen = {}
vim.api.nvim_create_autocmd('User', {
  pattern = { 'AigcStart', 'AigcDone', 'AigcShow', 'AigcHide', 'AigcAccept' },
  callback = function(args)
  seen[#seen + 1] = args.match
end })
_G.notes = {}
vim.notify = function(text, level) notes[#notes + 1] = text end
]]

-- What most tests need: nothing comes unasked, and all of what comes is shown.
child.QUIET = { trigger = 'manual', extent = 'free', speculate = false }

-- options: fake (default true), aigc (instead of QUIET, for vim.g.aigc), lines, columns, env, watch (run watch.lua at
-- its start), plugin (the folder, if it is another than nvim_plugin)
-- Starts a Neovim with a user interface that is ours, so that it draws.
function child.start(options)
  options = options or {}
  local columns, lines = options.columns or COLUMNS, options.lines or LINES
  local self = setmetatable({ shown = screen.new(columns, lines), replies = {}, next_id = 0 }, child)
  self:spawn(options)
  live[self] = true
  self:request('nvim_ui_attach', columns, lines, { ext_linegrid = true, rgb = true })
  if options.fake ~= false then
    self:lua(FAKE)
  end
  self:lua('vim.g.aigc = ...', options.aigc or child.QUIET)
  self:lua(MAPS)
  return self
end

-- A folder for what children leave behind: they are killed. It goes when the last of them has gone.
local folder

local function temporary()
  if not folder then
    folder = assert(uv.fs_mkdtemp((os.getenv('TMPDIR') or '/tmp') .. '/aigc-test-XXXXXX'))
    vim.api.nvim_create_autocmd('VimLeavePre', {
      callback = function()
        child.stop_all()
        vim.fn.delete(folder, 'rf')
      end,
    })
  end
  return folder
end

-- Handles of buffers, windows and tabs are numbers to us.
local function to_number(_, packed)
  return vim.mpack.decode(packed)
end

function child:spawn(options)
  local environment = {}
  local changed = vim.tbl_extend('force', { TMPDIR = temporary() }, options.env or {})
  for name, value in pairs(vim.tbl_extend('force', vim.fn.environ(), changed)) do
    environment[#environment + 1] = name .. '=' .. value
  end
  local plugin = options.plugin or 'nvim_plugin'
  local args = { '--clean', '--embed', '--cmd', 'set runtimepath^=' .. plugin .. ' noswapfile' }
  if options.watch then
    vim.list_extend(args, { '--cmd', 'luafile tests/nvim/watch.lua' })
  end
  self.stdin, self.stdout, self.stderr = uv.new_pipe(), uv.new_pipe(), uv.new_pipe()
  self.process, self.pid = uv.spawn('nvim', {
    args = args,
    stdio = { self.stdin, self.stdout, self.stderr },
    env = environment,
  }, function(code, signal)
    self.code = signal ~= 0 and 128 + signal or code
  end)
  assert(self.process, self.pid)
  self.last_words = '' -- why it aborts, if it does
  self.stderr:read_start(function(_, data)
    self.last_words = (self.last_words .. (data or '')):sub(-2000)
  end)
  local unpacker = vim.mpack.Unpacker({ ext = { [0] = to_number, to_number, to_number } })
  self.stdout:read_start(function(_, data)
    local position = 1
    while data and position <= #data do
      local message
      message, position = unpacker(data, position)
      if message then
        self:receive(message)
      end
    end
  end)
end

function child:receive(message)
  if message[1] == 1 then
    self.replies[message[2]] = { error = message[3], result = message[4] }
  elseif message[1] == 2 and message[2] == 'redraw' then
    self.shown:redraw(message[3])
  end
end

-- Without waiting for an answer.
function child:notify(method, ...)
  self.stdin:write(vim.mpack.encode({ 2, method, { ... } }))
end

-- Waits for a condition as vim.wait() does, up to so many milliseconds in which this process ran: a
-- machine that was frozen or suspended meanwhile has not kept anybody waiting.
function child.wait(milliseconds, condition)
  local last, waited = uv.hrtime(), 0
  local met
  vim.wait(2 ^ 30, function()
    local now = uv.hrtime()
    waited, last = waited + math.min((now - last) / 1e6, 100), now
    met = condition()
    return met or waited > milliseconds
  end, 1)
  return met and true or false
end

function child:request(method, ...)
  self.next_id = self.next_id + 1
  local id = self.next_id
  self.stdin:write(vim.mpack.encode({ 0, id, method, { ... } }))
  local answered = child.wait(20000, function()
    return self.replies[id] ~= nil or self.code ~= nil
  end)
  local reply = self.replies[id]
  self.replies[id] = nil
  if not reply then
    if not answered and method ~= 'nvim_get_mode' then
      local rows = {}
      for r = 1, self.shown.lines do
        rows[r] = self.shown:row(r)
      end
      local mode = self:request('nvim_get_mode').mode
      local who = self.name or 'of a child'
      method = ('%s %s (mode %s, the screen:\n%s\n)'):format(method, who, mode, table.concat(rows, '\n'))
    end
    local why = answered and ': Neovim has ended: ' .. self.last_words or ': no answer within 20 seconds'
    error(method .. why, 0)
  elseif reply.error ~= vim.NIL then
    error(tostring(reply.error[2] or reply.error), 0)
  end
  if reply.result ~= vim.NIL then
    return reply.result
  end
end

function child:lua(code, ...)
  return self:request('nvim_exec_lua', code, { ... })
end

-- Types keys and lets the child handle them and whatever they set off.
function child:keys(keys)
  self:request('nvim_input', keys)
  if keys:find(':Aigc', 1, true) then
    self:lua("vim.wait(10000, function() return package.loaded['aigc.load'] ~= nil end, 1)")
  end
  self:settle()
end

-- What the plugin's first use waits for is brought in by a thread.
local LOADED = [[
local load = package.loaded['aigc.load']
vim.wait(10000, function() return not load or not load.is_awaited() end, 1)
vim.wait(1)
]]

-- Requests are answered when the child waits for keys: after two, what was scheduled before has
-- run.
function child:settle()
  for i = 1, 3 do
    self:request('nvim_get_mode')
    self:lua(i == 1 and LOADED or 'vim.wait(1)')
  end
end

-- The fake engine says something, and the child shows it.
function child:say(text)
  self:lua('fake.say(...)', text)
  self:settle_frame()
end

function child:finish(...)
  self:lua('fake.finish(...)', ...)
  self:settle_frame()
end

-- Text is taken at most once a frame: until all of it has been.
function child:settle_frame()
  child.wait(5000, function()
    return self:lua('return #fake.events == 0')
  end, 2)
  self:settle()
end

function child:buffer()
  return table.concat(self:request('nvim_buf_get_lines', 0, 0, -1, true), '\n')
end

-- Rows of the screen from the first to the last with text in the window, without the empty ones'
-- tilde.
function child:screen()
  self:request('nvim_command', 'redraw')
  local below = self:lua('return vim.o.cmdheight + (vim.o.laststatus > 0 and 1 or 0)')
  local rows = {}
  for r = 1, self.shown.lines - below do
    rows[r] = self.shown:row(r):gsub('%s+$', '')
  end
  while #rows > 0 and (rows[#rows]:find('^%s*~$') or rows[#rows] == '') do
    rows[#rows] = nil
  end
  return table.concat(rows, '\n')
end

function child:visible()
  return self:lua("return require('aigc').visible()")
end

function child:stop()
  live[self] = nil
  if self.code == nil then
    self.process:kill('sigkill')
    child.wait(2000, function()
      return self.code ~= nil
    end, 1)
  end
  self.stdin:close()
  self.stdout:close()
  self.stderr:close()
  self.process:close()
end

-- After a spec that did not come to its end.
function child.stop_all()
  for c in pairs(live) do
    c:stop()
  end
end

return child
