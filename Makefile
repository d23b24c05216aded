# aigc: one C engine, wrapped for PostgreSQL, Neovim and the shell.
#
#   make                 everything: build/aigc, the PostgreSQL extension, the Neovim module
#   make demo            set up what is missing, then show generate() in PostgreSQL and a completion in Neovim
#   make check           set up what is missing, then run every test (check-unit, check-pg ... run a part)
#   make install         PostgreSQL extension, SQL and default model (PG_CONFIG chooses the server)
#   make install-nvim    the plugin, into Neovim's site directory (NVIM_SITE)
#   make bench           speed, ours and (LLAMA_CPP=, IK_LLAMA=) the peers'
#   make format clean
#
# CFLAGS and LDFLAGS from the command line are added to ours; a change of flags rebuilds.

CC ?= gcc
AR ?= ar
BUILD ?= build
PG_CONFIG ?= pg_config
NVIM_SITE ?= $(or $(XDG_DATA_HOME),$(HOME)/.local/share)/nvim/site/pack/aigc/start/aigc

WARN = -Wall -Wextra -Wshadow -Wstrict-prototypes -Werror
# Contraction would make results depend on the compiler's mood: every fused multiply-add is written out.
BASE_CFLAGS = -std=gnu11 -O2 -g -fPIC -fvisibility=hidden -ffp-contract=off -fno-math-errno -Icore $(WARN)
CFLAGS_ALL = $(BASE_CFLAGS) $(CFLAGS)
LDLIBS = -lm -pthread

CORE_SRC = $(sort $(wildcard core/*.c core/*/*.c))
CORE_OBJ = $(CORE_SRC:%.c=$(BUILD)/%.o)
TOOL_SRC = $(sort $(wildcard tools/*.c))
TOOL_OBJ = $(TOOL_SRC:%.c=$(BUILD)/%.o)
LIB = $(BUILD)/libaigc.a

# tests/unit/test_NAME.c is a program of its own; other .c files there, and the writer of synthetic models, are linked
# into each of them.
TEST_SRC = $(sort $(wildcard tests/unit/*.c tests/models/*.c))
TEST_HELP_OBJ = $(patsubst %.c,$(BUILD)/%.o,$(filter-out tests/unit/test_%.c tests/models/make_%.c,$(TEST_SRC)))
MODEL_OBJ = $(patsubst tests/models/%.c,$(BUILD)/tests/models/%.o,$(filter tests/models/%,$(TEST_SRC)))
TESTS = $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(filter tests/unit/test_%.c,$(TEST_SRC)))

# tests/fuzz/: damaged model files, made from synthetic ones.
FUZZ_SRC = $(sort $(wildcard tests/fuzz/*.c)) tests/models/synthetic.c tests/models/vocabulary.c
FUZZ_OBJ = $(FUZZ_SRC:%.c=$(BUILD)/%.o)

ALL_OBJ = $(CORE_OBJ) $(TOOL_OBJ) $(FUZZ_OBJ) $(TEST_SRC:%.c=$(BUILD)/%.o) $(BUILD)/bench/bandwidth.o $(BUILD)/bench/flops.o \
	$(BUILD)/bench/recommend.o
ASAN = -O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer

# A line for each file; V=1 shows whole commands.
ifeq ($(V),)
Q = @
say = @printf '  %-3s %s\n' $(1) $(or $(2),$@)
QUIET_MAKE = +@$(MAKE) -s
else
QUIET_MAKE = +$(MAKE)
endif

BUILDS = all core tool unit asan fuzz libfuzzer pg nvim bench-programs
CHECKS = check-unit check-cli check-pg check-lua check-nvim check-fuzz check-asan
.PHONY: $(BUILDS) $(CHECKS) core-alone setup check demo bench bench-recommendation bench-serve install install-nvim format clean FORCE

# `sudo make install` in somebody's clone must not leave files there that only root can replace: what is built is
# built as the tree's owner.
ifeq ($(shell id -u),0)
OWNER := $(shell stat -c %u .)
ifneq ($(OWNER),0)
AS_OWNER = setpriv --reuid=$(OWNER) --regid=$(shell stat -c %g .) --clear-groups --
endif
endif

ifdef AS_OWNER

$(BUILDS):
	+$(AS_OWNER) $(MAKE) $@

else

all: core tool pg nvim

core: $(LIB)

# Beside the tool lies the model that it uses when none is named.
tool: $(BUILD)/aigc
	@mkdir -p $(BUILD)/models && ln -sfn $(abspath models/aigc-base.gguf) $(BUILD)/models/aigc-base.gguf

# A program whose source is gone must not go on being run.
unit: $(TESTS)
	@rm -f $(filter-out $(TESTS),$(wildcard $(BUILD)/tests/test_*))

bench-programs: tool $(BUILD)/make-model $(BUILD)/bandwidth $(BUILD)/flops $(BUILD)/bench-recommend

asan:
	+@$(MAKE) --no-print-directory unit tool $(BUILD)/asan/fuzz_gguf BUILD=$(BUILD)/asan CFLAGS="$(ASAN)" LDFLAGS="$(ASAN)"

# build/asan/fuzz_gguf -n 100000 tries so many damaged model files; tests/fuzz/gguf.t tries fewer.
fuzz:
	+@$(MAKE) --no-print-directory $(BUILD)/asan/fuzz_gguf BUILD=$(BUILD)/asan CFLAGS="$(ASAN)" LDFLAGS="$(ASAN)"

# The same for libFuzzer, which looks for new paths by itself, from what build/asan/fuzz_gguf -c FOLDER wrote:
# build/libfuzzer/fuzz_gguf -max_len=500000 FOLDER
libfuzzer:
	+@$(MAKE) --no-print-directory $(BUILD)/libfuzzer/fuzz_gguf BUILD=$(BUILD)/libfuzzer CC=clang \
		CFLAGS="$(ASAN) -Wno-error -fsanitize=fuzzer-no-link -DAIGC_LIBFUZZER" LDFLAGS="$(ASAN) -fsanitize=fuzzer"

pg: core
	@command -v $(PG_CONFIG) >/dev/null || { echo "make: $(PG_CONFIG) not found: run tools/setup," \
		"or build without PostgreSQL: make tool nvim" >&2; exit 1; }
	$(QUIET_MAKE) -C pg_ext PG_CONFIG=$(PG_CONFIG)
	$(call say,pg,pg_ext/aigc.so)

ifneq ($(filter nvim install-nvim,$(MAKECMDGOALS)),)
MISSING := $(shell env -u MAKEFLAGS $(MAKE) -s -C nvim_plugin missing CC='$(CC)' \
	$(if $(LUAJIT_CFLAGS),LUAJIT_CFLAGS='$(LUAJIT_CFLAGS)'))
ifneq ($(MISSING),)
$(error $(MISSING))
endif
endif

# Plugin managers call `make nvim`: alone, it takes all cores.
ifneq ($(MAKECMDGOALS),)
ifeq ($(filter-out nvim install-nvim,$(MAKECMDGOALS)),)
CORE_OF_NVIM = core-alone
core-alone:
	+@$(MAKE) --no-print-directory $(JOBS) core
endif
endif

nvim: $(or $(CORE_OF_NVIM),core)
	$(QUIET_MAKE) -C nvim_plugin
	$(call say,lua,nvim_plugin/lua/aigc/core.so)

endif

# ---- objects -------------------------------------------------------------------------------------------------------

# Kernels of a level are the only files built for more than the base processor; cpu.c decides at run time.
ifeq ($(shell uname -m),x86_64)
$(BUILD)/core/tensor/%_avx2.o $(BUILD)/core/recommend/%_avx2.o: LEVEL = -mavx2 -mfma -mf16c
AVX512 = -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni
$(BUILD)/core/tensor/%_avx512.o $(BUILD)/core/recommend/%_avx512.o: LEVEL = $(AVX512)
$(BUILD)/core/tensor/gemm_bf16_avx512.o: LEVEL += -mavx512bf16
endif
# Sums are to be added as they come: gcc would otherwise put the additions off until there are not enough registers.
AS_THEY_COME = $(if $(findstring clang,$(shell $(CC) --version)),,-fno-tree-reassoc -fno-tree-ter)
$(BUILD)/core/tensor/kernels_%.o: OPT = -O3 $(AS_THEY_COME)
$(BUILD)/core/recommend/dense_%.o: OPT = -O3 $(AS_THEY_COME)
$(BUILD)/core/recommend/bounds%.o $(BUILD)/core/recommend/coarse.o: OPT = -O3
# Loops there are plain C, for the compiler to vectorise.
$(BUILD)/core/learn/math.o $(BUILD)/core/learn/muon.o: OPT = -O3

define link
$(call say,ld)
$(Q)$(CC) -o $@ $(filter %.o,$^) $(LIB) $(LDFLAGS) $(LDLIBS)
endef

# These files change only when what they say does: objects depend on the flags, the library on its list of members.
$(BUILD)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(CC) $(CFLAGS_ALL) $(LDFLAGS)' | cmp -s - $@ || echo '$(CC) $(CFLAGS_ALL) $(LDFLAGS)' > $@

$(BUILD)/members: FORCE
	@mkdir -p $(@D)
	@echo '$(CORE_OBJ) $(TOOL_OBJ)' | cmp -s - $@ || echo '$(CORE_OBJ) $(TOOL_OBJ)' > $@

$(BUILD)/%.o: %.c $(BUILD)/flags Makefile
	@mkdir -p $(@D)
	$(call say,cc)
	$(Q)$(CC) $(BASE_CFLAGS) $(OPT) $(LEVEL) $(CFLAGS) -MMD -MP -c $< -o $@

$(LIB): $(CORE_OBJ) $(BUILD)/members
	@rm -f $@
	$(call say,ar)
	$(Q)$(AR) qcs $@ $(CORE_OBJ)

$(BUILD)/aigc: LDLIBS += -ljansson
$(BUILD)/aigc: $(TOOL_OBJ) $(LIB) $(BUILD)/members
	$(link)

$(BUILD)/tests/test_%: LDLIBS += -lcmocka
$(BUILD)/tests/test_%: $(BUILD)/tests/unit/test_%.o $(TEST_HELP_OBJ) $(LIB)
	@mkdir -p $(@D)
	$(link)

$(BUILD)/fuzz_gguf: $(FUZZ_OBJ) $(LIB)
	$(link)

$(BUILD)/make-model: $(MODEL_OBJ) $(LIB)
	$(link)

$(BUILD)/bandwidth: $(BUILD)/bench/bandwidth.o $(LIB)
	$(link)

$(BUILD)/flops: $(BUILD)/bench/flops.o $(LIB)
	$(link)

$(BUILD)/bench-recommend: $(BUILD)/bench/recommend.o $(LIB)
	$(link)

# Clients of bench/serve/run: programs of their own, without our library.
$(BUILD)/bench-ask: bench/serve/ask.c Makefile
	$(call say,cc)
	$(Q)$(CC) $(BASE_CFLAGS) -I$(shell $(PG_CONFIG) --includedir) -o $@ $< $(LDFLAGS) -lpq

$(BUILD)/bench-catalogue: bench/serve/catalogue.c Makefile
	$(call say,cc)
	$(Q)$(CC) $(BASE_CFLAGS) -o $@ $< $(LDFLAGS) -lm

# The kernels alone, for whoever tunes them.
$(BUILD)/bench-kernels: $(BUILD)/bench/kernels.o $(LIB)
	$(CC) -o $@ $^ $(LDFLAGS) $(LDLIBS)

.SECONDARY: $(ALL_OBJ)

# ---- set-up, tests, demonstration ------------------------------------------------------------------------------------

setup:
	@tools/setup

# For those who type only `make check`, `make demo` or `make nvim`: all cores, unless they asked for a number of jobs.
JOBS = $(if $(findstring -j,$(MAKEFLAGS)),,-j$(shell nproc))

# The packages come first: pg_config, which the build asks, may be one of them.
check: setup
	+@$(MAKE) --no-print-directory $(JOBS) all unit asan
	@tests/run

$(CHECKS): check-%:
	+@$(MAKE) --no-print-directory $(JOBS) $(if $(filter unit asan fuzz,$*),$*,all)
	@tests/run $* $(if $(filter asan,$*),asan-cli)

demo: setup
	+@$(MAKE) --no-print-directory $(JOBS) all
	@tools/demo

bench:
	+@$(MAKE) --no-print-directory bench-programs
	@bench/run

# Recommendation beside implicit and EASE on the data in FOLDER (docs/recommend.md); PYTHON has numpy, scipy, implicit.
PYTHON ?= python3
bench-recommendation: $(BUILD)/bench-recommend
	@test -n "$(FOLDER)" || { echo "make: name the data: make $@ FOLDER=..." >&2; exit 2; }
	@$(PYTHON) bench/recommend.py quality $(FOLDER)
	@$(PYTHON) bench/recommend.py cold $(FOLDER)
	@$(PYTHON) bench/recommend.py speed $(FOLDER)/events.tsv
	@$(PYTHON) bench/recommend.py batch $(FOLDER)
	@$(PYTHON) bench/recommend.py serve 100000
	+@$(MAKE) --no-print-directory bench-serve

# recommend() in PostgreSQL at 100,000 and a million made-up items; some minutes, most of them for the two refreshes.
SERVE_DIR ?= /tmp/aigc-bench-serve
bench-serve: pg $(BUILD)/bench-ask $(BUILD)/bench-catalogue
	@for items in 100000 1000000; do test -e $(SERVE_DIR)-$$items/home/data || bench/serve/run make $(SERVE_DIR)-$$items $$items; \
		echo "$$items items"; bench/serve/run ask $(SERVE_DIR)-$$items; done
	@bench/serve/run all $(SERVE_DIR)-100000

# ---- installation ----------------------------------------------------------------------------------------------------

install: core pg
	$(MAKE) -C pg_ext install PG_CONFIG=$(PG_CONFIG)

install-nvim: nvim
	$(MAKE) -C nvim_plugin install NVIM_SITE=$(NVIM_SITE)

format:
	clang-format -i $$(git ls-files '*.c' '*.h')

clean:
	rm -rf $(BUILD)
	-$(MAKE) -C pg_ext clean PG_CONFIG=$(PG_CONFIG)
	-$(MAKE) -C nvim_plugin clean

-include $(ALL_OBJ:.o=.d)
