/*
 * synthetic.c: what tensors a shape has, how large its random weights are, and the writing.
 *
 * Weights are near normal with deviation 0.02, as GPT-2 starts out, with these departures, so that a test which
 * compares logits sees every part of the transformer and the most probable token means something:
 *  - projections into the residual stream are divided by sqrt(2 n_layers) (the GPT-2 paper, section 2.3);
 *  - query and key weights are larger, so that attention prefers some positions to others;
 *  - norms are near 1 but not 1, biases near 0 but not 0;
 *  - an untied output row is the embedding of an earlier token id. The residual stream still holds the last token's
 *    embedding, so the token that follows it in this order usually leads by far and sometimes, by attention and
 *    feed-forward, another one does. With unrelated rows the two best of 50,000 logits would be a tenth of their
 *    deviation apart, and the choice would be decided by rounding.
 *
 * Types: 4-bit files keep the output matrix in Q6_K, as llama-quantize does. Rows that are not whole blocks of 256
 * can't be K types: Q6_K becomes Q8_0 and Q4_K becomes Q4_0 (llama-quantize takes Q5_0, which we don't run).
 */
#include "synthetic.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "base/threads.h"

static const synthetic_shape shapes[] = {
    /* name, architecture, layers, embd, heads, kv heads, ff, context, vocabulary, rope base, tied, kind */
    {"gpt2-124m", "gpt2", 12, 768, 12, 12, 3072, 1024, 50257, 0, false, VOCABULARY_GPT2},
    {"qwen05", "qwen2", 24, 896, 14, 2, 4864, 32768, 151936, 1e6f, true, VOCABULARY_GPT2_GROWN},
    {"llama1b", "llama", 16, 2048, 32, 8, 8192, 8192, 32000, 5e5f, true, VOCABULARY_LLAMA},
    {"gpt2-tiny", "gpt2", 3, 256, 4, 4, 1024, 128, 512, 0, false, VOCABULARY_BYTES_BPE},
    {"llama-tiny", "llama", 3, 256, 8, 2, 768, 512, 512, 1e4f, false, VOCABULARY_BYTES_SPM},
    {"qwen2-tiny", "qwen2", 3, 192, 6, 2, 512, 512, 512, 1e6f, true, VOCABULARY_BYTES_BPE},
    {"llama-odd", "llama", 2, 90, 5, 1, 131, 333, 389, 123.5f, true, VOCABULARY_BYTES_SPM}, /* no whole blocks */
};

/* Deviations of the weights. */
static const double SCALE = 0.02, QUERY_KEY_SCALE = 0.05, NORM_SCALE = 0.1, QKV_BIAS_SCALE = 0.1;

/* How far back the token is whose embedding an untied output row repeats. */
enum { OUTPUT_SHIFT = 97 };

enum { MAX_TENSORS = 512, PIECE_BYTES = 8 << 20, CHUNK_ROWS = 16 };

const synthetic_shape *synthetic_shape_at(int i)
{
    return i >= 0 && (size_t)i < sizeof shapes / sizeof *shapes ? &shapes[i] : NULL;
}

const synthetic_shape *synthetic_find(const char *name)
{
    const synthetic_shape *shape;

    for (int i = 0; (shape = synthetic_shape_at(i)); i++)
        if (strcmp(shape->name, name) == 0)
            return shape;
    return NULL;
}

bool synthetic_type(const char *name, tensor_type *type)
{
    static const tensor_type types[] = {TYPE_F32, TYPE_F16, TYPE_BF16, TYPE_Q8_0, TYPE_Q4_0, TYPE_Q4_K, TYPE_Q6_K};

    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(tensor_type_describe((uint32_t)types[i])->name, name) == 0) {
            *type = types[i];
            return true;
        }
    return false;
}

/* ---- the plan: which tensors, of what type and scale ---- */

typedef struct planned_tensor {
    char name[48];
    tensor_type type;
    uint64_t n_cols, n_rows; /* n_rows 0: a vector */
    double mean, scale;
    uint64_t n_first_rows; /* these have first_scale */
    double first_scale;
    uint64_t stream; /* of random numbers: its rows' are stream << 32 | row */
    uint64_t shift;  /* row r holds the numbers of row r - shift, modulo n_rows */
} planned_tensor;

typedef struct plan {
    const synthetic_shape *shape;
    tensor_type type;
    planned_tensor tensors[MAX_TENSORS];
    int n;
} plan;

/* The type of a matrix whose rows have n_cols elements. */
static tensor_type fitting_type(tensor_type type, uint64_t n_cols)
{
    if (n_cols % K_ELEMENTS == 0 || (type != TYPE_Q4_K && type != TYPE_Q6_K))
        return type;
    return type == TYPE_Q4_K ? TYPE_Q4_0 : TYPE_Q8_0;
}

/* layer -1: no "blk.N." before the name. */
static planned_tensor *plan_add(plan *p, int layer, const char *name, tensor_type type, int n_cols, int n_rows,
                                double mean, double scale)
{
    planned_tensor *t = &p->tensors[p->n];

    *t = (planned_tensor){.type = type,
                          .n_cols = (uint64_t)n_cols,
                          .n_rows = (uint64_t)n_rows,
                          .mean = mean,
                          .scale = scale,
                          .stream = (uint64_t)++p->n};
    if (layer < 0)
        snprintf(t->name, sizeof t->name, "%s", name);
    else
        snprintf(t->name, sizeof t->name, "blk.%d.%s", layer, name);
    return t;
}

static planned_tensor *plan_matrix(plan *p, int layer, const char *name, int n_cols, int n_rows, double scale)
{
    return plan_add(p, layer, name, fitting_type(p->type, (uint64_t)n_cols), n_cols, n_rows, 0, scale);
}

static void plan_vector(plan *p, int layer, const char *name, int n, double mean, double scale)
{
    plan_add(p, layer, name, TYPE_F32, n, 0, mean, scale);
}

static void plan_norm(plan *p, int layer, const char *name, bool with_bias)
{
    char full[32];

    snprintf(full, sizeof full, "%s.weight", name);
    plan_vector(p, layer, full, p->shape->n_embd, 1, NORM_SCALE);
    snprintf(full, sizeof full, "%s.bias", name);
    if (with_bias)
        plan_vector(p, layer, full, p->shape->n_embd, 0, SCALE);
}

/* Token embedding, positions if learned, output. An untied embedding's size decides how often the following token
 * leads: measured with seed 1, at 61 of 64 positions of gpt2-124m. */
static void plan_ends(plan *p)
{
    const synthetic_shape *s = p->shape;
    bool four_bits = p->type == TYPE_Q4_0 || p->type == TYPE_Q4_K;
    tensor_type head = fitting_type(four_bits ? TYPE_Q6_K : p->type, (uint64_t)s->n_embd);
    planned_tensor *embedding = plan_matrix(p, -1, "token_embd.weight", s->n_embd, s->n_vocab, SCALE);
    planned_tensor *output;

    if (strcmp(s->architecture, "gpt2") == 0)
        plan_add(p, -1, "position_embd.weight", TYPE_F32, s->n_embd, s->n_context, 0, SCALE);
    plan_norm(p, -1, "output_norm", strcmp(s->architecture, "gpt2") == 0);
    if (s->tied) {
        embedding->type = head;
        return;
    }
    embedding->scale = 3.5 * SCALE * s->n_embd / 768;
    output = plan_add(p, -1, "output.weight", head, s->n_embd, s->n_vocab, 0, SCALE);
    output->stream = embedding->stream;
    output->shift = OUTPUT_SHIFT;
}

static void plan_gpt2_layer(plan *p, int layer, double residual_scale)
{
    const synthetic_shape *s = p->shape;
    planned_tensor *qkv;

    plan_norm(p, layer, "attn_norm", true);
    qkv = plan_matrix(p, layer, "attn_qkv.weight", s->n_embd, 3 * s->n_embd, SCALE);
    qkv->n_first_rows = 2 * (uint64_t)s->n_embd;
    qkv->first_scale = QUERY_KEY_SCALE;
    plan_vector(p, layer, "attn_qkv.bias", 3 * s->n_embd, 0, QKV_BIAS_SCALE);
    plan_matrix(p, layer, "attn_output.weight", s->n_embd, s->n_embd, residual_scale);
    plan_vector(p, layer, "attn_output.bias", s->n_embd, 0, SCALE);
    plan_norm(p, layer, "ffn_norm", true);
    plan_matrix(p, layer, "ffn_up.weight", s->n_embd, s->n_ff, SCALE);
    plan_vector(p, layer, "ffn_up.bias", s->n_ff, 0, SCALE);
    plan_matrix(p, layer, "ffn_down.weight", s->n_ff, s->n_embd, residual_scale);
    plan_vector(p, layer, "ffn_down.bias", s->n_embd, 0, SCALE);
}

static void plan_llama_layer(plan *p, int layer, double residual_scale)
{
    const synthetic_shape *s = p->shape;
    int n_kv = s->n_embd / s->n_heads * s->n_kv_heads;

    plan_norm(p, layer, "attn_norm", false);
    plan_matrix(p, layer, "attn_q.weight", s->n_embd, s->n_embd, QUERY_KEY_SCALE);
    plan_matrix(p, layer, "attn_k.weight", s->n_embd, n_kv, QUERY_KEY_SCALE);
    plan_matrix(p, layer, "attn_v.weight", s->n_embd, n_kv, SCALE);
    if (strcmp(s->architecture, "qwen2") == 0) {
        plan_vector(p, layer, "attn_q.bias", s->n_embd, 0, QKV_BIAS_SCALE);
        plan_vector(p, layer, "attn_k.bias", n_kv, 0, QKV_BIAS_SCALE);
        plan_vector(p, layer, "attn_v.bias", n_kv, 0, QKV_BIAS_SCALE);
    }
    plan_matrix(p, layer, "attn_output.weight", s->n_embd, s->n_embd, residual_scale);
    plan_norm(p, layer, "ffn_norm", false);
    plan_matrix(p, layer, "ffn_gate.weight", s->n_embd, s->n_ff, SCALE);
    plan_matrix(p, layer, "ffn_up.weight", s->n_embd, s->n_ff, SCALE);
    plan_matrix(p, layer, "ffn_down.weight", s->n_ff, s->n_embd, residual_scale);
}

static void plan_all(plan *p)
{
    double residual_scale = SCALE / sqrt(2.0 * p->shape->n_layers);
    bool gpt2 = strcmp(p->shape->architecture, "gpt2") == 0;

    plan_ends(p);
    for (int layer = 0; layer < p->shape->n_layers; layer++)
        (gpt2 ? plan_gpt2_layer : plan_llama_layer)(p, layer, residual_scale);
}

/* ---- metadata ---- */

/* llama.cpp's number for "mostly this type". */
static uint32_t file_type(tensor_type type)
{
    switch (type) {
    case TYPE_F32:
        return 0;
    case TYPE_F16:
        return 1;
    case TYPE_Q4_0:
        return 2;
    case TYPE_Q8_0:
        return 7;
    case TYPE_Q4_K:
        return 14;
    case TYPE_Q6_K:
        return 18;
    default:
        return 32; /* BF16 */
    }
}

static void set_string(gguf_writer *w, const char *key, const char *value)
{
    gguf_writer_set_string(w, key, value, strlen(value));
}

static void set_u32(gguf_writer *w, const synthetic_shape *s, const char *key, int value)
{
    char full[96];

    snprintf(full, sizeof full, "%s.%s", s->architecture, key);
    gguf_writer_set_u32(w, full, (uint32_t)value);
}

static void set_f32(gguf_writer *w, const synthetic_shape *s, const char *key, float value)
{
    char full[96];

    snprintf(full, sizeof full, "%s.%s", s->architecture, key);
    gguf_writer_set_f32(w, full, value);
}

static void set_shape(gguf_writer *w, const synthetic_shape *s, tensor_type type)
{
    char name[96];

    snprintf(name, sizeof name, "synthetic %s, random weights", s->name);
    set_string(w, "general.architecture", s->architecture);
    set_string(w, "general.name", name);
    gguf_writer_set_u32(w, "general.file_type", file_type(type));
    set_u32(w, s, "context_length", s->n_context);
    set_u32(w, s, "embedding_length", s->n_embd);
    set_u32(w, s, "block_count", s->n_layers);
    set_u32(w, s, "feed_forward_length", s->n_ff);
    set_u32(w, s, "attention.head_count", s->n_heads);
    if (s->rope_base == 0) {
        set_f32(w, s, "attention.layer_norm_epsilon", 1e-5f);
        return;
    }
    set_u32(w, s, "attention.head_count_kv", s->n_kv_heads);
    set_f32(w, s, "attention.layer_norm_rms_epsilon", 1e-5f);
    set_u32(w, s, "rope.dimension_count", s->n_embd / s->n_heads);
    set_f32(w, s, "rope.freq_base", s->rope_base);
    set_u32(w, s, "vocab_size", s->n_vocab);
}

static void set_advice(gguf_writer *w)
{
    gguf_writer_set_f32(w, "general.sampling.temp", 0.7f);
    gguf_writer_set_i32(w, "general.sampling.top_k", 40);
    gguf_writer_set_f32(w, "general.sampling.top_p", 0.95f);
    gguf_writer_set_f32(w, "general.sampling.min_p", 0.05f);
    gguf_writer_set_f32(w, "general.sampling.penalty_repeat", 1.1f);
    set_string(w, "tokenizer.chat_template", "{% for m in messages %}{{ m['content'] }}{% endfor %}");
}

/* ---- weights ---- */

/* The sum of four uniform 16-bit numbers: near normal, exact in integers, no libm. */
static float random_weight(random_state *r, double mean, double scale)
{
    uint64_t u = random_u64(r);
    int sum = (int)(u & 0xffff) + (int)(u >> 16 & 0xffff) + (int)(u >> 32 & 0xffff) + (int)(u >> 48);
    const double deviation = 37837.22664626; /* 65536 / sqrt(3), as accurately as it matters */

    return (float)(mean + (sum - 2 * 0xffff) * (scale / deviation));
}

static void fill_row(const planned_tensor *t, uint64_t seed, uint64_t row, float *out)
{
    uint64_t n_rows = t->n_rows ? t->n_rows : 1;
    uint64_t source = (row + n_rows - t->shift % n_rows) % n_rows;
    double scale = row < t->n_first_rows ? t->first_scale : t->scale;
    random_state r;

    random_seed(&r, seed, t->stream << 32 | source);
    for (uint64_t i = 0; i < t->n_cols; i++)
        out[i] = random_weight(&r, t->mean, scale);
}

/* One run of the thread pool writes all tensors: each phase fills the buffer with rows of one tensor, and what comes
 * between phases hands the rows that are done to the writer. */
typedef struct writing {
    const plan *plan;
    uint64_t seed;
    gguf_writer *writer;
    float *floats; /* [n_threads][max_cols] */
    uint64_t max_cols;
    unsigned char *buffer; /* [PIECE_BYTES] */
    int tensor;
    uint64_t row, n_rows; /* in the buffer: rows row to row + n_rows of the tensor */
    aigc_status status;
    aigc_error err;
} writing;

static uint64_t n_rows_of(const planned_tensor *t)
{
    return t->n_rows ? t->n_rows : 1;
}

static int next_rows(void *context)
{
    writing *w = context;
    const planned_tensor *t = &w->plan->tensors[w->tensor];
    size_t row_bytes = tensor_row_bytes(t->type, t->n_cols);

    if (w->n_rows) {
        w->status = gguf_writer_data(w->writer, w->buffer, w->n_rows * row_bytes, &w->err);
        if (w->status != AIGC_OK)
            return 0;
        w->row += w->n_rows;
    }
    if (w->row == n_rows_of(t)) {
        if (++w->tensor == w->plan->n)
            return 0;
        w->row = 0;
        t = &w->plan->tensors[w->tensor];
        row_bytes = tensor_row_bytes(t->type, t->n_cols);
    }
    w->n_rows = PIECE_BYTES / row_bytes;
    if (w->n_rows > n_rows_of(t) - w->row)
        w->n_rows = n_rows_of(t) - w->row;
    return (int)((w->n_rows + CHUNK_ROWS - 1) / CHUNK_ROWS);
}

static void fill_rows(void *context, int chunk, int thread)
{
    writing *w = context;
    const planned_tensor *t = &w->plan->tensors[w->tensor];
    size_t row_bytes = tensor_row_bytes(t->type, t->n_cols);
    float *floats = w->floats + (size_t)thread * w->max_cols;

    for (uint64_t i = (uint64_t)chunk * CHUNK_ROWS; i < w->n_rows && i < (uint64_t)(chunk + 1) * CHUNK_ROWS; i++) {
        fill_row(t, w->seed, w->row + i, floats);
        tensor_row_from_float(t->type, floats, w->buffer + i * row_bytes, t->n_cols);
    }
}

static aigc_status write_weights(const plan *p, uint64_t seed, int n_threads, gguf_writer *writer, aigc_error *err)
{
    writing w = {.plan = p, .seed = seed, .writer = writer};
    thread_program program = {next_rows, fill_rows, &w};
    thread_pool *pool = NULL;

    w.status = thread_pool_create(n_threads, &pool, err);
    if (w.status != AIGC_OK)
        return w.status;
    for (int i = 0; i < p->n; i++)
        if (p->tensors[i].n_cols > w.max_cols)
            w.max_cols = p->tensors[i].n_cols;
    w.floats = aigc_calloc((size_t)n_threads * w.max_cols, sizeof(float));
    w.buffer = malloc(PIECE_BYTES);
    if (w.floats && w.buffer) {
        thread_pool_run(pool, &program);
        if (w.status != AIGC_OK && err)
            *err = w.err;
    } else {
        w.status = aigc_fail_memory(err, "the writer of a synthetic model", PIECE_BYTES);
    }
    free(w.buffer);
    free(w.floats);
    thread_pool_destroy(pool);
    return w.status;
}

static aigc_status write_planned(const synthetic_options *o, const plan *p, gguf_writer *w, const char *path,
                                 aigc_error *err)
{
    synthetic_vocabulary kind = o->shape->vocabulary;
    aigc_status status;

    if (!o->data_dir && kind != VOCABULARY_BYTES_SPM)
        kind = kind == VOCABULARY_LLAMA ? VOCABULARY_BYTES_SPM : VOCABULARY_BYTES_BPE;
    set_shape(w, o->shape, o->type);
    if (o->advice)
        set_advice(w);
    status = synthetic_set_vocabulary(w, kind, o->shape->n_vocab, o->data_dir, err);
    if (status != AIGC_OK)
        return status;
    for (int i = 0; i < p->n; i++) {
        const planned_tensor *t = &p->tensors[i];
        uint64_t dims[2] = {t->n_cols, t->n_rows};

        gguf_writer_add_tensor(w, t->name, t->type, t->n_rows ? 2 : 1, dims);
    }
    status = gguf_writer_begin(w, path, err);
    if (status != AIGC_OK)
        return status;
    return write_weights(p, o->seed, o->n_threads, w, err);
}

aigc_status synthetic_write(const synthetic_options *options, const char *path, aigc_error *err)
{
    gguf_writer *w;
    aigc_status status;
    plan *p = aigc_calloc(1, sizeof *p);

    if (!p)
        return aigc_fail_memory(err, "the plan of a synthetic model", sizeof *p);
    p->shape = options->shape;
    p->type = options->type;
    plan_all(p);
    status = gguf_writer_create(&w, err);
    if (status == AIGC_OK) {
        status = write_planned(options, p, w, path, err);
        if (status == AIGC_OK)
            status = gguf_writer_finish(w, err);
        else
            gguf_writer_abandon(w);
    }
    free(p);
    return status;
}
