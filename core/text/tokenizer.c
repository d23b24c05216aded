/*
 * tokenizer.c: the tokenizer of a GGUF file: its metadata, special tokens, and what both kinds share.
 *
 * Conventions are llama.cpp's, whose files these are: which keys there are and their defaults, the order of matching,
 * and the tokens that are known by their text because files do not mark them.
 */
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/memory.h"
#include "text/bpe.h"
#include "text/special.h"
#include "text/spm.h"

struct tokenizer {
    vocab vocab;
    special_set specials;
    bpe *bpe; /* one of the two */
    spm *spm;
    int32_t bos, eos, unknown; /* -1: none; unknown: SentencePiece alone makes it */
    bool add_bos, add_eos;
    bool add_space;                         /* SentencePiece: a space before the text and after each special token */
    const volatile sig_atomic_t *interrupt; /* stops an encoding; may be NULL */
};

/* ---- opening ------------------------------------------------------------------------------------------------- */

/* Tokens that mean the same in every vocabulary that has them. Files often give them no kind or the wrong one. */
static const struct known_text {
    const char *text;
    uint8_t kind; /* added; TOKEN_USER alone replaces */
} known_texts[] = {
    {"<|endoftext|>", TOKEN_CONTROL | TOKEN_END},
    {"<|end_of_text|>", TOKEN_CONTROL | TOKEN_END},
    {"<|eot_id|>", TOKEN_CONTROL | TOKEN_END},
    {"<|eom_id|>", TOKEN_CONTROL | TOKEN_END},
    {"<|im_end|>", TOKEN_CONTROL | TOKEN_END},
    {"<|end|>", TOKEN_CONTROL | TOKEN_END},
    {"<|return|>", TOKEN_CONTROL | TOKEN_END},
    {"<|call|>", TOKEN_CONTROL | TOKEN_END},
    {"<end_of_turn>", TOKEN_CONTROL | TOKEN_END},
    {"<end_of_utterance>", TOKEN_CONTROL | TOKEN_END},
    {"</s>", TOKEN_CONTROL | TOKEN_END},
    {"<eos>", TOKEN_CONTROL | TOKEN_END},
    {"<EOT>", TOKEN_CONTROL | TOKEN_END},
    {"_<EOT>", TOKEN_CONTROL | TOKEN_END},
    {"[EOT]", TOKEN_CONTROL | TOKEN_END},
    {"[EOS]", TOKEN_CONTROL | TOKEN_END},
    {"<\xef\xbd\x9c"
     "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>",
     TOKEN_CONTROL | TOKEN_END},
    /* fill-in-the-middle: what ends a file or begins another ends generation */
    {"<|fim_pad|>", TOKEN_CONTROL | TOKEN_END},
    {"<|repo_name|>", TOKEN_CONTROL | TOKEN_END},
    {"<|file_sep|>", TOKEN_CONTROL | TOKEN_END},
    {"<|fim_prefix|>", TOKEN_CONTROL},
    {"<|fim_suffix|>", TOKEN_CONTROL},
    {"<|fim_middle|>", TOKEN_CONTROL},
    /* parts of a message in the harmony format, to be shown */
    {"<|start|>", TOKEN_USER},
    {"<|channel|>", TOKEN_USER},
    {"<|message|>", TOKEN_USER},
    {"<|constrain|>", TOKEN_USER},
};

static void mark_known_texts(vocab *v)
{
    for (size_t i = 0; i < sizeof known_texts / sizeof *known_texts; i++) {
        const struct known_text *known = &known_texts[i];
        int32_t id = vocab_find(v, known->text, strlen(known->text));

        if (id >= 0)
            v->tokens[id].kind = known->kind == TOKEN_USER ? TOKEN_USER : v->tokens[id].kind | known->kind;
    }
    /* In the harmony format <|end|> ends a message, <|return|> the answer. */
    if (vocab_find(v, "<|return|>", 10) >= 0 && vocab_find(v, "<|end|>", 7) >= 0)
        v->tokens[vocab_find(v, "<|end|>", 7)].kind = TOKEN_USER;
}

/* Reads a token's id; a file says "none" as -1 in 32 bits. */
static aigc_status read_id(const gguf_file *file, const vocab *v, const char *key, int32_t *id, aigc_error *err)
{
    int64_t value = *id;
    aigc_status status = gguf_get_i64(file, key, false, &value, err);

    if (status != AIGC_OK)
        return status;
    if (value == -1 || value == UINT32_MAX) {
        *id = -1;
        return AIGC_OK;
    }
    if (value < 0 || (value >= v->n && gguf_find(file, key)))
        return aigc_fail(err, AIGC_E_FORMAT, "%s: %s is %lld, but the vocabulary has %d tokens", gguf_path(file), key,
                         (long long)value, v->n);
    *id = value < v->n ? (int32_t)value : -1;
    return AIGC_OK;
}

static aigc_status read_special_ids(const gguf_file *file, tokenizer *t, aigc_error *err)
{
    static const char *const ends[] = {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"};
    aigc_status status = read_id(file, &t->vocab, "tokenizer.ggml.bos_token_id", &t->bos, err);

    if (status == AIGC_OK)
        status = read_id(file, &t->vocab, "tokenizer.ggml.eos_token_id", &t->eos, err);
    if (status == AIGC_OK)
        status = read_id(file, &t->vocab, "tokenizer.ggml.unknown_token_id", &t->unknown, err);
    if (status == AIGC_OK && t->eos >= 0)
        t->vocab.tokens[t->eos].kind |= TOKEN_END;
    for (size_t i = 0; i < sizeof ends / sizeof *ends && status == AIGC_OK; i++) {
        int32_t id = -1;

        status = read_id(file, &t->vocab, ends[i], &id, err);
        if (status == AIGC_OK && id >= 0)
            t->vocab.tokens[id].kind |= TOKEN_END;
    }
    return status;
}

static aigc_status read_switches(const gguf_file *file, tokenizer *t, aigc_error *err)
{
    aigc_status status = gguf_get_bool(file, "tokenizer.ggml.add_bos_token", false, &t->add_bos, err);

    if (status == AIGC_OK)
        status = gguf_get_bool(file, "tokenizer.ggml.add_eos_token", false, &t->add_eos, err);
    if (status == AIGC_OK && t->spm)
        status = gguf_get_bool(file, "tokenizer.ggml.add_space_prefix", false, &t->add_space, err);
    return status;
}

/* Phi-3's special tokens swallow the white space behind them; files tell so by the model's name alone. */
static aigc_status mark_stripping(const gguf_file *file, vocab *v, aigc_error *err)
{
    static const char *const keeps[] = {"<unk>", "<s>", "<|endoftext|>"};
    gguf_string name = {"", 0};
    aigc_status status = gguf_get_string(file, "general.name", false, &name, err);
    bool is_phi3 = false;

    for (size_t i = 0; i + 4 <= name.len && !is_phi3; i++)
        is_phi3 = strncasecmp(name.data + i, "phi3", 4) == 0 ||
                  (i + 5 <= name.len && strncasecmp(name.data + i, "phi-3", 5) == 0);
    if (status != AIGC_OK || !is_phi3)
        return status;
    for (int32_t id = 0; id < v->n; id++)
        if (v->tokens[id].kind & (TOKEN_CONTROL | TOKEN_USER | TOKEN_UNKNOWN))
            v->tokens[id].kind |= TOKEN_STRIPS_SPACE;
    for (size_t i = 0; i < sizeof keeps / sizeof *keeps; i++) {
        int32_t id = vocab_find(v, keeps[i], strlen(keeps[i]));

        if (id >= 0)
            v->tokens[id].kind &= (uint8_t)~TOKEN_STRIPS_SPACE;
    }
    return AIGC_OK;
}

static aigc_status open_kind(const gguf_file *file, tokenizer *t, aigc_error *err)
{
    gguf_string model = {"", 0};
    aigc_status status = gguf_get_string(file, "tokenizer.ggml.model", true, &model, err);

    if (status != AIGC_OK)
        return status;
    if (model.len == 4 && memcmp(model.data, "gpt2", 4) == 0) {
        status = bpe_open(file, &t->vocab, &t->bpe, err);
        if (status == AIGC_OK)
            t->add_bos = bpe_pretokenizer(t->bpe)->add_bos;
        return status;
    }
    if (model.len == 5 && memcmp(model.data, "llama", 5) == 0) {
        t->add_bos = t->add_space = true;
        t->unknown = 0;
        t->bos = 1;
        t->eos = 2;
        return spm_open(file, &t->vocab, &t->spm, err);
    }
    return aigc_fail(err, AIGC_E_UNSUPPORTED,
                     "%s: tokenizer.ggml.model is \"%.*s\"; this version knows \"gpt2\" and \"llama\"", gguf_path(file),
                     (int)(model.len < 100 ? model.len : 100), model.data);
}

static aigc_status open_parts(const gguf_file *file, tokenizer *t, aigc_error *err)
{
    aigc_status status = vocab_open(file, &t->vocab, err);

    if (status != AIGC_OK)
        return status;
    mark_known_texts(&t->vocab);
    status = open_kind(file, t, err);
    if (status == AIGC_OK)
        status = read_special_ids(file, t, err);
    if (status == AIGC_OK)
        status = read_switches(file, t, err);
    if (status == AIGC_OK)
        status = mark_stripping(file, &t->vocab, err);
    if (status == AIGC_OK && !special_open(&t->vocab, &t->specials))
        status = aigc_fail_memory(err, "special tokens", (size_t)t->vocab.n * sizeof(special_entry));
    return status;
}

aigc_status tokenizer_open(const gguf_file *file, tokenizer **out, aigc_error *err)
{
    tokenizer *t = aigc_calloc(1, sizeof *t);
    aigc_status status;

    if (!t)
        return aigc_fail_memory(err, "the tokenizer", sizeof *t);
    t->bos = t->eos = t->unknown = -1;
    status = open_parts(file, t, err);
    if (status != AIGC_OK) {
        tokenizer_close(t);
        return status;
    }
    *out = t;
    return AIGC_OK;
}

void tokenizer_close(tokenizer *t)
{
    if (!t)
        return;
    bpe_close(t->bpe);
    spm_close(t->spm);
    special_close(&t->specials);
    vocab_close(&t->vocab);
    free(t);
}

int32_t tokenizer_n_vocab(const tokenizer *t)
{
    return t->vocab.n;
}

int32_t tokenizer_bos(const tokenizer *t)
{
    return t->bos;
}

int32_t tokenizer_eos(const tokenizer *t)
{
    return t->eos;
}

bool tokenizer_is_end(const tokenizer *t, int32_t id)
{
    return id >= 0 && id < t->vocab.n && t->vocab.tokens[id].kind & TOKEN_END;
}

bool tokenizer_adds_bos(const tokenizer *t)
{
    return t->add_bos && t->bos >= 0;
}

/* ---- text to ids --------------------------------------------------------------------------------------------- */

static bool is_ascii_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Text between special tokens. */
static bool encode_plain(const tokenizer *t, const char *text, size_t len, encoder *e)
{
    return t->bpe ? bpe_encode(t->bpe, text, len, e) : spm_encode(t->spm, text, len, t->add_space, t->unknown, e);
}

/* The next special token from pos on; the end of the text if there is none or the encoder was stopped. */
static special_match next_special(const tokenizer *t, const char *text, size_t pos, size_t len, unsigned flags,
                                  encoder *e)
{
    special_match match = {pos, pos, -1};

    while (match.id < 0 && match.end < len && !merger_stopped(&e->merger)) {
        size_t stop = len - match.end > STOP_INTERVAL ? match.end + STOP_INTERVAL : len;

        match = special_find(&t->specials, text, match.end, stop, len, flags & AIGC_TEXT_PARSE_SPECIAL);
    }
    return match;
}

static bool encode_all(const tokenizer *t, const char *text, size_t len, unsigned flags, encoder *e)
{
    if (flags & AIGC_TEXT_ADD_SPECIAL && tokenizer_adds_bos(t) && !encoder_push(e, t->bos))
        return false;
    for (size_t pos = 0; pos < len;) {
        special_match match = next_special(t, text, pos, len, flags, e);

        if (merger_stopped(&e->merger) || !encode_plain(t, text + pos, match.begin - pos, e))
            return false;
        pos = match.end;
        if (match.id < 0)
            break;
        if (!encoder_push(e, match.id))
            return false;
        if (t->vocab.tokens[match.id].kind & TOKEN_STRIPS_SPACE)
            while (pos < len && is_ascii_space(text[pos]))
                pos++;
    }
    return !(flags & AIGC_TEXT_ADD_SPECIAL && t->add_eos && t->eos >= 0) || encoder_push(e, t->eos);
}

/* As utf8_valid(), but len when the encoder is stopped. */
static size_t find_invalid(const char *text, size_t len, encoder *e)
{
    for (size_t pos = 0, end; pos < len && !merger_stopped(&e->merger); pos = end) {
        size_t valid;

        end = len - pos > STOP_INTERVAL ? pos + STOP_INTERVAL : len;
        valid = pos + utf8_valid(text + pos, end - pos);
        if (valid < end && (end == len || valid == pos))
            return valid;
        end = valid; /* a character may be cut there */
    }
    return len;
}

void tokenizer_set_interrupt(tokenizer *t, const volatile sig_atomic_t *flag)
{
    t->interrupt = flag;
}

aigc_status tokenizer_encode(const tokenizer *t, const char *text, size_t len, unsigned flags, int32_t **ids,
                             size_t *n_ids, aigc_error *err)
{
    encoder e = {.merger = {.interrupt = t->interrupt}};
    size_t valid;
    bool ok, stopped;

    if (len > TEXT_MAX_BYTES)
        return aigc_fail(err, AIGC_E_LIMIT, "the text has %zu bytes, more than %d", len, TEXT_MAX_BYTES);
    valid = find_invalid(text, len, &e);
    if (valid < len)
        return aigc_fail(err, AIGC_E_TEXT, "the text is not valid UTF-8 at byte %zu (0x%02x)", valid,
                         (unsigned char)text[valid]);
    ok = encode_all(t, text, len, flags, &e);
    stopped = e.merger.interrupted;
    encoder_free(&e);
    if (ok && !e.ids)
        ok = (e.ids = aigc_calloc(1, sizeof *e.ids)) != NULL;
    if (!ok) {
        free(e.ids);
        if (stopped)
            return aigc_fail(err, AIGC_INTERRUPTED, "tokenizing %zu bytes was interrupted", len);
        if (e.word_too_long)
            return aigc_fail(err, AIGC_E_LIMIT, "the text has a word of more than %d characters", WORD_MAX_SYMBOLS);
        return aigc_fail_memory(err, "tokenizing", len);
    }
    *ids = e.ids;
    *n_ids = e.n_ids;
    return AIGC_OK;
}

/* ---- ids to text --------------------------------------------------------------------------------------------- */

static bool is_silent(const tokenizer *t, int32_t id, unsigned flags)
{
    return t->vocab.tokens[id].kind & (TOKEN_CONTROL | TOKEN_UNKNOWN) && !(flags & AIGC_TEXT_RENDER_SPECIAL);
}

/* The bytes of a token that is not silent, whatever stands before it. */
static size_t token_bytes(const tokenizer *t, int32_t id, char *out)
{
    const vocab_token *token = &t->vocab.tokens[id];
    const char *text = vocab_text(&t->vocab, id);

    if (token->kind & (TOKEN_CONTROL | TOKEN_UNKNOWN | TOKEN_USER)) {
        memcpy(out, text, token->len);
        return token->len;
    }
    if (token->kind & TOKEN_BYTE) {
        int byte = spm_byte(text, token->len);

        if (byte < 0)
            return 0;
        out[0] = (char)byte;
        return 1;
    }
    if (!(token->kind & TOKEN_NORMAL))
        return 0;
    return t->bpe ? bpe_bytes(text, token->len, out) : spm_bytes(text, token->len, out);
}

int tokenizer_piece(const tokenizer *t, int32_t id, bool first, unsigned flags, char *out)
{
    size_t n;

    if (id < 0 || id >= t->vocab.n)
        return -1;
    if (is_silent(t, id, flags))
        return 0;
    n = token_bytes(t, id, out);
    if (first && t->add_space && n > 0 && out[0] == ' ')
        memmove(out, out + 1, --n);
    return (int)n;
}

/* The joined pieces, in memory of their exact size. */
static aigc_status join_pieces(const tokenizer *t, const int32_t *ids, size_t n_ids, unsigned flags, char **joined,
                               size_t *len, aigc_error *err)
{
    char piece[TOKEN_MAX_BYTES], *out;
    size_t total = 0, n = 0;
    bool first = true;

    for (size_t i = 0; i < n_ids; i++) {
        if (ids[i] < 0 || ids[i] >= t->vocab.n)
            return aigc_fail(err, AIGC_E_TEXT, "token %d is not in the vocabulary of %d tokens", ids[i], t->vocab.n);
        total += (size_t)tokenizer_piece(t, ids[i], false, flags, piece);
    }
    out = aigc_calloc(total, 1);
    if (!out)
        return aigc_fail_memory(err, "the text", total);
    for (size_t i = 0; i < n_ids; i++) {
        int n_piece = tokenizer_piece(t, ids[i], first, flags, piece);

        memcpy(out + n, piece, (size_t)n_piece);
        n += (size_t)n_piece;
        first = first && is_silent(t, ids[i], flags);
    }
    *joined = out;
    *len = n;
    return AIGC_OK;
}

aigc_status tokenizer_decode(const tokenizer *t, const int32_t *ids, size_t n_ids, unsigned flags, char **text,
                             size_t *len, aigc_error *err)
{
    char *joined, *out;
    size_t n;
    aigc_status status = join_pieces(t, ids, n_ids, flags, &joined, &n, err);

    if (status != AIGC_OK)
        return status;
    out = n < SIZE_MAX / 3 ? aigc_calloc(3 * n + 1, 1) : NULL;
    if (!out) {
        free(joined);
        return aigc_fail_memory(err, "the text", n);
    }
    *len = utf8_repair(joined, n, out);
    free(joined);
    *text = out;
    return AIGC_OK;
}
