-- luacheck nvim_plugin tests/nvim tests/lua tools bench
std = 'max' -- the plugin runs in LuaJIT, some of bench/ and tests/lua in Lua 5.4
cache = false
max_line_length = 120
files['tests/**/*.lua'] = { max_line_length = 130 }
files['bench/**/*.lua'] = { max_line_length = 130 }
read_globals = { 'vim' }
globals = { 'vim.g', 'vim.b', 'vim.o', 'vim.bo', 'vim.wo', 'vim.opt' }
