--- A source for nvim-cmp:
---
---     require('cmp').register_source('aigc', require('aigc.cmp').new())
---     require('cmp').setup({ sources = { { name = 'aigc' }, ... } })
local M = {}
M.__index = M

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

function M.new()
  return setmetatable({}, M)
end

function M.get_debug_name()
  return 'aigc'
end

function M.is_available()
  return require('aigc.source').is_available()
end

--- A space as well: the next word can be suggested behind it.
function M.get_trigger_characters()
  return { ' ', '.', '(' }
end

---@param callback fun(response: table)
function M:complete(_, callback)
  if self.cancel then
    self.cancel()
  end
  local source = require('aigc.source')
  self.cancel = source.request(function(texts, here)
    self.cancel = nil
    callback({ items = here and source.items(texts, here) or {}, isIncomplete = true })
  end)
end

return M
