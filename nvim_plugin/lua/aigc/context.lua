--- What the model reads before the text at the cursor: the ring of what was lately read elsewhere.
---
---     ring (other buffers, yanks; oldest first) | text before the cursor | cursor | text after it
---     <-- ring_bytes -------------------------->|<-- prompt_bytes ------>|        |<-- suffix_bytes
---
--- The model keeps what it has computed of a prompt and goes on where the next one differs. So a
--- prompt should begin like the one before it: the text before the cursor is cut at an anchor that
--- moves in steps of a quarter of its budget (prompt.lua), and the ring is looked at anew only when
--- that anchor or the buffer has changed, since everything behind it is computed anew then anyway.
--- :Aigc status tells how much of the prompts was known before.
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

--- As much of the text's beginning as tells one anchor from another.
local ANCHOR_BYTES = 256

--- The ring's part of the last prompt, and of the one before that, or of one that was read
--- beforehand (idle.lua).
---@class aigc.Frozen
---@field buf integer
---@field anchor string
---@field budget integer
---@field text string

---@type aigc.Frozen?, aigc.Frozen?
local frozen, other

--- Whether a prompt with this beginning goes on from one that had `f`. A text shorter than an anchor
--- grows: it still begins with what it began with.
---@param f? aigc.Frozen
local function fits(f, buf, budget, anchor)
  return f and f.buf == buf and f.budget == budget and anchor:sub(1, #f.anchor) == f.anchor
end

---@param p aigc.Prompt
---@param budget integer most bytes
---@return string
function M.before(p, budget)
  local ring = require('aigc.ring')
  ring.watch()
  local anchor = p.text:sub(1, ANCHOR_BYTES)
  if not fits(frozen, p.buf, budget, anchor) then
    frozen, other = other, frozen
    if not fits(frozen, p.buf, budget, anchor) then
      local text = ring.text(p.buf, budget, p.text)
      frozen = { buf = p.buf, anchor = anchor, budget = budget, text = text }
    end
  end
  return frozen.text
end

--- Forgets the ring's part of the last prompts.
function M.reset()
  frozen, other = nil, nil
end

table.insert(require('aigc.hooks').prompt, function(p)
  local budget = p.config.ring_bytes
  if budget > 0 then
    p.context = M.before(p, budget) .. p.context
  end
end)

return M
