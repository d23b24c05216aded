--- A language server inside the editor: textDocument/completion, and textDocument/inlineCompletion for
--- Neovim's own ghost text (vim.lsp.inline_completion, 0.12). No process: requests are function calls.
local M = {}

local CAPABILITIES = {
  completionProvider = { triggerCharacters = { ' ', '.', '(' } },
  inlineCompletionProvider = true,
  positionEncoding = 'utf-16',
}

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

local function inline_completion(params, reply)
  local source = require('aigc.source')
  if not is_here(params) then
    reply({ items = {} })
    return function() end
  end
  return source.request(function(texts)
    local items = {}
    for i, text in ipairs(texts) do
      items[i] = { insertText = text }
    end
    reply({ items = items })
  end)
end

local handlers = {
  initialize = function(_, reply)
    reply({ capabilities = CAPABILITIES, serverInfo = { name = 'aigc' } })
  end,
  shutdown = function(_, reply)
    reply(vim.NIL)
  end,
  ['textDocument/completion'] = completion,
  ['textDocument/inlineCompletion'] = inline_completion,
}

--- What vim.lsp.start() takes as `cmd`.
---@param dispatchers { on_exit: fun(code: integer, signal: integer) }
function M.server(dispatchers)
  local closing = false
  local last_id = 0
  ---@type table<integer, fun()> what cancels a request
  local running = {}
  local server = {}

  function server.request(method, params, callback, notify_reply)
    last_id = last_id + 1
    local id = last_id
    local handler = handlers[method]
    if not handler then
      callback({ code = -32601, message = 'method not found: ' .. method })
      return true, id
    end
    running[id] = handler(params, function(result)
      running[id] = nil
      vim.schedule(function()
        callback(nil, result)
        if notify_reply then
          notify_reply(id)
        end
      end)
    end)
    return true, id
  end

  function server.notify(method, params)
    if method == '$/cancelRequest' and params and running[params.id] then
      running[params.id]()
      running[params.id] = nil
    elseif method == 'exit' then
      closing = true
      dispatchers.on_exit(0, 0)
    end
    return true
  end

  function server.is_closing()
    return closing
  end

  function server.terminate()
    if not closing then
      closing = true
      dispatchers.on_exit(0, 0)
    end
  end

  return server
end

--- Attaches the server to a buffer. Needs Neovim 0.8; inline completion needs 0.12.
---@param buf? integer 0 or nil for the current one
---@return integer? client_id
---@return string? message
function M.start(buf)
  if not vim.lsp.start then
    return nil, 'a language server inside the editor needs Neovim 0.8 or later'
  end
  require('aigc.events')
  local id = vim.lsp.start({ name = 'aigc', cmd = M.server }, { bufnr = buf or 0 })
  if id and vim.lsp.inline_completion and vim.lsp.inline_completion.enable then
    vim.lsp.inline_completion.enable(true, { client_id = id })
  end
  return id
end

return M
