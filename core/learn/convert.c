/* convert.c: a model with its weights in another type. The interface is in aigc.h. */
#include "learn/rewrite.h"

static bool never(void *context, const gguf_tensor *t)
{
    (void)context;
    (void)t;
    return false;
}

aigc_status aigc_quantize(const char *from_path, const char *type, const char *name, const char *path,
                          const volatile sig_atomic_t *interrupt, aigc_error *err)
{
    gguf_file *from;
    aigc_status status = gguf_open(from_path, &from, err);
    if (status != AIGC_OK)
        return status;
    rewrite r = {.wanted = never, .type = type, .name = name, .interrupt = interrupt};
    status = rewrite_model(from, &r, path, err);
    gguf_close(from);
    return status;
}
