--- A source for blink.cmp:
---
---     sources = {
---       default = { 'lsp', 'path', 'buffer', 'aigc' },
---       providers = { aigc = { name = 'aigc', module = 'aigc.blink', async = true } },
---     }
local M = {}
M.__index = M

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

function M.new()
  return setmetatable({}, M)
end

function M.enabled()
  return require('aigc.source').is_available()
end

function M.get_trigger_characters()
  return { ' ', '.', '(' }
end

---@param callback fun(response: table)
---@return fun() cancel
function M.get_completions(_, _, callback)
  local source = require('aigc.source')
  return source.request(function(texts, here)
    callback({
      items = here and source.items(texts, here) or {},
      is_incomplete_forward = true,
      is_incomplete_backward = true,
    })
  end)
end

return M
