-- The command and the maps. The rest is loaded at first use, or at leisure when insert mode has
-- begun.
if vim.g.loaded_aigc then
  return
end
vim.g.loaded_aigc = true

vim.api.nvim_create_user_command('Aigc', function(args)
  require('aigc.command').run(args.args)
end, {
  nargs = 1,
  complete = function(lead, line)
    return require('aigc.command').complete(lead, line)
  end,
  desc = 'Text completion by a local model: complete, accept, dismiss, status, stop',
})

vim.keymap.set({ 'i', 'n' }, '<Plug>(aigc-complete)', function()
  require('aigc').complete()
end, { desc = 'Suggest how the text goes on at the cursor' })

vim.keymap.set({ 'i', 'n' }, '<Plug>(aigc-dismiss)', function()
  require('aigc').dismiss()
end, { desc = 'Take the suggestion away' })

-- <C-g>u on both sides: the accepted text is an undo step of its own.
vim.keymap.set(
  'i',
  '<Plug>(aigc-accept)',
  "<C-g>u<Cmd>lua require('aigc').accept()<CR><C-g>u",
  { desc = 'Insert the suggestion' }
)
vim.keymap.set('n', '<Plug>(aigc-accept)', function()
  require('aigc').accept()
end, { desc = 'Insert the suggestion' })

-- As a command, because a default link made so comes back after :highlight clear.
vim.cmd('highlight default link AigcSuggestion Comment')

-- Loading all of it at the first completion would be felt (2 to 3 ms); in turns of the main loop it
-- is not.
vim.api.nvim_create_autocmd('InsertEnter', {
  once = true,
  desc = 'Load aigc piece by piece',
  callback = function()
    local pieces = { 'core', 'config', 'wrap', 'ghost', 'prompt', 'context', 'client', 'suggestion' }
    local function load_next()
      local name = table.remove(pieces, 1)
      if name and pcall(require, 'aigc.' .. name) then -- what fails is told when it is asked for
        vim.defer_fn(load_next, 10)
      end
    end
    vim.defer_fn(load_next, 10)
  end,
})
