--- What is done while nobody waits: after a request has ended and nothing else has been asked for.
---
--- Computes what the next prompts will begin with. A prompt's beginning moves in steps (prompt.lua),
--- and where it has moved all of the prompt is new to the engine: some ten times the work of a usual
--- request. So when the cursor comes near such a place the prompt with its next beginning is read
--- beforehand.
---
---     the cursor      ----------------------->|  |           |
---     prompts before  [.......................]  |           |
---     this one is read beforehand  [..........]  |           |
---     prompts after                [............/.............]
---
--- Collects Lua's garbage, in slices, before there is so much of it that Neovim collects it while
--- somebody types: a request leaves some 50 kB, and a whole collection takes milliseconds.
---
--- What LuaJIT compiles it compiles in the middle of a callback; when it looks for memory near its own
--- code that was seen to take 13 ms. Our callbacks are short and mostly call into Neovim: they are
--- interpreted (jit.off in each module).
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

local uv = vim.uv or vim.loop

--- The next suggestion, which would come after this one, is computed first (suggestion.lua).
local REST_MS = 60
--- So near to the place where the beginning moves: some words, so that there is time.
local NEAR_BYTES = 384
--- Slices of some 0.02 ms. LuaJIT begins by itself when there is twice what was left the last time.
local SLICE_KB, SLICE_PAUSE_MS, GROWN = 2, 3, 1.5

---@type userdata?
local timer

-- ---- garbage ------------------------------------------------------------------------------------

--- Kilobytes after the last collection of ours.
local left = collectgarbage('count')
local collecting = false

local function collect()
  if collectgarbage('step', SLICE_KB) then
    collecting = false
    left = collectgarbage('count')
  end
end

-- ---- the next prompt's beginning ----------------------------------------------------------------

--- The beginning that was read last: it is read once.
---@type string?
local known

local function read_ahead()
  local place = require('aigc.place')
  local client = require('aigc.client')
  if client.is_busy() or vim.api.nvim_get_mode().mode ~= 'i' then
    return
  end
  local buf = vim.api.nvim_get_current_buf()
  local options = require('aigc.config').get(buf)
  if not options.speculate or require('aigc.polite').on_battery then
    return
  end
  local row, col = place.insertion_point(false)
  local at = require('aigc.prompt').next_beginning(buf, row, col, options.prompt_bytes, NEAR_BYTES)
  local key = at and ('%d:%d'):format(buf, at)
  if not at or key == known or require('aigc.guard').reason_against(options) then
    return
  end
  local request = require('aigc.generation').prompt_from(place.here(false), options, at)
  request.max_tokens = 1
  client.request(options, request, function(event)
    if event.kind == 'done' and event.finish ~= 'cancelled' then
      known = key
    end
  end)
end

-- ---- when ---------------------------------------------------------------------------------------

local on_timer
on_timer = vim.schedule_wrap(function()
  if collecting then
    collect()
    if collecting and timer then
      timer:start(SLICE_PAUSE_MS, 0, on_timer)
    end
    return
  end
  read_ahead()
  collecting = collectgarbage('count') > GROWN * left
  if collecting and timer then
    timer:start(SLICE_PAUSE_MS, 0, on_timer)
  end
end)

--- A request has ended.
function M.later()
  timer = timer or uv.new_timer()
  timer:start(REST_MS, 0, on_timer)
end

vim.api.nvim_create_autocmd('VimLeavePre', {
  group = vim.api.nvim_create_augroup('aigc', { clear = false }),
  callback = function()
    if timer then
      timer:close()
      timer = nil
    end
  end,
})

return M
