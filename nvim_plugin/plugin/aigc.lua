-- The command, the maps and one autocommand. The rest is loaded at first use, or at leisure when
-- insert mode has begun.
if vim.g.loaded_aigc then
  return
end
vim.g.loaded_aigc = true

if vim.fn.has('nvim-0.7.2') == 0 then
  vim.cmd("command! -nargs=* Aigc echohl ErrorMsg | echomsg 'aigc needs Neovim 0.7.2 or later' | echohl None")
  return
end

-- Loading all of it at once would be felt (3 ms); in turns of the main loop it is not. What does that is
-- read by a thread: to search 'runtimepath' for it and to parse it took 0.6 ms.
local function parse(path)
  local chunk = loadfile(path)
  return chunk and string.dump(chunk) or ''
end

local FOLDER = debug.getinfo(1, 'S').source:match('^@(.*)plugin/aigc%.lua$') or ''
local is_begun = false
---@type (fun())[]? what waits until load.lua is there; nil from then on
local waiting = {}

local function start_thread(buf, tick)
  local begin = vim.schedule_wrap(function(code)
    if vim.v.exiting ~= vim.NIL then
      return
    end
    local late = waiting
    waiting = nil
    package.preload['aigc.load'] = code ~= '' and loadstring(code) or nil
    local load = require('aigc.load')
    package.preload['aigc.load'] = nil -- who reloads it gets what the file has then
    load.begin(buf, tick)
    for _, f in ipairs(late) do
      load.ready(f)
    end
  end)
  local ok, work = pcall((vim.uv or vim.loop).new_work, parse, begin)
  if not ok or not work:queue(FOLDER .. 'lua/aigc/load.lua') then
    begin('')
  end
end

-- What is typed from here on counts when all is there.
local function load_piece_by_piece()
  if not is_begun then
    is_begun = true
    local buf, tick = vim.api.nvim_get_current_buf(), vim.b.changedtick
    vim.defer_fn(function()
      start_thread(buf, tick)
    end, 1)
  end
end

-- Calls a function when all is there: at once if it is, or if nobody looks at the screen.
local function when_loaded(f)
  if not waiting or package.loaded['aigc.load'] then
    require('aigc.load').ready(f)
  elseif #vim.api.nvim_list_uis() == 0 then
    f()
  else
    waiting[#waiting + 1] = f
    load_piece_by_piece()
  end
end

vim.api.nvim_create_autocmd('InsertEnter', {
  once = true,
  desc = 'Load aigc piece by piece',
  callback = function() -- and not what it returns
    load_piece_by_piece()
  end,
})

vim.api.nvim_create_user_command('Aigc', function(args)
  local function run()
    require('aigc.command').run(args.args)
  end
  if args.mods:find('silent', 1, true) then
    run() -- a script, which goes on with its next line
  else
    when_loaded(run)
  end
end, {
  nargs = '+',
  complete = function(lead, line)
    return require('aigc.command').complete(lead, line)
  end,
  desc = 'Text completion by a local model',
})

-- Not by vim.keymap.set(), with which this file took twice as long.
local function map(modes, name, what, desc)
  local calls = type(what) == 'function'
  local options = { noremap = true, desc = desc, callback = calls and what or nil }
  for mode in modes:gmatch('.') do
    vim.api.nvim_set_keymap(mode, '<Plug>(aigc-' .. name .. ')', calls and '' or what, options)
  end
end

local function call(name, ...)
  local args = { ... }
  return function()
    require('aigc')[name](unpack(args))
  end
end

-- What asks for text waits until all is loaded, which is done in turns of the main loop.
local function ask(name)
  return ("<Cmd>lua require('aigc.load').ready(require('aigc').%s)<CR>"):format(name)
end

map('in', 'complete', ask('complete'), 'Suggest how the text goes on at the cursor')
map('n', 'continue', ask('continue'), 'Write how the text goes on')
map('i', 'continue', '<C-g>u' .. ask('continue'), 'Write how the text goes on')
map('in', 'dismiss', call('dismiss'), 'Take the suggestion away')
map('in', 'next', call('next'), 'Show the next alternative')
map('in', 'prev', call('prev'), 'Show the previous alternative')
map('in', 'toggle', call('toggle', 'everywhere'), 'Switch suggestions on or off')
map('in', 'toggle-buffer', call('toggle', 'buffer'), 'The same for this buffer')

-- <C-g>u on both sides: the accepted text is an undo step of its own.
local function map_accept(name, lua, desc)
  map('i', name, ("<C-g>u<Cmd>lua require('aigc').%s<CR><C-g>u"):format(lua), desc)
  map('n', name, ("<Cmd>lua require('aigc').%s<CR>"):format(lua), desc)
end

map_accept('accept', 'accept()', 'Insert the suggestion')
map_accept('accept-line', "accept('line')", 'Insert a line of the suggestion')
map_accept('accept-sentence', "accept('sentence')", 'Insert a sentence of the suggestion')
map_accept('accept-word', "accept('word')", 'Insert a word of the suggestion')

-- Nothing behind the command: it would be read as the character that is asked for.
local up_to = "<Cmd>lua require('aigc').accept_until()<CR>"
map('i', 'accept-until', '<C-g>u' .. up_to, 'Insert the suggestion up to a character')
map('n', 'accept-until', up_to, 'Insert the suggestion up to a character')

-- As commands, because a default link made so comes back after :highlight clear.
vim.cmd('highlight default link AigcSuggestion Comment')
vim.cmd('highlight default link AigcInfo NonText')
