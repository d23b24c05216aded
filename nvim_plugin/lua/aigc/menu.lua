--- Whether a completion menu is open: Neovim's own, or one of nvim-cmp or blink.cmp, which are windows of
--- theirs and told of by events only. Used by events.lua and trigger.lua.
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

local elsewhere = false
local watches_cmp = false

---@type fun(open: boolean)
local tell = function() end

--- nvim-cmp tells of closing also when nothing was open.
local function set(open)
  if open ~= elsewhere then
    elsewhere = open
    tell(open)
  end
end

--- nvim-cmp is often loaded later than this plugin: looked for again and again, which costs nothing.
function M.find_cmp()
  local cmp = not watches_cmp and package.loaded['cmp']
  local event = type(cmp) == 'table' and cmp.event
  if event then
    watches_cmp = true
    event:on('menu_opened', function()
      set(true)
    end)
    event:on('menu_closed', function()
      set(false)
    end)
  end
end

--- Whether there is a menu of another plugin.
---@return boolean
function M.is_elsewhere()
  return elsewhere
end

---@return boolean
function M.is_open()
  return elsewhere or vim.fn.pumvisible() == 1
end

--- Calls back when a menu of another plugin opens or closes.
---@param callback fun(open: boolean)
function M.watch(callback)
  tell = callback
  local group = vim.api.nvim_create_augroup('aigc', { clear = false })
  for pattern, open in pairs({ BlinkCmpMenuOpen = true, BlinkCmpMenuClose = false }) do
    vim.api.nvim_create_autocmd('User', {
      group = group,
      pattern = pattern,
      callback = function()
        set(open)
      end,
    })
  end
  M.find_cmp()
  local blink = package.loaded['blink.cmp']
  local ok, open = pcall(function()
    return blink and blink.is_menu_visible()
  end)
  elsewhere = ok and open == true -- since before this was loaded
end

return M
