/*
 * aigc.h: the one header that a host (PostgreSQL, Lua, the shell tool) includes.
 *
 * A model is opened from a GGUF file and mapped read-only; an engine runs requests against it. The engine is a step
 * machine: aigc_submit() puts a request in, aigc_step() runs one bounded piece of work for all live requests together,
 * aigc_request_take() hands out finished text, aigc_request_free() takes the request out at any time (that is cancel).
 *
 *     aigc_model *model;
 *     aigc_engine *engine;
 *     aigc_request *request;
 *     aigc_engine_options eo = aigc_engine_defaults();
 *     aigc_request_options ro = aigc_request_defaults();
 *     ro.prompt = "Once upon a time";
 *     ro.prompt_len = strlen(ro.prompt);
 *     aigc_model_open("model.gguf", AIGC_MODEL_ALL, &model, &err);
 *     aigc_engine_open(model, &eo, &engine, &err);
 *     aigc_submit(engine, &ro, &request, &err);
 *     while (!aigc_request_done(request)) {
 *         aigc_step(engine, &err);
 *         while (aigc_request_take(request, &piece))
 *             fwrite(piece.text, 1, piece.text_len, stdout);
 *     }
 *
 * The same model file, prompt, options and seed give the same bytes, whatever the thread count, the company in the
 * batch, the state of the prefix cache or the CPU level (docs/design.md says how).
 *
 * Threads: a model may be shared by several engines and threads once open. An engine and its requests belong to one
 * thread at a time; only the interrupt flag may be set from elsewhere (a signal handler, another thread).
 *
 * Errors: functions that can fail return an aigc_status and, unless it is AIGC_OK, fill *err (which may be NULL).
 * Output parameters are then left alone unless said otherwise. The library never prints, exits, aborts or longjmps.
 */
#ifndef AIGC_H
#define AIGC_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AIGC_VERSION "0.1.0"

/* The version that the library was built as (compare with AIGC_VERSION, which the host was built with). */
const char *aigc_version(void);

/* The CPU level that kernels run at: "generic", "avx2" or "avx512" (AIGC_CPU in the environment forces one). */
const char *aigc_cpu_level_name(void);

/* Processors that the calling thread may use: its affinity mask, within the quota of the process's control groups. At
 * least 1. Reads files: not for every turn of a loop. */
int aigc_cpu_count(void);

/* ---- errors ------------------------------------------------------------------------------------------------- */

typedef enum aigc_status {
    AIGC_OK = 0,
    AIGC_E_ARGUMENT,    /* the caller passed a value out of range */
    AIGC_E_MEMORY,      /* an allocation failed */
    AIGC_E_IO,          /* the operating system refused: open, map, write, rename */
    AIGC_E_FORMAT,      /* a file is truncated, inconsistent or not of its format */
    AIGC_E_UNSUPPORTED, /* a well-formed file asks for what this version does not do */
    AIGC_E_TEXT,        /* text is not valid UTF-8, or a token id is not in the vocabulary */
    AIGC_E_LIMIT,       /* longer than the context, or more KV memory than the bound */
    AIGC_INTERRUPTED,   /* the interrupt flag was seen: not a failure, call aigc_step() again to go on */
} aigc_status;

typedef struct aigc_error {
    aigc_status code;
    char message[512]; /* one sentence, lower case, no full stop, with the values in it; NUL-terminated UTF-8 */
} aigc_error;

/* ---- models ------------------------------------------------------------------------------------------------- */

typedef struct aigc_model aigc_model;

/* What aigc_model_open() prepares beyond the file's description. */
enum {
    AIGC_MODEL_DESCRIBE = 0,       /* header, metadata and tensor list only: cheap, for listings */
    AIGC_MODEL_TOKENIZER = 1 << 0, /* tokenize and detokenize; works on vocabulary-only files */
    AIGC_MODEL_WEIGHTS = 1 << 1,   /* everything that an engine needs of the weights */
    AIGC_MODEL_ALL = AIGC_MODEL_TOKENIZER | AIGC_MODEL_WEIGHTS
};

/* Opens and maps a GGUF file. The weights stay in the page cache, shared by all processes that map the file. */
aigc_status aigc_model_open(const char *path, unsigned parts, aigc_model **model, aigc_error *err);

/* Drops the caller's reference; the model goes when its last engine does. NULL is allowed. */
void aigc_model_close(aigc_model *model);

typedef struct aigc_model_info {
    const char *name;         /* general.name, or "" */
    const char *architecture; /* general.architecture: "llama", "gpt2", ... */
    const char *quantisation; /* type that most weights have: "F32", "Q8_0", "Q4_K", ... */
    const char *tokenizer;    /* tokenizer.ggml.model: "gpt2", "llama", or "" */
    uint64_t n_params;        /* elements of all tensors */
    uint64_t file_bytes;
    uint64_t weight_bytes;
    uint64_t n_tensors;
    uint64_t n_metadata;
    uint32_t gguf_version;
    uint32_t n_vocab;
    uint32_t n_context; /* context length that the file states, in tokens */
    uint32_t n_embd;
    uint32_t n_layers;
    uint32_t n_heads;
    uint32_t n_kv_heads;
    uint32_t n_ff;
    int32_t bos, eos; /* token ids, or -1 */
} aigc_model_info;

/* The description of an open model; strings live as long as the model, control characters in them are '?'. Fields that
 * the file lacks are 0 or "". */
const aigc_model_info *aigc_model_describe(const aigc_model *model);

typedef struct aigc_tensor_info {
    const char *name;
    const char *type; /* ggml's name of the type */
    int n_dims;
    uint64_t dims[4]; /* ggml's order: dims[0] runs fastest */
    uint64_t bytes;
    bool runnable; /* a type that this version computes with */
} aigc_tensor_info;

/* The i-th tensor, 0 <= i < n_tensors. */
aigc_status aigc_model_tensor(const aigc_model *model, uint64_t i, aigc_tensor_info *info, aigc_error *err);

/* The i-th metadata pair, 0 <= i < n_metadata: the key, and the value as one line of text cut to size bytes (arrays
 * show their type, count and first elements). *key lives as long as the model. */
aigc_status aigc_model_metadata(const aigc_model *model, uint64_t i, const char **key, char *value, size_t size,
                                aigc_error *err);

/* Whether an engine can run this model; if not, err says why (unknown architecture, tensor type, missing tensor). */
aigc_status aigc_model_check(const aigc_model *model, aigc_error *err);

/* ---- adapters ----------------------------------------------------------------------------------------------- */

/* What fine-tuning learned (LoRA), in a GGUF file of llama.cpp's form: thin matrices beside some of the model's. The
 * model stays as it is, mapped and shared; an engine adds what the adapter says (aigc_engine_options.adapters). */
typedef struct aigc_adapter aigc_adapter;

/* Opens and maps an adapter for a model that was opened with its weights and stays open as long. Errors: AIGC_E_FORMAT
 * if the file is no adapter or one of another model, AIGC_E_UNSUPPORTED for other kinds and types. */
aigc_status aigc_adapter_open(aigc_model *model, const char *path, aigc_adapter **adapter, aigc_error *err);

/* Drops the caller's reference; the adapter goes when its last engine does. NULL is allowed. */
void aigc_adapter_close(aigc_adapter *adapter);

/* Writes the model of base_path with an adapter's changes, times scale, in its own weights. type: of the matrices, as
 * in aigc_trainer_write(); NULL: the type that each has. name: NULL for that of the base. When *interrupt
 * (may be NULL) becomes non-zero it ends with AIGC_INTERRUPTED, and nothing is written. */
aigc_status aigc_merge(const char *base_path, const char *adapter_path, double scale, const char *type,
                       const char *name, const char *path, const volatile sig_atomic_t *interrupt, aigc_error *err);

/* Writes the model of from_path with its matrices as `type`, as in aigc_trainer_write(). Any architecture. name: NULL
 * for the same. interrupt: as above. */
aigc_status aigc_quantize(const char *from_path, const char *type, const char *name, const char *path,
                          const volatile sig_atomic_t *interrupt, aigc_error *err);

/* ---- text --------------------------------------------------------------------------------------------------- */

/* How text becomes tokens and back. */
enum {
    AIGC_TEXT_PLAIN = 0,
    AIGC_TEXT_ADD_SPECIAL = 1 << 0,    /* add BOS/EOS as the model's metadata says */
    AIGC_TEXT_PARSE_SPECIAL = 1 << 1,  /* "<|endoftext|>" in the text is that token, not its characters */
    AIGC_TEXT_RENDER_SPECIAL = 1 << 2, /* detokenize: control tokens appear as their text instead of vanishing */
};

/* Text to token ids. *tokens is malloc'd (aigc_free), never NULL on success. Errors: AIGC_E_TEXT for bytes that are
 * not UTF-8 (message gives the offset), AIGC_E_ARGUMENT if the model was opened without its tokenizer. */
aigc_status aigc_tokenize(const aigc_model *model, const char *text, size_t len, unsigned flags, int32_t **tokens,
                          size_t *n_tokens, aigc_error *err);

/* Makes aigc_tokenize() and aigc_submit() on this model give up with AIGC_INTERRUPTED soon after *flag becomes
 * non-zero: a text of hundreds of megabytes takes its time. Nothing is lost; call again to begin anew. NULL, as at
 * first: they never do. Set it before other threads use the model. */
void aigc_model_set_interrupt(aigc_model *model, const volatile sig_atomic_t *flag);

/* Token ids to text. *text is malloc'd (aigc_free) and NUL-terminated; bytes that form no UTF-8 become U+FFFD. */
aigc_status aigc_detokenize(const aigc_model *model, const int32_t *tokens, size_t n_tokens, unsigned flags,
                            char **text, size_t *len, aigc_error *err);

/* Frees what aigc_tokenize() and aigc_detokenize() gave. */
void aigc_free(void *p);

/* ---- engines ------------------------------------------------------------------------------------------------ */

typedef struct aigc_engine aigc_engine;
typedef struct aigc_request aigc_request;

typedef enum aigc_kv_type { AIGC_KV_F16, AIGC_KV_F32 } aigc_kv_type;

typedef struct aigc_adapter_use {
    aigc_adapter *adapter;
    float scale; /* how strongly it counts; 1 is as it was trained */
} aigc_adapter_use;

typedef struct aigc_engine_options {
    int n_threads;   /* threads that compute, the caller's included; 0: one per core, at most 8 */
    int n_context;   /* longest sequence in tokens; 0: the model's (at least 512 for rotary positions), or what kv_bytes
                      * holds if that is less. More than the model's is allowed for rotary positions only. */
    int n_sequences; /* sequences that run at once (more wait in line); 1 to 256 */
    int n_batch;     /* most tokens computed together; 1 to 2048 */
    size_t kv_bytes; /* bound on KV memory, in bytes; pages are taken from the system as they are used */
    aigc_kv_type kv; /* type of cached keys and values */
    bool prefix_cache;                /* keep finished sequences' blocks for requests that begin with the same tokens */
    const aigc_adapter_use *adapters; /* [n_adapters] that change the model; copied, the engine keeps them open */
    size_t n_adapters;                /* at most 8 */
    const volatile sig_atomic_t *interrupt; /* when it becomes non-zero a running step returns soon; may be NULL */
} aigc_engine_options;

aigc_engine_options aigc_engine_defaults(void);

/* Takes KV cache, scratch and worker threads (created at the first step that needs them). The engine keeps the model
 * open. Errors: AIGC_E_ARGUMENT (names the option), AIGC_E_LIMIT (context does not fit kv_bytes), AIGC_E_UNSUPPORTED.
 */
aigc_status aigc_engine_open(aigc_model *model, const aigc_engine_options *options, aigc_engine **engine,
                             aigc_error *err);

/* Stops and joins the worker threads and frees everything, requests that are still live included. NULL is allowed. */
void aigc_engine_close(aigc_engine *engine);

typedef struct aigc_engine_info {
    int n_threads, n_context, n_sequences, n_batch;
    size_t kv_bytes;       /* size of the KV cache if all of it is used */
    size_t scratch_bytes;  /* everything else that the engine took */
    uint64_t n_prompt;     /* prompt tokens asked for so far */
    uint64_t n_prompt_hit; /* of those, found in the prefix cache */
    uint64_t n_computed;   /* tokens that went through the transformer */
    uint64_t n_steps;
} aigc_engine_info;

void aigc_engine_describe(const aigc_engine *engine, aigc_engine_info *info);

typedef struct aigc_logit_bias {
    int32_t token;
    float bias; /* added to the token's logit before anything else */
} aigc_logit_bias;

/* How the next token is chosen. Applied in this order: bias, penalties, temperature, top_k, top_p, min_p, draw. */
typedef struct aigc_sampling {
    double temperature;          /* 0: greedy (highest logit, lowest id on a tie); else > 0 */
    double top_p;                /* [0, 1]: smallest set of tokens with at least this probability; 1: off, 0: one */
    int top_k;                   /* keep the k most probable tokens; 0: off */
    double min_p;                /* [0, 1]: drop tokens below min_p times the most probable one; 0: off */
    double repetition_penalty;   /* > 0: logits of tokens seen are divided (if > 0) or multiplied by it; 1: off */
    double frequency_penalty;    /* [-2, 2]: subtracted once for each time a token was generated; 0: off */
    double presence_penalty;     /* [-2, 2]: subtracted if a token was generated at all; 0: off */
    uint64_t seed;               /* alternative i of a request draws from a stream made of seed and i */
    const aigc_logit_bias *bias; /* [n_bias]; copied */
    size_t n_bias;
} aigc_sampling;

typedef struct aigc_personal aigc_personal; /* see "the personal layer" below */

typedef struct aigc_request_options {
    const char *prompt; /* UTF-8, prompt_len bytes; ignored if tokens is not NULL. Copied. */
    size_t prompt_len;
    unsigned text_flags;   /* AIGC_TEXT_*: how the prompt becomes tokens */
    const int32_t *tokens; /* [n_tokens], the prompt as ids instead. Copied. */
    size_t n_tokens;
    int max_tokens;          /* most tokens to generate for each alternative, >= 0; the context's end stops earlier */
    int n;                   /* alternatives, 1 to n_sequences */
    const char *const *stop; /* [n_stop] non-empty NUL-terminated strings that end the text; not part of it. Copied. */
    size_t n_stop;
    int top_logprobs;            /* 0 to 20: keep the most probable tokens beside each chosen one */
    bool prompt_logprobs;        /* keep the log-probability of every prompt token but the first (scoring) */
    size_t prompt_logprobs_from; /* with it: not those of the tokens before this one, which need not be computed if
                                  * the prefix cache has them; 0: of all */
    bool prompt_embedding;       /* keep the mean of the model's last states over the prompt; max_tokens at least 1, no
                                  * prompt_logprobs_from */
    bool ignore_eos;             /* do not stop at the end-of-text token (benchmarks) */
    aigc_sampling sampling;
    /* Layers that are mixed into the model's probabilities before anything else, the one of the documents at hand first
     * (its text is what does not fit the context); NULL: none. Made for the engine's model; they must outlive the
     * request and may change between steps. */
    const aigc_personal *documents, *personal;
} aigc_request_options;

/* temperature 1, top_p 1, n 1, max_tokens 256, seed 0, no penalties, add and parse special tokens. */
aigc_request_options aigc_request_defaults(void);

/* Makers of models say how their model is best sampled, in general.sampling.temp, top_k, top_p, min_p and
 * penalty_repeat. Hosts whose users left those options out put NaN there (top_k: -1; seed 0, no bias), which
 * aigc_sampling_unset() has in all five, and fill them in: with the file's value if it has one in range, else with that
 * of aigc_request_defaults(). */
aigc_sampling aigc_sampling_unset(void);
void aigc_sampling_fill(aigc_sampling *sampling, const aigc_model *model);

/* Puts a request in line. Nothing is computed yet. Errors: AIGC_E_ARGUMENT (names the option and its value),
 * AIGC_E_TEXT, AIGC_E_LIMIT (the prompt has as many tokens as the context or more), AIGC_E_MEMORY, AIGC_E_IO (as of
 * aigc_step(), and when a file was written to in between); AIGC_INTERRUPTED only with aigc_model_set_interrupt(). An
 * empty prompt is the model's BOS alone. */
aigc_status aigc_submit(aigc_engine *engine, const aigc_request_options *options, aigc_request **request,
                        aigc_error *err);

/* Runs one bounded piece of work (some tens of milliseconds at most) for all live requests. AIGC_OK with nothing to
 * do is fine. AIGC_INTERRUPTED: the flag was seen, nothing is lost. AIGC_E_IO: the file of the model or of an adapter
 * was cut short or overwritten, or its disk has failed. All requests have finished with AIGC_FINISH_ERROR; close the
 * engine and open the model anew. */
aigc_status aigc_step(aigc_engine *engine, aigc_error *err);

/* Whether a step would do something. */
bool aigc_engine_busy(const aigc_engine *engine);

typedef enum aigc_finish {
    AIGC_RUNNING = 0,
    AIGC_FINISH_EOS,     /* the model ended the text */
    AIGC_FINISH_STOP,    /* a stop string */
    AIGC_FINISH_LENGTH,  /* max_tokens */
    AIGC_FINISH_CONTEXT, /* the context is full */
    AIGC_FINISH_ERROR
} aigc_finish;

typedef struct aigc_piece {
    int alternative;    /* 0 to n - 1 */
    const char *text;   /* whole UTF-8 characters, not NUL-terminated; valid until the next call for this engine */
    size_t text_len;    /* 0 only in an alternative's last piece */
    aigc_finish finish; /* not AIGC_RUNNING in the last piece of an alternative */
} aigc_piece;

/* The next piece of text, if there is one. Characters whose bytes are still coming, and text that may be the
 * beginning of a stop string, are held back. */
bool aigc_request_take(aigc_request *request, aigc_piece *piece);

/* Whether every alternative has finished (pieces may still be waiting to be taken). */
bool aigc_request_done(const aigc_request *request);

typedef struct aigc_token {
    int32_t id;
    float logprob; /* natural log of the model's own probability: after bias and penalties, before temperature */
} aigc_token;

/* The tokens that alternative i has generated so far (a stop string's and EOS included). Valid until the next step.
 * Returns how many. */
size_t aigc_request_tokens(const aigc_request *request, int alternative, const aigc_token **tokens);

/* The top_logprobs most probable tokens at generated position t, most probable first. Returns how many. */
size_t aigc_request_top(const aigc_request *request, int alternative, size_t t, const aigc_token **top);

/* The prompt's tokens; with prompt_logprobs their log-probabilities (0 for the first), valid once computed. */
size_t aigc_request_prompt(const aigc_request *request, const aigc_token **tokens);

/* With prompt_embedding, once the request is done: what the text is about, as a vector of length 1. embedding: [n_embd]
 * or NULL. Returns n_embd, 0 if it was not asked for or is not computed. */
size_t aigc_request_embedding(const aigc_request *request, float *embedding);

typedef struct aigc_request_info {
    int n_prompt;                          /* tokens of the prompt */
    int n_prompt_hit;                      /* of those, found in the prefix cache */
    int n_generated;                       /* tokens generated, all alternatives */
    double prompt_seconds, decode_seconds; /* wall time of each stage */
} aigc_request_info;

void aigc_request_describe(const aigc_request *request, aigc_request_info *info);

/* Alternative i's log-probability: the sum over its tokens. rank[0..n) gets alternatives, most probable first (mean
 * log-probability per token, ties by number). */
double aigc_request_logprob(const aigc_request *request, int alternative);
void aigc_request_rank(const aigc_request *request, int *rank);

/* Takes the request out of the engine (cancelling it if it runs) and frees it. NULL is allowed. */
void aigc_request_free(aigc_request *request);

/* ---- the personal layer --------------------------------------------------------------------------------------- */

/*
 * What a user has written, as counts of token n-grams that are mixed into the model's distribution: a small model knows
 * names and phrases at once. core/engine/personal.h has the mathematics, docs/personal.md what it gains.
 *
 *     aigc_personal_open(model, "personal.aigc", 0, &personal, err);
 *     aigc_personal_learn(personal, tokens, n, 0, err);
 *     options.personal = personal;
 *     aigc_personal_save(personal, "personal.aigc", err);
 *
 * It belongs to the thread that steps the engine. The same calls in the same order give the same probabilities.
 */
enum { AIGC_PERSONAL_ORDER = 5, AIGC_PERSONAL_NGRAMS = 1 << 20 };

/* Reads the layer from a file; a path where nothing is, or NULL, gives an empty one. It keeps the model open.
 * max_ngrams bounds it (about 60 bytes each; 0: AIGC_PERSONAL_NGRAMS): beyond it the longest unused are dropped.
 * Errors: AIGC_E_FORMAT (damaged), AIGC_E_ARGUMENT (made for another vocabulary), AIGC_E_UNSUPPORTED, AIGC_E_IO. */
aigc_status aigc_personal_open(aigc_model *model, const char *path, size_t max_ngrams, aigc_personal **personal,
                               aigc_error *err);
void aigc_personal_close(aigc_personal *personal); /* NULL is allowed */

/* Writes it aside and renames: readable by its owner alone. */
aigc_status aigc_personal_save(const aigc_personal *personal, const char *path, aigc_error *err);

/* Learns tokens[n_before..n) after those before them. Unlearning the same again takes it back without a trace (less
 * what the bound has dropped). On AIGC_E_MEMORY what came before stays learned. */
aigc_status aigc_personal_learn(aigc_personal *personal, const int32_t *tokens, size_t n, size_t n_before,
                                aigc_error *err);
aigc_status aigc_personal_unlearn(aigc_personal *personal, const int32_t *tokens, size_t n, size_t n_before,
                                  aigc_error *err);

/* Drops every n-gram that contains these tokens, is part of them, or begins or ends inside them with half of them (of
 * more than AIGC_PERSONAL_ORDER: half of the n-gram), at least two. Returns how many. */
size_t aigc_personal_forget(aigc_personal *personal, const int32_t *tokens, size_t n);

void aigc_personal_clear(aigc_personal *personal);

/* Learns how far to trust itself. tokens[n_before..n) have been accepted or rejected; their logprobs are those of a
 * request with this layer, which has learned nothing since, at no penalties. */
void aigc_personal_adapt(aigc_personal *personal, const aigc_token *tokens, size_t n, size_t n_before, bool accepted);

typedef struct aigc_personal_info {
    uint64_t n_tokens;   /* learned, less those taken back or forgotten */
    uint64_t n_ngrams;   /* of all lengths */
    uint64_t n_most;     /* their bound */
    size_t bytes;        /* of memory */
    uint64_t vocabulary; /* fingerprint of the vocabulary: files are for models with the same */
} aigc_personal_info;

void aigc_personal_describe(const aigc_personal *personal, aigc_personal_info *info);

typedef struct aigc_phrase {
    int32_t tokens[AIGC_PERSONAL_ORDER];
    uint32_t count;
} aigc_phrase;

/* The n phrases that were learned most often, the most frequent first. Returns how many. */
size_t aigc_personal_phrases(const aigc_personal *personal, aigc_phrase *phrases, size_t n);

/* ---- learning a vocabulary ---------------------------------------------------------------------------------- */

/*
 * Learns a byte-level BPE vocabulary from text (Sennrich et al., 2016; bytes: Radford et al., 2019).
 *
 *     aigc_bpe_trainer_create(&options, &trainer, err);
 *     aigc_bpe_trainer_feed(trainer, text, len, err);          any number of times
 *     while (aigc_bpe_trainer_merge(trainer, 100, &done, err) == AIGC_OK && !done)
 *         ...                                                  show progress, or give up
 *     aigc_bpe_trainer_write(trainer, path, name, err);        a vocabulary-only GGUF file
 *
 * The merges are those of Hugging Face's BpeTrainer with the byte alphabet: the most frequent pair first, of equally
 * frequent ones that with the lower ids. Ids: special tokens, the 256 bytes in the order of the characters that stand
 * for them, then merged tokens in the order of their merges.
 */
typedef struct aigc_bpe_trainer aigc_bpe_trainer;

typedef struct aigc_bpe_trainer_options {
    int vocab_size;             /* tokens in all: special ones, bytes and merged ones */
    const char *pretokenizer;   /* tokenizer.ggml.pre: "gpt-2", "llama-bpe", "qwen2"; how text is cut into words */
    int64_t min_frequency;      /* pairs seen less often are not merged */
    const char *const *special; /* [n_special] control tokens: the first one begins and ends documents. In the text they
                                 * cut words and are not learned. */
    size_t n_special;
} aigc_bpe_trainer_options;

/* Errors: AIGC_E_ARGUMENT names the option and its value. */
aigc_status aigc_bpe_trainer_create(const aigc_bpe_trainer_options *options, aigc_bpe_trainer **out, aigc_error *err);
void aigc_bpe_trainer_destroy(aigc_bpe_trainer *t); /* NULL is allowed */

/* Counts the words of a text. Errors: AIGC_E_TEXT if it is not UTF-8, AIGC_E_MEMORY, AIGC_E_ARGUMENT after the first
 * merge. */
aigc_status aigc_bpe_trainer_feed(aigc_bpe_trainer *t, const char *text, size_t len, aigc_error *err);

/* Makes up to n merges: none in the first calls, which prepare as much as takes some tens of milliseconds each. *done:
 * the vocabulary is full, or no pair is frequent enough. */
aigc_status aigc_bpe_trainer_merge(aigc_bpe_trainer *t, int n, bool *done, aigc_error *err);

int aigc_bpe_trainer_n_vocab(const aigc_bpe_trainer *t);
uint64_t aigc_bpe_trainer_n_words(const aigc_bpe_trainer *t); /* different ones */
size_t aigc_bpe_trainer_memory(const aigc_bpe_trainer *t);    /* about how many bytes merging them takes */

/* Writes tokenizer.ggml.* to a GGUF file without tensors, under a temporary name until it is complete. */
aigc_status aigc_bpe_trainer_write(const aigc_bpe_trainer *t, const char *path, const char *name, aigc_error *err);

/* ---- training models ---------------------------------------------------------------------------------------- */

/*
 * A model from text alone, or from another model, on the processor. docs/training.md and docs/finetuning.md tell more.
 *
 *     aigc_trainer_create("tok.gguf", &options, &trainer, err);
 *     aigc_trainer_feed(trainer, AIGC_TEXT_TRAIN, text, len, err);   any number of times; also AIGC_TEXT_VALID
 *     aigc_trainer_start(trainer, n_steps, err);                     or aigc_trainer_load(), aigc_trainer_branch()
 *     while (aigc_trainer_step(trainer, &progress, err) == AIGC_OK && progress.step < progress.n_steps)
 *         aigc_trainer_save(trainer, path, err);                     now and then
 *     aigc_trainer_write(trainer, path, "F32", name, err);
 *
 * To adapt a model: options = aigc_finetune_defaults(), its path in options.base, NULL instead of "tok.gguf"; text, or
 * aigc_trainer_feed_pair() or aigc_trainer_feed_preference(); in the end aigc_trainer_write_adapter(), too.
 *
 * The same text, options and seed give the same weights on any number of threads, also when the run is cut into parts
 * by aigc_trainer_save() and aigc_trainer_load() (on the same processor and OpenBLAS: its sums are its own).
 */
typedef struct aigc_trainer aigc_trainer;

typedef enum aigc_train_schedule {
    AIGC_SCHEDULE_COSINE, /* half a cosine from the end of the warm-up to the last step */
    AIGC_SCHEDULE_STABLE  /* the highest rate until the last `decay` steps, then a straight fall */
} aigc_train_schedule;

typedef enum aigc_train_optimiser {
    AIGC_OPTIMISER_ADAMW, /* Loshchilov and Hutter, 2019; the default of aigc_finetune_defaults() */
    /* Jordan et al., 2024, for the matrices of the layers; AdamW for embeddings, norms and biases. The default of
     * aigc_train_defaults(). */
    AIGC_OPTIMISER_MUON
} aigc_train_optimiser;

typedef enum aigc_train_precision {
    AIGC_PRECISION_F32,
    AIGC_PRECISION_BF16 /* operands of matrix products are rounded to bfloat16; all else is float32 */
} aigc_train_precision;

typedef enum aigc_train_text { AIGC_TEXT_TRAIN, AIGC_TEXT_VALID } aigc_train_text;

typedef struct aigc_train_options {
    /* A model file to adapt (aigc_finetune_defaults()): what is written keeps its metadata, context and types. Shape
     * options must not be given, but n_context: of the sequences trained on [the model's, at most 512]. */
    const char *base;
    int lora_rank;          /* base's weights stay frozen, beside each matrix of a layer come two thin ones (Hu et al.,
                             * 2021) of this rank; 0: all weights of base are trained */
    double lora_alpha;      /* the thin matrices' product counts lora_alpha / lora_rank times */
    double preference_beta; /* of aigc_trainer_feed_preference(): how dear it is to leave base */

    const char *init; /* a model file to begin from: its vocabulary, its shape, its weights; NULL: random weights */
    /* The shape. What is NULL or 0 is that of init, or the default in brackets; what contradicts init is refused, but
     * for another n_context where positions are rotary. */
    const char *architecture;      /* "llama", "qwen2" or "gpt2" ["llama"] */
    int n_layers, n_embd, n_heads; /* [6, 256, 8] */
    int n_kv_heads;                /* [n_heads] */
    int n_ff;                      /* [4 n_embd, or 8/3 n_embd rounded up to 32 if the feed-forward is gated] */
    int n_context;                 /* [256] */
    bool untied;                   /* an output matrix of its own, not the token embedding */
    int n_sequences;               /* of n_context tokens, that go through the model together */
    int n_accumulate;              /* such batches in a step */
    aigc_train_precision precision;
    aigc_train_schedule schedule;
    double rate;       /* the highest learning rate; 0: 3e-3 by Muon, 1e-3 by AdamW; with base 1e-3 for LoRA, 1e-4
                        * without, for preferences a fifth of that */
    double least_rate; /* the last one, as a part of rate */
    int n_warmup;      /* steps of a straight rise; -1: a twentieth of all, at most 1000 */
    double decay;      /* AIGC_SCHEDULE_STABLE: steps of the last fall, or below 1 a part of all; 0: the rate stays */
    aigc_train_optimiser optimiser;
    double beta1, beta2, weight_decay;
    double
        dropout; /* part of embeddings, attention's and feed-forward's results that a step leaves out, 0 to below 1 */
    double clip; /* largest norm of the gradient; 0: no bound */
    uint64_t seed;
    int n_threads;                          /* 0: one per core, at most 8 */
    size_t valid_tokens;                    /* most tokens that an evaluation looks at */
    const volatile sig_atomic_t *interrupt; /* ends aigc_trainer_feed() with AIGC_INTERRUPTED; may be NULL */
    bool interrupt_steps; /* also everything else that takes long but aigc_trainer_save(): creating a trainer with init
                           * or base, start, step, evaluate, writing a model. Called again, they go on or begin anew */
} aigc_train_options;

aigc_train_options aigc_train_defaults(void);

/* For adapting a model, whose path goes into base: LoRA of rank 8, 4 sequences at once, no weight decay, a rate that
 * falls to 0. */
aigc_train_options aigc_finetune_defaults(void);

/* Opens the vocabulary (of a GGUF file with one; NULL if options->init or base has it) and takes all memory. Errors:
 * AIGC_E_ARGUMENT names the option; AIGC_E_UNSUPPORTED also if OpenBLAS is missing where there is no AVX-512. */
aigc_status aigc_trainer_create(const char *tokenizer_path, const aigc_train_options *options, aigc_trainer **out,
                                aigc_error *err);
void aigc_trainer_destroy(aigc_trainer *t); /* NULL is allowed */

typedef struct aigc_trainer_info {
    uint64_t n_params, n_trained; /* n_trained: of them, those that are not frozen */
    uint64_t n_train_tokens, n_valid_tokens;
    uint64_t n_train_examples, n_valid_examples; /* pairs or preferences */
    uint64_t n_cut;                              /* of the former, longer than a context and cut */
    uint64_t epoch_steps;                        /* steps that read the text to train on once, rounded up */
    uint64_t step_tokens;                        /* that a step reads */
    int n_threads;
    size_t weight_bytes, gradient_bytes, moment_bytes, activation_bytes, scratch_bytes;
    uint64_t step, n_steps;
} aigc_trainer_info;

void aigc_trainer_describe(const aigc_trainer *t, aigc_trainer_info *info);

/* How often an epoch reads the text to train on that is fed from now on: 1 at first, 2 is twice, 0.5 every other time,
 * 0 never. Not for pairs and preferences. */
aigc_status aigc_trainer_weigh(aigc_trainer *t, double weight, aigc_error *err);

/* Adds text (UTF-8): documents, each ended by a line "<|endoftext|>" or the end of the text. */
aigc_status aigc_trainer_feed(aigc_trainer *t, aigc_train_text kind, const char *text, size_t len, aigc_error *err);

/* Adds a prompt and its response (UTF-8): only the response is learned, and that the text ends there. Plain text, pairs
 * and preferences don't mix. Errors: AIGC_E_ARGUMENT if the response is empty, or other data was fed before. */
aigc_status aigc_trainer_feed_pair(aigc_trainer *t, aigc_train_text kind, const char *prompt, size_t prompt_len,
                                   const char *response, size_t response_len, aigc_error *err);

/* Adds a preference: to make `chosen` more and `rejected` less probable after the prompt than base does (direct
 * preference optimisation, Rafailov et al., 2023). With base only; not once training has started. */
aigc_status aigc_trainer_feed_preference(aigc_trainer *t, aigc_train_text kind, const char *prompt, size_t prompt_len,
                                         const char *chosen, size_t chosen_len, const char *rejected,
                                         size_t rejected_len, aigc_error *err);

/* First weights from the seed, or those of options.init; n_steps is the length of the run; after 0, weights can be
 * written. May be called again to begin anew. */
aigc_status aigc_trainer_start(aigc_trainer *t, uint64_t n_steps, aigc_error *err);

/* Goes on where aigc_trainer_save() was called. Text and options must be those of that run. */
aigc_status aigc_trainer_load(aigc_trainer *t, const char *path, aigc_error *err);

/* The same, but the run gets another length: n_steps in all, or, if more, n_steps after those of the checkpoint.
 * Length, decay and least_rate may change under AIGC_SCHEDULE_STABLE while the rate has not begun to fall: so one
 * checkpoint can be followed by a short fall that gives a model, and by the rest of the long run. */
aigc_status aigc_trainer_branch(aigc_trainer *t, const char *path, uint64_t n_steps, bool more, aigc_error *err);

aigc_status aigc_trainer_save(const aigc_trainer *t, const char *path, aigc_error *err);

typedef struct aigc_train_progress {
    uint64_t step, n_steps;
    double loss;          /* of the step's tokens, before the step; natural logarithm; of preferences: DPO's */
    double accuracy;      /* of preferences: share of those where chosen gained more on base than rejected */
    double gradient_norm; /* before clipping */
    double rate;
} aigc_train_progress;

/* One step. Errors: AIGC_E_ARGUMENT if the run is over, AIGC_E_LIMIT if the loss or its gradient is not finite. */
aigc_status aigc_trainer_step(aigc_trainer *t, aigc_train_progress *progress, aigc_error *err);

typedef struct aigc_train_score {
    double loss;          /* mean over the tokens; over preferences: DPO's */
    double bits_per_byte; /* 0 for preferences */
    double accuracy;      /* as in aigc_train_progress */
    uint64_t n_tokens, n_bytes, n_preferences;
} aigc_train_score;

/* How well the model does on the AIGC_TEXT_VALID text: windows of a context, spread evenly over the text. */
aigc_status aigc_trainer_evaluate(aigc_trainer *t, aigc_train_score *score, aigc_error *err);

/* Writes the tokens of all plain text as a GGUF file, for a trainer elsewhere (tools/pretrain.py). */
aigc_status aigc_trainer_write_tokens(const aigc_trainer *t, const char *path, aigc_error *err);

/* Metadata for aigc_trainer_write(): "tokenizer.chat_template", "general.description", "general.license" or another
 * general.*, among them the numbers of aigc_sampling_unset(). The value is copied; a later one for the same key counts.
 * Errors: AIGC_E_ARGUMENT for another key or a number that is none, AIGC_E_TEXT.
 */
aigc_status aigc_trainer_annotate(aigc_trainer *t, const char *key, const char *value, aigc_error *err);

/* Writes the model as a GGUF file whose matrices have this type ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_K", "Q6_K";
 * where rows are not whole blocks of it Q8_0, and where they are not of that F16). With base, also what LoRA learned,
 * merged into it; type NULL: the type that each matrix of base has; name NULL: its name. */
aigc_status aigc_trainer_write(const aigc_trainer *t, const char *path, const char *type, const char *name,
                               aigc_error *err);

/* Writes what LoRA learned as an adapter, to be used beside base or merged: llama.cpp's GGUF form, float. */
aigc_status aigc_trainer_write_adapter(const aigc_trainer *t, const char *path, const char *name, aigc_error *err);

/* Whether aigc_trainer_write() knows the type, before hours of training: AIGC_OK or its AIGC_E_ARGUMENT. */
aigc_status aigc_trainer_check_type(const char *type, aigc_error *err);

/* ---- recommendation ------------------------------------------------------------------------------------------ */

#include "aigc_recommend.h"

#endif
