# aigc: one C engine, wrapped for PostgreSQL, Neovim and the shell.
#
#   make                 everything: build/aigc, the PostgreSQL extension, the Neovim module
#   make demo            set up what is missing, then show generate() in PostgreSQL and a completion in Neovim
#   make check           set up what is missing, then run every test
#   make install         PostgreSQL extension, SQL and default model (PG_CONFIG chooses the server)
#   make install-nvim    the plugin, into Neovim's site directory (NVIM_SITE)
#   make bench           speed, ours and (LLAMA_CPP=, IK_LLAMA=) the peers'
#   make format clean

CC ?= gcc
AR ?= ar
BUILD ?= build
PG_CONFIG ?= pg_config

WARN = -Wall -Wextra -Wshadow -Wstrict-prototypes -Werror
# Contraction would make results depend on the compiler's mood: every fused multiply-add is written out.
BASE_CFLAGS = -std=gnu11 -O2 -g -fPIC -fvisibility=hidden -ffp-contract=off -fno-math-errno -Icore $(WARN)
CFLAGS_ALL = $(BASE_CFLAGS) $(CFLAGS)
LDLIBS = -lutf8proc -lm -pthread

CORE_SRC = $(sort $(wildcard core/*.c core/*/*.c))
CORE_OBJ = $(CORE_SRC:%.c=$(BUILD)/%.o)
TOOL_SRC = $(sort $(wildcard tools/*.c))
TOOL_OBJ = $(TOOL_SRC:%.c=$(BUILD)/%.o)
LIB = $(BUILD)/libaigc.a

.PHONY: all core tool clean format

all: core tool

core: $(LIB)

tool: $(BUILD)/aigc

# Kernels of a level are the only files built for more than the base processor; cpu.c decides at run time.
$(BUILD)/core/tensor/%_avx2.o: LEVEL = -mavx2 -mfma -mf16c
$(BUILD)/core/tensor/%_avx512.o: LEVEL = -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni
$(BUILD)/core/tensor/kernels_%.o: OPT = -O3

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $(OPT) $(LEVEL) -MMD -MP -c $< -o $@

$(LIB): $(CORE_OBJ)
	@rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/aigc: $(TOOL_OBJ) $(LIB)
	$(CC) -o $@ $(TOOL_OBJ) $(LIB) $(LDFLAGS) $(LDLIBS)

format:
	clang-format -i $$(git ls-files '*.c' '*.h')

clean:
	rm -rf $(BUILD)

-include $(CORE_OBJ:.o=.d) $(TOOL_OBJ:.o=.d)
