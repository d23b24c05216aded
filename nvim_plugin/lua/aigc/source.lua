--- What other completion frameworks ask: the suggestion at the cursor as a list of texts. Used by the
--- sources for nvim-cmp and blink.cmp, by completefunc() and by the language server.
local M = {}

local generation = require('aigc.generation')
local place = require('aigc.place')

--- Asks for the text at the cursor. The callback is called once, on the main loop.
---@param callback fun(texts: string[], place?: aigc.Position)
---@return fun() cancel
function M.request(callback)
  local reason, options = require('aigc.suggestion').reason_against()
  if reason then
    callback({})
    return function() end
  end
  local here = place.here(place.kind_of(vim.api.nvim_get_mode().mode) == 'n')
  local done = false
  local function finish(g)
    if not done and not g.running then
      done = true
      local texts = {}
      for _, text in ipairs(g.list) do
        if text ~= '' then
          texts[#texts + 1] = text
        end
      end
      callback(texts, here)
    end
  end
  local g, message = generation.start(here, options, { automatic = true }, finish)
  if not g then
    require('aigc.log').tell_once(message)
    callback({})
    return function() end
  end
  finish(g)
  return function()
    done = true
    g:cancel()
  end
end

--- The word at the cursor, and where it begins: what menus replace.
---@param here aigc.Position
---@return string
function M.keyword(here)
  return here.before:match('[%w_\128-\255]*$')
end

return M
