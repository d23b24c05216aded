-- nvim_apart: gives the driver of a bench a processor of its own, as a terminal has in life. Neovim and its driver wake
-- each other all the time, so the scheduler likes to put both on one processor, and there the driver's work would count as
-- time for which a callback held the main loop. What is left by the clock is Neovim's own threads' and the system's.
--
-- Asked for by AIGC_APART=1. Leaves the Neovims one processor less, so the engine one thread less.
local M = {}

M.wanted = os.getenv('AIGC_APART') == '1'

local function place(pid, processors)
  local output = vim.fn.system({ 'taskset', '-apc', processors, tostring(pid) })
  assert(vim.v.shell_error == 0, 'taskset: ' .. output)
end

-- All threads of a Neovim that was just started: those that it will start are placed like them.
function M.child(c)
  if M.wanted then
    place(c.pid, ('1-%d'):format(#vim.loop.cpu_info() - 1))
  end
  return c
end

function M.driver()
  if M.wanted then
    place(vim.fn.getpid(), '0')
  end
end

return M
