/*
 * words.h: the terms of a text: words, tags and values of attributes, as the content part of a model knows them.
 *
 * A word is a run of letters and digits, in lower case, English plurals in the singular (Harman's S stemmer, 1991).
 * Scripts without spaces (Chinese, Japanese, Thai and their neighbours) give pairs of neighbouring characters, and
 * single characters where one stands alone. Terms of the three kinds never meet: tags begin with a byte 1, values of
 * attributes with a byte 2.
 */
#ifndef AIGC_RECOMMEND_WORDS_H
#define AIGC_RECOMMEND_WORDS_H

#include "aigc.h"

enum { TERM_MAX_BYTES = 96, TERM_TAG = 1, TERM_VALUE = 2 };

typedef struct word_reader {
    const char *text; /* valid UTF-8 */
    size_t len, at;
    bool in_run; /* of characters that are read in pairs */
    char term[TERM_MAX_BYTES + 8];
    size_t term_len;
} word_reader;

/* The next word of the text into r->term; false at its end. Begin with text and len set, the rest zero. */
bool word_next(word_reader *r);

/* A whole tag, or a value of an attribute, as a term: lower case, white space as one space, cut at TERM_MAX_BYTES.
 * out holds TERM_MAX_BYTES + 8. Returns its length, 0 if nothing is left of it. */
size_t word_tag(aigc_string tag, char *out);
size_t word_value(aigc_string attribute, aigc_string value, char *out);

/* Whether a word (as word_next() gives it) is one of those that English sentences are held together with: "the", "of".
 */
bool word_is_function(const char *term, size_t len);

/* Whether the bytes are UTF-8. */
bool word_is_text(aigc_string s);

#endif
