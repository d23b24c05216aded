-- For luarocks and rocks.nvim: `luarocks --lua-version=5.1 make nvim_plugin/aigc.nvim-scm-1.rockspec` in a clone.
-- The C module is linked against the engine, so the repository's own make builds it.
rockspec_format = '3.0'
package = 'aigc.nvim'
version = 'scm-1'
source = { url = '.' }
description = {
  summary = 'Text completion by a model inside Neovim',
  detailed = 'Continues prose and code at the cursor. No server: the model runs on a thread of the editor.',
  labels = { 'neovim' },
  license = 'MIT',
}
dependencies = { 'lua >= 5.1' }
build = {
  type = 'make',
  build_target = 'nvim',
  install_target = 'install-nvim',
  install_variables = { NVIM_SITE = '$(PREFIX)', CORE_SITE = '$(LIBDIR)' },
}
