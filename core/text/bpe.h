/*
 * bpe.h: GPT-2's byte-level BPE (Radford et al., 2019): text is cut into words, each byte of a word is written as one
 * printable character, and characters are merged in the order of tokenizer.ggml.merges. Used by tokenizer.c.
 */
#ifndef AIGC_TEXT_BPE_H
#define AIGC_TEXT_BPE_H

#include "text/encoder.h"
#include "text/pretokenize.h"
#include "text/vocab.h"

typedef struct bpe bpe;

/* Reads tokenizer.ggml.pre and merges. v must live as long. */
aigc_status bpe_open(const gguf_file *file, const vocab *v, bpe **out, aigc_error *err);
void bpe_close(bpe *b);

const pretokenizer *bpe_pretokenizer(const bpe *b);

/* Appends the tokens of text[0..len), valid UTF-8 without special tokens. Bytes that the vocabulary has no token for
 * are left out, as Hugging Face's tokenizers and llama.cpp do: what such files call their unknown token ends documents.
 * False if memory is out, a word too long or the encoder stopped. */
bool bpe_encode(const bpe *b, const char *text, size_t len, encoder *e);

/* The character (UTF-8, 1 or 2 bytes; out holds 2) that stands for a byte in tokens and merges. Returns its length. */
int bpe_symbol(unsigned char byte, char out[2]);

/* The bytes that a normal token's text stands for; as it is if it is not in the form of byte-level BPE. out holds
 * text's length. Returns how many. */
size_t bpe_bytes(const char *text, size_t len, char *out);

#endif
