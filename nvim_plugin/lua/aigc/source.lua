--- What other completion frameworks ask: the suggestion at the cursor as a list of texts. Used by the
--- sources for nvim-cmp and blink.cmp, by completefunc() and by the language server.
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

local LABEL_CHARS = 60

--- A text as it would stand in the buffer: broken where 'textwidth' breaks what is typed.
local function as_inserted(text, here)
  local prose = require('aigc.prose')
  local width = prose.fold_column(here.buf)
  return width and prose.fold(text, here.before, width, here.buf) or text
end

---@param g aigc.Generation
---@param here aigc.Position
---@return string[]
local function texts_of(g, here)
  local texts = {}
  for _, text in ipairs(g.list) do
    if text ~= '' then
      texts[#texts + 1] = as_inserted(text, here)
    end
  end
  return texts
end

--- Whether there can be a suggestion at the cursor. Before the modules are there, which takes some turns of the main
--- loop, that is not known and counts as true.
---@return boolean
function M.is_available()
  local suggestion = package.loaded['aigc.suggestion']
  return not suggestion or suggestion.reason_against() == nil
end

---@param callback fun(texts: string[], place?: aigc.Position)
---@return (fun())? cancel
local function ask(callback)
  local generation, place = require('aigc.generation'), require('aigc.place')
  local log = require('aigc.log')
  local reason, options = require('aigc.suggestion').reason_against()
  if reason then
    callback({})
    return nil
  end
  local here = place.here(place.kind_of(vim.api.nvim_get_mode().mode) == 'n')
  local tick = vim.api.nvim_buf_get_changedtick(here.buf)
  local done, asked = false, nil
  local function answer(texts)
    done = true
    callback(texts, #texts > 0 and here or nil)
  end
  local function on_change(g)
    if done or g.running then
      return
    elseif g.message then
      log.tell_once(g.message)
    end
    answer(texts_of(g, here))
  end
  generation.prepare(here, options, false, function()
    if not done and not place.is_at(here, tick) then
      answer({})
    end
    return not done
  end, function(question)
    local how, message = { automatic = true, question = question }
    asked, message = generation.start(here, options, how, on_change)
    if asked then
      on_change(asked)
    else
      log.tell_once(message)
      answer({})
    end
  end)
  return function()
    if not done and asked then
      asked:cancel()
    end
    done = true
  end
end

--- Asks for the text at the cursor, in turns of the main loop. The callback is called once, on the main loop, unless
--- it is cancelled before; without texts when the cursor has left meanwhile.
---@param callback fun(texts: string[], place?: aigc.Position)
---@return fun() cancel
function M.request(callback)
  return require('aigc.load').ready_unless_cancelled(function()
    return ask(callback)
  end)
end

--- The word that ends at the cursor: menus compare it with what they offer, and replace it.
---@param here aigc.Position
---@return string
function M.keyword(here)
  -- From the end: without the first part each word of the line would be looked at from each of its characters.
  return here.before:match('^.*[^%w_\128-\255](.*)$') or here.before
end

local function label_of(text)
  local line = vim.trim(text):match('^[^\n]*')
  if vim.fn.strchars(line) > LABEL_CHARS then
    line = vim.fn.strcharpart(line, 0, LABEL_CHARS - 1) .. '…'
  end
  return line
end

--- Columns of the language server protocol count UTF-16 units. Neovim 0.11 has other arguments for this
--- and warns of the old ones.
local function character(here, bytes)
  local ok, units = pcall(vim.str_utfindex, here.before, 'utf-16', bytes)
  return ok and units or select(2, vim.str_utfindex(here.before, bytes))
end

--- Texts as the language server protocol's completion items.
---@param texts string[]
---@param here aigc.Position
---@return table[]
function M.items(texts, here)
  local keyword = M.keyword(here)
  local range = {
    start = { line = here.row, character = character(here, #here.before - #keyword) },
    ['end'] = { line = here.row, character = character(here, #here.before) },
  }
  local items = {}
  for i, text in ipairs(texts) do
    items[i] = {
      label = label_of(keyword .. text),
      kind = 1, -- Text
      filterText = keyword .. text,
      sortText = ('%02d'):format(i),
      insertTextFormat = 1, -- plain text
      textEdit = { range = range, newText = keyword .. text },
      documentation = { kind = 'plaintext', value = keyword .. text },
      labelDetails = { description = 'aigc' },
    }
  end
  return items
end

return M
