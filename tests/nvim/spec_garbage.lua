-- Who collects Lua's garbage, and when: garbage.lua, in this Neovim. Kilobytes are Lua's own count.

return function(t)
  vim.opt.runtimepath:prepend('nvim_plugin')
  collectgarbage()
  collectgarbage()
  local garbage = require('aigc.garbage')
  collectgarbage('setpause', 210) -- another than everybody's
  collectgarbage('setstepmul', 1000) -- what LuaJIT begins by itself it also ends soon
  garbage.hold_off() -- what there is now is what it compares with
  local left = collectgarbage('count')

  -- told by a collection that has come to its end
  local ends = 0
  local function watch()
    getmetatable(newproxy(true)).__gc = function()
      ends = ends + 1
    end
  end
  local function litter(kilobytes, bytes)
    bytes = bytes or 4096
    local highest = 0
    for _ = 1, kilobytes * 1024 / bytes do
      local _ = ('%9d%s'):format(math.random(1e9), ('x'):rep(bytes - 30))
      highest = math.max(highest, collectgarbage('count'))
    end
    return highest
  end
  local function later_until(done)
    return vim.wait(20000, done, 1)
  end

  -- twice as much, at which LuaJIT begins by itself, and no turn of the main loop for us
  watch()
  litter(1.8 * left)
  t.is(ends, 0, 'nothing is collected while something is being done')
  t.ok(collectgarbage('count') > 2.7 * left, 'although there is more than twice as much', collectgarbage('count') / left)

  garbage.hold_off()
  t.is(ends, 0, 'nor before something else')
  t.ok(later_until(function()
    return ends == 1
  end), 'it is collected while the main loop waits')
  t.ok(later_until(function()
    return collectgarbage('count') < 1.5 * left
  end), 'and all of it', collectgarbage('count') / left)
  watch()
  vim.wait(1500) -- a collection takes half of that
  t.is(ends, 1, 'then it rests')
  t.is(collectgarbage('setpause', 200), 210, 'the pause that others have set is what it was')

  -- in the middle of a collection
  collectgarbage('setstepmul', 200)
  litter(0.7 * left)
  garbage.hold_off()
  vim.wait(120) -- it begins after 60, with a slice each 3: so it is not over
  litter(0.6 * left, 100) -- in many allocations: at each of them LuaJIT might go on
  t.is(ends, 1, 'what is done in the middle of a collection does not go on with it')
  t.ok(later_until(function()
    return ends == 2
  end), 'the main loop does')

  -- one turn behind the other, and no time between them
  local freed, high = 0, 0
  for _ = 1, 2000 do
    local there = collectgarbage('count')
    garbage.hold_off()
    freed = math.max(freed, there - collectgarbage('count'))
    high = math.max(high, litter(50, 200))
  end
  t.ok(high < 8 * left, 'where there is no time between turns it does not get much either', high / left)
  t.ok(high > 3 * left, 'although it gets more than is collected at leisure', high / left)
  t.ok(freed > 0 and freed < left, 'and little is collected in each', freed / left)

  -- what others allocate without end
  watch()
  local highest = litter(40 * left)
  t.ok(ends > 2, 'somebody who allocates much has it collected at once')
  t.ok(highest < 8 * left, 'so that it does not get much', highest / left)

  -- one who wants no collection, of one that has begun and of one that has not
  collectgarbage()
  litter(2 * left)
  garbage.hold_off()
  collectgarbage('stop')
  local before = ends
  watch()
  vim.wait(1500) -- in which it would have come to its end
  t.is(collectgarbage('isrunning'), false, 'a collector that is stopped while it collects stays so')
  litter(left)
  garbage.hold_off()
  vim.wait(1500) -- the same
  t.is(collectgarbage('isrunning'), false, 'and if one has something to be collected then')
  t.is(ends, before, 'nothing is collected')
  collectgarbage('restart')
  garbage.hold_off()
  t.ok(later_until(function()
    return ends > before
  end), 'when it runs again, it is')
end
