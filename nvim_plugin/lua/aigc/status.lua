--- What is going on: for :Aigc status, :checkhealth and statuslines.
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

---@class aigc.Status
---@field state 'stopped'|'unloaded'|'loading'|'idle'|'running'
---@field visible boolean
---@field trigger aigc.Trigger of the current buffer
---@field reason? string why there is no suggestion at this place
---@field model? string path of the model in use
---@field threads? integer
---@field polite? string why it has fewer threads than it could
---@field min_logprob number below this mean log-probability nothing is suggested unasked
---@field mean_logprob? number of the last suggestion
---@field asked integer suggestions that were asked for
---@field from_cache integer of those, known without asking the model
---@field shown integer that came to the screen
---@field prompt_tokens integer that the model was given
---@field prompt_tokens_known integer of those, computed for an earlier request
---@field last? aigc.LastRequest

---@class aigc.LastRequest
---@field tokens integer
---@field prompt integer
---@field prompt_hit integer
---@field finish string
---@field first_ms? number
---@field tokens_per_second? number

---@return aigc.Status
function M.get()
  local client = require('aigc.client')
  local generation = require('aigc.generation')
  local suggestion = require('aigc.suggestion')
  local config = require('aigc.config')
  local reason, options = suggestion.reason_against()
  return {
    state = client.state(),
    visible = suggestion.visible(),
    trigger = config.trigger(options, vim.bo.filetype),
    reason = reason,
    model = client.model_path(),
    threads = client.threads(),
    polite = options.polite and options.threads == 0 and require('aigc.polite').reason() or nil,
    min_logprob = options.min_logprob,
    mean_logprob = generation.last_mean,
    asked = generation.counts.asked,
    from_cache = generation.counts.cached,
    shown = generation.counts.shown,
    prompt_tokens = client.counts.prompt,
    prompt_tokens_known = client.counts.prompt_hit,
    last = client.last(),
  }
end

local function percent(part, whole)
  return whole > 0 and ('%.0f %%'):format(100 * part / whole) or '-'
end

local function describe_last(last)
  local parts = { ('last: %d tokens'):format(last.tokens) }
  if last.first_ms then
    parts[#parts + 1] = ('first after %.0f ms'):format(last.first_ms)
  end
  if last.tokens_per_second then
    parts[#parts + 1] = ('%.0f tokens/s'):format(last.tokens_per_second)
  end
  parts[#parts + 1] = ('%d of %d prompt tokens known'):format(last.prompt_hit, last.prompt)
  return table.concat(parts, ', ')
end

local function describe_threads(s)
  if not s.threads then
    return ''
  end
  local polite = s.polite and (' (%s)'):format(s.polite) or ''
  return (', %d thread%s%s'):format(s.threads, s.threads == 1 and '' or 's', polite)
end

--- Lines for :Aigc status.
---@return string[]
function M.lines()
  local core, message = require('aigc.client').core()
  if not core then
    return { 'aigc: ' .. message }
  end
  local s = M.get()
  local name = s.model and vim.fn.fnamemodify(s.model, ':t')
  local lines = {
    ('aigc %s (%s), %s%s%s'):format(
      core.version(),
      core.cpu_level(),
      s.state,
      name and (', ' .. name) or '',
      describe_threads(s)
    ),
    ('suggestions here: %s%s'):format(s.trigger, s.reason and (', but ' .. s.reason) or ''),
    ('threshold: mean log-probability %.2f%s'):format(
      s.min_logprob,
      s.mean_logprob and (', last %.2f'):format(s.mean_logprob) or ''
    ),
    ('%d asked for, %d from the cache (%s), %d shown; %s of the prompts known before'):format(
      s.asked,
      s.from_cache,
      percent(s.from_cache, s.asked),
      s.shown,
      percent(s.prompt_tokens_known, s.prompt_tokens)
    ),
  }
  if s.last then
    lines[#lines + 1] = describe_last(s.last)
  end
  return lines
end

local SIGNS = { stopped = '', unloaded = '', idle = '', loading = 'aigc …', running = 'aigc ●' }

--- A few characters: nothing while the model rests, how many alternatives are shown, or that it is
--- off here. Costs microseconds.
---@return string
function M.statusline()
  if vim.g.aigc_disable or vim.b.aigc_disable then
    return 'aigc off'
  end
  local client = package.loaded['aigc.client']
  return client and SIGNS[client.state()] or ''
end

return M
