--- All of the file of outcomes (outcomes.lua) at once, for :Aigc memory: counted, exported, or freed of a phrase. It
--- may have four megabytes, so a thread does that.
local M = {}

if jit then
  jit.off(true, true) -- compiling would hold the main loop (idle.lua)
end

--- Runs on a thread, and so has no upvalues.
---@param path string
---@param late string what is to be appended first
---@param what 'count'|'export'|'forget'
---@param text? string kind of what is exported, or the phrase
---@param to? string file that it is exported to
---@return any result
---@return any? more
local function work(path, late, what, text, to)
  local uv = vim.uv or vim.loop
  local MODE = 384 -- 0600

  local function write(name, flags, content, offset)
    local file = assert(uv.fs_open(name, flags, MODE))
    local n, message = uv.fs_write(file, content, offset)
    uv.fs_close(file)
    assert(n == #content, message or 'the disk is full')
  end

  local function read()
    local ENOENT = 2
    local file, message, code = io.open(path, 'rb')
    assert(file or code == ENOENT, message) -- what cannot be read is not forgotten
    local list = {}
    for line in file and file:lines() or function() end do
      local ok, record = pcall(vim.json.decode, line)
      if ok and type(record) == 'table' and type(record.prompt) == 'string' then
        list[#list + 1] = record
      end
    end
    if file then
      file:close()
    end
    return list
  end

  local function encode(list)
    local lines = {}
    for i, record in ipairs(list) do
      lines[i] = vim.json.encode(record)
    end
    lines[#lines + 1] = ''
    return table.concat(lines, '\n')
  end

  local does = {}

  function does.count()
    local accepted, rejected = 0, 0
    for _, record in ipairs(read()) do
      if record.rejected then
        rejected = rejected + 1
      else
        accepted = accepted + 1
      end
    end
    return accepted, rejected
  end

  function does.export()
    local list = {}
    for _, r in ipairs(read()) do
      if text == 'preferences' and r.rejected then
        list[#list + 1] = { prompt = r.prompt, chosen = r.chosen, rejected = r.rejected }
      elseif text == 'responses' then
        list[#list + 1] = { prompt = r.prompt, response = r.response or r.chosen }
      end
    end
    write(to, 'w', encode(list), 0)
    return #list
  end

  -- In one line: a phrase may be broken over two.
  local function in_a_line(s)
    return (s:gsub('%s+', ' '))
  end

  -- Whether a phrase is in what was written there or suggested: in one of them, or half before the cursor.
  local function tells_of(record, phrase)
    for _, key in ipairs({ 'response', 'chosen', 'rejected' }) do
      local whole = type(record[key]) == 'string' and record.prompt .. record[key]
      if whole and in_a_line(whole):find(phrase, 1, true) then
        return true
      end
    end
    return in_a_line(record.prompt):find(phrase, 1, true) ~= nil
  end

  -- Replaces the file by what is left, aside and then at once.
  local function replace(kept)
    local aside = path .. '.new'
    local ok, message = pcall(write, aside, 'w', encode(kept), 0)
    if ok then
      ok, message = uv.fs_rename(aside, path)
    end
    if not ok then
      uv.fs_unlink(aside)
      error(message, 0)
    end
  end

  function does.forget()
    local phrase, kept = in_a_line(text), {}
    local all = read()
    for _, record in ipairs(all) do
      if not tells_of(record, phrase) then
        kept[#kept + 1] = record
      end
    end
    if #kept == 0 and #all > 0 then
      assert(uv.fs_unlink(path))
    elseif #kept < #all then
      replace(kept)
    end
    return #all - #kept
  end

  if late ~= '' then
    write(path, 'a', late, -1)
  end
  return does[what]()
end

--- Does something with the file, when what is not in it yet has been appended.
---@param path string
---@param late string
---@param callback fun(result: any, more: any) nil and a message if it fails
---@param ended fun()
---@param what 'count'|'export'|'forget'
function M.run(path, late, callback, ended, what, ...)
  require('aigc.thread').run(work, callback, ended, path, late, what, ...)
end

return M
