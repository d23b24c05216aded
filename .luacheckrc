-- luacheck nvim_plugin tests/nvim tests/lua tools bench
std = 'luajit'
cache = false
max_line_length = 120
read_globals = { 'vim' }
globals = { 'vim.g', 'vim.b', 'vim.o', 'vim.bo', 'vim.wo', 'vim.opt' }
