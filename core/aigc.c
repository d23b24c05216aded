/* aigc.c: what the public header offers beside models and engines: versions and text. */
#include "aigc.h"

#include <stdlib.h>

#include "base/cpu.h"
#include "base/memory.h"
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

static aigc_status need_tokenizer(const aigc_model *model, aigc_error *err)
{
    if (model->tokens == NULL)
        return aigc_fail(err, AIGC_E_ARGUMENT, "%s was opened without its tokenizer", gguf_path(model->file));
    return AIGC_OK;
}

aigc_status aigc_tokenize(const aigc_model *model, const char *text, size_t len, unsigned flags, int32_t **tokens,
                          size_t *n_tokens, aigc_error *err)
{
    aigc_status status = need_tokenizer(model, err);
    return status != AIGC_OK ? status : tokenizer_encode(model->tokens, text, len, flags, tokens, n_tokens, err);
}

/* The bytes of all tokens one after the other, not yet checked to be UTF-8. */
static aigc_status join_pieces(const tokenizer *t, const int32_t *tokens, size_t n, unsigned flags, char **out,
                               size_t *len, aigc_error *err)
{
    size_t capacity = 64 + 8 * n, used = 0;
    char *text = malloc(capacity);
    bool first = true;
    for (size_t i = 0; i < n && text != NULL; i++) {
        if (capacity - used < TOKEN_MAX_BYTES) {
            char *grown = realloc(text, capacity = 2 * capacity + TOKEN_MAX_BYTES);
            if (grown == NULL)
                free(text);
            if ((text = grown) == NULL)
                break;
        }
        int size = tokenizer_piece(t, tokens[i], first, flags, text + used);
        if (size < 0) {
            free(text);
            return aigc_fail(err, AIGC_E_TEXT, "token %d is not in the vocabulary of %d", tokens[i],
                             tokenizer_n_vocab(t));
        }
        used += (size_t)size;
        if (tokens[i] != tokenizer_bos(t))
            first = false; /* the text begins after BOS */
    }
    if (text == NULL)
        return aigc_fail_memory(err, "text", capacity);
    *out = text;
    *len = used;
    return AIGC_OK;
}

aigc_status aigc_detokenize(const aigc_model *model, const int32_t *tokens, size_t n_tokens, unsigned flags,
                            char **text, size_t *len, aigc_error *err)
{
    char *bytes = NULL;
    size_t n_bytes = 0;
    aigc_status status = need_tokenizer(model, err);
    if (status == AIGC_OK)
        status = join_pieces(model->tokens, tokens, n_tokens, flags, &bytes, &n_bytes, err);
    if (status != AIGC_OK)
        return status;
    char *repaired = aigc_calloc(n_bytes + 1, 3);
    if (repaired == NULL) {
        free(bytes);
        return aigc_fail_memory(err, "text", 3 * n_bytes);
    }
    *len = utf8_repair(bytes, n_bytes, repaired);
    repaired[*len] = '\0';
    *text = repaired;
    free(bytes);
    return AIGC_OK;
}

void aigc_free(void *p)
{
    free(p);
}
