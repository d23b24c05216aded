/*
 * schedule.c: which tokens are computed next. Requests are admitted in order, as soon as the blocks that they may need
 * in the worst case can be promised to them; so a sequence that runs never lacks memory. A batch has one token of each
 * sequence that is generating, and as much of the prompts as fits.
 */
#include <string.h>

#include "engine/engine.h"

static int blocks_for(int n_tokens)
{
    return (n_tokens + KV_BLOCK - 1) / KV_BLOCK;
}

/* ---- sequences ---- */

/* Makes sure that there is a block for each of the first n positions. */
static void sequence_extend(aigc_engine *e, sequence *s, int n)
{
    while (s->n_blocks < blocks_for(n)) {
        s->blocks[s->n_blocks++] = block_take(e->blocks);
        s->n_promised--;
    }
}

/* Makes the tokens of whole blocks known to other requests; the last, partial one too when the sequence is over. */
static void sequence_publish(aigc_engine *e, sequence *s, bool over)
{
    if (!e->options.prefix_cache)
        return;
    while (s->n_published * KV_BLOCK < s->n_past) {
        int i = s->n_published, n = s->n_past - i * KV_BLOCK;
        if (n < KV_BLOCK && !over)
            break;
        s->blocks[i] = block_publish(e->blocks, i == 0 ? NO_BLOCK : s->blocks[i - 1], s->blocks[i],
                                     s->tokens + i * KV_BLOCK, n < KV_BLOCK ? n : KV_BLOCK);
        s->n_published++;
    }
}

void sequence_release(aigc_engine *e, sequence *s)
{
    if (!s->live)
        return;
    sequence_publish(e, s, true);
    for (int i = s->n_blocks - 1; i >= 0; i--)
        block_release(e->blocks, s->blocks[i]);
    blocks_unpromise(e->blocks, s->n_promised);
    s->n_blocks = s->n_published = s->n_promised = 0;
    s->live = false;
    e->n_live--;
}

/* ---- admission ---- */

/* Blocks that all alternatives may need together: whole blocks of the prompt are shared. */
static int worst_case(const aigc_request *r)
{
    const sequence *s = &r->alternatives[0].seq;
    return blocks_for(s->n_capacity) + (r->n_alternatives - 1) * (blocks_for(s->n_capacity) - r->n_prompt / KV_BLOCK);
}

/* Copies the cached beginning of a block when only a part of it is ours. */
static void adopt_partial(aigc_engine *e, sequence *s, int partial, int n)
{
    block_share(e->blocks, partial); /* the source must stay while a block is taken, which may cost an unused one */
    if (blocks_available(e->blocks) >= 0) {
        sequence_extend(e, s, s->n_past + n);
        kv_copy(&e->kv, (size_t)partial, (size_t)s->blocks[s->n_blocks - 1], (size_t)n);
        s->n_past += n;
    }
    block_release(e->blocks, partial);
}

/* How many of the prompt's tokens need not be computed if their keys and values are at hand. The last one's logits are
 * needed, and with scoring those of each token before one that is scored. */
static int most_known(const aigc_request *r)
{
    int last = r->score_prompt && r->score_from < r->n_prompt ? r->score_from : r->n_prompt;
    return last > 0 ? last - 1 : 0;
}

/* Gives the first alternative what the cache has of its prompt. */
static bool admit(aigc_engine *e, aigc_request *r)
{
    sequence *s = &r->alternatives[0].seq;
    int partial = NO_BLOCK, n_partial = 0, n_shared = 0;
    if (e->options.prefix_cache && most_known(r) > 0)
        n_shared = blocks_match(e->blocks, s->tokens, most_known(r), s->blocks, &partial, &n_partial);
    for (int i = 0; i < n_shared; i++)
        block_share(e->blocks, s->blocks[i]);
    if (!blocks_promise(e->blocks, worst_case(r) - n_shared)) {
        for (int i = n_shared - 1; i >= 0; i--)
            block_release(e->blocks, s->blocks[i]);
        return false;
    }
    s->n_promised = worst_case(r) - n_shared; /* the others' part is handed over when they fork */
    s->n_blocks = s->n_published = n_shared;
    s->n_past = n_shared * KV_BLOCK;
    s->live = true;
    if (partial != NO_BLOCK)
        adopt_partial(e, s, partial, n_partial);
    r->n_prompt_hit = s->n_past;
    r->admitted = true;
    r->began = engine_now();
    e->n_live += r->n_alternatives;
    e->n_prompt += (uint64_t)r->n_prompt;
    e->n_prompt_hit += (uint64_t)r->n_prompt_hit;
    return true;
}

void schedule_admit(aigc_engine *e)
{
    for (aigc_request *r = e->requests; r != NULL; r = r->next) {
        if (r->admitted || aigc_request_done(r))
            continue;
        if (e->n_live + r->n_alternatives > e->options.n_sequences || !admit(e, r))
            return; /* in order: a small request does not overtake a large one for ever */
    }
}

/* The other alternatives begin where the first has come to: whole blocks are shared, the last one is copied. */
void fork_alternatives(aigc_engine *e, aigc_request *r)
{
    const sequence *from = &r->alternatives[0].seq;
    int n_whole = r->n_prompt / KV_BLOCK, n_rest = r->n_prompt % KV_BLOCK;
    r->forked = true;
    for (int i = 1; i < r->n_alternatives; i++) {
        sequence *s = &r->alternatives[i].seq;
        s->live = true;
        s->n_promised = blocks_for(s->n_capacity) - n_whole;
        r->alternatives[0].seq.n_promised -= s->n_promised;
        memcpy(s->blocks, from->blocks, (size_t)n_whole * sizeof *s->blocks);
        for (int b = 0; b < n_whole; b++)
            block_share(e->blocks, s->blocks[b]);
        s->n_blocks = n_whole;
        s->n_published = from->n_published < n_whole ? from->n_published : n_whole;
        s->n_past = r->n_prompt;
        sequence_extend(e, s, r->n_prompt);
        if (n_rest > 0)
            kv_copy(&e->kv, (size_t)from->blocks[n_whole], (size_t)s->blocks[n_whole], (size_t)n_rest);
    }
}

/* ---- batches ---- */

/* Tokens of a sequence that wait to be computed. */
static int pending(const aigc_request *r, const alternative *a)
{
    const sequence *s = &a->seq;
    if (!s->live || a->finish != AIGC_RUNNING)
        return 0;
    int end = r->max_tokens == 0 ? r->n_prompt - 1 : s->n_tokens; /* after a scored prompt's last token nothing comes */
    return end - s->n_past;
}

static void add_span(aigc_engine *e, aigc_request *r, int i, int n)
{
    sequence *s = &r->alternatives[i].seq;
    sequence_extend(e, s, s->n_past + n);
    bool to_the_end = s->n_past + n == s->n_tokens;
    bool scores = r->score_prompt && s->n_past < r->n_prompt;
    e->members[e->n_spans].request = r;
    e->members[e->n_spans].alternative = i;
    e->spans[e->n_spans++] = (token_span){
        .tokens = s->tokens + s->n_past,
        .blocks = s->blocks,
        .n = n,
        .position = s->n_past,
        .n_outputs = scores ? n : to_the_end,
    };
}

/* Adds sequences that wait for one token (decode) or for more (prompts) while the batch has room. */
static void add_spans(aigc_engine *e, bool decode, int *room)
{
    for (aigc_request *r = e->requests; r != NULL; r = r->next)
        for (int i = 0; i<r->n_alternatives && * room> 0; i++) {
            int n = pending(r, &r->alternatives[i]);
            if (n <= 0 || (n == 1) != decode)
                continue;
            n = n < *room ? n : *room;
            add_span(e, r, i, n);
            *room -= n;
        }
}

bool schedule_plan(aigc_engine *e)
{
    int room = e->options.n_batch;
    e->n_spans = 0;
    add_spans(e, true, &room);
    add_spans(e, false, &room);
    return e->n_spans > 0;
}

void schedule_commit(aigc_engine *e)
{
    for (int i = 0; i < e->n_spans; i++) {
        aigc_request *r = e->members[i].request;
        sequence *s = &r->alternatives[e->members[i].alternative].seq;
        s->n_past += e->spans[i].n;
        e->n_computed += (uint64_t)e->spans[i].n;
        sequence_publish(e, s, false);
        if (!r->forked && s->n_past >= r->n_prompt && r->n_alternatives > 1)
            fork_alternatives(e, r);
    }
    for (int i = 0; i < e->n_spans; i++) {
        aigc_request *r = e->members[i].request;
        for (int j = 0; j < r->n_alternatives; j++)
            if (r->alternatives[j].finish != AIGC_RUNNING)
                sequence_release(e, &r->alternatives[j].seq);
    }
}
