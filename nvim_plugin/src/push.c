/* push.c: tables for Lua. Alternatives and ranks count from 1 there. */
#include "push.h"

#include <math.h>
#include <stdio.h>

static void set_integer(lua_State *L, const char *name, uint64_t x)
{
    lua_pushinteger(L, (lua_Integer)x);
    lua_setfield(L, -2, name);
}

static void set_number(lua_State *L, const char *name, double x)
{
    lua_pushnumber(L, x);
    lua_setfield(L, -2, name);
}

static void set_string(lua_State *L, const char *name, const char *text)
{
    lua_pushstring(L, text);
    lua_setfield(L, -2, name);
}

static void push_buffer(lua_State *L, const text_buffer *b)
{
    lua_pushlstring(L, b->len ? b->data : "", b->len);
}

static const char *code_name(aigc_status code)
{
    switch (code) {
    case AIGC_OK:
        return "ok";
    case AIGC_E_ARGUMENT:
        return "argument";
    case AIGC_E_MEMORY:
        return "memory";
    case AIGC_E_IO:
        return "io";
    case AIGC_E_FORMAT:
        return "format";
    case AIGC_E_UNSUPPORTED:
        return "unsupported";
    case AIGC_E_TEXT:
        return "text";
    case AIGC_E_LIMIT:
        return "limit";
    case AIGC_INTERRUPTED:
        return "interrupted";
    }
    return "unknown";
}

int push_error(lua_State *L, const aigc_error *err)
{
    lua_pushnil(L);
    lua_pushstring(L, err->message);
    lua_pushstring(L, code_name(err->code));
    return 3;
}

static void push_engine_info(lua_State *L, aigc_engine *engine)
{
    aigc_engine_info info;
    aigc_engine_describe(engine, &info);
    lua_createtable(L, 0, 10);
    set_integer(L, "threads", (uint64_t)info.n_threads);
    set_integer(L, "context", (uint64_t)info.n_context);
    set_integer(L, "sequences", (uint64_t)info.n_sequences);
    set_integer(L, "batch", (uint64_t)info.n_batch);
    set_integer(L, "kv_bytes", info.kv_bytes);
    set_integer(L, "scratch_bytes", info.scratch_bytes);
    set_integer(L, "n_prompt", info.n_prompt);
    set_integer(L, "n_prompt_hit", info.n_prompt_hit);
    set_integer(L, "n_computed", info.n_computed);
    set_integer(L, "n_steps", info.n_steps);
}

void push_model_info(lua_State *L, const char *path, const aigc_model_info *info, aigc_engine *engine)
{
    lua_createtable(L, 0, 22);
    set_string(L, "path", path);
    set_string(L, "name", info->name);
    set_string(L, "architecture", info->architecture);
    set_string(L, "quantisation", info->quantisation);
    set_string(L, "tokenizer", info->tokenizer);
    set_integer(L, "n_params", info->n_params);
    set_integer(L, "file_bytes", info->file_bytes);
    set_integer(L, "weight_bytes", info->weight_bytes);
    set_integer(L, "n_tensors", info->n_tensors);
    set_integer(L, "n_metadata", info->n_metadata);
    set_integer(L, "gguf_version", info->gguf_version);
    set_integer(L, "n_vocab", info->n_vocab);
    set_integer(L, "n_context", info->n_context);
    set_integer(L, "n_embd", info->n_embd);
    set_integer(L, "n_layers", info->n_layers);
    set_integer(L, "n_heads", info->n_heads);
    set_integer(L, "n_kv_heads", info->n_kv_heads);
    set_integer(L, "n_ff", info->n_ff);
    if (info->bos >= 0)
        set_integer(L, "bos", (uint64_t)info->bos);
    if (info->eos >= 0)
        set_integer(L, "eos", (uint64_t)info->eos);
    if (engine) {
        push_engine_info(L, engine);
        lua_setfield(L, -2, "engine");
    }
}

/* An alternative that has not ended was cancelled, or the callback of generate() wanted no more. */
static const char *finish_name(aigc_finish finish)
{
    switch (finish) {
    case AIGC_RUNNING:
        return "cancelled";
    case AIGC_FINISH_EOS:
        return "eos";
    case AIGC_FINISH_STOP:
        return "stop";
    case AIGC_FINISH_LENGTH:
        return "length";
    case AIGC_FINISH_CONTEXT:
        return "context";
    case AIGC_FINISH_ERROR:
        return "error";
    }
    return "unknown";
}

static void push_token(lua_State *L, const aigc_token *token)
{
    lua_createtable(L, 0, 3);
    set_integer(L, "id", (uint64_t)token->id);
    set_number(L, "logprob", token->logprob);
}

/* The tokens of an alternative: { { id, logprob, top = { { id, logprob }, ... } }, ... } */
static void push_tokens(lua_State *L, const job_alternative *a, size_t n_top)
{
    lua_createtable(L, (int)a->n_tokens, 0);
    for (size_t t = 0; t < a->n_tokens; t++) {
        push_token(L, &a->tokens[t]);
        if (n_top) {
            const aigc_token *top = a->top + t * n_top;
            lua_createtable(L, (int)n_top, 0);
            for (size_t k = 0; k < n_top && top[k].id >= 0; k++) {
                push_token(L, &top[k]);
                lua_rawseti(L, -2, (int)k + 1);
            }
            lua_setfield(L, -2, "top");
        }
        lua_rawseti(L, -2, (int)t + 1);
    }
}

static void push_alternative(lua_State *L, const job *j, int number)
{
    const job_alternative *a = &j->alternatives[number];
    lua_createtable(L, 0, 5);
    set_integer(L, "alternative", (uint64_t)number + 1);
    push_buffer(L, &a->text);
    lua_setfield(L, -2, "text");
    set_string(L, "finish", finish_name(a->finish));
    set_number(L, "logprob", a->logprob);
    if (j->spec.logprobs) {
        push_tokens(L, a, (size_t)j->spec.options.top_logprobs);
        lua_setfield(L, -2, "tokens");
    }
}

void push_outcome(lua_State *L, const job *j)
{
    lua_createtable(L, 0, 12);
    set_string(L, "finish", j->cancelled ? "cancelled" : finish_name(j->alternatives[j->rank[0]].finish));
    if (j->infill != INFILL_NONE)
        set_string(L, "infill", j->infill == INFILL_TOKENS ? "tokens" : "weighed");
    set_integer(L, "n_prompt", (uint64_t)j->info.n_prompt);
    set_integer(L, "n_prompt_hit", (uint64_t)j->info.n_prompt_hit);
    set_integer(L, "n_dropped", (uint64_t)j->n_dropped);
    set_integer(L, "n_generated", (uint64_t)j->info.n_generated);
    set_number(L, "prompt_seconds", j->info.prompt_seconds);
    set_number(L, "decode_seconds", j->info.decode_seconds);
    int n = j->spec.options.n;
    lua_createtable(L, n, 0);
    for (int r = 0; r < n; r++) {
        push_alternative(L, j, j->rank[r]);
        lua_rawseti(L, -2, r + 1);
    }
    lua_setfield(L, -2, "alternatives");
}

void push_best_text(lua_State *L, const job *j)
{
    push_buffer(L, &j->alternatives[j->rank[0]].text);
}

void push_ids(lua_State *L, const int32_t *ids, size_t n)
{
    lua_createtable(L, (int)n, 0);
    for (size_t i = 0; i < n; i++) {
        lua_pushinteger(L, ids[i]);
        lua_rawseti(L, -2, (int)i + 1);
    }
}

void push_score(lua_State *L, const job *j, size_t n_bytes)
{
    double sum = 0;
    lua_createtable(L, 0, 6);
    lua_createtable(L, (int)j->n_prompt, 0);
    for (size_t t = 0; t < j->n_prompt; t++) {
        push_token(L, &j->prompt[t]);
        lua_rawseti(L, -2, (int)t + 1);
        sum += t ? j->prompt[t].logprob : 0; /* nothing comes before the first */
    }
    lua_setfield(L, -2, "tokens");
    size_t n_scored = j->n_prompt ? j->n_prompt - 1 : 0;
    set_integer(L, "n_tokens", j->n_prompt);
    set_integer(L, "n_scored", n_scored);
    set_number(L, "logprob", sum);
    if (n_scored)
        set_number(L, "perplexity", exp(-sum / (double)n_scored));
    if (n_scored && n_bytes)
        set_number(L, "bits_per_byte", -sum / log(2.0) / (double)n_bytes);
}

/* What the pieces of a token event's text were made of: { { last byte, tokens, sum of their logprobs }, ... } */
static void push_marks(lua_State *L, const mark_buffer *marks)
{
    lua_createtable(L, (int)marks->len, 0);
    for (size_t i = 0; i < marks->len; i++) {
        const piece_mark *mark = &marks->data[i];
        lua_createtable(L, 3, 0);
        lua_pushinteger(L, (lua_Integer)mark->end);
        lua_rawseti(L, -2, 1);
        lua_pushinteger(L, mark->n_tokens);
        lua_rawseti(L, -2, 2);
        lua_pushnumber(L, mark->logprob);
        lua_rawseti(L, -2, 3);
        lua_rawseti(L, -2, (int)i + 1);
    }
}

static void push_phrase(lua_State *L, const memory_phrase *phrase)
{
    lua_createtable(L, 0, 2);
    lua_pushlstring(L, phrase->text, phrase->len);
    lua_setfield(L, -2, "text");
    set_integer(L, "count", phrase->count);
}

void push_view(lua_State *L, const memory_view *view)
{
    char vocabulary[17];
    snprintf(vocabulary, sizeof vocabulary, "%016llx", (unsigned long long)view->info.vocabulary);
    lua_createtable(L, 0, 7);
    if (view->unwritten.code != AIGC_OK)
        set_string(L, "unwritten", view->unwritten.message);
    set_integer(L, "tokens", view->info.n_tokens);
    set_integer(L, "ngrams", view->info.n_ngrams);
    set_integer(L, "most_ngrams", view->info.n_most);
    set_integer(L, "bytes", view->info.bytes);
    set_string(L, "vocabulary", vocabulary);
    lua_createtable(L, (int)view->n, 0);
    for (size_t i = 0; i < view->n; i++) {
        push_phrase(L, &view->phrases[i]);
        lua_rawseti(L, -2, (int)i + 1);
    }
    lua_setfield(L, -2, "phrases");
}

/* A new event {id, kind} on top of the stack. */
static void begin_event(lua_State *L, const job *j, const char *kind)
{
    lua_createtable(L, 0, 5);
    set_integer(L, "id", (uint64_t)j->id);
    set_string(L, "kind", kind);
}

static void push_end(lua_State *L, const job *j)
{
    if (j->status != AIGC_OK && !j->cancelled) {
        begin_event(L, j, "error");
        set_string(L, "message", j->error.message);
        set_string(L, "code", code_name(j->error.code));
        return;
    }
    push_outcome(L, j);
    set_integer(L, "id", (uint64_t)j->id);
    set_string(L, "kind", "done");
    push_best_text(L, j);
    lua_setfield(L, -2, "text");
}

int push_events(lua_State *L, const job *j, bool finished, int n)
{
    for (int i = 0; i < j->n && !j->cancelled; i++) {
        const job_alternative *a = &j->alternatives[i];
        if (a->out.len == 0)
            continue;
        begin_event(L, j, "token");
        set_integer(L, "alternative", (uint64_t)i + 1);
        push_buffer(L, &a->out);
        lua_setfield(L, -2, "text");
        push_marks(L, &a->out_marks);
        lua_setfield(L, -2, "marks");
        lua_rawseti(L, -2, ++n);
    }
    if (finished) {
        push_end(L, j);
        lua_rawseti(L, -2, ++n);
    }
    return n;
}
