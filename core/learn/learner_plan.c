/* learner_plan.c: the phases of a step, in order, from the recipe. */
#include <stdlib.h>

#include "base/memory.h"
#include "learn/learner_state.h"

phase *add_phase(planner *p, phase_work *work, int n_chunks)
{
    static phase nowhere; /* takes what does not fit; the list is marked */
    phase_list *list = p->list;
    if (list->n == list->capacity) {
        int capacity = list->capacity > 0 ? list->capacity * 2 : 64;
        phase *items = aigc_realloc_array(list->items, (size_t)capacity, sizeof *items);
        if (items == NULL) {
            list->failed = true;
            return &nowhere;
        }
        list->items = items;
        list->capacity = capacity;
    }
    phase *added = &list->items[list->n++];
    *added = (phase){.work = work, .n_chunks = n_chunks};
    return added;
}

static const float *weight(const planner *p, int tensor)
{
    return tensor != NO_TENSOR ? p->l->weights + p->l->layout.tensors[tensor].offset : NULL;
}

static bool is_trained(const planner *p, int tensor)
{
    return tensor != NO_TENSOR && p->l->layout.tensors[tensor].offset >= p->l->layout.first_trained;
}

static float *gradient(const planner *p, int tensor)
{
    const learn_layout *layout = &p->l->layout;
    return is_trained(p, tensor) ? p->l->gradients + (layout->tensors[tensor].offset - layout->first_trained) : NULL;
}

static void add_product(planner *p, product gemm)
{
    if (p->l->gemm != NULL)
        add_phase(p, learn_pack, pack_chunks(&gemm))->gemm = gemm;
    choose_tiles(p->l, &gemm);
    int n_chunks = chunks_of((size_t)gemm.m, (size_t)gemm.tile_m) * chunks_of((size_t)gemm.n, (size_t)gemm.tile_n);
    add_phase(p, learn_product, n_chunks)->gemm = gemm;
}

static phase *add_token_phase(planner *p, phase_work *work, int i)
{
    phase *added = add_phase(p, work, chunks_of(p->n_tokens, TOKEN_CHUNK));
    added->layer = i;
    return added;
}

/* A matrix of the model at work: y [token][y_stride] = x [token][x_stride] W^T + bias. */
typedef struct linear {
    int weight, bias; /* numbers of tensors */
    size_t rows;      /* of the matrix, and of those that follow it in memory and were joined to it */
    const float *x;
    float *y;
    size_t x_stride, y_stride;
    int a, b; /* LoRA's thin matrices, or NO_TENSOR */
    float *u; /* [token][rank] what the first makes of x, scaled */
} linear;

static void add_lora_scale(planner *p, float *u)
{
    phase *scale = add_token_phase(p, learn_lora_scale, 0);
    scale->out = u;
    scale->gemm.n = p->l->layout.lora_rank;
}

/* u = x A^T, scaled; y += u B^T */
static void add_lora(planner *p, linear f)
{
    int rank = p->l->layout.lora_rank, n_tokens = (int)p->n_tokens;
    const learn_tensor *a = &p->l->layout.tensors[f.a], *b = &p->l->layout.tensors[f.b];
    add_product(p, (product){.transpose_b = true,
                             .m = n_tokens,
                             .n = rank,
                             .k = (int)a->k,
                             .a = f.x,
                             .lda = (int)f.x_stride,
                             .b = weight(p, f.a),
                             .ldb = (int)a->k,
                             .c = f.u,
                             .ldc = rank});
    add_lora_scale(p, f.u);
    add_product(p, (product){.transpose_b = true,
                             .m = n_tokens,
                             .n = (int)b->rows,
                             .k = rank,
                             .a = f.u,
                             .lda = rank,
                             .b = weight(p, f.b),
                             .ldb = rank,
                             .c = f.y,
                             .ldc = (int)f.y_stride,
                             .add = true});
}

/* Gradients of both thin matrices, and du, which the gradient of x needs; here f.y is the gradient of y. */
static void add_lora_gradient(planner *p, linear f)
{
    int rank = p->l->layout.lora_rank, n_tokens = (int)p->n_tokens;
    const learn_tensor *a = &p->l->layout.tensors[f.a], *b = &p->l->layout.tensors[f.b];
    add_product(p, (product){.transpose_a = true,
                             .m = (int)b->rows,
                             .n = rank,
                             .k = n_tokens,
                             .a = f.y,
                             .lda = (int)f.y_stride,
                             .b = f.u,
                             .ldb = rank,
                             .c = gradient(p, f.b),
                             .ldc = rank,
                             .add = true});
    add_product(p, (product){.m = n_tokens,
                             .n = rank,
                             .k = (int)b->rows,
                             .a = f.y,
                             .lda = (int)f.y_stride,
                             .b = weight(p, f.b),
                             .ldb = rank,
                             .c = p->l->du,
                             .ldc = rank});
    add_lora_scale(p, p->l->du);
    add_product(p, (product){.transpose_a = true,
                             .m = rank,
                             .n = (int)a->k,
                             .k = n_tokens,
                             .a = p->l->du,
                             .lda = rank,
                             .b = f.x,
                             .ldb = (int)f.x_stride,
                             .c = gradient(p, f.a),
                             .ldc = (int)a->k,
                             .add = true});
}

static void add_linear(planner *p, linear f, const float *residual)
{
    const learn_tensor *t = &p->l->layout.tensors[f.weight];
    add_product(p, (product){.transpose_b = true,
                             .m = (int)p->n_tokens,
                             .n = (int)f.rows,
                             .k = (int)t->k,
                             .a = f.x,
                             .lda = (int)f.x_stride,
                             .b = weight(p, f.weight),
                             .ldb = (int)t->k,
                             .c = f.y,
                             .ldc = (int)f.y_stride,
                             .residual = residual,
                             .bias = weight(p, f.bias)});
    if (f.a != NO_TENSOR)
        add_lora(p, f);
}

/* Gradients of the matrix and its bias, or of what LoRA puts beside them; here f.y is the gradient of y. */
static void add_weight_gradient(planner *p, linear f)
{
    const learn_tensor *t = &p->l->layout.tensors[f.weight];
    if (f.a != NO_TENSOR)
        add_lora_gradient(p, f);
    if (!is_trained(p, f.weight))
        return;
    add_product(p, (product){.transpose_a = true,
                             .m = (int)f.rows,
                             .n = (int)t->k,
                             .k = (int)p->n_tokens,
                             .a = f.y,
                             .lda = (int)f.y_stride,
                             .b = f.x,
                             .ldb = (int)f.x_stride,
                             .c = gradient(p, f.weight),
                             .ldc = (int)t->k,
                             .add = true});
    if (f.bias == NO_TENSOR)
        return;
    phase *sums = add_phase(p, learn_column_sums, chunks_of(t->rows, COLUMN_CHUNK));
    sums->x = f.y;
    sums->stride = f.y_stride;
    sums->gemm.n = (int)t->rows;
    sums->out = gradient(p, f.bias);
}

/* dx [token][k] (+)= dy W, after add_weight_gradient(); here f.y is the gradient of y. */
static void add_input_gradient(planner *p, linear f, float *dx, bool add)
{
    const learn_tensor *t = &p->l->layout.tensors[f.weight];
    add_product(p, (product){.m = (int)p->n_tokens,
                             .n = (int)t->k,
                             .k = (int)f.rows,
                             .a = f.y,
                             .lda = (int)f.y_stride,
                             .b = weight(p, f.weight),
                             .ldb = (int)t->k,
                             .c = dx,
                             .ldc = (int)t->k,
                             .add = add});
    if (f.a == NO_TENSOR)
        return;
    add_product(p, (product){.m = (int)p->n_tokens,
                             .n = (int)t->k,
                             .k = p->l->layout.lora_rank,
                             .a = p->l->du,
                             .lda = p->l->layout.lora_rank,
                             .b = weight(p, f.a),
                             .ldb = (int)t->k,
                             .c = dx,
                             .ldc = (int)t->k,
                             .add = true});
}

/* y = norm of x */
static void add_norm(planner *p, phase_work *work, const float *x, norm_stat *stats, int w, int b)
{
    phase *norm = add_token_phase(p, work, 0);
    norm->x = x;
    norm->stats = stats;
    norm->w = weight(p, w);
    norm->b = weight(p, b);
    norm->out = p->l->y;
}

/* dx += norm backward of dy; gradients of the norm's own weights */
static void add_norm_backward(planner *p, const float *x, norm_stat *stats, int w, int b)
{
    if (is_trained(p, w)) {
        phase *columns = add_phase(p, learn_norm_columns, chunks_of(p->n_embd, COLUMN_CHUNK));
        columns->x = x;
        columns->y = p->l->dy;
        columns->stats = stats;
        columns->out = gradient(p, w);
        columns->out2 = gradient(p, b);
    }
    phase *rows = add_token_phase(p, learn_norm_backward, 0);
    rows->x = x;
    rows->y = p->l->dy;
    rows->stats = stats;
    rows->w = weight(p, w);
    rows->out = p->l->dx;
}

/* The matrix of a role in layer i, with what belongs to it. */
static linear linear_of(const planner *p, int i, layer_role role, const float *x, size_t x_stride, float *y,
                        size_t y_stride)
{
    const layer_tensors *t = &p->l->layout.layers[i];
    return (linear){.weight = t->weight[role],
                    .bias = t->bias[role],
                    .rows = p->l->layout.tensors[t->weight[role]].rows,
                    .x = x,
                    .y = y,
                    .x_stride = x_stride,
                    .y_stride = y_stride,
                    .a = t->lora_a[role],
                    .b = t->lora_b[role],
                    .u = p->l->layers[i].u[role]};
}

/* Whether g's matrix and results stand right behind f's, so that one product makes both. */
static bool joins(const planner *p, const linear *f, const linear *g)
{
    const learn_tensor *tensors = p->l->layout.tensors;
    size_t k = tensors[f->weight].k;
    return f->bias == NO_TENSOR && g->bias == NO_TENSOR && f->a == NO_TENSOR && g->a == NO_TENSOR && f->x == g->x &&
           tensors[g->weight].k == k && tensors[g->weight].offset == tensors[f->weight].offset + f->rows * k &&
           f->y_stride == g->y_stride && g->y == f->y + f->rows && is_trained(p, f->weight) == is_trained(p, g->weight);
}

/* Adds g to the linears out[n], joined to the last one if it can be; returns their number. */
static int append_linear(const planner *p, linear *out, int n, linear g)
{
    if (n > 0 && joins(p, &out[n - 1], &g)) {
        out[n - 1].rows += g.rows;
        return n;
    }
    out[n] = g;
    return n + 1;
}

/* The matrices of layer i that make q, k and v, as one or as three; qkv is the result or its gradient. */
static int qkv_linears(const planner *p, int i, float *qkv, linear out[3])
{
    const layer_tensors *t = &p->l->layout.layers[i];
    const size_t *dims = p->l->layout.hp.dims;
    const layer_role roles[] = {ATTN_QKV, ATTN_Q, ATTN_K, ATTN_V};
    const size_t at[] = {0, 0, dims[DIM_Q], dims[DIM_Q] + dims[DIM_KV]};
    int n = 0;
    for (int r = 0; r < 4; r++)
        if (t->weight[roles[r]] != NO_TENSOR)
            n = append_linear(p, out, n, linear_of(p, i, roles[r], p->l->y, p->n_embd, qkv + at[r], p->qkv));
    return n;
}

/* The matrices that the activation works on: gate and up, or up alone. */
static int ffn_linears(const planner *p, int i, float *const ffn[2], linear out[2])
{
    const layer_tensors *t = &p->l->layout.layers[i];
    const layer_role roles[] = {FFN_GATE, FFN_UP};
    int n = 0, next = 0;
    for (int r = 0; r < 2; r++)
        if (t->weight[roles[r]] != NO_TENSOR)
            n = append_linear(p, out, n, linear_of(p, i, roles[r], p->l->y, p->n_embd, ffn[next++], p->l->ffn_stride));
    return n;
}

static linear attn_output(const planner *p, int i, float *y)
{
    return linear_of(p, i, ATTN_OUTPUT, p->l->layers[i].att, p->q, y, p->n_embd);
}

static linear ffn_down(const planner *p, int i, float *y)
{
    return linear_of(p, i, FFN_DOWN, p->l->h, p->n_ff, y, p->n_embd);
}

/* Places where dropout works. */
enum { SITE_EMBED, SITE_ATTENTION, SITE_FFN, LAYER_SITES = 2 };

static void add_dropout(planner *p, int site, int i, const float *x, const float *add, float *out)
{
    phase *drop = add_token_phase(p, learn_dropout, i);
    drop->stride = (size_t)(site + LAYER_SITES * i);
    drop->x = x;
    drop->y = add;
    drop->out = out;
}

/* f.y = residual + what the matrix makes of f.x, some of which is left out. */
static void add_to_stream(planner *p, linear f, const float *residual, int site, int i)
{
    float *out = f.y;
    if (!p->drops) {
        add_linear(p, f, residual);
        return;
    }
    f.y = p->l->dy; /* not used before the loss is known */
    add_linear(p, f, NULL);
    add_dropout(p, site, i, f.y, residual, out);
}

/* The gradient of what a matrix adds to the stream: dx, or in `masked` what of it was not left out. */
static float *stream_gradient(planner *p, int site, int i, float *masked)
{
    if (!p->drops)
        return p->l->dx;
    add_dropout(p, site, i, p->l->dx, NULL, masked);
    return masked;
}

static void add_layer_forward(planner *p, int i)
{
    learner *l = p->l;
    const layer_tensors *t = &l->layout.layers[i];
    layer_state *s = &l->layers[i];
    float *next = i + 1 < (int)l->layout.hp.n_layers ? l->layers[i + 1].x : l->x_end;
    linear parts[3];
    add_norm(p, learn_norm, s->x, s->attn_stats, t->weight[ATTN_NORM], t->bias[ATTN_NORM]);
    int n = qkv_linears(p, i, s->qkv, parts);
    for (int j = 0; j < n; j++)
        add_linear(p, parts[j], NULL);
    if (l->layout.recipe->position != POSITION_LEARNED)
        add_token_phase(p, learn_rope, i)->out = s->qkv;
    add_phase(p, learn_attention, l->n_sequences * (int)l->layout.hp.n_heads)->layer = i;
    add_to_stream(p, attn_output(p, i, s->middle), s->x, SITE_ATTENTION, i);
    add_norm(p, learn_norm, s->middle, s->ffn_stats, t->weight[FFN_NORM], t->bias[FFN_NORM]);
    n = ffn_linears(p, i, s->ffn, parts);
    for (int j = 0; j < n; j++)
        add_linear(p, parts[j], NULL);
    add_token_phase(p, learn_activate, i);
    add_to_stream(p, ffn_down(p, i, next), s->middle, SITE_FFN, i);
}

/* dx holds the gradient of what layer i puts out; leaves that of what it takes in. */
static void add_layer_backward(planner *p, int i)
{
    learner *l = p->l;
    const layer_tensors *t = &l->layout.layers[i];
    layer_state *s = &l->layers[i];
    linear parts[3];
    add_token_phase(p, learn_activate, i);
    float *dy = stream_gradient(p, SITE_FFN, i, l->dy);
    add_weight_gradient(p, ffn_down(p, i, dy));
    add_input_gradient(p, ffn_down(p, i, dy), l->h, false);
    add_token_phase(p, learn_activate_backward, i);
    add_norm(p, learn_norm_again, s->middle, s->ffn_stats, t->weight[FFN_NORM], t->bias[FFN_NORM]);
    int n = ffn_linears(p, i, l->dffn, parts);
    for (int j = 0; j < n; j++) {
        add_weight_gradient(p, parts[j]);
        add_input_gradient(p, parts[j], l->dy, j > 0);
    }
    add_norm_backward(p, s->middle, s->ffn_stats, t->weight[FFN_NORM], t->bias[FFN_NORM]);
    dy = stream_gradient(p, SITE_ATTENTION, i, l->y);
    add_weight_gradient(p, attn_output(p, i, dy));
    add_input_gradient(p, attn_output(p, i, dy), l->dy, false);
    phase *attend = add_phase(p, learn_attention_backward, l->n_sequences * (int)l->layout.hp.n_heads);
    attend->layer = i;
    attend->y = l->dy;
    attend->out = l->dqkv;
    if (l->dkv != NULL)
        add_token_phase(p, learn_attention_gather, i)->out = l->dqkv;
    if (l->layout.recipe->position != POSITION_LEARNED)
        add_token_phase(p, learn_rope_backward, i)->out = l->dqkv;
    add_norm(p, learn_norm_again, s->x, s->attn_stats, t->weight[ATTN_NORM], t->bias[ATTN_NORM]);
    n = qkv_linears(p, i, l->dqkv, parts);
    for (int j = 0; j < n; j++) {
        add_weight_gradient(p, parts[j]);
        add_input_gradient(p, parts[j], l->dy, j > 0);
    }
    add_norm_backward(p, s->x, s->attn_stats, t->weight[ATTN_NORM], t->bias[ATTN_NORM]);
}

/* Logits and losses, logit_rows tokens at a time; with their gradients if backward. y is the last norm's result. */
static void add_head(planner *p, bool backward)
{
    learner *l = p->l;
    int output = l->layout.output, n_vocab = (int)l->layout.hp.n_vocab, n_embd = (int)p->n_embd;
    const learn_layout *layout = &l->layout;
    add_norm(p, learn_norm, l->x_end, l->end_stats, layout->output_norm, layout->output_norm_bias);
    for (size_t t = 0; t < p->n_tokens; t += (size_t)l->logit_rows) {
        int rows = (int)(p->n_tokens - t) < l->logit_rows ? (int)(p->n_tokens - t) : l->logit_rows;
        float *y = l->y + t * p->n_embd, *dy = l->dy + t * p->n_embd;
        add_product(p, (product){.transpose_b = true,
                                 .m = rows,
                                 .n = n_vocab,
                                 .k = n_embd,
                                 .a = y,
                                 .lda = n_embd,
                                 .b = weight(p, output),
                                 .ldb = n_embd,
                                 .c = l->logits,
                                 .ldc = n_vocab});
        phase *loss = add_phase(p, learn_loss, chunks_of((size_t)rows, LOGIT_CHUNK));
        loss->stride = t;
        loss->gemm.m = rows;
        if (!backward)
            continue;
        if (is_trained(p, output))
            add_product(p, (product){.transpose_a = true,
                                     .m = n_vocab,
                                     .n = n_embd,
                                     .k = rows,
                                     .a = l->logits,
                                     .lda = n_vocab,
                                     .b = y,
                                     .ldb = n_embd,
                                     .c = gradient(p, output),
                                     .ldc = n_embd,
                                     .add = true});
        add_product(p, (product){.m = rows,
                                 .n = n_embd,
                                 .k = n_vocab,
                                 .a = l->logits,
                                 .lda = n_vocab,
                                 .b = weight(p, output),
                                 .ldb = n_embd,
                                 .c = dy,
                                 .ldc = n_embd});
    }
}

static void plan_forward(planner *p, bool backward)
{
    learner *l = p->l;
    const learn_layout *layout = &l->layout;
    phase *embed = add_token_phase(p, learn_embed, 0);
    embed->w = weight(p, layout->token_embd);
    embed->b = weight(p, layout->position_embd);
    float *embed_out = embed->out = l->layers[0].x;
    p->drops = backward && l->dropout.threshold > 0;
    if (p->drops)
        add_dropout(p, SITE_EMBED, 0, embed_out, NULL, embed_out);
    for (int i = 0; i < (int)layout->hp.n_layers; i++)
        add_layer_forward(p, i);
    add_head(p, backward);
    if (!backward)
        return;
    add_norm_backward(p, l->x_end, l->end_stats, layout->output_norm, layout->output_norm_bias);
    for (int i = (int)layout->hp.n_layers - 1; i >= 0; i--)
        add_layer_backward(p, i);
    if (!is_trained(p, layout->token_embd))
        return;
    if (p->drops)
        add_dropout(p, SITE_EMBED, 0, l->dx, NULL, l->dx);
    embed = add_phase(p, learn_embed_backward, chunks_of(p->n_embd, COLUMN_CHUNK));
    embed->x = l->dx;
    embed->out = gradient(p, layout->token_embd);
    embed->out2 = gradient(p, layout->position_embd);
}

bool plan_phases(learner *l)
{
    l->forward.n = l->backward.n = l->squares.n = l->update.n = 0;
    const hyperparameters *hp = &l->layout.hp;
    planner p = {.l = l, .n_tokens = (size_t)l->n_tokens, .n_embd = hp->n_embd, .n_ff = hp->n_ff};
    p.q = hp->dims[DIM_Q];
    p.qkv = hp->dims[DIM_QKV];
    p.list = &l->forward;
    plan_forward(&p, false);
    p.list = &l->backward;
    plan_forward(&p, true);
    return plan_update(&p) && !l->forward.failed && !l->backward.failed;
}
