/* aigc.c: what the public header offers beside models and engines: versions and text. */
#include "aigc.h"

#include <stdlib.h>

#include "base/cpu.h"
#include "model/model.h"
#include "tensor/kernels.h"

const char *aigc_version(void)
{
    return AIGC_VERSION;
}

const char *aigc_cpu_level_name(void)
{
    return kernels_best()->name;
}

int aigc_cpu_count(void)
{
    return cpu_count();
}

static aigc_status need_tokenizer(const aigc_model *model, aigc_error *err)
{
    if (model->tokens == NULL)
        return aigc_fail(err, AIGC_E_ARGUMENT, "%s was opened without its tokenizer", gguf_path(model->file));
    return AIGC_OK;
}

void aigc_model_set_interrupt(aigc_model *model, const volatile sig_atomic_t *flag)
{
    if (model->tokens != NULL)
        tokenizer_set_interrupt(model->tokens, flag);
}

aigc_status aigc_tokenize(const aigc_model *model, const char *text, size_t len, unsigned flags, int32_t **tokens,
                          size_t *n_tokens, aigc_error *err)
{
    aigc_status status = need_tokenizer(model, err);
    return status != AIGC_OK ? status : tokenizer_encode(model->tokens, text, len, flags, tokens, n_tokens, err);
}

aigc_status aigc_detokenize(const aigc_model *model, const int32_t *tokens, size_t n_tokens, unsigned flags,
                            char **text, size_t *len, aigc_error *err)
{
    aigc_status status = need_tokenizer(model, err);
    return status != AIGC_OK ? status : tokenizer_decode(model->tokens, tokens, n_tokens, flags, text, len, err);
}

void aigc_free(void *p)
{
    free(p);
}
