-- nvim_llama_vim: the time from a key to the first text on the screen, ours and llama.vim's with a local llama.cpp
-- server, side by side in two Neovims on the same model file.
--
--   AIGC_MODEL=qwen05-Q8_0.gguf LLAMA_SERVER=llama.cpp/build/bin/llama-server LLAMA_VIM=llama.vim \
--     nvim --clean --headless -c 'luafile bench/nvim_llama_vim.lua' -c cquit
--
-- From the repository's root, after `make nvim`. LLAMA_VIM is a clone of ggml-org/llama.vim, LLAMA_SERVER a built server
-- (it listens on 127.0.0.1 alone, port AIGC_PORT, default 8012). The model needs fill-in-the-middle tokens, as Qwen2.5's
-- vocabulary has them: llama.vim knows no other requests. AIGC_RUNS: bursts (default 20), AIGC_THREADS: of each
-- (default 4), AIGC_BYTES: of text before the cursor (default 6500, some 1,500 tokens).
--
-- Both are asked by a key after a burst of some ten tokens was typed: neither's own timer is in the figures. llama.vim's
-- other settings are its own, but that the ring of other text is off, as there is no other text; ours shows whatever comes
-- (min_logprob -100: a model of random weights is never sure). Bursts alternate; in between both come to rest. llama.vim
-- asks for 128 tokens and shows them when all have come (or 250 ms after a line has ended, which random weights do not
-- say); a last pass with n_predict = 1 tells what of its time is not generating.
--
-- llama.cpp's `infill` sampler, which llama.vim asks for, ends at once where all tokens are as improbable as the end: with
-- random weights always. So it is taken out of a copy of llama.vim; AIGC_INFILL=1 leaves all as it is, for a real model.
package.path = 'tests/nvim/?.lua;bench/?.lua;' .. package.path

local child, typing = require('child'), require('nvim_typing')
local uv = vim.loop

local function setting(name, default)
  return os.getenv(name) or default or error(name .. ' is not set: see the top of this file', 0)
end
local MODEL = vim.fn.fnamemodify(setting('AIGC_MODEL'), ':p')
local SERVER, LLAMA_VIM = setting('LLAMA_SERVER'), vim.fn.fnamemodify(setting('LLAMA_VIM'), ':p')
local PORT = setting('AIGC_PORT', '8012')

local RUNS, THREADS = tonumber(setting('AIGC_RUNS', '20')), tonumber(setting('AIGC_THREADS', '4'))
local BYTES = tonumber(setting('AIGC_BYTES', '6500'))
local REST_MS = 200
local POLL_MS = 700 -- asked more often the server becomes three times as slow
local VERBOSE = os.getenv('AIGC_VERBOSE') ~= nil -- each figure as it comes

local function start_server()
  local arguments = { '-m', MODEL, '--host', '127.0.0.1', '--port', PORT, '-t', tostring(THREADS), '-np', '1' }
  vim.list_extend(arguments, { '-c', '4096', '--cache-reuse', '256' })
  local log = assert(uv.fs_open(os.getenv('LLAMA_LOG') or '/dev/null', 'w', 420))
  local process, pid = uv.spawn(SERVER, { args = arguments, stdio = { nil, log, log } }, function() end)
  assert(process, pid)
  local healthy = vim.wait(60000, function()
    vim.fn.system({ 'curl', '-sf', ('http://127.0.0.1:%s/health'):format(PORT) })
    return vim.v.shell_error == 0
  end, 100)
  if not healthy then
    process:kill('sigkill')
    error('llama-server does not come up (LLAMA_LOG=FILE keeps what it says)', 0)
  end
  return process
end

-- llama.vim computes the next hint while one is shown: until the server has nothing to do.
local function rest()
  vim.wait(REST_MS)
  vim.wait(10000, function()
    local slots = vim.fn.system({ 'curl', '-s', ('http://127.0.0.1:%s/slots'):format(PORT) })
    return not slots:find('"is_processing":true', 1, true)
  end, POLL_MS)
  vim.wait(REST_MS)
end

local function start_ours()
  local c = child.start({
    fake = false,
    lines = 24,
    columns = 100,
    env = { AIGC_MODEL = MODEL },
    aigc = { trigger = 'manual', min_logprob = -100, prompt_bytes = 8192, threads = THREADS, extent = 'free' },
  })
  return c, '<C-k>', "require('aigc').dismiss()"
end

-- Its folder, with the one sampler taken out, and the hint after the next one, which is computed while one is shown: the
-- measurement that follows would run beside it.
local function copy_of_llama_vim()
  if os.getenv('AIGC_INFILL') then
    return LLAMA_VIM
  end
  local folder = vim.fn.tempname()
  for _, name in ipairs({ 'autoload/llama.vim', 'autoload/llama_debug.vim', 'plugin/llama.vim' }) do
    local text = table.concat(vim.fn.readfile(LLAMA_VIM .. '/' .. name), '\n')
    text = text:gsub('"top_p", "infill"', '"top_p"')
    text = text:gsub("call llama#fim%(l:pos_x, l:pos_y, v:true, s:fim_data%['content'%], v:true%)", '')
    vim.fn.mkdir(folder .. '/' .. vim.fn.fnamemodify(name, ':h'), 'p')
    vim.fn.writefile(vim.split(text, '\n', { plain = true }), folder .. '/' .. name)
  end
  return folder
end

local function start_llama_vim(n_predict)
  local c = child.start({ fake = false, lines = 24, columns = 100 })
  c:lua([[
    vim.cmd('autocmd! InsertEnter')
    vim.opt.runtimepath:remove('nvim_plugin')
    vim.opt.runtimepath:append((...))
    local _, port, n_predict = ...
    vim.g.llama_config = {
      endpoint_fim = ('http://127.0.0.1:%s/infill'):format(port),
      auto_fim = false, ring_n_chunks = 0, show_info = 0, n_predict = n_predict,
    }
    vim.cmd('runtime plugin/llama.vim')
    vim.cmd('inoremap <C-k> <Cmd>call llama#fim(-1, -1, v:false, [], v:false)<CR>')
  ]], copy_of_llama_vim(), PORT, n_predict or 128)
  return c, '<C-k>', "vim.fn['llama#fim_hide']()"
end

local function prepare(c)
  typing.fill(c, BYTES)
  c:keys('A')
  vim.wait(500) -- modules load
end

-- One burst and the text behind it, which is hidden again. Milliseconds or nil.
local function burst(c, key, hide, i, milliseconds)
  c:keys(typing.BURSTS[i % #typing.BURSTS + 1])
  local took = typing.to_screen(c, key, milliseconds or 5000)
  c:lua(hide)
  c:keys(i % 3 == 0 and '.<CR>' or ' ')
  c:lua(hide)
  return took
end

local function measure(editors)
  for _, e in ipairs(editors) do
    e.c, e.key, e.hide = e.start(e.n_predict)
    prepare(e.c)
    e.times, e.nothing = {}, 0
    burst(e.c, e.key, e.hide, 0, 60000) -- opens the model, reads the whole prompt
    rest()
  end
  for i = 1, RUNS do
    for _, e in ipairs(editors) do
      local took = burst(e.c, e.key, e.hide, i)
      if VERBOSE then
        typing.say('%s %s', e.name, took or 'nothing')
      end
      if took then
        e.times[#e.times + 1] = took
      else
        e.nothing = e.nothing + 1
      end
      rest()
    end
  end
  for _, e in ipairs(editors) do
    local nothing = e.nothing > 0 and (' (%d showed nothing)'):format(e.nothing) or ''
    typing.row('key to text, ' .. e.name .. nothing, e.times)
    e.c:stop()
  end
end

local server = start_server()
local ok, message = xpcall(function()
  typing.say('%s, %d bytes of text, %d threads; %s', vim.fn.fnamemodify(MODEL, ':t'), BYTES, THREADS,
    vim.fn.execute('version'):match('NVIM v%S+'))
  typing.head()
  measure({ { name = 'aigc', start = start_ours }, { name = 'llama.vim', start = start_llama_vim } })
  measure({ { name = 'llama.vim, n_predict = 1', start = start_llama_vim, n_predict = 1 } })
end, debug.traceback)
server:kill('sigterm')
child.stop_all()
if not ok then
  typing.say('%s', message)
  vim.cmd('cquit')
end
vim.cmd('qall!')
