/*
 * tokenizer.h: text to token ids and back, as the tokenizer in a GGUF file's metadata says.
 *
 * Kinds: GPT-2 byte-level BPE (tokenizer.ggml.model "gpt2", tokens, token_type, merges, tokenizer.ggml.pre) and
 * SentencePiece BPE with byte fallback ("llama": tokens, scores, token_type). Strings stay in the mapped file.
 */
#ifndef AIGC_TEXT_TOKENIZER_H
#define AIGC_TEXT_TOKENIZER_H

#include "format/gguf.h"

typedef struct tokenizer tokenizer;

/* The file must stay open as long as the tokenizer. Errors: AIGC_E_FORMAT, AIGC_E_UNSUPPORTED (names the kind). */
aigc_status tokenizer_open(const gguf_file *file, tokenizer **out, aigc_error *err);
void tokenizer_close(tokenizer *t);

int32_t tokenizer_n_vocab(const tokenizer *t);
int32_t tokenizer_bos(const tokenizer *t); /* -1 if none */
int32_t tokenizer_eos(const tokenizer *t);
bool tokenizer_is_end(const tokenizer *t, int32_t id); /* EOS, EOT and other ends of generation */
bool tokenizer_adds_bos(const tokenizer *t);

/* From now on tokenizer_encode() gives up with AIGC_INTERRUPTED soon after *flag becomes non-zero. NULL, as at first:
 * it never does. Not while another thread encodes. */
void tokenizer_set_interrupt(tokenizer *t, const volatile sig_atomic_t *flag);

/* text is len bytes of UTF-8 (checked). flags: AIGC_TEXT_*; user-defined tokens are found in the text in any case. *ids
 * is malloc'd. Thread-safe. Time is about linear in len. Errors: AIGC_E_TEXT gives the offset; AIGC_E_LIMIT:
 * more than TEXT_MAX_BYTES, or a word of more than 2^24 characters; AIGC_INTERRUPTED. */
aigc_status tokenizer_encode(const tokenizer *t, const char *text, size_t len, unsigned flags, int32_t **ids,
                             size_t *n_ids, aigc_error *err);

/* The bytes of one token: at most TOKEN_MAX_BYTES go to out, returned is their number. Bytes may be part of a UTF-8
 * character. `first` marks the first token of a text (SentencePiece drops its leading space there if the model adds
 * one). Control tokens give nothing unless flags has AIGC_TEXT_RENDER_SPECIAL. Ids out of range give -1. */
enum { TOKEN_MAX_BYTES = 4096, TEXT_MAX_BYTES = 1 << 30 };
int tokenizer_piece(const tokenizer *t, int32_t id, bool first, unsigned flags, char *out);

/* Ids to text: the pieces of all tokens, joined and repaired (utf8_repair). `first` of tokenizer_piece holds up to the
 * first token that is not silent. *text is malloc'd and NUL-terminated. Errors: AIGC_E_TEXT names an id that is not in
 * the vocabulary. */
aigc_status tokenizer_decode(const tokenizer *t, const int32_t *ids, size_t n_ids, unsigned flags, char **text,
                             size_t *len, aigc_error *err);

/* Number of leading bytes of s[0..len) that are complete, valid UTF-8 characters or bytes that can never become part
 * of one; the rest (0 to 3 bytes) is the beginning of a character whose bytes are still coming. Used to stream. */
size_t utf8_complete(const char *s, size_t len);

/* Offset of the first byte that is not valid UTF-8 (overlong forms and surrogates are not), or len. */
size_t utf8_valid(const char *s, size_t len);

/* Copies s to out replacing each invalid sequence by U+FFFD; out holds 3 * len bytes at most. Returns the length. */
size_t utf8_repair(const char *s, size_t len, char *out);

#endif
