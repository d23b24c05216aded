/*
 * pretokenize.h: the words that byte-level BPE merges within. Used by bpe.c.
 *
 * Each row stands for the regular expression that a vocabulary was trained with, named as in tokenizer.ggml.pre. The
 * expressions are matched by hand: in linear time and with the classes of unicode.h.
 */
#ifndef AIGC_TEXT_PRETOKENIZE_H
#define AIGC_TEXT_PRETOKENIZE_H

#include <stdbool.h>
#include <stddef.h>

typedef struct pretokenizer pretokenizer;

struct pretokenizer {
    const char *names; /* of tokenizer.ggml.pre, set apart by spaces */
    /* End of the word that begins at pos < len, in valid UTF-8. */
    size_t (*next)(const pretokenizer *p, const char *text, size_t pos, size_t len);
    int max_digits;     /* most digits of a word; 0: any number. GPT-2's form: 1 sets each digit apart */
    bool ignore_merges; /* a word that is a token is that token, whatever the merges say */
    bool add_bos;       /* unless tokenizer.ggml.add_bos_token says otherwise */
};

/* The row that has this name (not NUL-terminated), or NULL. */
const pretokenizer *pretokenizer_find(const char *name, size_t len);

#endif
