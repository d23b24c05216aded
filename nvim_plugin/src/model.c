/*
 * model.c: the methods of a model.
 *
 * Wrong arguments are Lua errors. What depends on a file, on memory or on what else is going on comes back as nil, a
 * message and the name of a code. Everything that C owns hangs from a userdata while Lua may raise, so that an error,
 * Lua's own out-of-memory included, leaks nothing.
 */
#include "model.h"

#include <limits.h>
#include <string.h>

#include "options.h"
#include "push.h"
#include "session.h"

static const char MODEL_TYPE[] = "aigc.core.model";
static const char JOB_TYPE[] = "aigc.core.job";
static const char MEMORY_TYPE[] = "aigc.core.memory";
static const char VIEW_TYPE[] = "aigc.core.view";
static const char SETTLER_TYPE[] = "aigc.core.settler";

/* ---- userdata ----------------------------------------------------------------------------------------------- */

/* A userdata that holds one pointer, NULL so far. */
static void **push_holder(lua_State *L, const char *type)
{
    void **holder = lua_newuserdata(L, sizeof *holder);
    *holder = NULL;
    luaL_getmetatable(L, type);
    lua_setmetatable(L, -2);
    return holder;
}

static int job_gc(lua_State *L)
{
    void **holder = luaL_checkudata(L, 1, JOB_TYPE);
    job_free(*holder);
    *holder = NULL;
    return 0;
}

static int memory_gc(lua_State *L)
{
    void **holder = luaL_checkudata(L, 1, MEMORY_TYPE);
    aigc_free(*holder);
    *holder = NULL;
    return 0;
}

static int view_gc(lua_State *L)
{
    void **holder = luaL_checkudata(L, 1, VIEW_TYPE);
    memory_view_free(*holder);
    *holder = NULL;
    return 0;
}

static session *check_model(lua_State *L)
{
    void **holder = luaL_checkudata(L, 1, MODEL_TYPE);
    if (!*holder)
        luaL_error(L, "attempt to use a closed model");
    return *holder;
}

/* A new job, anchored by a userdata on top of the stack. */
static job *push_job(lua_State *L, void ***holder)
{
    *holder = push_holder(L, JOB_TYPE);
    job *j = **holder = job_new();
    if (!j)
        luaL_error(L, "out of memory: no room for a request");
    return j;
}

/* Reads (prompt, options) or (options) at index 2 into a new job. */
static job *push_request(lua_State *L, void ***holder)
{
    int options = lua_type(L, 2) == LUA_TSTRING ? 3 : 2;
    lua_settop(L, options);
    job *j = push_job(L, holder);
    if (options == 2)
        luaL_checktype(L, 2, LUA_TTABLE);
    options_read_request(L, options, j);
    if (options == 3)
        options_read_prompt(L, 2, j);
    if (!j->spec.prompt && !j->spec.tokens)
        luaL_error(L, "a request needs a prompt or tokens");
    if (j->spec.prompt && j->spec.tokens)
        luaL_error(L, "a request has a prompt or tokens, not both");
    if (!job_prepare(j))
        luaL_error(L, "out of memory: no room for a request");
    return j;
}

/* ---- life --------------------------------------------------------------------------------------------------- */

int model_open(lua_State *L)
{
    session_options options;
    aigc_error err;
    const char *path = luaL_checkstring(L, 1);
    options_read_open(L, 2, &options);
    void **holder = push_holder(L, MODEL_TYPE);
    session *s;
    if (session_open(path, &options, &s, &err) != AIGC_OK)
        return push_error(L, &err);
    *holder = s;
    return 1;
}

/* The session, which the model has no more then; or NULL. */
static session *take_session(lua_State *L)
{
    void **holder = luaL_checkudata(L, 1, MODEL_TYPE);
    session *s = *holder;
    if (s && session_entered(s))
        luaL_error(L, "the model is busy: a callback of its own generate() cannot close it");
    *holder = NULL;
    return s;
}

static int l_close(lua_State *L)
{
    session_close(take_session(L));
    return 0;
}

static int l_discard(lua_State *L)
{
    session_discard(take_session(L));
    return 0;
}

int model_settle(lua_State *L)
{
    double milliseconds = luaL_optnumber(L, 1, -1);
    luaL_argcheck(L, milliseconds >= -1 && milliseconds <= INT_MAX, 1,
                  "must be milliseconds, or -1 to wait as long as it takes");
    lua_pushboolean(L, session_settle((int)milliseconds));
    return 1;
}

static int settler_gc(lua_State *L)
{
    (void)L;
    session_settle(-1);
    return 0;
}

static int l_tostring(lua_State *L)
{
    void **holder = luaL_checkudata(L, 1, MODEL_TYPE);
    if (*holder)
        lua_pushfstring(L, "aigc model (%s)", session_path(*holder));
    else
        lua_pushliteral(L, "aigc model (closed)");
    return 1;
}

/* ---- description -------------------------------------------------------------------------------------------- */

static int l_state(lua_State *L)
{
    lua_pushstring(L, session_state(check_model(L)));
    return 1;
}

static int l_info(lua_State *L)
{
    session *s = check_model(L);
    aigc_model *model;
    aigc_error err;
    if (session_model(s, &model, &err) != AIGC_OK)
        return push_error(L, &err);
    push_model_info(L, session_path(s), aigc_model_describe(model), session_idle_engine(s));
    return 1;
}

static int l_check(lua_State *L)
{
    session *s = check_model(L);
    aigc_model *model;
    aigc_error err;
    if (session_model(s, &model, &err) != AIGC_OK || aigc_model_check(model, &err) != AIGC_OK)
        return push_error(L, &err);
    lua_pushboolean(L, true);
    return 1;
}

static int l_load(lua_State *L)
{
    session *s = check_model(L);
    aigc_model *model;
    aigc_engine *engine;
    aigc_error err;
    if (session_enter(s, &model, &engine, &err) != AIGC_OK)
        return push_error(L, &err);
    session_leave(s);
    lua_pushboolean(L, true);
    return 1;
}

/* ---- text --------------------------------------------------------------------------------------------------- */

static int l_tokenize(lua_State *L)
{
    size_t len, n;
    check_model(L);
    const char *text = luaL_checklstring(L, 2, &len);
    unsigned flags = options_read_text_flags(L, 3, AIGC_TEXT_ADD_SPECIAL | AIGC_TEXT_PARSE_SPECIAL);
    void **holder = push_holder(L, MEMORY_TYPE);
    aigc_model *model;
    aigc_error err;
    int32_t *tokens;
    if (session_model(check_model(L), &model, &err) != AIGC_OK ||
        aigc_tokenize(model, text, len, flags, &tokens, &n, &err) != AIGC_OK)
        return push_error(L, &err);
    *holder = tokens;
    push_ids(L, tokens, n);
    return 1;
}

static int l_detokenize(lua_State *L)
{
    size_t len;
    check_model(L);
    unsigned flags = options_read_text_flags(L, 3, AIGC_TEXT_PLAIN);
    void **job_holder;
    job *j = push_job(L, &job_holder); /* holds the ids */
    j->spec.tokens = options_read_tokens(L, 2, "the argument", &j->spec.options.n_tokens);
    void **holder = push_holder(L, MEMORY_TYPE);
    aigc_model *model;
    aigc_error err;
    char *text;
    if (session_model(check_model(L), &model, &err) != AIGC_OK ||
        aigc_detokenize(model, j->spec.tokens, j->spec.options.n_tokens, flags, &text, &len, &err) != AIGC_OK)
        return push_error(L, &err);
    *holder = text;
    lua_pushlstring(L, text, len);
    return 1;
}

/* ---- requests that are waited for --------------------------------------------------------------------------- */

/* A request that runs on this thread, and the callback that hears of its pieces. */
typedef struct blocking_call {
    lua_State *L;
    int callback;   /* stack index of a function or nil */
    int trampoline; /* stack index of call_back */
    bool raised;    /* the callback raised; the error is on top of the stack */
} blocking_call;

/* (callback, piece) -> what the callback says */
static int call_back(lua_State *L)
{
    const aigc_piece *piece = lua_touserdata(L, 2);
    lua_settop(L, 1);
    lua_pushlstring(L, piece->text, piece->text_len);
    lua_pushinteger(L, piece->alternative + 1);
    lua_call(L, 2, 1);
    return 1;
}

/* No Lua error may pass through the frames that run the request: it is kept on the stack until they have returned. */
static bool on_piece(void *context, const aigc_piece *piece)
{
    blocking_call *call = context;
    lua_State *L = call->L;
    if (lua_isnil(L, call->callback))
        return true;
    lua_pushvalue(L, call->trampoline);
    lua_pushvalue(L, call->callback);
    lua_pushlightuserdata(L, (void *)piece);
    call->raised = lua_pcall(L, 2, 1, 0) != 0;
    if (call->raised)
        return false;
    bool wants_more = lua_isnil(L, -1) || lua_toboolean(L, -1);
    lua_pop(L, 1);
    return wants_more;
}

/* Runs j on this thread; the callback, or nil, is on top of the stack. False: the error is in *err. */
static bool run_blocking(lua_State *L, job *j, aigc_error *err)
{
    aigc_model *model;
    aigc_engine *engine;
    blocking_call call = {.L = L, .callback = lua_gettop(L), .trampoline = lua_gettop(L) + 1};
    luaL_checkstack(L, LUA_MINSTACK, "too many values on the stack");
    lua_pushcfunction(L, call_back);
    session *s = check_model(L); /* last: garbage that was collected may have closed it */
    if (session_enter(s, &model, &engine, err) != AIGC_OK)
        return false;
    session_use_layer(s, j);
    job_run(j, model, engine, session_interrupt(s), on_piece, &call);
    session_leave(s);
    if (call.raised)
        lua_error(L);
    *err = j->error;
    return j->status == AIGC_OK;
}

/* model:generate(prompt, options) or model:generate{prompt = ...} -> text, outcome */
static int l_generate(lua_State *L)
{
    void **holder;
    aigc_error err;
    check_model(L);
    job *j = push_request(L, &holder);
    options_push_on_piece(L, lua_type(L, 2) == LUA_TTABLE ? 2 : 3);
    if (!run_blocking(L, j, &err))
        return push_error(L, &err);
    push_best_text(L, j);
    push_outcome(L, j);
    return 2;
}

/* model:score(text, options) -> table */
static int l_score(lua_State *L)
{
    size_t len;
    check_model(L);
    luaL_checklstring(L, 2, &len);
    unsigned flags = options_read_text_flags(L, 3, AIGC_TEXT_ADD_SPECIAL | AIGC_TEXT_PARSE_SPECIAL);
    void **holder;
    aigc_error err;
    job *j = push_job(L, &holder);
    options_read_prompt(L, 2, j);
    j->spec.options.text_flags = flags;
    j->spec.options.max_tokens = 0;
    j->spec.options.prompt_logprobs = true;
    if (!job_prepare(j))
        return luaL_error(L, "out of memory: no room for a request");
    lua_pushnil(L);
    if (!run_blocking(L, j, &err))
        return push_error(L, &err);
    push_score(L, j, len);
    return 1;
}

/* ---- requests for the worker -------------------------------------------------------------------------------- */

/* model:submit(options) -> id */
static int l_submit(lua_State *L)
{
    void **holder;
    aigc_error err;
    check_model(L);
    job *j = push_request(L, &holder);
    options_push_on_piece(L, lua_type(L, 2) == LUA_TTABLE ? 2 : 3);
    if (!lua_isnil(L, -1))
        return luaL_error(L, "option 'on_piece' is for generate(): the events of a submitted request come from take()");
    session *s = check_model(L); /* last: garbage that was collected may have closed it */
    if (session_submit(s, j, &err) != AIGC_OK)
        return push_error(L, &err);
    *holder = NULL; /* the session's from here */
    lua_pushinteger(L, (lua_Integer)j->id);
    return 1;
}

/* ---- the personal layer ------------------------------------------------------------------------------------- */

static int push_ordered(lua_State *L, order *o)
{
    aigc_error err;
    session *s = check_model(L);
    if (!o)
        return luaL_error(L, "out of memory: no room for a text to learn");
    if (session_order(s, o, &err) != AIGC_OK)
        return push_error(L, &err);
    lua_pushboolean(L, true);
    return 1;
}

static int order_text(lua_State *L, order_kind kind)
{
    size_t len;
    const char *text;
    check_model(L);
    text = luaL_checklstring(L, 2, &len);
    const char *layer = luaL_optstring(L, 3, "personal");
    luaL_argcheck(L, strcmp(layer, "personal") == 0 || strcmp(layer, "documents") == 0, 3,
                  "must be 'personal' or 'documents'");
    order *o = order_new(kind, text, len);
    if (o)
        o->documents = *layer == 'd';
    return push_ordered(L, o);
}

/* model:learn(text [, 'personal' or 'documents']) -> true; so the next two */
static int l_learn(lua_State *L)
{
    return order_text(L, ORDER_LEARN);
}

static int l_unlearn(lua_State *L)
{
    return order_text(L, ORDER_UNLEARN);
}

/* model:forget() is for everything that is personal */
static int l_forget(lua_State *L)
{
    if (!lua_isnoneornil(L, 2))
        return order_text(L, ORDER_FORGET);
    check_model(L);
    return push_ordered(L, order_new(ORDER_CLEAR, NULL, 0));
}

/* model:save() -> true: the layer is written soon, if it has changed */
static int l_save(lua_State *L)
{
    check_model(L);
    return push_ordered(L, order_new(ORDER_SAVE, NULL, 0));
}

/* model:feedback(shown, bytes taken, whether the rest was rejected) -> true */
static int l_feedback(lua_State *L)
{
    size_t len;
    check_model(L);
    const char *shown = luaL_checklstring(L, 2, &len);
    double taken = luaL_checknumber(L, 3);
    luaL_argcheck(L, taken >= 0 && taken <= (double)len, 3, "must be a number of bytes of the text");
    order *o = order_new(ORDER_FEEDBACK, shown, len);
    if (o) {
        o->n_taken = (size_t)taken;
        o->rejected = lua_toboolean(L, 4);
    }
    return push_ordered(L, o);
}

static size_t check_phrases(lua_State *L)
{
    double n = luaL_optnumber(L, 2, 0);
    luaL_argcheck(L, n >= 0 && n <= 1000, 2, "must be from 0 to 1000");
    return (size_t)n;
}

static int push_looked(lua_State *L, const memory_view *view)
{
    if (view->error.code != AIGC_OK)
        return push_error(L, &view->error);
    push_view(L, view);
    return 1;
}

/* model:memory(n) -> what the layer knows, with its n most frequent phrases */
static int l_memory(lua_State *L)
{
    session *s = check_model(L);
    size_t n = check_phrases(L);
    void **holder = push_holder(L, VIEW_TYPE);
    memory_view *view = *holder = memory_view_new(n);
    aigc_error err;
    if (!view)
        return luaL_error(L, "out of memory: no room for %d phrases", (int)n);
    if (session_memory(s, view, &err) != AIGC_OK)
        return push_error(L, &err);
    return push_looked(L, view);
}

/* model:look(n) -> true; model:looked() -> the same, once the worker has looked */
static int l_look(lua_State *L)
{
    aigc_error err;
    session *s = check_model(L);
    if (session_look(s, check_phrases(L), &err) != AIGC_OK)
        return push_error(L, &err);
    lua_pushboolean(L, true);
    return 1;
}

static int l_looked(lua_State *L)
{
    session *s = check_model(L);
    void **holder = push_holder(L, VIEW_TYPE);
    memory_view *view = *holder = session_looked(s);
    if (view)
        return push_looked(L, view);
    lua_pushnil(L);
    lua_pushliteral(L, "nobody has looked since");
    lua_pushliteral(L, "limit");
    return 3;
}

/* model:take() -> { event, ... } */
static int l_take(lua_State *L)
{
    session *s = check_model(L);
    bool finished;
    int n = 0;
    session_take(s);
    lua_newtable(L);
    for (job *j; (j = session_next(s, &finished)) != NULL;)
        n = push_events(L, j, finished, n);
    return 1;
}

/* model:cancel(id), or model:cancel() for whichever there is -> whether there was one */
static int l_cancel(lua_State *L)
{
    session *s = check_model(L);
    long long id = 0;
    if (!lua_isnoneornil(L, 2)) {
        id = (long long)luaL_checknumber(L, 2);
        luaL_argcheck(L, id > 0, 2, "must be what submit() returned");
    }
    lua_pushboolean(L, session_cancel(s, id));
    return 1;
}

static int l_fd(lua_State *L)
{
    lua_pushinteger(L, session_fd(check_model(L)));
    return 1;
}

/* model:wait(milliseconds) -> whether take() has something; without an argument as long as it takes */
static int l_wait(lua_State *L)
{
    session *s = check_model(L);
    double ms = luaL_optnumber(L, 2, -1);
    luaL_argcheck(L, ms >= -1 && ms <= INT_MAX, 2, "must be milliseconds, or -1 to wait as long as it takes");
    lua_pushboolean(L, session_wait(s, (int)ms));
    return 1;
}

/* ---- metatables --------------------------------------------------------------------------------------------- */

static void register_holder(lua_State *L, const char *type, lua_CFunction gc)
{
    luaL_newmetatable(L, type);
    lua_pushcfunction(L, gc);
    lua_setfield(L, -2, "__gc");
    lua_pushstring(L, type); /* what getmetatable() shows; __gc is not for callers */
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}

void model_register(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"close", l_close},       {"discard", l_discard}, {"state", l_state},       {"info", l_info},
        {"check", l_check},       {"load", l_load},       {"tokenize", l_tokenize}, {"detokenize", l_detokenize},
        {"generate", l_generate}, {"score", l_score},     {"submit", l_submit},     {"learn", l_learn},
        {"unlearn", l_unlearn},   {"forget", l_forget},   {"save", l_save},         {"feedback", l_feedback},
        {"memory", l_memory},     {"look", l_look},       {"looked", l_looked},     {"take", l_take},
        {"cancel", l_cancel},     {"fd", l_fd},           {"wait", l_wait},         {NULL, NULL},
    };
    register_holder(L, JOB_TYPE, job_gc);
    register_holder(L, MEMORY_TYPE, memory_gc);
    register_holder(L, MODEL_TYPE, l_close);
    register_holder(L, VIEW_TYPE, view_gc);
    register_holder(L, SETTLER_TYPE, settler_gc);
    push_holder(L, SETTLER_TYPE);
    lua_setfield(L, LUA_REGISTRYINDEX, "aigc.core.settled at the end"); /* of the state, which collects it then */
    luaL_getmetatable(L, MODEL_TYPE);
    lua_pushcfunction(L, l_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pushcfunction(L, l_close); /* Lua 5.4: local model <close> = ... */
    lua_setfield(L, -2, "__close");
    lua_newtable(L);
    compat_setfuncs(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}
