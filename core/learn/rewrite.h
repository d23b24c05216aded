/*
 * rewrite.h: a model file made from another: the same metadata and tensors, some of them with other values or of
 * another type. Row after row, so that a model of any size takes the memory of one row. Called by trainer.c (what
 * fine-tuning made of a base) and merge.c.
 */
#ifndef AIGC_LEARN_REWRITE_H
#define AIGC_LEARN_REWRITE_H

#include "learn/layout.h"

/* Changes one row of a tensor's values; leaves it alone where there is nothing to change. */
typedef void rewrite_row(void *context, const gguf_tensor *t, size_t row, float *values);
/* Whether rewrite_row has something to say about the tensor, whose rows come next; what it does not is copied byte by
 * byte. */
typedef bool rewrite_wanted(void *context, const gguf_tensor *t);

typedef struct rewrite {
    rewrite_wanted *wanted;
    rewrite_row *row;
    void *context;
    const char *type;        /* of the matrices; NULL: that which each has. see rewrite_fitting_type() */
    const char *name;        /* general.name; NULL: that of the base */
    const model_note *notes; /* metadata that replaces the base's */
    size_t n_notes;
    const char *context_key; /* NULL: the context is the base's */
    uint32_t n_context;
    const volatile sig_atomic_t *interrupt; /* ends it with AIGC_INTERRUPTED; may be NULL */
} rewrite;

/* Errors: AIGC_E_ARGUMENT for a type that can't be written. */
aigc_status rewrite_model(const gguf_file *base, const rewrite *r, const char *path, aigc_error *err);

/* values [k] += scale * b [rank] times a [rank][k] */
void rewrite_add_product(float scale, const float *b, const float *a, size_t rank, size_t k, float *values);

/* The type, or where rows of k are not whole blocks of it Q8_0, or else F16. */
tensor_type rewrite_fitting_type(tensor_type type, size_t k);

/* A type that weights can be written as, by its name. */
aigc_status rewrite_find_type(const char *name, tensor_type *type, aigc_error *err);

#endif
