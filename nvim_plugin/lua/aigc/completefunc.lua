--- For 'completefunc' and 'omnifunc': the menu opens when the model has answered.
local M = {}

--- Leave completion without a message; what follows comes through complete().
local CANCEL_SILENTLY = -3

---@param findstart integer
---@return integer|table
function M.complete(findstart)
  if findstart ~= 1 then
    return {}
  end
  local source = require('aigc.source')
  local tick = vim.b.changedtick
  source.request(function(texts, here)
    -- Not now: completion is not over before this function has returned.
    vim.schedule(function()
      local mode = vim.api.nvim_get_mode().mode:sub(1, 1)
      if not here or #texts == 0 or mode ~= 'i' or vim.b.changedtick ~= tick then
        return
      end
      local keyword = source.keyword(here)
      local words = {}
      for i, item in ipairs(source.items(texts, here)) do
        words[i] = { word = keyword .. texts[i], abbr = item.label, menu = 'aigc', dup = 1 }
      end
      vim.fn.complete(#here.before - #keyword + 1, words)
    end)
  end)
  return CANCEL_SILENTLY
end

return M
