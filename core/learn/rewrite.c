/* rewrite.c: see rewrite.h. */
#include "learn/rewrite.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* Types that can be written, with llama.cpp's number for files of them (general.file_type). */
static const struct {
    tensor_type type;
    uint32_t file_type;
} writable[] = {{TYPE_F32, 0},  {TYPE_F16, 1},   {TYPE_BF16, 32}, {TYPE_Q8_0, 7},
                {TYPE_Q4_0, 2}, {TYPE_Q4_K, 14}, {TYPE_Q6_K, 18}};

enum { N_WRITABLE = sizeof writable / sizeof writable[0] };

aigc_status rewrite_find_type(const char *name, tensor_type *type, aigc_error *err)
{
    for (int i = 0; i < N_WRITABLE; i++)
        if (strcmp(tensor_type_describe(writable[i].type)->name, name) == 0) {
            *type = writable[i].type;
            return AIGC_OK;
        }
    return aigc_fail(err, AIGC_E_ARGUMENT, "weights can't be written as '%s' (F32, F16, BF16, Q8_0, Q4_0, Q4_K, Q6_K)",
                     name);
}

tensor_type rewrite_fitting_type(tensor_type type, size_t k)
{
    const tensor_type tried[] = {type, TYPE_Q8_0};
    for (int i = 0; i < 2; i++)
        if (k % (size_t)tensor_type_describe(tried[i])->block_elements == 0)
            return tried[i];
    return TYPE_F16;
}

void rewrite_add_product(float scale, const float *b, const float *a, size_t rank, size_t k, float *values)
{
    for (size_t r = 0; r < rank; r++) {
        float factor = scale * b[r];
        for (size_t i = 0; i < k; i++)
            values[i] += factor * a[r * k + i];
    }
}

/* Matrices change their type; vectors, learned positions and what is no weight of a product keep theirs. */
static tensor_type type_of(const gguf_tensor *t, const tensor_type *asked)
{
    if (asked == NULL || t->n_dims != 2 || !tensor_type_describe(t->type)->runnable ||
        strcmp(t->name, "position_embd.weight") == 0)
        return t->type;
    return rewrite_fitting_type(*asked, t->dims[0]);
}

static aigc_status write_rows(gguf_writer *w, const gguf_tensor *t, tensor_type type, const rewrite *r, bool changes,
                              aigc_error *err)
{
    size_t k = t->dims[0], n_rows = t->n_elements / t->dims[0];
    size_t from = tensor_row_bytes(t->type, k), to = tensor_row_bytes(type, k);
    float *values = aigc_calloc(k, sizeof *values);
    unsigned char *row = aigc_calloc(to, 1);
    aigc_status status = values != NULL && row != NULL ? AIGC_OK : aigc_fail_memory(err, t->name, to);
    for (size_t i = 0; i < n_rows && status == AIGC_OK; i++) {
        tensor_row_to_float(t->type, (const unsigned char *)t->data + i * from, values, k);
        if (changes)
            r->row(r->context, t, i, values);
        if (!tensor_row_from_float(type, values, row, k))
            status = aigc_fail(err, AIGC_E_UNSUPPORTED, "%s can't be written as %s", t->name,
                               tensor_type_describe(type)->name);
        else
            status = gguf_writer_data(w, row, to, err);
    }
    free(values);
    free(row);
    return status;
}

static aigc_status write_tensors(gguf_writer *w, const gguf_file *base, const rewrite *r, const tensor_type *asked,
                                 aigc_error *err)
{
    aigc_status status = AIGC_OK;
    for (uint64_t i = 0; i < gguf_n_tensors(base) && status == AIGC_OK; i++) {
        const gguf_tensor *t = gguf_tensor_at(base, i);
        tensor_type type = type_of(t, asked);
        bool changes = r->wanted(r->context, t);
        if (!changes && type == t->type)
            status = gguf_writer_data(w, t->data, t->bytes, err);
        else
            status = write_rows(w, t, type, r, changes, err);
    }
    return status;
}

static void set_metadata(gguf_writer *w, const gguf_file *base, const rewrite *r, const tensor_type *asked)
{
    for (int i = 0; asked != NULL && i < N_WRITABLE; i++)
        if (writable[i].type == *asked)
            gguf_writer_set_u32(w, "general.file_type", writable[i].file_type);
    if (r->name != NULL)
        gguf_writer_set_string(w, "general.name", r->name, strlen(r->name));
    layout_write_notes(w, r->notes, r->n_notes);
    if (r->context_key != NULL)
        gguf_writer_set_u32(w, r->context_key, r->n_context);
    gguf_writer_copy_values(w, base);
}

aigc_status rewrite_model(const gguf_file *base, const rewrite *r, const char *path, aigc_error *err)
{
    gguf_writer *w;
    tensor_type type, *asked = r->type != NULL ? &type : NULL;
    aigc_status status = AIGC_OK;
    if (asked != NULL && (status = rewrite_find_type(r->type, asked, err)) != AIGC_OK)
        return status;
    if ((status = gguf_writer_create(&w, err)) != AIGC_OK)
        return status;
    set_metadata(w, base, r, asked);
    for (uint64_t i = 0; i < gguf_n_tensors(base); i++) {
        const gguf_tensor *t = gguf_tensor_at(base, i);
        gguf_writer_add_tensor(w, t->name, type_of(t, asked), t->n_dims, t->dims);
    }
    status = gguf_writer_begin(w, path, err);
    gguf_writer_set_interrupt(w, r->interrupt);
    if (status == AIGC_OK)
        status = write_tensors(w, base, r, asked, err);
    if (status != AIGC_OK) {
        gguf_writer_abandon(w);
        return status;
    }
    return gguf_writer_finish(w, err);
}
