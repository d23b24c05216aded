/*
 * module.c: what happens when PostgreSQL loads the library: the settings are defined, and nothing else. No file is
 * opened and no thread started, so the library may stand in shared_preload_libraries or session_preload_libraries, or
 * be loaded by the first call.
 */
#include "postgres.h"

#include <limits.h>

#include "aigc_pg.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "training.h"
#include "utils/guc.h"

#ifdef PG_MODULE_MAGIC_EXT
PG_MODULE_MAGIC_EXT(.name = "aigc", .version = AIGC_VERSION);
#else
PG_MODULE_MAGIC;
#endif

#if PG_VERSION_NUM < 150000
#define MarkGUCPrefixReserved(prefix) EmitWarningsOnPlaceholders(prefix)
#endif

char *setting_model;
char *setting_model_directory;
int setting_threads;
int setting_context_size;
int setting_kv_memory;
int setting_kv_type = AIGC_KV_F16;
int setting_max_tokens;
int setting_seed;
int setting_training_memory;

PGDLLEXPORT void _PG_init(void);

/* Refuses what could never be the name of a model. Whether there is such a file is seen when it is used. */
static bool check_model(char **value, void **extra, GucSource source)
{
    const char *why;

    if (model_name_valid(*value, &why))
        return true;
    GUC_check_errdetail("%s", why);
    return false;
}

static bool check_model_directory(char **value, void **extra, GucSource source)
{
    if (!is_absolute_path(*value)) {
        GUC_check_errdetail("The model directory must be an absolute path.");
        return false;
    }
    canonicalize_path(*value);
    return true;
}

/* Where "make install" puts models: beside the extension's script, wherever this server has been moved to. */
static char *default_model_directory(void)
{
    static char path[MAXPGPATH + sizeof "/aigc"];
    char share[MAXPGPATH];

    get_share_path(my_exec_path, share);
    snprintf(path, sizeof path, "%s/aigc", share);
    return path;
}

static void define_model_settings(void)
{
    DefineCustomStringVariable("aigc.model", "Sets the model that functions use when none is named.",
                               "A file name in aigc.model_directory, with or without \".gguf\".", &setting_model,
                               DEFAULT_MODEL, PGC_USERSET, 0, check_model, NULL, NULL);
    DefineCustomStringVariable("aigc.model_directory", "Sets the directory that holds the model files.", NULL,
                               &setting_model_directory, default_model_directory(), PGC_SUSET, GUC_SUPERUSER_ONLY,
                               check_model_directory, NULL, NULL);
}

static const struct config_enum_entry kv_types[] = {
    {"f16", AIGC_KV_F16, false}, {"f32", AIGC_KV_F32, false}, {NULL, 0, false}};

static void define_engine_settings(void)
{
    DefineCustomIntVariable("aigc.threads", "Sets the number of threads that compute.",
                            "The session's own is one of them. 0 means one for each core, at most 8.", &setting_threads,
                            0, 0, 64, PGC_USERSET, 0, NULL, NULL, NULL);
    DefineCustomIntVariable("aigc.context_size", "Sets the longest text, in tokens, that a model works on.",
                            "Prompt and answer together. 0 means what the model states, as far as aigc.kv_memory "
                            "holds it.",
                            &setting_context_size, 0, 0, 1 << 24, PGC_USERSET, 0, NULL, NULL, NULL);
    DefineCustomIntVariable("aigc.kv_memory", "Sets the most memory for keys and values that a model may use.",
                            "For each model that a session has open. Memory is taken as it is used.",
                            &setting_kv_memory, 1024, 1, 1 << 20, PGC_SUSET, GUC_UNIT_MB, NULL, NULL, NULL);
    DefineCustomEnumVariable("aigc.kv_type", "Sets the type of keys and values.",
                             "f32 takes twice the memory of f16 and is nearer to exact arithmetic.", &setting_kv_type,
                             AIGC_KV_F16, kv_types, PGC_USERSET, 0, NULL, NULL, NULL);
}

static void define_sampling_settings(void)
{
    DefineCustomIntVariable("aigc.max_tokens", "Sets the most tokens to generate when a call does not say.", NULL,
                            &setting_max_tokens, 256, 0, INT_MAX, PGC_USERSET, 0, NULL, NULL, NULL);
    DefineCustomIntVariable("aigc.seed", "Sets the seed of random choices when a call does not say.",
                            "The same seed gives the same text. -1 means a new seed for each call.", &setting_seed, -1,
                            -1, INT_MAX, PGC_USERSET, 0, NULL, NULL, NULL);
}

static void define_training_settings(void)
{
    DefineCustomIntVariable("aigc.training_memory", "Sets the most memory that training a model may use.",
                            "What is planned for weights, gradients, activations and text, in the session that trains.",
                            &setting_training_memory, 4096, 1, 1 << 30, PGC_SUSET, GUC_UNIT_MB, NULL, NULL, NULL);
}

void _PG_init(void)
{
    define_model_settings();
    define_engine_settings();
    define_sampling_settings();
    define_training_settings();
    MarkGUCPrefixReserved("aigc");
}
