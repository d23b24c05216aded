/* engine.h: what the parts of the engine share; included by the files of this folder only. */
#ifndef AIGC_ENGINE_ENGINE_H
#define AIGC_ENGINE_ENGINE_H

#include "engine/blocks.h"
#include "engine/personal.h"
#include "engine/sample.h"
#include "engine/stream.h"
#include "model/forward.h"

/* The tokens of one alternative and where their keys and values are. */
typedef struct sequence {
    int32_t *tokens; /* [n_capacity] the prompt, then what was generated */
    int n_tokens, n_capacity;
    int n_past;      /* tokens whose keys and values are in the cache */
    int32_t *blocks; /* [n_capacity / KV_BLOCK, rounded up] */
    int n_blocks;
    int n_published; /* of its blocks, known to the pool's tree */
    int n_promised;  /* blocks that it may still take */
    bool live;       /* admitted, and not released yet */
} sequence;

typedef struct alternative {
    sequence seq;
    sampler *sampler;
    text_stream text;
    personal_scratch scratch; /* if the request has a layer */
    aigc_token *generated;    /* [max_tokens at most] */
    aigc_token *top;          /* [that][top_logprobs] */
    uint8_t *n_top;           /* [that] how many of them there are */
    int n_generated;
    double logprob;
    aigc_finish finish;
    bool end_taken; /* the host has been given the last piece */
} alternative;

struct aigc_request {
    aigc_engine *engine;
    struct aigc_request *next; /* in the engine's list, oldest first */
    int n_prompt, n_alternatives, max_tokens, top_logprobs;
    bool score_prompt, ignore_eos;
    int score_from;                 /* prompt tokens before this one are not scored */
    const aigc_personal *layers[2]; /* in the order of mixing; NULL: none */
    bool admitted;
    bool forked;        /* the other alternatives have the prompt too */
    aigc_token *prompt; /* [n_prompt] with log-probabilities if score_prompt */
    float *embedding; /* [2][n_embd] the sum of the first n_embedded states of the prompt, and room; NULL: not wanted */
    int n_embedded;
    stop_strings stops;
    alternative *alternatives;
    int next_taken; /* alternative whose turn it is to be looked at by aigc_request_take() */
    int n_prompt_hit;
    int64_t began, first_token, ended; /* nanoseconds; 0: not yet */
};

struct aigc_engine {
    aigc_model *model;
    const aigc_kernels *kernels;
    aigc_engine_options options; /* as resolved; adapters are below */
    aigc_adapter_use adapters[FORWARD_MAX_ADAPTERS];
    int guards[1 + FORWARD_MAX_ADAPTERS]; /* of the files: the model's, the adapters' */
    kv_cache kv;
    block_pool *blocks;
    thread_pool *pool;
    forward *forward;
    aigc_request *requests;
    int n_live; /* sequences */

    /* the batch that is being computed */
    bool in_batch;
    int n_spans;
    token_span *spans; /* [n_sequences] */
    struct {
        aigc_request *request;
        int alternative;
    } * members; /* [n_sequences] whose span it is */

    float *row_copies; /* [n_threads][n_vocab] */
    size_t row_copies_bytes;
    uint64_t n_prompt, n_prompt_hit, n_computed, n_steps;
};

/* AIGC_E_IO if the files were written to since they were opened. */
aigc_status engine_look_at_files(aigc_engine *e, aigc_error *err);

int64_t engine_now(void); /* CLOCK_MONOTONIC, nanoseconds */

/* schedule.c: which tokens go into the next batch, and what happens to sequences around it. */
void schedule_admit(aigc_engine *e);
bool schedule_plan(aigc_engine *e);   /* fills spans and members; false if there is nothing to compute */
void schedule_commit(aigc_engine *e); /* the batch is in the cache */
void sequence_release(aigc_engine *e, sequence *s);

/* generate.c: from logits to tokens and text. */
void generate_from_logits(aigc_engine *e);
void generate_no_more(aigc_engine *e); /* all requests end with AIGC_FINISH_ERROR */
void fork_alternatives(aigc_engine *e, aigc_request *r);

#endif
