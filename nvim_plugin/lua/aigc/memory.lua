--- :Aigc memory: what the personal layer knows, and making it forget.
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

local timer = require('aigc.timer')

local SHOWN = 200
--- A layer of a million phrases takes the worker a tenth of a second to read; the worker may have something else to do,
--- and a file may be on a slow disk. Asked again so often, so many milliseconds apart.
local TRIES, PAUSE_MS = 500, 20

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

--- Asks until there is an answer, without making the editor wait. Gives up in the end.
---@param ask fun(): any, string?, string? answer, message, code: 'limit' if it is to be asked again
---@param callback fun(answer: any?, message?: string)
---@param tries? integer
local function until_answered(ask, callback, tries)
  local ok, answer, message, code = pcall(ask)
  tries = tries or TRIES
  if ok and not answer and code == 'limit' and tries > 0 then
    timer.later(function()
      until_answered(ask, callback, tries - 1)
    end, PAUSE_MS)
    return
  end
  callback(ok and answer or nil, ok and message or answer)
end

--- Calls back when no model that was closed before still writes what it has learned.
---@param callback fun()
local function when_settled(callback)
  until_answered(function()
    local settled = require('aigc.client').settle(0)
    return settled, 'a model that was closed does not come to an end', 'limit'
  end, function(settled, message)
    if settled then
      callback()
    else
      say(message, vim.log.levels.ERROR)
    end
  end)
end

--- The open model, opening it if need be, for a callback; that is not called if the layer is off.
---@param callback fun(model: table)
local function with_model(callback)
  if not is_on() then
    return
  end
  when_settled(function()
    local config = require('aigc.config').get()
    local model, message = require('aigc.client').model(config)
    if model then
      callback(model)
    else
      say(message, vim.log.levels.ERROR)
    end
  end)
end

--- There is room for one answer.
local is_looking = false

--- What the layer knows, as the worker sees it when it has done what it was told before.
---@param model table
---@param n integer phrases
---@param callback fun(info?: table, message?: string)
local function look(model, n, callback)
  if is_looking then
    timer.later(function()
      look(model, n, callback)
    end, PAUSE_MS)
    return
  end
  local ok, done, message = pcall(model.look, model, n)
  if not ok or not done then
    callback(nil, ok and message or done) -- it was closed, or has no layer
    return
  end
  is_looking = true
  until_answered(function()
    return model:looked()
  end, function(...)
    is_looking = false
    callback(...)
  end)
end

--- Lines that tell what a layer knows.
---@param info table of model:memory()
---@param outcomes string what became of suggestions
---@return string[]
function M.lines(info, outcomes)
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
    outcomes,
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

--- What became of suggestions, in a line.
---@param callback fun(line: string)
local function describe_outcomes(callback)
  local outcomes = require('aigc.outcomes')
  outcomes.count(function(accepted, rejected)
    local path = outcomes.path() or ''
    if accepted then
      local counts = '%d accepted and %d rejected suggestions in %s'
      callback(counts:format(accepted, rejected, path))
    else
      callback(('%s cannot be read: %s'):format(path, rejected))
    end
  end)
end

--- Shows what the layer knows in a window of its own.
function M.show()
  with_model(function(model)
    look(model, SHOWN, function(info, message)
      if not info then
        say(message, vim.log.levels.ERROR)
        return
      end
      describe_outcomes(function(outcomes)
        local lines = M.lines(info, outcomes)
        timer.soon(function()
          require('aigc.window').show(lines, 'aigcmemory', 1)
        end)
      end)
    end)
  end)
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

--- Says whether a phrase is gone from the disk.
local function tell_forgotten(phrase, info, message)
  if message then
    say(("'%s' is not forgotten: %s"):format(phrase, message), vim.log.levels.ERROR)
    return
  end
  local others = others_of(info)
  local but = #others > 0 and ', but not what another vocabulary has learned: ' or ''
  say(("forgotten: '%s'%s%s"):format(phrase, but, table.concat(others, ', ')))
end

--- Forgets a phrase. Says so when it is gone from the disk.
---@param phrase string
function M.forget_phrase(phrase)
  with_model(function(model)
    model:forget(phrase)
    model:forget(phrase, 'documents')
    forget_context()
    require('aigc.outcomes').forget(phrase, function(dropped, message)
      look(model, 0, function(info, problem)
        message = not dropped and message or nil
        tell_forgotten(phrase, info, not info and problem or info.unwritten or message)
      end)
    end)
  end)
end

--- Forgets everything: what is in memory goes with the model, what is on the disk with its files, whatever is in them.
function M.forget_all()
  if not is_on() then
    return
  end
  require('aigc').stop()
  when_settled(function()
    require('aigc.outcomes').forget_all(function(_, message)
      local _, kept = require('aigc.personal').forget()
      forget_context()
      message = message or kept
      if message then
        say('not all is forgotten: ' .. message, vim.log.levels.ERROR)
      else
        say('the personal layer is empty')
      end
    end)
  end)
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
  require('aigc.outcomes').export(path, kind, function(n, message)
    if n then
      local is_named = path:find('%.jsonl$')
      local hint = is_named and '' or ' (aigc finetune wants a name that ends in .jsonl)'
      say(('%d %s written to %s%s'):format(n, kind, path, hint))
    else
      say(tostring(message), vim.log.levels.ERROR)
    end
  end)
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
