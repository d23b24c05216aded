--- Which buffers are read at all: what holds secrets, is not the user's text, or has been excluded
--- is neither completed nor remembered. One list for suggestions, the ring and the personal layer.
local M = {}

--- Lower-case file names that hold secrets by custom, as Lua patterns for the last part of a path.
local secret_names = {
  '^%.env$',
  '^%.env[%._-]',
  '%.env$',
  '^%.?netrc$',
  '^_netrc$',
  '^%.pgpass$',
  '^%.?my%.cnf$',
  '^%.npmrc$',
  '^%.pypirc$',
  '^%.htpasswd$',
  '^%.git%-credentials$',
  '^credentials$',
  '^credentials%.',
  '^secrets?$',
  '^secrets?%.',
  '^id_rsa',
  '^id_dsa',
  '^id_ecdsa',
  '^id_ed25519',
  '%.pem$',
  '%.key$',
  '%.p12$',
  '%.pfx$',
  '%.kdbx?$',
  '%.gpg$',
  '%.asc$',
  '%.age$',
  '%.tfvars$',
  '%.vault$',
}

--- Folders whose files are secrets, anywhere in a path.
local secret_folders = { '/%.ssh/', '/%.gnupg/', '/%.aws/', '/%.password%-store/', '/%.kube/' }

--- Editors of secrets write a copy for the editor, with a name of their own in one of these.
local temporary = { '^/dev/shm/', '/pass%.', '/crontab%.', '/sudoedit' }

local secret_filetypes = { gpg = true, pgp = true, netrc = true, passwd = true, ssh_key = true }

--- Whether a path looks like one that holds secrets.
---@param path string
---@return boolean
function M.is_secret_path(path)
  local name = vim.fn.fnamemodify(path, ':t'):lower()
  for _, pattern in ipairs(secret_names) do
    if name:find(pattern) then
      return true
    end
  end
  for _, list in ipairs({ secret_folders, temporary }) do
    for _, pattern in ipairs(list) do
      if path:find(pattern) then
        return true
      end
    end
  end
  return false
end

--- Why a buffer's text must not be read, or nil.
---@param buf integer
---@return string?
function M.reason(buf)
  local options = vim.bo[buf]
  if options.buftype ~= '' then
    return ("not in a buffer of type '%s'"):format(options.buftype)
  elseif vim.b[buf].aigc_disable then
    return 'b:aigc_disable is set'
  elseif options.binary then
    return 'the buffer is binary'
  elseif secret_filetypes[options.filetype] or options.key ~= '' then
    return 'the buffer holds secrets'
  elseif M.is_secret_path(vim.api.nvim_buf_get_name(buf)) then
    return "the file's name says that it holds secrets"
  end
end

return M
