/*
 * tokens.c: the texts of a run as their tokens, in a GGUF file: what another trainer (tools/pretrain.py) needs to read
 * the same windows in the same order.
 *
 * Tensors: train and valid (I32, the rows of corpus.h; one that is empty is left out) and parts (F64, pairs of begin
 * and weight, only where a weight is not 1). Metadata: tokens.bos and tokens.eos, -1 where documents are not set apart
 * by it.
 */
#include "learn/trainer.h"

static const char *const names[] = {"train", "valid"};

static void describe(const aigc_trainer *t, gguf_writer *w)
{
    const corpus *train = &t->text[AIGC_TEXT_TRAIN];
    gguf_writer_set_i32(w, "tokens.bos", train->bos);
    gguf_writer_set_i32(w, "tokens.eos", train->eos);
    for (int kind = 0; kind < 2; kind++) {
        uint64_t n = t->text[kind].n;
        if (n > 0)
            gguf_writer_add_tensor(w, names[kind], TYPE_I32, 1, &n);
    }
    uint64_t dims[2] = {2, train->n_parts};
    if (train->n_parts > 0)
        gguf_writer_add_tensor(w, "parts", TYPE_F64, 2, dims);
}

static aigc_status write_data(const aigc_trainer *t, gguf_writer *w, aigc_error *err)
{
    const corpus *train = &t->text[AIGC_TEXT_TRAIN];
    aigc_status status = AIGC_OK;
    for (int kind = 0; kind < 2 && status == AIGC_OK; kind++)
        if (t->text[kind].n > 0)
            status = gguf_writer_data(w, t->text[kind].ids, t->text[kind].n * sizeof *t->text[kind].ids, err);
    for (size_t i = 0; i < train->n_parts && status == AIGC_OK; i++) {
        const double pair[2] = {(double)train->parts[i].begin, train->parts[i].weight};
        status = gguf_writer_data(w, pair, sizeof pair, err);
    }
    return status;
}

aigc_status aigc_trainer_write_tokens(const aigc_trainer *t, const char *path, aigc_error *err)
{
    gguf_writer *w;
    if (t->text[AIGC_TEXT_TRAIN].n == 0)
        return aigc_fail(err, AIGC_E_ARGUMENT, "there is no plain text to write the tokens of");
    aigc_status status = gguf_writer_create(&w, err);
    if (status != AIGC_OK)
        return status;
    describe(t, w);
    status = gguf_writer_begin(w, path, err);
    if (status == AIGC_OK)
        status = write_data(t, w, err);
    if (status != AIGC_OK) {
        gguf_writer_abandon(w);
        return status;
    }
    return gguf_writer_finish(w, err);
}
