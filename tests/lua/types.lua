-- types: whether the plugin's LuaCATS comments speak of parameters and classes that there are. Run by lint.t in lua5.4 with
-- the files as arguments.
local n_wrong, defined, used = 0, {}, {}

local function report(where, what)
  n_wrong = n_wrong + 1
  print(('# %s: %s'):format(where, what))
end

-- Parameters in the comment must be the function's, in its order; the function may have more.
local function compare(documented, parameters, where)
  local names, at = {}, 1
  for name in parameters:gmatch('[%w_.]+') do
    names[#names + 1] = name
  end
  for _, name in ipairs(documented) do
    while names[at] and names[at] ~= name do
      at = at + 1
    end
    if not names[at] then
      report(where, ('@param %s, but the parameters are (%s)'):format(name, parameters))
      return
    end
  end
end

local n_params = 0
for _, path in ipairs(arg) do
  local documented, number = {}, 0
  for line in io.lines(path) do
    number = number + 1
    local where = ('%s:%d'):format(path, number)
    if line:find('^%-%-%-') then
      local class = line:match('^%-%-%-@class ([%w_.]+)') or line:match('^%-%-%-@alias ([%w_.]+)')
      if class then
        defined[class] = true
      end
      for name in line:gmatch('aigc%.%u%w*') do
        used[#used + 1] = { name, where }
      end
      documented[#documented + 1] = line:match('^%-%-%-@param ([%w_.]+)')
    else
      local parameters = line:match('function [%w_.:]*%((.-)%)') or line:match('function%((.-)%)')
      if parameters and #documented > 0 then
        n_params = n_params + #documented
        compare(documented, parameters, where)
      end
      documented = {}
    end
  end
end
for _, use in ipairs(used) do
  if not defined[use[1]] then
    report(use[2], 'there is no class ' .. use[1])
  end
end
local ok = n_wrong == 0 and n_params > 100
print(('%s 3 - the types speak of what there is: %d parameters'):format(ok and 'ok' or 'not ok', n_params))
