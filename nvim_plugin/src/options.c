/* options.c: a table of options for each function, one reader for each kind of value. */
#include "options.h"

#include <limits.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Largest integer of which Lua 5.1's numbers can hold every smaller one: the same limit on each host. */
#define MAX_INTEGER 9007199254740992.0

typedef struct option option;

struct option {
    const char *name;
    void (*read)(lua_State *L, int index, const option *o, void *target);
    size_t offset; /* of the member of target that is set */
    double min, max;
    bool above; /* min itself is not allowed */
    unsigned flag;
};

/* ---- errors ------------------------------------------------------------------------------------------------- */

/* Raises "option 'x' must be <wanted>, got <value>". */
static void refuse(lua_State *L, int index, const char *name, const char *wanted)
{
    char got[64];
    if (lua_type(L, index) == LUA_TNUMBER)
        snprintf(got, sizeof got, "%.14g", (double)lua_tonumber(L, index));
    else if (lua_type(L, index) == LUA_TSTRING)
        snprintf(got, sizeof got, "'%.40s'", lua_tostring(L, index));
    else
        snprintf(got, sizeof got, "%s", luaL_typename(L, index));
    luaL_error(L, "option '%s' must be %s, got %s", name, wanted, got);
}

static void refuse_range(lua_State *L, int index, const option *o, const char *kind)
{
    char wanted[128];
    if (o->above && o->max < MAX_INTEGER)
        snprintf(wanted, sizeof wanted, "%s above %.14g and at most %.14g", kind, o->min, o->max);
    else if (o->max < MAX_INTEGER)
        snprintf(wanted, sizeof wanted, "%s from %.14g to %.14g", kind, o->min, o->max);
    else
        snprintf(wanted, sizeof wanted, "%s %s %.14g", kind, o->above ? "above" : "not below", o->min);
    refuse(L, index, o->name, wanted);
}

/* ---- readers ------------------------------------------------------------------------------------------------ */

static double read_value(lua_State *L, int index, const option *o, const char *kind, bool whole)
{
    if (lua_type(L, index) != LUA_TNUMBER)
        refuse_range(L, index, o, kind);
    double x = lua_tonumber(L, index);
    if (!(x >= o->min && x <= o->max) || (o->above && x == o->min) || (whole && x != floor(x)) || isinf(x))
        refuse_range(L, index, o, kind);
    return x;
}

static void read_int(lua_State *L, int index, const option *o, void *target)
{
    *(int *)((char *)target + o->offset) = (int)read_value(L, index, o, "an integer", true);
}

static void read_size(lua_State *L, int index, const option *o, void *target)
{
    *(size_t *)((char *)target + o->offset) = (size_t)read_value(L, index, o, "an integer", true);
}

static void read_u64(lua_State *L, int index, const option *o, void *target)
{
    *(uint64_t *)((char *)target + o->offset) = (uint64_t)read_value(L, index, o, "an integer", true);
}

static void read_number(lua_State *L, int index, const option *o, void *target)
{
    *(double *)((char *)target + o->offset) = read_value(L, index, o, "a number", false);
}

static bool boolean_at(lua_State *L, int index, const option *o)
{
    if (lua_type(L, index) != LUA_TBOOLEAN)
        refuse(L, index, o->name, "true or false");
    return lua_toboolean(L, index);
}

static void read_bool(lua_State *L, int index, const option *o, void *target)
{
    *(bool *)((char *)target + o->offset) = boolean_at(L, index, o);
}

static void read_flag(lua_State *L, int index, const option *o, void *target)
{
    unsigned *flags = (unsigned *)((char *)target + o->offset);
    *flags = boolean_at(L, index, o) ? *flags | o->flag : *flags & ~o->flag;
}

static void read_kv(lua_State *L, int index, const option *o, void *target)
{
    const char *name = lua_type(L, index) == LUA_TSTRING ? lua_tostring(L, index) : "";
    aigc_kv_type *kv = (aigc_kv_type *)((char *)target + o->offset);
    if (strcmp(name, "f16") == 0)
        *kv = AIGC_KV_F16;
    else if (strcmp(name, "f32") == 0)
        *kv = AIGC_KV_F32;
    else
        refuse(L, index, o->name, "'f16' or 'f32'");
}

static void read_parts(lua_State *L, int index, const option *o, void *target)
{
    const char *name = lua_type(L, index) == LUA_TSTRING ? lua_tostring(L, index) : "";
    unsigned *parts = (unsigned *)((char *)target + o->offset);
    if (strcmp(name, "all") == 0)
        *parts = AIGC_MODEL_ALL;
    else if (strcmp(name, "tokenizer") == 0)
        *parts = AIGC_MODEL_TOKENIZER;
    else if (strcmp(name, "description") == 0)
        *parts = AIGC_MODEL_DESCRIBE;
    else
        refuse(L, index, o->name, "'all', 'tokenizer' or 'description'");
}

/* The string is the table's own: who keeps it copies it. */
static void read_path(lua_State *L, int index, const option *o, void *target)
{
    const char *path = lua_type(L, index) == LUA_TSTRING ? lua_tostring(L, index) : "";
    if (path[0] == '\0')
        refuse(L, index, o->name, "the path of a file");
    *(const char **)((char *)target + o->offset) = path;
}

static void *allocate(lua_State *L, size_t n, size_t size)
{
    void *p = calloc(n ? n : 1, size);
    if (!p)
        luaL_error(L, "out of memory: no room for the request's options");
    return p;
}

/* A copy with a NUL behind it. */
static char *copy_string(lua_State *L, int index, size_t *len)
{
    const char *text = lua_tolstring(L, index, len);
    char *copy = allocate(L, *len + 1, 1);
    memcpy(copy, text, *len);
    return copy;
}

void options_read_prompt(lua_State *L, int index, job *j)
{
    if (lua_type(L, index) != LUA_TSTRING)
        refuse(L, index, "prompt", "a string");
    free(j->spec.prompt);
    j->spec.prompt = NULL;
    j->spec.prompt = copy_string(L, index, &j->spec.options.prompt_len);
    j->spec.options.prompt = j->spec.prompt;
}

static void read_prompt(lua_State *L, int index, const option *o, void *target)
{
    (void)o;
    options_read_prompt(L, index, target);
}

static void read_suffix(lua_State *L, int index, const option *o, void *target)
{
    job *j = target;
    if (lua_type(L, index) != LUA_TSTRING)
        refuse(L, index, o->name, "a string");
    j->spec.suffix = copy_string(L, index, &j->spec.suffix_len);
}

int32_t *options_read_tokens(lua_State *L, int index, const char *what, size_t *n)
{
    index = compat_absindex(L, index);
    if (lua_type(L, index) != LUA_TTABLE)
        luaL_error(L, "%s must be an array of token ids, got %s", what, luaL_typename(L, index));
    size_t count = compat_rawlen(L, index);
    if (count > INT_MAX)
        luaL_error(L, "%s has too many tokens", what);
    /* Checked before anything is allocated, so that the error leaks nothing. */
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, index, (int)i + 1);
        double id = lua_type(L, -1) == LUA_TNUMBER ? (double)lua_tonumber(L, -1) : -1;
        if (!(id >= 0 && id <= INT32_MAX) || id != floor(id))
            luaL_error(L, "%s must be an array of token ids, element %d is none", what, (int)i + 1);
        lua_pop(L, 1);
    }
    int32_t *tokens = allocate(L, count, sizeof *tokens);
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, index, (int)i + 1);
        tokens[i] = (int32_t)lua_tonumber(L, -1);
        lua_pop(L, 1);
    }
    *n = count;
    return tokens;
}

static void read_tokens(lua_State *L, int index, const option *o, void *target)
{
    job *j = target;
    j->spec.tokens = options_read_tokens(L, index, "option 'tokens'", &j->spec.options.n_tokens);
    j->spec.options.tokens = j->spec.tokens;
    (void)o;
}

static void add_stop(lua_State *L, int index, const option *o, job *j)
{
    size_t len = 0;
    const char *text = lua_type(L, index) == LUA_TSTRING ? lua_tolstring(L, index, &len) : "";
    if (len == 0 || strlen(text) != len)
        refuse(L, index, o->name, "a non-empty string without NULs, or an array of such");
    j->spec.stop[j->spec.options.n_stop] = copy_string(L, index, &len);
    j->spec.options.n_stop++;
}

static void read_stop(lua_State *L, int index, const option *o, void *target)
{
    job *j = target;
    bool is_table = lua_type(L, index) == LUA_TTABLE;
    size_t n = is_table ? compat_rawlen(L, index) : 1;
    if (n > INT_MAX)
        refuse(L, index, o->name, "a shorter array");
    j->spec.stop = allocate(L, n, sizeof *j->spec.stop);
    j->spec.options.stop = (const char *const *)j->spec.stop;
    if (!is_table) {
        add_stop(L, index, o, j);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(L, index, (int)i + 1);
        add_stop(L, -1, o, j);
        lua_pop(L, 1);
    }
}

/* { [token id] = bias } */
static void read_logit_bias(lua_State *L, int index, const option *o, void *target)
{
    job *j = target;
    if (lua_type(L, index) != LUA_TTABLE)
        refuse(L, index, o->name, "a table from token ids to numbers");
    size_t n = 0;
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1))
        n++;
    j->spec.bias = allocate(L, n, sizeof *j->spec.bias);
    j->spec.options.sampling.bias = j->spec.bias;
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        double id = lua_type(L, -2) == LUA_TNUMBER ? (double)lua_tonumber(L, -2) : -1;
        double bias = lua_type(L, -1) == LUA_TNUMBER ? (double)lua_tonumber(L, -1) : NAN;
        if (!(id >= 0 && id <= INT32_MAX) || id != floor(id) || isnan(bias))
            refuse(L, index, o->name, "a table from token ids to numbers");
        aigc_logit_bias *b = &j->spec.bias[j->spec.options.sampling.n_bias++];
        *b = (aigc_logit_bias){.token = (int32_t)id, .bias = (float)bias};
    }
}

/* true: the chosen tokens; a number: that many of the most probable ones beside each as well. */
static void read_logprobs(lua_State *L, int index, const option *o, void *target)
{
    job *j = target;
    if (lua_type(L, index) == LUA_TBOOLEAN) {
        j->spec.logprobs = lua_toboolean(L, index);
        return;
    }
    j->spec.options.top_logprobs = (int)read_value(L, index, o, "true, false or an integer", true);
    j->spec.logprobs = true;
}

/* Only generate() calls back; it looks the function up itself. */
static void read_on_piece(lua_State *L, int index, const option *o, void *target)
{
    (void)target;
    if (lua_type(L, index) != LUA_TFUNCTION)
        refuse(L, index, o->name, "a function");
}

/* ---- tables ------------------------------------------------------------------------------------------------- */

#define IN(type, member) .offset = offsetof(type, member)
#define RANGE(low, high) .min = (low), .max = (high)
#define REQUEST(member)  IN(job, spec.options.member)

static const option open_options[] = {
    {"threads", read_int, IN(session_options, engine.n_threads), RANGE(0, 64)},
    {"context", read_int, IN(session_options, engine.n_context), RANGE(0, INT_MAX)},
    {"sequences", read_int, IN(session_options, engine.n_sequences), RANGE(1, 256)},
    {"batch", read_int, IN(session_options, engine.n_batch), RANGE(1, 2048)},
    {"kv", read_kv, IN(session_options, engine.kv)},
    {"kv_bytes", read_size, IN(session_options, engine.kv_bytes), RANGE(1, MAX_INTEGER)},
    {"prefix_cache", read_bool, IN(session_options, engine.prefix_cache)},
    {"parts", read_parts, IN(session_options, parts)},
    {"lora", read_path, IN(session_options, lora)},
    {"personal", read_path, IN(session_options, personal)},
    {"documents", read_bool, IN(session_options, documents)},
    {0},
};

static const option request_options[] = {
    {.name = "prompt", .read = read_prompt},
    {.name = "tokens", .read = read_tokens},
    {.name = "suffix", .read = read_suffix},
    {"weigh", read_int, IN(job, spec.weigh), RANGE(0, 16)},
    {"add_special", read_flag, REQUEST(text_flags), .flag = AIGC_TEXT_ADD_SPECIAL},
    {"parse_special", read_flag, REQUEST(text_flags), .flag = AIGC_TEXT_PARSE_SPECIAL},
    {"fit", read_bool, IN(job, spec.fit)},
    {"personal", read_bool, IN(job, spec.personal)},
    {"documents", read_bool, IN(job, spec.documents)},
    {"max_tokens", read_int, REQUEST(max_tokens), RANGE(0, INT_MAX)},
    {"n", read_int, REQUEST(n), RANGE(1, 256)},
    {.name = "stop", .read = read_stop},
    {"ignore_eos", read_bool, REQUEST(ignore_eos)},
    {"logprobs", read_logprobs, RANGE(0, 20)},
    {"seed", read_u64, REQUEST(sampling.seed), RANGE(0, MAX_INTEGER)},
    {"temperature", read_number, REQUEST(sampling.temperature), RANGE(0, HUGE_VAL)},
    {"top_p", read_number, REQUEST(sampling.top_p), RANGE(0, 1)},
    {"top_k", read_int, REQUEST(sampling.top_k), RANGE(0, INT_MAX)},
    {"min_p", read_number, REQUEST(sampling.min_p), RANGE(0, 1)},
    {"repetition_penalty", read_number, REQUEST(sampling.repetition_penalty), RANGE(0, HUGE_VAL), .above = true},
    {"frequency_penalty", read_number, REQUEST(sampling.frequency_penalty), RANGE(-2, 2)},
    {"presence_penalty", read_number, REQUEST(sampling.presence_penalty), RANGE(-2, 2)},
    {.name = "logit_bias", .read = read_logit_bias},
    {.name = "on_piece", .read = read_on_piece},
    {0},
};

static const option text_options[] = {
    {"add_special", read_flag, .flag = AIGC_TEXT_ADD_SPECIAL},
    {"parse_special", read_flag, .flag = AIGC_TEXT_PARSE_SPECIAL},
    {"render_special", read_flag, .flag = AIGC_TEXT_RENDER_SPECIAL},
    {0},
};

static const option *find(const option *table, const char *name)
{
    for (; table->name; table++)
        if (strcmp(table->name, name) == 0)
            return table;
    return NULL;
}

/* Reads each pair of the table at index by its row. */
static void read_table(lua_State *L, int index, const option *table, void *target)
{
    if (lua_isnoneornil(L, index))
        return;
    if (lua_type(L, index) != LUA_TTABLE)
        luaL_error(L, "options must be a table, got %s", luaL_typename(L, index));
    index = compat_absindex(L, index);
    luaL_checkstack(L, 8, "too many values on the stack");
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING)
            luaL_error(L, "options must have names, got a %s as one", luaL_typename(L, -2));
        const option *o = find(table, lua_tostring(L, -2));
        if (!o)
            luaL_error(L, "unknown option '%s'", lua_tostring(L, -2));
        o->read(L, lua_gettop(L), o, target);
    }
}

void options_read_open(lua_State *L, int index, session_options *options)
{
    options->engine = aigc_engine_defaults();
    options->parts = AIGC_MODEL_ALL;
    options->lora = NULL;
    options->personal = NULL;
    options->documents = false;
    read_table(L, index, open_options, options);
}

void options_read_request(lua_State *L, int index, job *j)
{
    read_table(L, index, request_options, j);
}

unsigned options_read_text_flags(lua_State *L, int index, unsigned flags)
{
    read_table(L, index, text_options, &flags);
    return flags;
}

void options_push_on_piece(lua_State *L, int index)
{
    if (lua_type(L, index) != LUA_TTABLE) {
        lua_pushnil(L);
        return;
    }
    lua_pushliteral(L, "on_piece");
    lua_rawget(L, index); /* as the others are read, and no metamethod may close the model here */
}
