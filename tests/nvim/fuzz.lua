-- fuzz: two editors get the same random keys, one with suggestions and one without the plugin. Their
-- buffers must be the same, with no error, no lost key and no text on the screen that should be gone.
-- What is accepted in the one is pasted in the other.
--
--   AIGC_FUZZ_SECONDS=3600 tests/nvim/fuzz.t      for an hour (default 20 seconds)
--   AIGC_FUZZ_SEED=17      tests/nvim/fuzz.t      the same keys again
--   AIGC_FUZZ_ENGINE=fake  tests/nvim/fuzz.t      with answers made up here, or `real`: with a model; `inline`: made up,
--                                                 and shown by Neovim (0.12)
package.path = 'tests/nvim/?.lua;tests/lua/?.lua;' .. package.path

local child, pair, tap = require('child'), require('pair'), require('tap')
local uv = vim.loop

local SECONDS = tonumber(os.getenv('AIGC_FUZZ_SECONDS')) or 20
local SEED = tonumber(os.getenv('AIGC_FUZZ_SEED')) or os.time()

-- An engine that answers at once, later, in pieces or not at all, often with what is typed next.
local ENGINE = [[
math.randomseed(...)
local words = { ' the', ' quick', 'brown', ' fox', '.', '\n', ' ab', ' x', '日本', ')', '\n  ', ' e', '\t', ' word' }
local submit = getmetatable(require('aigc.core').open('x', {})).submit
local index = getmetatable(require('aigc.core').open('x', {})).__index
index.submit = function(self, options)
  local id = submit(self, options)
  fake.requests[id] = true -- of an hour's requests no text is kept
  seen = {}
  local timer = vim.loop.new_timer()
  timer:start(math.random(0, 15), math.random(1, 4), vim.schedule_wrap(function()
    if timer:is_closing() then
      return
    elseif fake.live ~= id then
      timer:close()
    elseif math.random() < 0.15 then
      timer:close()
      fake.finish({ fake.text, ' other', ' third' })
    elseif math.random() < 0.02 then
      timer:close()
      fake.fail('a failure')
    else
      fake.say({ { words[math.random(#words)], -math.random() * 2 } })
    end
  end))
  return id
end
]]

-- Neovim shows them: the language server in each buffer, and Neovim's pause of 200 ms made short.
local INLINE = [[
local defer = vim.defer_fn
vim.defer_fn = function(f, ms)
  return defer(f, math.min(ms, 20))
end
local function start()
  if vim.bo.buftype == '' then
    require('aigc.lsp').start()
  end
end
vim.api.nvim_create_autocmd('BufEnter', { callback = start })
start()
_G.n_inline = 0
vim.api.nvim_create_autocmd('CursorMovedI', {
  callback = function()
    local marks = vim.api.nvim_buf_get_extmarks(0, vim.api.nvim_create_namespace('nvim.lsp.inline_completion'), 0, -1, {})
    n_inline = n_inline + #marks
  end,
})
]]

local texts = {
  'a', 'x', ' the', ' quick', ' ', ' fox', 'ab', '. ', '(', ')', '日', '<CR>', '<Tab>', '<BS>',
  '<BS><BS>',
}
-- Those of completion too, whose menu comes between. Without <C-x><C-l>: after it 0.7 inserts memory that was freed, and
-- newer ones write out of bounds when they draw lines with tabs in a window with 'rightleft'.
local moves = {
  '<Left>', '<Right>', '<Up>', '<Down>', '<Home>', '<End>', '<C-w>', '<C-u>', '<C-o>0', '<C-o>$',
  '<C-n>', '<C-n><C-e>', '<C-y>', '<C-t>', '<C-d>', '<C-r>"', '<C-r>l',
}
-- Where there is no room for a menu, newer Neovims crash as soon as any floating window changes beside it.
local MIN_LINES = 9
local begins = { 'i', 'a', 'A', 'I', 'o', 'O', 'cw', 'C', 'S', 's' }
local normals = {
  'x', 'dd', 'u', '<C-r>', 'p', 'yy', 'w', 'b', 'gg', 'G', '0', '$', 'j', 'k', 'h', 'l', 'J', '.',
  '~', 'D', 'vd', 'viwy', 'Vjy', '>>', '<<', 'P', '"lp', 'uu', 'dw', '<C-v>jd',
}
local commands = {
  ':silent! enew!<CR>', ':silent! bnext!<CR>', ':silent! bprevious!<CR>', ':silent! split<CR>',
  ':silent! close<CR>', ':silent! vsplit<CR>', ':silent! only<CR>', '<C-w>w',
  ':silent! set textwidth=20<CR>', ':silent! set textwidth=0<CR>', ':silent! set number!<CR>',
  ':silent! set wrap!<CR>', ':silent! set ft=lua<CR>', ':silent! set ft=text<CR>',
  ':silent! %s/a/b/e<CR>', ':normal! Afoo<CR>', ':silent! tabnew<CR>', ':silent! tabclose<CR>',
  'qaAmacro<Esc>q', '@a', ':silent! set list!<CR>', ':silent! set rightleft!<CR>',
  ':silent! doautocmd <nomodeline> BufWritePost<CR>', -- the personal layer learns
}

-- Whether something is shown that could be accepted; accepting; and what the buffer has got by it, which must be what was
-- shown, or its beginning.
local ACCEPT = [[
local aigc, inline = require('aigc'), ...
local at, shown, accepted
function _G.accept_visible()
  if inline then
    local space = vim.api.nvim_create_namespace('nvim.lsp.inline_completion')
    return #vim.api.nvim_buf_get_extmarks(0, space, 0, -1, {}) > 0
  end
  return aigc.visible()
end
function _G.accept_part(part)
  at, shown = vim.api.nvim_win_get_cursor(0), aigc.text()
  if inline then
    accepted = vim.lsp.inline_completion.get()
  else
    accepted = aigc.accept(part)
  end
end
function _G.accept_taken()
  local to = vim.api.nvim_win_get_cursor(0)
  local taken = table.concat(vim.api.nvim_buf_get_text(0, at[1] - 1, at[2], to[1] - 1, to[2], {}), '\n')
  if accepted ~= (taken ~= '') or (not inline and shown:sub(1, #taken) ~= taken) then
    notes[#notes + 1] = ('accepted %s of %q: %q'):format(accepted, shown, taken)
  end
  return taken
end
]]

local function pick(list)
  return list[math.random(#list)]
end

-- Keys that leave no command half typed, for the mode that is.
local function action(is_insert)
  local dice = math.random()
  if is_insert then
    if dice < 0.75 then
      local keys = {}
      for i = 1, math.random(1, 4) do
        keys[i] = pick(texts)
      end
      return table.concat(keys)
    elseif dice < 0.9 then
      return pick(moves)
    elseif dice < 0.95 then
      return '<C-c>'
    end
    return '<Esc>'
  elseif dice < 0.5 then
    return pick(begins)
  elseif dice < 0.85 then
    return pick(normals)
  end
  return pick(commands)
end

-- What must not be: marks outside insert mode, errors.
local LINGERING = [[
  local found = {}
  local insert = vim.api.nvim_get_mode().mode:sub(1, 1) == 'i'
  for _, buf in ipairs(vim.api.nvim_list_bufs()) do
    local marks = vim.api.nvim_buf_is_loaded(buf)
      and vim.api.nvim_buf_get_extmarks(buf, vim.api.nvim_create_namespace('aigc'), 0, -1, {}) or {}
    local space = vim.api.nvim_get_namespaces()['nvim.lsp.inline_completion']
    if space and vim.api.nvim_buf_is_loaded(buf) then
      vim.list_extend(marks, vim.api.nvim_buf_get_extmarks(buf, space, 0, -1, {}))
    end
    if #marks > (insert and buf == vim.api.nvim_get_current_buf() and 1 or 0) then
      found[#found + 1] = 'a suggestion in buffer ' .. buf
    end
  end
  if vim.v.errmsg:find('aigc') or vim.v.errmsg:find('E5108') then found[#found + 1] = vim.v.errmsg end
  for _, note in ipairs(notes) do
    if not note:find('a failure') and not note:find('as said before') then found[#found + 1] = note end
  end
  return table.concat(found, '; ')
]]

-- What was done so far and by whom, for who looks for the reason.
local history, editors

local function start(seed, engine)
  local aigc = { debounce = 3, min_logprob = -1.5, unload_after = 1 }
  local one = child.start({ aigc = aigc, fake = engine ~= 'real' })
  if engine ~= 'real' then
    one:lua(ENGINE, seed)
  else
    local model = vim.fn.fnamemodify(tap.model, ':p')
    one:lua([[
      local more = { model = ..., personal = vim.fn.tempname() }
      vim.g.aigc = vim.tbl_extend('force', vim.g.aigc, more)
    ]], model)
  end
  local other = pair.without()
  pair.prepare(one)
  pair.prepare(other)
  one:lua(ACCEPT, engine == 'inline')
  if engine == 'inline' then
    one:lua(INLINE)
  end
  editors = { one, other }
  return one, other
end

-- The same keys for both, and what differs then.
local function act(one, other, keys)
  if math.random() < 0.02 then
    pair.resize(one, other, math.random(30, 60), math.random(MIN_LINES, 16))
  end
  pair.request(one, other, 'nvim_input', keys)
  if math.random() < 0.3 then
    vim.wait(math.random(1, 40)) -- a suggestion comes
  end
  local wrong, mode = pair.difference(one, other)
  if not wrong then
    local lingering = one:lua(LINGERING)
    wrong = lingering ~= '' and lingering or nil
  end
  return mode:sub(1, 1) == 'i', wrong
end

-- Accepts a part of what is shown in the one, if something is, and brings it into the other. Whether it did. Where
-- 'textwidth' breaks lines what is accepted is broken too, which a paste is not.
local function accept(one, other, engine)
  if not one:lua("return vim.fn.mode() == 'i' and vim.bo.textwidth == 0 and accept_visible()") then
    return false
  end
  local part = pick({ 'all', 'line', 'sentence', 'word' })
  one:keys(("<C-g>u<Cmd>lua accept_part('%s')<CR><C-g>u"):format(part))
  local taken = one:lua('return accept_taken()')
  other:lua('taken = ...', taken)
  if engine == 'inline' then -- Neovim pastes it later, when the keys are done with
    other:keys('<C-g>u<C-g>u')
    other:lua('vim.api.nvim_paste(taken, false, 0)')
  else
    other:keys("<C-g>u<Cmd>lua if taken ~= '' then vim.api.nvim_paste(taken, true, -1) end<CR><C-g>u")
  end
  return taken ~= ''
end

-- Both leave at once, whatever the last keys have set off, by keys or by a signal, with the same code.
local function quit(one, other)
  local way = pick({ 'keys', 'keys', 'sigterm', 'sighup' })
  for _, c in ipairs({ one, other }) do
    c:notify('nvim_input', pick(texts))
    if way == 'keys' then
      c:notify('nvim_input', '<C-Bslash><C-n>:qall!<CR>')
    else
      c.process:kill(way)
    end
  end
  child.wait(10000, function()
    return one.code ~= nil and other.code ~= nil
  end)
  local got, wanted = tostring(one.code), tostring(other.code)
  one:stop()
  other:stop()
  if got ~= wanted or wanted == 'nil' then
    return ('left by %s with %s, wanted %s'):format(way, got, wanted)
  end
end

-- What the plugin has left in memory when it has been stopped: Lua's heap, and what the process has more of its own than
-- the editor without it, in KiB. Without what LuaJIT has compiled, which is most of all what is asked here after each
-- key, and what is free and kept.
local SHED = [[
  collectgarbage()
  collectgarbage()
  if jit then
    jit.flush()
    local ffi = require('ffi')
    ffi.cdef('int malloc_trim(size_t pad);')
    ffi.C.malloc_trim(0)
  end
  return collectgarbage('count')
]]

local function memory(one, other)
  local function own(c)
    return tonumber(table.concat(vim.fn.readfile('/proc/' .. c.pid .. '/status'), '\n'):match('RssAnon:%s*(%d+)'))
  end
  one:lua("require('aigc').stop()")
  local heap = one:lua(SHED)
  other:lua(SHED)
  return { heap = heap, own = own(one) - own(other) }
end

-- Requests of Neovim's own that nobody has answered.
local function look_inline(one)
  tap.note('marks of Neovim that were seen: ' .. one:lua('return n_inline'))
  local open = one:lua([[
    local n = 0
    for _, client in ipairs(vim.lsp.get_clients()) do n = n + vim.tbl_count(client.requests) end
    return n
  ]])
  return open > 1 and open .. ' requests are open' or nil
end

local function last_keys()
  local keys = table.concat(vim.list_slice(history, math.max(1, #history - 30)), ' ')
  local codes = ('%s with the plugin, %s without'):format(editors[1].code or 'lives', editors[2].code or 'lives')
  return ('\nlast keys: %s\neditors: %s'):format(keys, codes)
end

-- Runs until the time is over or something differs: in its first half with editors that are left and started again, in
-- its second with one pair, so that what leaks adds up.
-- Returns { actions, lives, accepted, wrong, left: see memory() }.
local function run(seed, seconds, engine)
  math.randomseed(seed)
  local one, other = start(seed, engine)
  local lives, accepted, is_insert, wrong = 1, 0, false, nil
  history = {}
  local began = uv.hrtime()
  -- Longer if nothing has been accepted by then: on a slow machine in a few seconds, or because of 'textwidth', which
  -- is off from then on.
  local function is_over()
    local passed = (uv.hrtime() - began) / 1e9
    if accepted == 0 and passed > seconds then
      one:lua('vim.bo.textwidth = 0')
      other:lua('vim.bo.textwidth = 0')
    end
    return passed > (accepted > 0 and seconds or 6 * seconds)
  end
  while not wrong and not is_over() do
    if math.random() < 1 / 150 and uv.hrtime() < began + seconds * 0.5e9 then
      history[#history + 1] = '[quit]'
      wrong = quit(one, other)
      one, other = start(seed + lives, engine)
      lives, is_insert = lives + 1, false
    else
      if is_insert and math.random() < 0.2 and accept(one, other, engine) then
        history[#history + 1] = '[accept]'
        accepted = accepted + 1
      end
      local keys = action(is_insert)
      history[#history + 1] = keys
      is_insert, wrong = act(one, other, keys)
    end
    if #history % 500 == 0 then
      one:lua('notes = {}')
    end
  end
  if engine == 'inline' then
    wrong = wrong or look_inline(one)
  end
  local left = memory(one, other)
  wrong = wrong or quit(one, other)
  wrong = wrong and wrong .. last_keys()
  return { actions = #history, lives = lives, accepted = accepted, wrong = wrong, left = left }
end

tap.begin('fuzz')
local wanted_engine = os.getenv('AIGC_FUZZ_ENGINE')
local engines = { wanted_engine or 'fake' }
if not wanted_engine and tap.model_exists() then
  engines[#engines + 1] = 'real'
end
if not wanted_engine and vim.lsp.inline_completion then
  engines[#engines + 1] = 'inline'
end
for i, engine in ipairs(engines) do
  local ok, result = xpcall(run, debug.traceback, SEED + i, SECONDS / #engines, engine)
  if not ok then
    tap.ok(false, ('seed %d with the %s engine runs to its end'):format(SEED, engine), result .. last_keys())
  else
    tap.ok(not result.wrong, ('seed %d, %s engine: buffers as the keys alone make them'):format(SEED, engine), result.wrong)
    local counts = ('%d actions, %d lives, %d acceptances'):format(result.actions, result.lives, result.accepted)
    tap.ok(result.actions > 20 and result.accepted > 0, 'as many as this: ' .. counts)
    tap.ok(result.left.heap < 16384, 'Lua memory in the end', result.left.heap .. ' KiB')
    tap.ok(result.left.own < 65536, 'memory of its own in the end', result.left.own .. ' KiB')
    tap.note(('in the end %d KiB in Lua, %d KiB more than without the plugin'):format(result.left.heap, result.left.own))
  end
end
child.stop_all()
tap.finish()
