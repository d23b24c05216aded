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
--- What LuaJIT compiles it compiles in the middle of a callback; when it looks for memory near its own
--- code that was seen to take 13 ms. Our callbacks are short and mostly call into Neovim: they are
--- interpreted (jit.off in each module).
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

local in_turns = require('aigc.timer').in_turns

--- The next suggestion, which would come after this one, is computed first (suggestion.lua).
local REST_MS = 60
--- So near to the place where the beginning moves: some words, so that there is time.
local NEAR_BYTES = 384

-- ---- the next prompt's beginning ----------------------------------------------------------------

--- The beginning that was read last: it is read once.
---@type string?
local known

--- Where the beginning will be soon, and the options there; nil if it stays, or may not be looked at.
local function find_beginning()
  local buf = vim.api.nvim_get_current_buf()
  local options = require('aigc.config').get(buf)
  if not options.speculate or require('aigc.polite').on_battery then
    return nil
  end
  local row, col = require('aigc.place').insertion_point(false)
  local at = require('aigc.prompt').next_beginning(buf, row, col, options.prompt_bytes, NEAR_BYTES)
  local key = at and ('%d:%d'):format(buf, at)
  if not at or key == known or require('aigc.guard').reason_against(options) then
    return nil
  end
  return at, options, key
end

local function nobody_asks()
  return not require('aigc.client').is_busy() and require('aigc.place').is_typing()
end

local function read_ahead()
  local at, options, key, place, question
  local generation = require('aigc.generation')
  in_turns({
    function()
      at, options, key = find_beginning()
      return at ~= nil
    end,
    function()
      place = require('aigc.place').here(false)
      question = generation.build(place, options, '', at)
    end,
    function()
      return generation.join(question)
    end,
    function()
      generation.add_context(question)
    end,
    function()
      generation.complete_for_reading(question, options)
      require('aigc.client').request(options, question.request, function(event)
        if event.kind == 'done' and event.finish ~= 'cancelled' then
          known = key
        end
      end)
    end,
  }, nobody_asks)
end

-- ---- when ---------------------------------------------------------------------------------------

local timer = require('aigc.timer').new(read_ahead)

--- A request has ended.
function M.later()
  timer:start(REST_MS)
end

return M
