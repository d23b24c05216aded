/*
 * synthetic.h: model files with random weights and real shapes, for tests and measurements.
 *
 * build/make-model (make_model.c) writes them for bench/run, for the golden values of tests/reference/ and for other
 * engines; unit tests write small ones into a temporary directory. The same shape, type and seed give the same bytes
 * on every machine: weights are sums of integers times a constant, no function of libm is involved.
 */
#ifndef AIGC_TESTS_SYNTHETIC_H
#define AIGC_TESTS_SYNTHETIC_H

#include "format/gguf.h"

typedef enum synthetic_vocabulary {
    VOCABULARY_GPT2,       /* GPT-2's own 50257 tokens, from the data directory */
    VOCABULARY_GPT2_GROWN, /* the same with more merges, as many words as n_vocab asks for less 1/500 of padding */
    VOCABULARY_LLAMA,      /* Llama's 32000 SentencePiece tokens, from the data directory */
    VOCABULARY_BYTES_BPE,  /* GPT-2's 256 byte tokens, padded: needs no file */
    VOCABULARY_BYTES_SPM,  /* SentencePiece's 256 byte tokens and some letters, padded: needs no file */
} synthetic_vocabulary;

typedef struct synthetic_shape {
    const char *name;
    const char *architecture; /* "gpt2", "llama" or "qwen2" */
    int n_layers, n_embd, n_heads, n_kv_heads, n_ff, n_context, n_vocab;
    float rope_base; /* 0 for gpt2 */
    bool tied;       /* no output.weight: the token embedding is the output matrix */
    synthetic_vocabulary vocabulary;
} synthetic_shape;

/* The shape of that name, or NULL. synthetic_shape_at() walks the table; NULL at its end. */
const synthetic_shape *synthetic_find(const char *name);
const synthetic_shape *synthetic_shape_at(int i);

/* F32, F16, BF16, Q8_0, Q4_0, Q4_K or Q6_K by name; false for others. */
bool synthetic_type(const char *name, tensor_type *type);

typedef struct synthetic_options {
    const synthetic_shape *shape;
    tensor_type type; /* of the matrices; vectors and learned positions are F32 */
    uint64_t seed;
    const char *data_dir; /* holds tokenizers/ggml-vocab-*.gguf; NULL: byte tokens instead of a real vocabulary */
    int n_threads;
    bool advice; /* general.sampling.* and a chat template, too */
} synthetic_options;

/* Writes the file (under a temporary name until it is complete). */
aigc_status synthetic_write(const synthetic_options *options, const char *path, aigc_error *err);

/* vocabulary.c: sets the tokenizer.ggml.* values. */
aigc_status synthetic_set_vocabulary(gguf_writer *w, synthetic_vocabulary kind, int n_vocab, const char *data_dir,
                                     aigc_error *err);

#endif
