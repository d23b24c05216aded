/* seeds.c: see seeds.h. */
#include "seeds.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../models/synthetic.h"
#include "base/file.h"

/* Adds a copy of a file; one that is not there is left out. */
static bool add_file(seed_set *set, const char *path, const char *name, depth expected, unsigned weight)
{
    unsigned char *copy;
    file_map map;
    aigc_error err;

    if (access(path, R_OK) != 0)
        return true;
    if (set->n == MAX_SEEDS || file_map_open(path, &map, &err) != AIGC_OK)
        return false;
    copy = malloc(map.size);
    if (copy)
        memcpy(copy, map.data, map.size);
    if (!copy || !seed_make(&set->seeds[set->n], name, copy, map.size, weight))
        return false;
    file_map_close(&map);
    set->expected[set->n++] = expected;
    set->total_weight += weight;
    return true;
}

/* An adapter for every matrix of the one layer of a llama. Its numbers are bytes that count up: small, of either type.
 */
static bool write_adapter(const char *path, tensor_type type, const synthetic_shape *s)
{
    enum { RANK = 3, ROLES = 7, DATA = 4096 };
    const uint64_t width = (uint64_t)s->n_embd, ff = (uint64_t)s->n_ff;
    const uint64_t kv = width / (uint64_t)s->n_heads * (uint64_t)s->n_kv_heads;
    const struct {
        const char *name;
        uint64_t from, to;
    } roles[ROLES] = {{"attn_q", width, width},      {"attn_k", width, kv},   {"attn_v", width, kv},
                      {"attn_output", width, width}, {"ffn_gate", width, ff}, {"ffn_up", width, ff},
                      {"ffn_down", ff, width}};
    unsigned char data[DATA];
    gguf_writer *w;
    aigc_error err;
    bool written;

    if (gguf_writer_create(&w, &err) != AIGC_OK)
        return false;
    gguf_writer_set_string(w, "general.type", "adapter", 7);
    gguf_writer_set_string(w, "general.architecture", s->architecture, strlen(s->architecture));
    gguf_writer_set_string(w, "adapter.type", "lora", 4);
    gguf_writer_set_f32(w, "adapter.lora.alpha", 2 * RANK);
    for (int i = 0; i < 2 * ROLES; i++) {
        uint64_t dims[2] = {i % 2 ? RANK : roles[i / 2].from, i % 2 ? roles[i / 2].to : RANK};
        char name[64];

        snprintf(name, sizeof name, "blk.0.%s.weight.lora_%c", roles[i / 2].name, i % 2 ? 'b' : 'a');
        gguf_writer_add_tensor(w, name, type, 2, dims);
    }
    for (int i = 0; i < DATA; i++)
        data[i] = (unsigned char)(i % 4 == 3 ? 0x3c : i);
    written = gguf_writer_begin(w, path, &err) == AIGC_OK;
    for (int i = 0; written && i < 2 * ROLES; i++) {
        size_t n = RANK * (size_t)(i % 2 ? roles[i / 2].to : roles[i / 2].from);

        written = gguf_writer_data(w, data, n * tensor_row_bytes(type, 1), &err) == AIGC_OK;
    }
    if (!written) {
        gguf_writer_abandon(w);
        return false;
    }
    return gguf_writer_finish(w, &err) == AIGC_OK;
}

static bool add_synthetic(seed_set *set)
{
    static const struct {
        synthetic_shape shape;
        tensor_type type;
    } models[] = {
        /* name, architecture, layers, embd, heads, kv heads, ff, context, vocabulary, rope base, tied, kind */
        {{"llama-f32", "llama", 1, 32, 4, 2, 64, 64, 290, 1e4f, false, VOCABULARY_BYTES_SPM}, TYPE_F32},
        {{"gpt2-f16", "gpt2", 1, 32, 4, 4, 64, 64, 262, 0, false, VOCABULARY_BYTES_BPE}, TYPE_F16},
        {{"qwen2-q4_0", "qwen2", 2, 64, 4, 2, 64, 64, 262, 1e6f, true, VOCABULARY_BYTES_BPE}, TYPE_Q4_0},
        {{"llama-q8_0", "llama", 1, 32, 1, 1, 96, 64, 290, 1e4f, true, VOCABULARY_BYTES_SPM}, TYPE_Q8_0},
        {{"llama-q4_k", "llama", 1, 256, 4, 2, 256, 64, 290, 1e4f, true, VOCABULARY_BYTES_SPM}, TYPE_Q4_K},
        {{"gpt2-q6_k", "gpt2", 1, 256, 4, 4, 256, 64, 262, 0, true, VOCABULARY_BYTES_BPE}, TYPE_Q6_K},
        {{"llama-bf16", "llama", 1, 32, 4, 2, 64, 64, 290, 1e4f, true, VOCABULARY_BYTES_SPM}, TYPE_BF16},
    };
    enum { ADAPTED = 0 }; /* the first */
    const size_t adapted = set->n + ADAPTED;
    char path[64];
    aigc_error err;
    bool added = true;

    snprintf(path, sizeof path, "/tmp/aigc-fuzz-%d.gguf", (int)getpid());
    for (size_t i = 0; added && i < sizeof models / sizeof models[0]; i++) {
        synthetic_options o = {
            .shape = &models[i].shape, .type = models[i].type, .seed = 1, .n_threads = 1, .advice = i % 2 == 0};

        added = synthetic_write(&o, path, &err) == AIGC_OK &&
                add_file(set, path, models[i].shape.name, DEPTH_GENERATED, 12);
    }
    added = added && exercise_adapters_of(set->seeds[adapted].data, set->seeds[adapted].size);
    for (tensor_type type = TYPE_F32; added && type <= TYPE_F16; type++)
        added = write_adapter(path, type, &models[ADAPTED].shape) &&
                add_file(set, path, type == TYPE_F32 ? "adapter-f32" : "adapter-f16", DEPTH_GENERATED, 12);
    unlink(path);
    return added;
}

bool seeds_make(seed_set *set)
{
    /* Large files cost time to copy and to tokenize, so they are taken less often. */
    static const struct {
        const char *path;
        depth expected;
        unsigned weight;
    } shared_files[] = {
        {"models/stories260K.gguf", DEPTH_GENERATED, 10},
        {"tokenizers/ggml-vocab-gpt-2.gguf", DEPTH_TOKENIZED, 1},
        {"tokenizers/ggml-vocab-llama-spm.gguf", DEPTH_TOKENIZED, 1},
        {"tokenizers/ggml-vocab-phi-3.gguf", DEPTH_TOKENIZED, 1},
        {"tokenizers/ggml-vocab-bert-bge.gguf", DEPTH_OPENED, 1},
    };
    const char *shared = getenv("AIGC_SHARED");

    *set = (seed_set){.n = 0};
    for (size_t i = 0; i < sizeof shared_files / sizeof shared_files[0]; i++) {
        char path[4096];

        snprintf(path, sizeof path, "%s/data/%s", shared ? shared : "../shared", shared_files[i].path);
        if (!add_file(set, path, strrchr(shared_files[i].path, '/') + 1, shared_files[i].expected,
                      shared_files[i].weight))
            return false;
    }
    return add_synthetic(set);
}

void seeds_free(seed_set *set)
{
    for (size_t i = 0; i < set->n; i++) {
        free(set->seeds[i].data);
        free(set->seeds[i].fields);
    }
}

size_t seeds_choose(const seed_set *set, uint64_t random)
{
    uint64_t at = random % set->total_weight;
    size_t i = 0;

    while (at >= set->seeds[i].weight)
        at -= set->seeds[i++].weight;
    return i;
}
