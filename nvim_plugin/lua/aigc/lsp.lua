--- A language server inside the editor: textDocument/completion, and textDocument/inlineCompletion for
--- Neovim's own ghost text (vim.lsp.inline_completion, 0.12). No process: requests are function calls.
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

local timer = require('aigc.timer')

local NAME = 'aigc'
local METHOD_NOT_FOUND = -32601
local INVOKED = 1 -- of InlineCompletionTriggerKind: somebody pressed a key for it

local CAPABILITIES = {
  completionProvider = { triggerCharacters = { ' ', '.', '(' } },
  inlineCompletionProvider = true,
  executeCommandProvider = { commands = { 'aigc.accepted' } },
  positionEncoding = 'utf-16',
}

--- Those that were started, as the tables that vim.lsp knows them by.
---@type table<table, true>
local servers = setmetatable({}, { __mode = 'k' })

--- Whether Neovim shows inline completion of ours in a buffer.
---@param buf integer
---@return boolean
function M.shows(buf)
  local inline = vim.lsp.inline_completion
  for _, client in ipairs(inline and vim.lsp.get_clients({ bufnr = buf }) or {}) do
    if servers[client.rpc] and inline.is_enabled({ bufnr = buf, client_id = client.id }) then
      return true
    end
  end
  return false
end

--- Requests are about the cursor's place; one for another place has been overtaken.
local function is_here(params)
  local cursor = vim.api.nvim_win_get_cursor(0)
  local wanted = params and params.position
  local uri = params and params.textDocument and params.textDocument.uri
  return wanted
    and wanted.line == cursor[1] - 1
    and uri == vim.uri_from_bufnr(vim.api.nvim_get_current_buf())
end

local function completion(params, reply)
  local source = require('aigc.source')
  if not is_here(params) then
    reply({ isIncomplete = true, items = {} })
    return function() end
  end
  return source.request(function(texts, here)
    reply({ isIncomplete = true, items = here and source.items(texts, here) or {} })
  end)
end

local function inline_completion(params, reply, request)
  if not is_here(params) then
    reply({ items = {} })
    return function() end
  end
  local buf = vim.api.nvim_get_current_buf()
  local is_shown = M.shows(buf)
  -- An answer after it was switched off would be an error of Neovim's.
  request.is_wanted = is_shown and function()
    return M.shows(buf)
  end or nil
  local cancel
  require('aigc.load').ready(function()
    if request.cancelled then
      return
    elseif not is_here(params) then
      reply({ items = {} })
      return
    end
    cancel = require('aigc.inline').request({
      automatic = not (params.context and params.context.triggerKind == INVOKED),
      again = is_shown,
      answer = function(items)
        reply({ items = items })
      end,
    })
  end)
  return function()
    if cancel then
      cancel()
    end
  end
end

local function execute_command(params, reply)
  if params.command == require('aigc.inline').ACCEPTED then
    require('aigc.inline').accepted(params.arguments[1])
  end
  reply(vim.NIL)
end

--- Each is called with the parameters, a function for the answer, which may be called again if who asked
--- looks at further answers, and the request. Returns what cancels it, if there is anything to cancel.
local handlers = {
  initialize = function(_, reply)
    reply({ capabilities = CAPABILITIES, serverInfo = { name = NAME } })
  end,
  shutdown = function(_, reply)
    reply(vim.NIL)
  end,
  ['textDocument/completion'] = completion,
  ['textDocument/inlineCompletion'] = inline_completion,
  ['workspace/executeCommand'] = execute_command,
}

---@class aigc.LspRequest
---@field send fun(result: any)
---@field is_over fun() tells that it has been answered
---@field is_wanted? fun(): boolean
---@field latest? any the answer
---@field answered? boolean
---@field cancelled? boolean

---@param request aigc.LspRequest
local function send(request)
  if not request.cancelled and (not request.is_wanted or request.is_wanted()) then
    request.send(request.latest)
  end
end

--- The first answer comes in a later turn of the main loop, as from any server; further ones at once.
---@param request aigc.LspRequest
---@param result any
local function answer(request, result)
  local is_first = request.latest == nil
  request.latest = result
  if request.answered then
    send(request)
  elseif is_first then
    timer.soon(function()
      request.answered = true
      send(request)
      request.is_over()
    end)
  end
end

--- What vim.lsp.start() takes as `cmd`.
---@param dispatchers { on_exit: fun(code: integer, signal: integer) }
function M.server(dispatchers)
  local closing = false
  local last_id = 0
  ---@type table<integer, fun()> what cancels a request
  local running = {}
  local server = {}
  servers[server] = true

  function server.request(method, params, callback, notify_reply)
    last_id = last_id + 1
    local id = last_id
    local handler = handlers[method]
    if not handler then
      callback({ code = METHOD_NOT_FOUND, message = 'method not found: ' .. method }, nil, id)
      if notify_reply then
        notify_reply(id)
      end
      return true, id
    end
    local cancel
    ---@type aigc.LspRequest
    local request = {
      send = function(result)
        callback(nil, result, id)
      end,
      is_over = function()
        running[id] = nil
        if notify_reply then
          notify_reply(id)
        end
      end,
    }
    running[id] = function()
      request.cancelled = true
      if cancel then
        cancel()
      end
      answer(request, {}) -- it is over, though nobody hears it
    end
    cancel = handler(params, function(result)
      answer(request, result)
    end, request)
    return true, id
  end

  function server.notify(method, params)
    if method == '$/cancelRequest' and params and running[params.id] then
      running[params.id]()
    elseif method == 'exit' then
      server.terminate()
    end
    return true
  end

  function server.is_closing()
    return closing
  end

  function server.terminate()
    if not closing then
      closing = true
      for _, cancel in pairs(running) do
        cancel()
      end
      dispatchers.on_exit(0, 0)
    end
  end

  return server
end

--- Attaches the server to a buffer, and lets Neovim show its inline completion there, where it can.
---@param buf? integer 0 or nil for the current one
---@return integer? client_id
---@return string? message
function M.start(buf)
  if not vim.lsp.start then
    return nil, 'a language server inside the editor needs Neovim 0.8 or later'
  end
  buf = buf and buf ~= 0 and buf or vim.api.nvim_get_current_buf()
  local id = vim.lsp.start({ name = NAME, cmd = M.server }, { bufnr = buf })
  if id and vim.lsp.inline_completion then
    vim.lsp.inline_completion.enable(true, { bufnr = buf })
  end
  return id
end

return M
