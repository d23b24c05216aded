--- :Aigc memory: what the personal layer knows, and making it forget.
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

local timer = require('aigc.timer')

local SHOWN = 200
--- The worker may have something to do: asked again so often, so many milliseconds apart.
local TRIES, PAUSE_MS = 100, 50

local function say(message, level)
  vim.notify('aigc: ' .. message, level or vim.log.levels.INFO)
end

--- Whether there is a layer; if not, that is told.
local function is_on()
  local personal = require('aigc.config').get().personal
  if not personal then
    say("the personal layer is off: the option 'personal' switches it on", vim.log.levels.WARN)
  end
  return personal and true or false
end

--- The open model, opening it if need be; nil if the layer is off.
local function get_model()
  if not is_on() then
    return nil
  end
  local config = require('aigc.config').get()
  local client = require('aigc.client')
  local model, message = client.model(config)
  if not model then
    say(message, vim.log.levels.ERROR)
  end
  client.settle() -- a model closed just now may still write the file that this one is to read
  return model
end

--- Asks until the worker rests, without making the editor wait.
local function when_idle(model, n, callback, tries)
  local ok, info, message, code = pcall(model.memory, model, n)
  if ok and not info and code == 'limit' and (tries or TRIES) > 0 then
    timer.later(function()
      when_idle(model, n, callback, (tries or TRIES) - 1)
    end, PAUSE_MS)
    return
  end
  callback(ok and info or nil, ok and message or info)
end

--- Lines that tell what a layer knows.
---@param info table of model:memory()
---@return string[]
function M.lines(info)
  local outcomes = require('aigc.outcomes').counts()
  local lines = {
    'The personal layer: phrases of your own text, mixed into what the model says.',
    "':Aigc memory forget WORD...' drops every phrase with these words,",
    "':Aigc memory forget' all of it.",
    '',
    ('%d tokens learned, %d n-grams of at most %d, %.1f MB of memory'):format(
      info.tokens,
      info.ngrams,
      info.most_ngrams,
      info.bytes / 1e6
    ),
    'Kept in ' .. (require('aigc.personal').path(require('aigc.config').get()) or '')
      .. info.vocabulary
      .. '.aigc',
    '',
    ('%d accepted and %d rejected suggestions in %s'):format(
      outcomes.accepted,
      outcomes.rejected,
      outcomes.path or ''
    ),
    "':Aigc memory export FILE' writes them as `aigc finetune` reads them.",
    '',
    'Most frequent phrases:',
  }
  if info.unwritten then
    local why = info.unwritten:gsub('\n', ' ')
    table.insert(lines, 7, 'It could not be written the last time: ' .. why)
  end
  for _, phrase in ipairs(info.phrases) do
    lines[#lines + 1] = ('%6d  %s'):format(phrase.count, (vim.inspect(phrase.text):sub(2, -2)))
  end
  return lines
end

--- Shows what the layer knows in a window of its own.
function M.show()
  local model = get_model()
  if model then
    when_idle(model, SHOWN, function(info, message)
      if info then
        require('aigc.window').show(M.lines(info), 'aigcmemory', 1)
      else
        say(message, vim.log.levels.ERROR)
      end
    end)
  end
end

--- What is in memory alone, and answers that were kept.
local function forget_context()
  require('aigc.ring').clear()
  require('aigc.context').reset()
  require('aigc.generation').forget()
end

--- What other models have learned with a vocabulary of their own is not looked at: a word is other tokens there.
---@param info table of model:memory()
local function others_of(info)
  local personal = require('aigc.personal')
  local folder = personal.path(require('aigc.config').get()) or ''
  return vim.tbl_filter(function(path)
    return path ~= folder .. info.vocabulary .. '.aigc'
  end, personal.files())
end

--- Forgets a phrase. Says so when it is gone from the disk.
---@param phrase string
function M.forget_phrase(phrase)
  local model = get_model()
  if not model then
    return
  end
  model:forget(phrase)
  model:forget(phrase, 'documents')
  local _, message = require('aigc.outcomes').forget(phrase)
  forget_context()
  when_idle(model, 0, function(info, problem)
    message = not info and problem or info.unwritten or message
    if message then
      say(("'%s' is not forgotten: %s"):format(phrase, message), vim.log.levels.ERROR)
      return
    end
    local others = others_of(info)
    local but = #others > 0 and ', but not what another vocabulary has learned: ' or ''
    say(("forgotten: '%s'%s%s"):format(phrase, but, table.concat(others, ', ')))
  end)
end

--- Forgets everything: what is in memory goes with the model, what is on the disk with its files, whatever is in them.
function M.forget_all()
  if not is_on() then
    return
  end
  require('aigc').stop()
  require('aigc.client').settle() -- what it still writes is to be forgotten, too
  local _, message = require('aigc.outcomes').forget()
  local _, kept = require('aigc.personal').forget()
  forget_context()
  message = message or kept
  if message then
    say('not all is forgotten: ' .. message, vim.log.levels.ERROR)
  else
    say('the personal layer is empty')
  end
end

local KINDS = { 'preferences', 'responses' }

--- Writes what became of suggestions into a file, for `aigc finetune`.
---@param words string[] the kind, if it is not the first one, and the file's name
local function export_command(words)
  local kind = KINDS[1]
  if #words > 1 and vim.tbl_contains(KINDS, words[1]) then
    kind = table.remove(words, 1)
  end
  if #words == 0 then
    say('memory export: which file?', vim.log.levels.ERROR)
    return
  elseif not is_on() then
    return
  end
  local path = vim.fn.expand(table.concat(words, ' '))
  local n, message = require('aigc.outcomes').export(path, kind)
  if n then
    local hint = path:find('%.jsonl$') and '' or ' (aigc finetune wants a name that ends in .jsonl)'
    say(('%d %s written to %s%s'):format(n, kind, path, hint))
  else
    say(tostring(message), vim.log.levels.ERROR)
  end
end

local function forget_command(words)
  if #words > 0 then
    M.forget_phrase(table.concat(words, ' '))
    return
  elseif not is_on() then
    return
  end
  local answers = { 'keep it', 'forget all of it' }
  vim.ui.select(answers, { prompt = 'aigc: what was learned of your text' }, function(answer)
    if answer == answers[2] then
      M.forget_all()
    end
  end)
end

---@type table<string, aigc.Command>
M.commands = {
  memory = {
    run = function(args)
      local what = table.remove(args, 1)
      if what == nil or what == 'show' then
        M.show()
      elseif what == 'forget' then
        forget_command(args)
      elseif what == 'export' then
        export_command(args)
      else
        say(("memory: no '%s', there are: export, forget, show"):format(what), vim.log.levels.ERROR)
      end
    end,
    complete = function(_, args)
      if #args == 0 then
        return { 'export', 'forget', 'show' }
      end
      return args[1] == 'export' and #args == 1 and KINDS or {}
    end,
    most = math.huge,
  },
}

return M
