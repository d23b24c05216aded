/* forward_steps.c: the phases of a layer but attention: embeddings, norms, matrix products, feed-forward. */
#include <string.h>

#include "model/forward_state.h"

enum {
    TOKENS_PER_CHUNK = 8,
    DECODE_CHUNK_BYTES = 64 << 10, /* of weights: long enough to stream, short enough not to be waited for */
    PROMPT_CHUNK_ROWS = 64,
    CHUNKS_PER_THREAD = 8,
};

static const layer *current_layer(const forward *f)
{
    return &f->model->layers[f->layer];
}

static int chunks_of(int n, int size)
{
    return (n + size - 1) / size;
}

/* Phases that treat each token by itself. */
int begin_tokens(forward *f)
{
    f->tokens_per_chunk = f->n_tokens <= SPLIT_TOKENS ? SPLIT_TOKENS : TOKENS_PER_CHUNK;
    return chunks_of(f->n_tokens, f->tokens_per_chunk);
}

static int last_token(const forward *f, int chunk, int n)
{
    int end = (chunk + 1) * f->tokens_per_chunk;
    return end < n ? end : n;
}

static void matrix_row(const matrix *m, size_t row, float *out)
{
    tensor_row_to_float(m->type, (const unsigned char *)m->data + row * m->row_bytes, out, m->k);
}

void work_embed(forward *f, int chunk, int thread)
{
    const aigc_model *model = f->model;
    size_t n_embd = model->hp.n_embd;
    for (int t = chunk * f->tokens_per_chunk; t < last_token(f, chunk, f->n_tokens); t++) {
        float *x = f->x + (size_t)t * n_embd;
        prepare_angles(f, t);
        matrix_row(&model->token_embd, (size_t)f->token_id[t], x);
        if (model->recipe->position == POSITION_LEARNED) {
            matrix_row(&model->position_embd, (size_t)f->token_position[t], f->threads[thread].row);
            f->kernels->add(x, f->threads[thread].row, n_embd);
        }
    }
}

/* Prepares a row of n floats in each form that one of the next matrices needs. */
static void prepare_row(forward *f, int t, const float *row, size_t n, const matrix *const *next, int n_next)
{
    unsigned done = 0;
    for (int i = 0; i < n_next; i++) {
        act_type type = act_type_for(next[i]->type);
        if (next[i]->data == NULL || done >> type & 1)
            continue;
        done |= 1u << type;
        f->kernels->prepare(type, row, f->acts[type] + (size_t)t * act_row_bytes(type, n), n);
    }
}

static void norm_row(const forward *f, const float *x, const float *w, const float *b, float *y)
{
    const hyperparameters *hp = &f->model->hp;
    if (f->model->recipe->norm == NORM_RMS)
        f->kernels->rms_norm(x, w, hp->norm_eps, y, hp->n_embd);
    else
        f->kernels->layer_norm(x, w, b, hp->norm_eps, y, hp->n_embd);
}

static void norm_tokens(forward *f, int chunk, int thread, layer_role norm, const layer_role *next, int n_next)
{
    const layer *l = current_layer(f);
    size_t n_embd = f->model->hp.n_embd;
    float *y = f->threads[thread].row;
    const matrix *matrices[LAYER_MATRICES];
    for (int i = 0; i < n_next; i++)
        matrices[i] = &l->weights[next[i]];
    for (int t = chunk * f->tokens_per_chunk; t < last_token(f, chunk, f->n_tokens); t++) {
        norm_row(f, f->x + (size_t)t * n_embd, l->norms[norm], l->biases[norm], y);
        prepare_row(f, t, y, n_embd, matrices, n_next);
        adapt_prepare(f, t, y, n_embd);
    }
    adapt_input(f, chunk * f->tokens_per_chunk, last_token(f, chunk, f->n_tokens), next, n_next, thread);
}

void work_attn_norm(forward *f, int chunk, int thread)
{
    static const layer_role next[] = {ATTN_Q, ATTN_K, ATTN_V, ATTN_QKV};
    norm_tokens(f, chunk, thread, ATTN_NORM, next, 4);
}

void work_ffn_norm(forward *f, int chunk, int thread)
{
    static const layer_role next[] = {FFN_GATE, FFN_UP};
    norm_tokens(f, chunk, thread, FFN_NORM, next, 2);
}

/* ---- matrix products ---- */

static int round_up(int n, int multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

/* Cuts a job into chunks of rows. One token: by bytes of weights. Many: so that every thread gets several chunks. */
static void cut_job(const forward *f, matmul_job *job, int n_tokens)
{
    const matrix *w = job->weights;
    int rows;
    if (n_tokens <= SPLIT_TOKENS) {
        rows = (int)(DECODE_CHUNK_BYTES / w->row_bytes);
    } else {
        rows = (int)(w->rows / (size_t)(f->n_threads * CHUNKS_PER_THREAD));
        rows = rows > PROMPT_CHUNK_ROWS ? PROMPT_CHUNK_ROWS : rows;
    }
    job->rows_per_chunk = round_up(rows > 1 ? rows : 1, KERNEL_PANEL_ROWS);
    job->n_chunks = chunks_of((int)w->rows, job->rows_per_chunk);
}

/* A matrix of the current layer, if it has it. */
static void add_job(forward *f, layer_role role, float *out, size_t out_stride, bool accumulate)
{
    const layer *l = current_layer(f);
    if (l->weights[role].data != NULL)
        f->jobs[f->n_jobs++] =
            (matmul_job){&l->weights[role], l->biases[role], role, out, out_stride, accumulate, 0, 0};
}

/* All jobs of a phase share its chunks; a phase too small for several threads is one chunk. */
static int cut_jobs(forward *f, int n_tokens)
{
    size_t work = 0;
    int n_chunks = 0;
    for (int i = 0; i < f->n_jobs; i++)
        work += f->jobs[i].weights->rows * f->jobs[i].weights->k * (size_t)n_tokens;
    for (int i = 0; i < f->n_jobs; i++) {
        cut_job(f, &f->jobs[i], n_tokens);
        n_chunks += f->jobs[i].n_chunks;
    }
    f->tokens_per_chunk = n_tokens; /* of these phases: all */
    f->serial = work < SERIAL_WORK;
    return f->serial ? 1 : n_chunks;
}

static void run_job_chunk(forward *f, const matmul_job *job, int chunk, int thread)
{
    const matrix *w = job->weights;
    int begin = chunk * job->rows_per_chunk, end = begin + job->rows_per_chunk, n_tokens = f->tokens_per_chunk;
    if (end > (int)w->rows)
        end = (int)w->rows;
    float *out = job->accumulate ? f->product : job->out;
    f->kernels->matmul(w->type, w->data, w->row_bytes, w->k, begin, end, f->acts[act_type_for(w->type)], n_tokens,
                       out + begin, job->out_stride, f->threads[thread].matmul);
    if (f->n_adapters > 0 && job->role < LAYER_ROLES)
        adapt_output(f, job->role, n_tokens, begin, end, out + begin, job->out_stride, thread);
    for (int t = 0; t < n_tokens; t++) {
        float *row = out + (size_t)t * job->out_stride;
        size_t n = (size_t)(end - begin);
        if (job->bias != NULL)
            f->kernels->add(row + begin, job->bias + begin, n);
        if (job->accumulate)
            f->kernels->add(job->out + (size_t)t * job->out_stride + begin, row + begin, n);
    }
}

void work_matmul(forward *f, int chunk, int thread)
{
    for (int i = 0; i < f->n_jobs; i++) {
        const matmul_job *job = &f->jobs[i];
        if (f->serial) {
            for (int c = 0; c < job->n_chunks; c++)
                run_job_chunk(f, job, c, thread);
        } else if (chunk < job->n_chunks) {
            run_job_chunk(f, job, chunk, thread);
            return;
        } else {
            chunk -= job->n_chunks;
        }
    }
}

int begin_qkv(forward *f)
{
    const size_t *dims = f->model->hp.dims;
    size_t stride = dims[DIM_QKV];
    f->n_jobs = 0;
    add_job(f, ATTN_QKV, f->qkv, stride, false);
    add_job(f, ATTN_Q, f->qkv, stride, false);
    add_job(f, ATTN_K, f->qkv + dims[DIM_Q], stride, false);
    add_job(f, ATTN_V, f->qkv + dims[DIM_Q] + dims[DIM_KV], stride, false);
    return cut_jobs(f, f->n_tokens);
}

int begin_attn_output(forward *f)
{
    f->n_jobs = 0;
    add_job(f, ATTN_OUTPUT, f->x, f->model->hp.n_embd, true);
    return cut_jobs(f, f->n_tokens);
}

/* ---- feed-forward ---- */

int begin_ffn_in(forward *f)
{
    const layer *l = current_layer(f);
    size_t n_ff = f->model->hp.n_ff;
    bool gated = l->weights[FFN_GATE].data != NULL;
    f->n_jobs = 0;
    add_job(f, FFN_GATE, f->ffn[0], n_ff, false);
    add_job(f, FFN_UP, f->ffn[gated], n_ff, false);
    return cut_jobs(f, f->n_tokens);
}

void work_ffn_activate(forward *f, int chunk, int thread)
{
    static const layer_role role = FFN_DOWN;
    const layer *l = current_layer(f);
    const matrix *next = &l->weights[FFN_DOWN];
    size_t n_ff = f->model->hp.n_ff;
    for (int t = chunk * f->tokens_per_chunk; t < last_token(f, chunk, f->n_tokens); t++) {
        float *h = f->ffn[0] + (size_t)t * n_ff;
        if (f->model->recipe->activation == ACTIVATION_SILU)
            f->kernels->silu_mul(h, f->ffn[1] + (size_t)t * n_ff, n_ff);
        else
            f->kernels->gelu_tanh(h, n_ff);
        prepare_row(f, t, h, n_ff, &next, 1);
        adapt_prepare(f, t, h, n_ff);
    }
    adapt_input(f, chunk * f->tokens_per_chunk, last_token(f, chunk, f->n_tokens), &role, 1, thread);
}

int begin_ffn_down(forward *f)
{
    f->n_jobs = 0;
    add_job(f, FFN_DOWN, f->x, f->model->hp.n_embd, true);
    return cut_jobs(f, f->n_tokens);
}

void work_attn_prepare(forward *f, int chunk, int thread)
{
    static const layer_role role = ATTN_OUTPUT;
    const matrix *next = &current_layer(f)->weights[ATTN_OUTPUT];
    size_t q = f->model->hp.dims[DIM_Q];
    for (int t = chunk * f->tokens_per_chunk; t < last_token(f, chunk, f->n_tokens); t++) {
        const float *x = f->attn + (size_t)t * q;
        prepare_row(f, t, x, q, &next, 1);
        adapt_prepare(f, t, x, q);
    }
    adapt_input(f, chunk * f->tokens_per_chunk, last_token(f, chunk, f->n_tokens), &role, 1, thread);
}

/* ---- logits ---- */

int begin_head_norm(forward *f)
{
    int left = f->n_outputs - f->output_first;
    f->output_n = left < FORWARD_LOGIT_ROWS ? left : FORWARD_LOGIT_ROWS;
    f->tokens_per_chunk = SPLIT_TOKENS;
    return chunks_of(f->output_n, f->tokens_per_chunk);
}

void work_head_norm(forward *f, int chunk, int thread)
{
    const aigc_model *model = f->model;
    size_t n_embd = model->hp.n_embd;
    float *y = f->threads[thread].row;
    const matrix *next = &model->output;
    for (int i = chunk * f->tokens_per_chunk; i < last_token(f, chunk, f->output_n); i++) {
        int t = f->output_token[f->output_first + i];
        norm_row(f, f->x + (size_t)t * n_embd, model->output_norm, model->output_norm_bias, y);
        prepare_row(f, i, y, n_embd, &next, 1);
    }
}

void forward_hidden(const forward *f, int row, float *out)
{
    size_t t = (size_t)f->output_token[row];
    norm_row(f, f->x + t * f->model->hp.n_embd, f->model->output_norm, f->model->output_norm_bias, out);
}

int begin_head(forward *f)
{
    f->n_jobs = 0;
    f->jobs[f->n_jobs++] =
        (matmul_job){&f->model->output, NULL, LAYER_ROLES, f->logits, f->model->hp.n_vocab, false, 0, 0};
    return cut_jobs(f, f->output_n);
}
