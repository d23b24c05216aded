/*
 * forward_attention.c: rotary positions, storing keys and values, and attention over the blocks of a sequence.
 *
 * The order of summation is fixed by position alone: the blocks of a chunk of ATTN_CHUNK positions are merged one after
 * the other, then the chunks. So it does not matter whether one thread does all chunks or each does its own, nor which
 * other queries or sequences are computed beside.
 */
#include <math.h>
#include <string.h>

#include "base/real.h"
#include "model/forward_state.h"

enum { BLOCKS_PER_CHUNK = ATTN_CHUNK / KV_BLOCK, SPLIT_TASKS_PER_THREAD = 2 };

/* The queries of some tokens of one span for the heads that share a key-value head: rows [token][head of group]. */
typedef struct attn_tile {
    const token_span *span;
    int first_token; /* in the batch */
    int position;    /* of the first token */
    int n_tokens, n_rows, group, kv_head;
} attn_tile;

void prepare_angles(forward *f, int t)
{
    const aigc_model *model = f->model;
    if (model->recipe->position == POSITION_LEARNED)
        return;
    size_t half = model->hp.n_rot / 2;
    float *c = f->cosines + (size_t)t * half, *s = f->sines + (size_t)t * half;
    for (size_t i = 0; i < half; i++) {
        double sine, cosine;
        real_sincos(f->token_position[t] * model->rope_freqs[i], &sine, &cosine);
        c[i] = (float)cosine;
        s[i] = (float)sine;
    }
}

static void rotate(const forward *f, int t, float *heads, size_t n_heads)
{
    const hyperparameters *hp = &f->model->hp;
    size_t half = hp->n_rot / 2;
    if (f->model->recipe->position != POSITION_LEARNED)
        f->kernels->rope(heads, (int)n_heads, (int)hp->head_dim, (int)hp->n_rot, f->cosines + (size_t)t * half,
                         f->sines + (size_t)t * half, f->model->recipe->position == POSITION_ROPE_PAIRS);
}

void work_rope_store(forward *f, int chunk, int thread)
{
    (void)thread;
    const hyperparameters *hp = &f->model->hp;
    int begin = chunk * f->tokens_per_chunk, end = begin + f->tokens_per_chunk;
    for (int t = begin; t < end && t < f->n_tokens; t++) {
        float *q = f->qkv + (size_t)t * hp->dims[DIM_QKV], *k = q + hp->dims[DIM_Q], *v = k + hp->dims[DIM_KV];
        rotate(f, t, q, hp->n_heads);
        f->kernels->scale(q, 1.0f / sqrtf((float)hp->head_dim), hp->dims[DIM_Q]);
        rotate(f, t, k, hp->n_kv_heads);
        int position = f->token_position[t];
        const int32_t *blocks = f->spans[f->in_span[t]].blocks;
        kv_store(f->kv, (size_t)f->layer, (size_t)blocks[position / KV_BLOCK], (size_t)(position % KV_BLOCK), k, v);
    }
}

static int chunks_to(int position)
{
    return position / ATTN_CHUNK + 1;
}

/* Attention tiles of all spans; a small batch with a long context is split along positions as well. */
int begin_attend(forward *f)
{
    const hyperparameters *hp = &f->model->hp;
    int group = (int)(hp->n_heads / hp->n_kv_heads), longest = 1;
    size_t work = 0; /* multiply-adds, about */
    f->tile_tokens = group < ATTN_TILE_ROWS ? ATTN_TILE_ROWS / group : 1;
    f->n_tiles = 0;
    for (int s = 0; s < f->n_spans; s++) {
        const token_span *span = &f->spans[s];
        f->span_tile[s] = f->n_tiles;
        f->n_tiles += (span->n + f->tile_tokens - 1) / f->tile_tokens;
        int chunks = chunks_to(span->position + span->n - 1);
        longest = chunks > longest ? chunks : longest;
        work += 2 * hp->dims[DIM_Q] * (size_t)span->n * (size_t)(span->position + span->n);
    }
    f->span_tile[f->n_spans] = f->n_tiles;
    int n_tasks = f->n_tiles * (int)hp->n_kv_heads;
    bool split = f->n_tokens <= SPLIT_TOKENS && f->n_threads > 1 && n_tasks < SPLIT_TASKS_PER_THREAD * f->n_threads;
    f->n_splits = split ? longest : 1;
    f->serial = work < SERIAL_WORK / 4; /* softmax and merging weigh more than the products */
    return f->serial ? 1 : n_tasks * f->n_splits;
}

static attn_tile find_tile(const forward *f, int number, int kv_head)
{
    int low = 0, high = f->n_spans - 1;
    while (low < high) {
        int middle = (low + high + 1) / 2;
        if (f->span_tile[middle] <= number)
            low = middle;
        else
            high = middle - 1;
    }
    const token_span *span = &f->spans[low];
    int first = (number - f->span_tile[low]) * f->tile_tokens, left = span->n - first;
    const hyperparameters *hp = &f->model->hp;
    attn_tile tile = {
        .span = span,
        .first_token = f->span_start[low] + first,
        .position = span->position + first,
        .n_tokens = left < f->tile_tokens ? left : f->tile_tokens,
        .group = (int)(hp->n_heads / hp->n_kv_heads),
        .kv_head = kv_head,
    };
    tile.n_rows = tile.n_tokens * tile.group;
    return tile;
}

/* Where the rows of tile token t lie in a [token][heads][head_dim] array with this stride. */
static size_t tile_offset(const forward *f, const attn_tile *tile, int t, size_t stride)
{
    return (size_t)(tile->first_token + t) * stride + (size_t)(tile->kv_head * tile->group) * f->model->hp.head_dim;
}

static void gather_queries(const forward *f, const attn_tile *tile, float *q)
{
    size_t size = (size_t)tile->group * f->model->hp.head_dim;
    for (int t = 0; t < tile->n_tokens; t++)
        memcpy(q + (size_t)t * size, f->qkv + tile_offset(f, tile, t, f->model->hp.dims[DIM_QKV]), size * sizeof *q);
}

/* How much of the block that begins at position `start` each row sees. */
static void set_visible(const attn_tile *tile, int start, thread_scratch *s)
{
    for (int r = 0; r < tile->n_rows; r++) {
        int end = tile->position + r / tile->group + 1 - start;
        s->begin[r] = 0;
        s->end[r] = end < 0 ? 0 : end > KV_BLOCK ? KV_BLOCK : end;
    }
}

/* Attention of the tile over one chunk of positions, into level 1 of the scratch. */
static void attend_chunk(const forward *f, const attn_tile *tile, int chunk, thread_scratch *s)
{
    int head_dim = (int)f->model->hp.head_dim, last = tile->position + tile->n_tokens - 1;
    for (int b = chunk * BLOCKS_PER_CHUNK; b < (chunk + 1) * BLOCKS_PER_CHUNK && b * KV_BLOCK <= last; b++) {
        attn_block block = kv_head(f->kv, (size_t)f->layer, (size_t)tile->span->blocks[b], (size_t)tile->kv_head);
        int into = b % BLOCKS_PER_CHUNK == 0 ? 1 : 0;
        set_visible(tile, b * KV_BLOCK, s);
        f->kernels->attend(&block, head_dim, s->q, tile->n_rows, s->begin, s->end, s->m[into], s->l[into], s->o[into]);
        if (into == 0)
            f->kernels->attend_merge(s->m[1], s->l[1], s->o[1], s->m[0], s->l[0], s->o[0], tile->n_rows, head_dim);
    }
}

static void copy_level(const thread_scratch *s, int from, int to, int n_rows, size_t head_dim)
{
    memcpy(s->m[to], s->m[from], (size_t)n_rows * sizeof(float));
    memcpy(s->l[to], s->l[from], (size_t)n_rows * sizeof(float));
    memcpy(s->o[to], s->o[from], (size_t)n_rows * head_dim * sizeof(float));
}

/* All chunks of a tile, into f->attn. */
static void attend_tile(forward *f, const attn_tile *tile, thread_scratch *s)
{
    size_t head_dim = f->model->hp.head_dim, size = (size_t)tile->group * head_dim;
    int n_chunks = chunks_to(tile->position + tile->n_tokens - 1);
    for (int c = 0; c < n_chunks; c++) {
        attend_chunk(f, tile, c, s);
        if (c == 0)
            copy_level(s, 1, 2, tile->n_rows, head_dim);
        else
            f->kernels->attend_merge(s->m[2], s->l[2], s->o[2], s->m[1], s->l[1], s->o[1], tile->n_rows, (int)head_dim);
    }
    for (int r = 0; r < tile->n_rows; r++)
        f->kernels->scale(s->o[2] + (size_t)r * head_dim, 1.0f / s->l[2][r], head_dim);
    for (int t = 0; t < tile->n_tokens; t++)
        memcpy(f->attn + tile_offset(f, tile, t, f->model->hp.dims[DIM_Q]), s->o[2] + (size_t)t * size,
               size * sizeof(float));
}

static float *split_slot(const forward *f, int token, int head, int chunk)
{
    const hyperparameters *hp = &f->model->hp;
    size_t slot = ((size_t)token * hp->n_heads + (size_t)head) * (size_t)f->max_chunks + (size_t)chunk;
    return f->split + slot * (hp->head_dim + 2);
}

/* One chunk of a tile, kept for begin_attn_prepare() to merge. */
static void attend_split(forward *f, const attn_tile *tile, int chunk, thread_scratch *s)
{
    size_t head_dim = f->model->hp.head_dim;
    if (chunk >= chunks_to(tile->position + tile->n_tokens - 1))
        return;
    attend_chunk(f, tile, chunk, s);
    for (int r = 0; r < tile->n_rows; r++) {
        float *slot =
            split_slot(f, tile->first_token + r / tile->group, tile->kv_head * tile->group + r % tile->group, chunk);
        slot[0] = s->m[1][r];
        slot[1] = s->l[1][r];
        memcpy(slot + 2, s->o[1] + (size_t)r * head_dim, head_dim * sizeof *slot);
    }
}

static void attend_task(forward *f, int task, thread_scratch *s)
{
    int n_kv_heads = (int)f->model->hp.n_kv_heads;
    attn_tile tile = find_tile(f, task / f->n_splits / n_kv_heads, task / f->n_splits % n_kv_heads);
    gather_queries(f, &tile, s->q);
    if (f->n_splits > 1)
        attend_split(f, &tile, task % f->n_splits, s);
    else
        attend_tile(f, &tile, s);
}

void work_attend(forward *f, int chunk, int thread)
{
    thread_scratch *s = &f->threads[thread];
    if (!f->serial) {
        attend_task(f, chunk, s);
        return;
    }
    int n_tasks = f->n_tiles * (int)f->model->hp.n_kv_heads * f->n_splits;
    for (int task = 0; task < n_tasks; task++)
        attend_task(f, task, s);
}

/* Merges what attend_split() left: the same chunks in the same order as attend_tile(). */
static void merge_splits(forward *f)
{
    const hyperparameters *hp = &f->model->hp;
    for (int t = 0; t < f->n_tokens; t++)
        for (int h = 0; h < (int)hp->n_heads; h++) {
            float *all = split_slot(f, t, h, 0);
            for (int c = 1; c < chunks_to(f->token_position[t]); c++) {
                const float *one = split_slot(f, t, h, c);
                f->kernels->attend_merge(all, all + 1, all + 2, one, one + 1, one + 2, 1, (int)hp->head_dim);
            }
            f->kernels->scale(all + 2, 1.0f / all[1], hp->head_dim);
            memcpy(f->attn + (size_t)t * hp->dims[DIM_Q] + (size_t)h * hp->head_dim, all + 2,
                   hp->head_dim * sizeof *all);
        }
}

int begin_attn_prepare(forward *f)
{
    if (f->n_splits > 1)
        merge_splits(f);
    return begin_tokens(f);
}
