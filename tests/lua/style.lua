-- style: looks for what breaks the rules of .stylua.toml in the plugin's files. Run by lint.t in lua5.4 with the files
-- as arguments; prints what it finds. Not a formatter: how a long expression is best broken only StyLua knows.
local WIDTH = 100

-- A line without its strings' contents and its comment. `state` holds what is open at its end: a long string or comment.
local function bare(line, state)
  local out, at = {}, 1
  while at <= #line do
    if state.closer then
      local _, last = line:find(state.closer, at, true)
      if not last then
        return table.concat(out)
      end
      at, state.closer = last + 1, nil
    else
      local level = line:match('^%-?%-?%[(=*)%[', at)
      local quote = line:match('^["\']', at)
      if level and (line:sub(at, at) == '[' or line:sub(at, at + 2) == '--[') then
        state.closer = ']' .. level .. ']'
        at = line:find('[', line:find('[', at, true) + 1, true) + 1
        out[#out + 1] = quote and '' or '[[]]'
      elseif line:sub(at, at + 1) == '--' then
        return table.concat(out)
      elseif quote then
        local last = at + 1
        while last <= #line and line:sub(last, last) ~= quote do
          last = last + (line:sub(last, last) == '\\' and 2 or 1)
        end
        local inside = line:sub(at + 1, last - 1)
        if quote == '"' and not inside:find("'", 1, true) then
          state.found = 'double quotes without need'
        end
        out[#out + 1] = quote .. quote
        at = last + 1
      else
        out[#out + 1] = line:sub(at, at)
        at = at + 1
      end
    end
  end
  return table.concat(out)
end

local RULES = {
  { ';%s*$', 'a semicolon' },
  { '[%w_]%s+%(%)', 'a space before a call' },
  { '%f[%w_]function [%w_.:]* %(', 'a space before parameters' },
  { ',[^%s]', 'no space behind a comma' },
  { '^%s*[%w_.]+=[^=]', 'no space around =' },
  { '[^%s%[({]%.%.[^%s.]', 'no space around ..' },
  { '{[^%s}]', 'no space inside a brace' },
  { '[^%s{]}', 'no space inside a brace' },
  { '%f[%w_]require%s*[\'"]', 'a call without parentheses' },
}

local function check(path, report)
  local state, number, empty, depth = {}, 0, 0, 0
  for line in io.lines(path) do
    number = number + 1
    local inside = state.closer ~= nil
    state.found = nil
    local code = bare(line, state):gsub('%.%.%.', 'varargs')
    local function found(what)
      report(('%s:%d: %s'):format(path, number, what))
    end
    if not inside then
      if state.found then
        found(state.found)
      end
      for _, rule in ipairs(RULES) do
        if code:find(rule[1]) then
          found(rule[2])
        end
      end
      if line:find('[\t%s]$') or line:find('\t') then
        found('a tab, or white space at the end')
      end
      local columns = utf8.len(line) or #line
      local can_be_broken = code:find('%S') and not line:find('^%s*vim%.cmd%(') and not state.closer
      if columns > WIDTH and can_be_broken then
        found(('%d columns'):format(columns))
      end
      if code:find('%S') and #code:match('^ *') % 2 == 1 then
        found('an indent that is not of two spaces each')
      end
      empty = line == '' and empty + 1 or 0
      if empty == 2 then
        found('two empty lines')
      end
    end
    depth = depth + select(2, code:gsub('[{(]', '')) - select(2, code:gsub('[})]', ''))
  end
  if depth ~= 0 then
    report(path .. ': brackets that are not closed') -- or a mistake in bare()
  end
end

local n = 0
for _, path in ipairs(arg) do
  check(path, function(what)
    n = n + 1
    print('# ' .. what)
  end)
end
print(('%s 2 - the rules of .stylua.toml that can be looked for, in %d files'):format(n == 0 and 'ok' or 'not ok', #arg))
os.exit(n == 0 and #arg > 30)
