/* layout.c: see layout.h. */
#include "learn/layout.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "base/real.h"
#include "learn/rewrite.h"
#include "model/kv.h"

enum {
    ALIGN_FLOATS = 16,
    MAX_SIZE = 1 << 20, /* of any one dimension */
    MAX_LAYERS = 1024,
    MAX_LORA_RANK = 4096,
};

static const float START_DEVIATION = 0.02f;

static aigc_status check_size(const char *what, int value, int most, aigc_error *err)
{
    if (value >= 1 && value <= most)
        return AIGC_OK;
    return aigc_fail(err, AIGC_E_ARGUMENT, "%s must be from 1 to %d, not %d", what, most, value);
}

static aigc_status check_shape(const learn_shape *s, const arch *recipe, aigc_error *err)
{
    aigc_status status;
    if ((status = check_size("layers", s->n_layers, MAX_LAYERS, err)) != AIGC_OK ||
        (status = check_size("the width", s->n_embd, MAX_SIZE, err)) != AIGC_OK ||
        (status = check_size("heads", s->n_heads, s->n_embd, err)) != AIGC_OK ||
        (status = check_size("key-value heads", s->n_kv_heads, s->n_heads, err)) != AIGC_OK ||
        (status = check_size("the feed-forward width", s->n_ff, MAX_SIZE, err)) != AIGC_OK ||
        (status = check_size("the context", s->n_context, MAX_SIZE, err)) != AIGC_OK ||
        (status = check_size("the vocabulary", s->n_vocab, MAX_SIZE, err)) != AIGC_OK)
        return status;
    int head_dim = s->n_embd / s->n_heads;
    if (s->n_embd % s->n_heads != 0)
        return aigc_fail(err, AIGC_E_ARGUMENT, "a width of %d can't be shared by %d heads evenly", s->n_embd,
                         s->n_heads);
    if (s->n_heads % s->n_kv_heads != 0)
        return aigc_fail(err, AIGC_E_ARGUMENT, "%d heads can't share %d key-value heads evenly", s->n_heads,
                         s->n_kv_heads);
    if (recipe->weights >> ATTN_QKV & 1 && s->n_kv_heads != s->n_heads)
        return aigc_fail(err, AIGC_E_ARGUMENT, "%s has a key-value head for each head: %d, not %d", recipe->name,
                         s->n_heads, s->n_kv_heads);
    if (head_dim > KV_MAX_HEAD_DIM)
        return aigc_fail(err, AIGC_E_ARGUMENT, "heads of %d dimensions are wider than %d", head_dim, KV_MAX_HEAD_DIM);
    if (recipe->position != POSITION_LEARNED && (head_dim % 2 != 0 || !(s->rope_base > 0) || !isfinite(s->rope_base)))
        return aigc_fail(err, AIGC_E_ARGUMENT,
                         "rotary positions need heads of even width and a base above 0, not %d and %g", head_dim,
                         (double)s->rope_base);
    if (!(s->norm_eps > 0) || !isfinite(s->norm_eps))
        return aigc_fail(err, AIGC_E_ARGUMENT, "the norm's epsilon must be above 0, not %g", (double)s->norm_eps);
    return AIGC_OK;
}

static void set_hyperparameters(learn_layout *l, const learn_shape *s)
{
    hyperparameters *hp = &l->hp;
    *hp = (hyperparameters){
        .n_layers = (uint32_t)s->n_layers,
        .n_embd = (uint32_t)s->n_embd,
        .n_heads = (uint32_t)s->n_heads,
        .n_kv_heads = (uint32_t)s->n_kv_heads,
        .head_dim = (uint32_t)(s->n_embd / s->n_heads),
        .n_ff = (uint32_t)s->n_ff,
        .n_vocab = (uint32_t)s->n_vocab,
        .n_context = (uint32_t)s->n_context,
        .norm_eps = s->norm_eps,
        .rope_base = s->rope_base,
        .rope_scale = 1.0f,
    };
    size_t q = (size_t)hp->n_heads * hp->head_dim, kv = (size_t)hp->n_kv_heads * hp->head_dim;
    hp->n_rot = hp->head_dim;
    hp->dims[DIM_EMBD] = hp->n_embd;
    hp->dims[DIM_Q] = q;
    hp->dims[DIM_KV] = kv;
    hp->dims[DIM_QKV] = q + 2 * kv;
    hp->dims[DIM_FF] = hp->n_ff;
}

/* Appends a tensor; the table has room. Returns its number. */
static int add(learn_layout *l, const char *name, size_t k, size_t rows, learn_tensor t)
{
    snprintf(t.name, sizeof t.name, "%s", name);
    t.k = k;
    t.rows = rows;
    t.offset = l->n_floats;
    l->tensors[l->n_tensors] = t;
    l->n_params += k * rows;
    l->n_trained += k * rows;
    l->n_floats += (k * rows + ALIGN_FLOATS - 1) / ALIGN_FLOATS * ALIGN_FLOATS;
    return l->n_tensors++;
}

static const learn_tensor MATRIX = {.deviation = START_DEVIATION}, ONES = {.is_vector = true, .start = 1},
                          ZEROS = {.is_vector = true};

/* Whether a role has a bias: the recipe says which must, a model's file may have others. */
static bool has_bias(const learn_layout *l, const aigc_model *base, uint32_t i, int role)
{
    return base != NULL ? base->layers[i].biases[role] != NULL : l->recipe->biases >> role & 1;
}

static void add_layer(learn_layout *l, const aigc_model *base, uint32_t i)
{
    char name[64];
    learn_tensor residual = MATRIX; /* ATTN_OUTPUT and FFN_DOWN add to the stream, 2 n_layers times in all */
    residual.deviation = START_DEVIATION / sqrtf(2.0f * (float)l->hp.n_layers);
    for (int role = 0; role < LAYER_ROLES; role++) {
        const role_shape *shape = &layer_roles[role];
        size_t rows = l->hp.dims[shape->rows];
        bool is_norm = role >= LAYER_MATRICES, writes = role == ATTN_OUTPUT || role == FFN_DOWN;
        l->layers[i].weight[role] = l->layers[i].bias[role] = NO_TENSOR;
        if (!(l->recipe->weights >> role & 1))
            continue;
        snprintf(name, sizeof name, "blk.%" PRIu32 ".%s.weight", i, shape->name);
        if (is_norm)
            l->layers[i].weight[role] = add(l, name, rows, 1, ONES);
        else
            l->layers[i].weight[role] = add(l, name, l->hp.dims[shape->k], rows, writes ? residual : MATRIX);
        if (!has_bias(l, base, i, role))
            continue;
        snprintf(name, sizeof name, "blk.%" PRIu32 ".%s.bias", i, shape->name);
        l->layers[i].bias[role] = add(l, name, rows, 1, ZEROS);
    }
}

static void add_lora(learn_layout *l, uint32_t i)
{
    char name[64];
    for (int role = 0; role < LAYER_MATRICES; role++) {
        layer_tensors *t = &l->layers[i];
        t->lora_a[role] = t->lora_b[role] = NO_TENSOR;
        if (t->weight[role] == NO_TENSOR || l->lora_rank == 0)
            continue;
        size_t k = l->tensors[t->weight[role]].k, rows = l->tensors[t->weight[role]].rows;
        learn_tensor a = {.deviation = 1.0f / sqrtf((float)k)}, b = {.start = 0};
        snprintf(name, sizeof name, "blk.%" PRIu32 ".%s.weight.lora_a", i, layer_roles[role].name);
        t->lora_a[role] = add(l, name, k, (size_t)l->lora_rank, a);
        snprintf(name, sizeof name, "blk.%" PRIu32 ".%s.weight.lora_b", i, layer_roles[role].name);
        t->lora_b[role] = add(l, name, (size_t)l->lora_rank, rows, b);
    }
}

static aigc_status take_tables(learn_layout *l, aigc_error *err)
{
    l->capacity = 5 + (int)l->hp.n_layers * LAYER_ROLES * (l->lora_rank > 0 ? 4 : 2);
    l->tensors = aigc_calloc((size_t)l->capacity, sizeof *l->tensors);
    l->layers = aigc_calloc(l->hp.n_layers, sizeof *l->layers);
    l->rope_freqs = aigc_calloc(l->hp.n_rot / 2, sizeof *l->rope_freqs);
    if (l->tensors == NULL || l->layers == NULL || l->rope_freqs == NULL) {
        layout_free(l);
        return aigc_fail_memory(err, "the table of weights", (size_t)l->capacity * sizeof *l->tensors);
    }
    return AIGC_OK;
}

static void add_tensors(learn_layout *l, const aigc_model *base)
{
    size_t n_embd = l->hp.n_embd;
    l->token_embd = l->output = add(l, "token_embd.weight", n_embd, l->hp.n_vocab, MATRIX);
    if (l->recipe->position == POSITION_LEARNED)
        l->position_embd = add(l, "position_embd.weight", n_embd, l->n_positions, MATRIX);
    for (uint32_t i = 0; i < l->hp.n_layers; i++)
        add_layer(l, base, i);
    l->output_norm = add(l, "output_norm.weight", n_embd, 1, ONES);
    if (l->recipe->norm == NORM_LAYER)
        l->output_norm_bias = add(l, "output_norm.bias", n_embd, 1, ZEROS);
    if (!l->tied)
        l->output = add(l, "output.weight", n_embd, l->hp.n_vocab, MATRIX);
    if (l->lora_rank > 0) {
        l->first_trained = l->n_floats;
        l->n_trained = 0;
    }
    for (uint32_t i = 0; i < l->hp.n_layers; i++)
        add_lora(l, i);
}

static const learn_layout EMPTY = {.position_embd = NO_TENSOR, .output_norm_bias = NO_TENSOR};

aigc_status layout_create(const learn_shape *shape, learn_layout *out, aigc_error *err)
{
    learn_layout l = EMPTY;
    l.tied = shape->tied;
    l.recipe = arch_find(shape->arch, strlen(shape->arch));
    if (l.recipe == NULL)
        return aigc_fail(err, AIGC_E_ARGUMENT, "architecture '%s' is not known (%s are)", shape->arch, arch_names());
    aigc_status status = check_shape(shape, l.recipe, err);
    if (status != AIGC_OK)
        return status;
    set_hyperparameters(&l, shape);
    l.n_positions = l.hp.n_context;
    if ((status = take_tables(&l, err)) != AIGC_OK)
        return status;
    for (uint32_t i = 0; l.recipe->position != POSITION_LEARNED && i < l.hp.n_rot / 2; i++)
        l.rope_freqs[i] = real_pow((double)l.hp.rope_base, -2.0 * (double)i / l.hp.n_rot);
    add_tensors(&l, NULL);
    *out = l;
    return AIGC_OK;
}

static aigc_status check_adaptation(const aigc_model *base, int n_context, int rank, double alpha, aigc_error *err)
{
    const hyperparameters *hp = &base->hp;
    bool learned = base->recipe->position == POSITION_LEARNED;
    aigc_status status =
        check_size("the context", n_context, learned && hp->n_context < MAX_SIZE ? (int)hp->n_context : MAX_SIZE, err);
    if (status == AIGC_OK && (hp->n_layers > MAX_LAYERS || hp->n_embd > MAX_SIZE || hp->n_ff > MAX_SIZE ||
                              hp->n_vocab > MAX_SIZE || hp->dims[DIM_QKV] > MAX_SIZE))
        status = aigc_fail(err, AIGC_E_LIMIT, "%s is too large to be trained", gguf_path(base->file));
    if (status == AIGC_OK && rank != 0)
        status = check_size("the rank of LoRA", rank, MAX_LORA_RANK, err);
    if (status == AIGC_OK && rank > 0 && !(alpha > 0 && alpha <= 1e6))
        status = aigc_fail(err, AIGC_E_ARGUMENT, "LoRA's alpha must be above 0 and at most 1e6, not %g", alpha);
    return status;
}

aigc_status layout_of_model(const aigc_model *base, int n_context, int lora_rank, double lora_alpha, learn_layout *out,
                            aigc_error *err)
{
    learn_layout l = EMPTY;
    aigc_status status = check_adaptation(base, n_context, lora_rank, lora_alpha, err);
    if (status != AIGC_OK)
        return status;
    l.recipe = base->recipe;
    l.hp = base->hp;
    l.tied = base->output.data == base->token_embd.data;
    l.n_positions = l.hp.n_context;
    l.hp.n_context = (uint32_t)n_context;
    l.lora_rank = lora_rank;
    l.lora_scale = lora_rank > 0 ? (float)(lora_alpha / lora_rank) : 0;
    if ((status = take_tables(&l, err)) != AIGC_OK)
        return status;
    if (base->rope_freqs != NULL)
        memcpy(l.rope_freqs, base->rope_freqs, l.hp.n_rot / 2 * sizeof *l.rope_freqs);
    add_tensors(&l, base);
    *out = l;
    return AIGC_OK;
}

void layout_free(learn_layout *l)
{
    free(l->tensors);
    free(l->layers);
    free(l->rope_freqs);
    *l = (learn_layout){0};
}

static bool is_set(const volatile sig_atomic_t *interrupt)
{
    return interrupt != NULL && *interrupt;
}

/* First values of the tensors from offset `from` on. False: interrupted. */
static bool start_tensors(const learn_layout *l, size_t from, uint64_t seed, const volatile sig_atomic_t *interrupt,
                          float *weights)
{
    for (int i = 0; i < l->n_tensors; i++) {
        const learn_tensor *t = &l->tensors[i];
        random_state r;
        random_seed(&r, seed, (uint64_t)i + 1);
        for (size_t row = 0; t->offset >= from && row < t->rows; row++) {
            float *w = weights + t->offset + row * t->k;
            if (is_set(interrupt))
                return false;
            for (size_t j = 0; j < t->k; j++)
                w[j] = t->deviation > 0 ? t->deviation * (float)random_normal(&r) : t->start;
        }
    }
    return true;
}

bool layout_start(const learn_layout *l, uint64_t seed, const volatile sig_atomic_t *interrupt, float *weights)
{
    return start_tensors(l, 0, seed, interrupt, weights);
}

/* ---- the weights of a model ---- */

static bool load_matrix(const learn_layout *l, int tensor, const matrix *m, const volatile sig_atomic_t *interrupt,
                        float *weights)
{
    float *w = weights + l->tensors[tensor].offset;
    for (size_t r = 0; r < m->rows; r++) {
        if (is_set(interrupt))
            return false;
        tensor_row_to_float(m->type, (const unsigned char *)m->data + r * m->row_bytes, w + r * m->k, m->k);
    }
    return true;
}

static void load_vector(const learn_layout *l, int tensor, const float *v, float *weights)
{
    if (tensor != NO_TENSOR)
        memcpy(weights + l->tensors[tensor].offset, v, l->tensors[tensor].k * sizeof *v);
}

static bool load_layer(const learn_layout *l, const aigc_model *base, uint32_t i,
                       const volatile sig_atomic_t *interrupt, float *weights)
{
    const layer *from = &base->layers[i];
    for (int role = 0; role < LAYER_ROLES; role++) {
        int weight = l->layers[i].weight[role];
        if (weight == NO_TENSOR)
            continue;
        if (role >= LAYER_MATRICES)
            load_vector(l, weight, from->norms[role], weights);
        else if (!load_matrix(l, weight, &from->weights[role], interrupt, weights))
            return false;
        load_vector(l, l->layers[i].bias[role], from->biases[role], weights);
    }
    return true;
}

bool layout_start_from(const learn_layout *l, const aigc_model *base, uint64_t seed,
                       const volatile sig_atomic_t *interrupt, float *weights)
{
    if (!load_matrix(l, l->token_embd, &base->token_embd, interrupt, weights) ||
        (l->position_embd != NO_TENSOR &&
         !load_matrix(l, l->position_embd, &base->position_embd, interrupt, weights)) ||
        (!l->tied && !load_matrix(l, l->output, &base->output, interrupt, weights)))
        return false;
    for (uint32_t i = 0; i < l->hp.n_layers; i++)
        if (!load_layer(l, base, i, interrupt, weights))
            return false;
    load_vector(l, l->output_norm, base->output_norm, weights);
    load_vector(l, l->output_norm_bias, base->output_norm_bias, weights);
    return l->lora_rank == 0 || start_tensors(l, l->first_trained, seed, interrupt, weights);
}

static const uint64_t FNV_START = 0xcbf29ce484222325u, FNV_PRIME = 0x100000001b3u;

static uint64_t hash_floats(uint64_t hash, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        hash = (hash ^ bits) * FNV_PRIME;
    }
    return hash;
}

bool layout_hash(const learn_layout *l, const float *weights, const volatile sig_atomic_t *interrupt, uint64_t *out)
{
    uint64_t hash = hash_floats(FNV_START, &l->hp.norm_eps, 1);
    hash = hash_floats(hash, &l->hp.rope_base, 1);
    for (int i = 0; i < l->n_tensors; i++) {
        const learn_tensor *t = &l->tensors[i];
        for (size_t r = 0; r < t->rows; r++) {
            if (is_set(interrupt))
                return false;
            hash = hash_floats(hash, weights + t->offset + r * t->k, t->k);
        }
    }
    *out = hash;
    return true;
}

/* ---- files ---- */

static void set_u32(gguf_writer *w, const learn_layout *l, const char *suffix, uint32_t value)
{
    char key[96];
    snprintf(key, sizeof key, "%s.%s", l->recipe->name, suffix);
    gguf_writer_set_u32(w, key, value);
}

static void set_f32(gguf_writer *w, const learn_layout *l, const char *suffix, float value)
{
    char key[96];
    snprintf(key, sizeof key, "%s.%s", l->recipe->name, suffix);
    gguf_writer_set_f32(w, key, value);
}

static void set_note(gguf_writer *w, const char *key, const char *value)
{
    if (strcmp(key, NOTE_TOP_K) == 0)
        gguf_writer_set_i32(w, key, (int32_t)strtol(value, NULL, 10));
    else if (strncmp(key, NOTE_SAMPLING, strlen(NOTE_SAMPLING)) == 0)
        gguf_writer_set_f32(w, key, strtof(value, NULL));
    else
        gguf_writer_set_string(w, key, value, strlen(value));
}

void layout_write_notes(gguf_writer *w, const model_note *notes, size_t n_notes)
{
    for (size_t i = 0; i < n_notes; i++)
        set_note(w, notes[i].key, notes[i].value);
}

static void set_metadata(gguf_writer *w, const learn_layout *l, const model_metadata *m)
{
    const hyperparameters *hp = &l->hp;
    gguf_writer_set_string(w, "general.architecture", l->recipe->name, strlen(l->recipe->name));
    gguf_writer_set_string(w, "general.name", m->name, strlen(m->name));
    layout_write_notes(w, m->notes, m->n_notes);
    set_u32(w, l, "block_count", hp->n_layers);
    set_u32(w, l, "context_length", l->n_positions);
    set_u32(w, l, "embedding_length", hp->n_embd);
    set_u32(w, l, "feed_forward_length", hp->n_ff);
    set_u32(w, l, "attention.head_count", hp->n_heads);
    set_u32(w, l, "attention.head_count_kv", hp->n_kv_heads);
    set_f32(w, l, l->recipe->norm == NORM_RMS ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon",
            hp->norm_eps);
    if (l->recipe->position != POSITION_LEARNED) {
        set_u32(w, l, "rope.dimension_count", hp->n_rot);
        set_f32(w, l, "rope.freq_base", hp->rope_base);
    }
    if (m->vocabulary != NULL)
        gguf_writer_copy_prefix(w, m->vocabulary, "tokenizer.");
}

static tensor_type type_of(const learn_layout *l, int i, tensor_type type)
{
    const learn_tensor *t = &l->tensors[i];
    if (t->is_vector || i == l->position_embd)
        return TYPE_F32;
    return rewrite_fitting_type(type, t->k);
}

static aigc_status write_tensors(gguf_writer *w, const learn_layout *l, const float *weights, tensor_type type,
                                 aigc_error *err)
{
    for (int i = 0; i < l->n_tensors; i++) {
        const learn_tensor *t = &l->tensors[i];
        tensor_type as = type_of(l, i, type);
        size_t bytes = tensor_row_bytes(as, t->k);
        unsigned char *row = aigc_calloc(bytes, 1);
        if (row == NULL)
            return aigc_fail_memory(err, t->name, bytes);
        aigc_status status = AIGC_OK;
        for (size_t r = 0; r < t->rows && status == AIGC_OK; r++) {
            if (!tensor_row_from_float(as, weights + t->offset + r * t->k, row, t->k))
                status =
                    aigc_fail(err, AIGC_E_ARGUMENT, "weights can't be written as %s", tensor_type_describe(as)->name);
            else
                status = gguf_writer_data(w, row, bytes, err);
        }
        free(row);
        if (status != AIGC_OK)
            return status;
    }
    return AIGC_OK;
}

aigc_status layout_write_model(const learn_layout *l, const float *weights, tensor_type type,
                               const model_metadata *metadata, const volatile sig_atomic_t *interrupt, const char *path,
                               aigc_error *err)
{
    gguf_writer *w;
    aigc_status status = gguf_writer_create(&w, err);
    if (status != AIGC_OK)
        return status;
    set_metadata(w, l, metadata);
    for (int i = 0; i < l->n_tensors; i++) {
        const learn_tensor *t = &l->tensors[i];
        uint64_t dims[2] = {t->k, t->rows};
        gguf_writer_add_tensor(w, t->name, type_of(l, i, type), t->is_vector ? 1 : 2, dims);
    }
    status = gguf_writer_begin(w, path, err);
    gguf_writer_set_interrupt(w, interrupt);
    if (status == AIGC_OK)
        status = write_tensors(w, l, weights, type, err);
    if (status != AIGC_OK) {
        gguf_writer_abandon(w);
        return status;
    }
    return gguf_writer_finish(w, err);
}
