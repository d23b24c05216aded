/*
 * spm.h: SentencePiece's BPE (Kudo and Richardson, 2018): spaces become U+2581, and neighbouring symbols are merged
 * when they make a token, the highest score first. Characters without a token become their bytes' tokens ("<0x0A>").
 * Used by tokenizer.c.
 */
#ifndef AIGC_TEXT_SPM_H
#define AIGC_TEXT_SPM_H

#include "text/encoder.h"
#include "text/vocab.h"

typedef struct spm spm;

/* Reads tokenizer.ggml.scores. v must live as long. */
aigc_status spm_open(const gguf_file *file, const vocab *v, spm **out, aigc_error *err);
void spm_close(spm *s);

/* Appends the tokens of text[0..len), valid UTF-8 without special tokens, as if a space stood before it if
 * `add_space`. Characters that have neither a token nor byte tokens become `unknown`, a run of them one, or
 * nothing if that is -1. False if memory is out, a word too long or the encoder stopped. */
bool spm_encode(const spm *s, const char *text, size_t len, bool add_space, int32_t unknown, encoder *e);

/* The byte that a byte token's text ("<0x0A>") stands for, or -1. */
int spm_byte(const char *text, size_t len);

/* A normal token's text with U+2581 as spaces; out holds text's length. Returns its length. */
size_t spm_bytes(const char *text, size_t len, char *out);

#endif
