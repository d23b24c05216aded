--- For vim.lsp.enable('aigc') (Neovim 0.11 and later): the language server inside the editor, in files of
--- all types.
---@type vim.lsp.Config
return {
  cmd = function(dispatchers)
    return require('aigc.lsp').server(dispatchers)
  end,
}
