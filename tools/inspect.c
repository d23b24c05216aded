/* inspect.c: `aigc inspect`: what a GGUF file is, its tensors, its metadata, and the memory that running it takes. */
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "input.h"
#include "output.h"

enum { MAX_TYPES = 64 };

/* How many tensors and bytes are of one type. */
typedef struct type_share {
    const char *type;
    uint64_t n, bytes;
} type_share;

typedef struct inspection {
    const settings *s;
    const char *path;
    aigc_model *model;
    const aigc_model_info *info;
    type_share shares[MAX_TYPES]; /* most bytes first */
    int n_shares;
    aigc_error refusal; /* code is not AIGC_OK if no engine runs this model */
    aigc_engine_info engine;
} inspection;

static int by_bytes(const void *a, const void *b)
{
    const type_share *x = a, *y = b;
    return x->bytes < y->bytes ? 1 : x->bytes > y->bytes ? -1 : strcmp(x->type, y->type);
}

static int sum_types(inspection *in)
{
    aigc_tensor_info t;
    aigc_error err;
    for (uint64_t i = 0; i < in->info->n_tensors; i++) {
        int k = 0;
        if (aigc_model_tensor(in->model, i, &t, &err) != AIGC_OK)
            return complain("%s", err.message);
        while (k < in->n_shares && strcmp(in->shares[k].type, t.type) != 0)
            k++;
        if (k == MAX_TYPES)
            return complain("more than %d tensor types", MAX_TYPES);
        if (k == in->n_shares)
            in->shares[in->n_shares++].type = t.type;
        in->shares[k].n++;
        in->shares[k].bytes += t.bytes;
    }
    qsort(in->shares, (size_t)in->n_shares, sizeof(in->shares[0]), by_bytes);
    return EXIT_OK;
}

/* Opens an engine to learn what it takes; none of its pages is touched. Leaves why not in refusal. */
static void measure_memory(inspection *in)
{
    aigc_engine *engine;
    aigc_model *model;
    if (aigc_model_check(in->model, &in->refusal) != AIGC_OK)
        return;
    if (aigc_model_open(in->path, AIGC_MODEL_ALL, &model, &in->refusal) != AIGC_OK)
        return;
    if (aigc_engine_open(model, &in->s->engine, &engine, &in->refusal) == AIGC_OK) {
        aigc_engine_describe(engine, &in->engine);
        aigc_engine_close(engine);
    }
    aigc_model_close(model);
}

static unsigned long long ull(uint64_t x)
{
    return (unsigned long long)x;
}

static void print_dims(const aigc_tensor_info *t, char *out, size_t size)
{
    int len = 0;
    for (int d = 0; d < t->n_dims; d++)
        len += snprintf(out + len, size - (size_t)len, "%s%llu", d ? " x " : "", ull(t->dims[d]));
}

static void print_tensors(const inspection *in)
{
    aigc_tensor_info t;
    char dims[4 * 24] = "";
    printf("\n%-32s %-8s %22s %12s\n", "tensor", "type", "dimensions", "bytes");
    for (uint64_t i = 0; i < in->info->n_tensors; i++) {
        if (aigc_model_tensor(in->model, i, &t, NULL) != AIGC_OK)
            continue;
        print_dims(&t, dims, sizeof(dims));
        printf("%-32s %-8s %22s %12llu%s\n", t.name, t.type, dims, ull(t.bytes), t.runnable ? "" : "  (not runnable)");
    }
}

static void print_metadata(const inspection *in)
{
    char value[256];
    const char *key;
    puts("\nmetadata");
    for (uint64_t i = 0; i < in->info->n_metadata; i++)
        if (aigc_model_metadata(in->model, i, &key, value, sizeof(value), NULL) == AIGC_OK)
            printf("%s = %s\n", key, value);
}

static const char *kv_name(const inspection *in)
{
    return in->s->engine.kv == AIGC_KV_F32 ? "f32" : "f16";
}

static void print_description(const inspection *in)
{
    const aigc_model_info *m = in->info;
    printf("file          %s, %s, GGUF v%u\n", in->path, human_size((double)m->file_bytes), m->gguf_version);
    printf("name          %s\n", *m->name ? m->name : "-");
    printf("architecture  %s\n", *m->architecture ? m->architecture : "-");
    printf("parameters    %llu (%.2f million)\n", ull(m->n_params), (double)m->n_params / 1e6);
    printf("weights       %s in %llu tensors", human_size((double)m->weight_bytes), ull(m->n_tensors));
    for (int k = 0; k < in->n_shares; k++)
        printf("%s%llu %s %s", k ? ", " : ": ", ull(in->shares[k].n), in->shares[k].type,
               human_size((double)in->shares[k].bytes));
    printf("\nshape         %u layers, %u wide, %u heads, %u key-value heads, %u in the feed-forward\n", m->n_layers,
           m->n_embd, m->n_heads, m->n_kv_heads, m->n_ff);
    printf("context       %u tokens (as the file says)\n", m->n_context);
    printf("vocabulary    %u tokens (%s), BOS %d, EOS %d\n", m->n_vocab, *m->tokenizer ? m->tokenizer : "no tokenizer",
           m->bos, m->eos);
    if (in->refusal.code != AIGC_OK)
        printf("runs          no: %s\n", in->refusal.message);
    else
        printf("memory        %s of keys and values (%s, context %d, %d sequences), %s of scratch\n",
               human_size((double)in->engine.kv_bytes), kv_name(in), in->engine.n_context, in->engine.n_sequences,
               human_size((double)in->engine.scratch_bytes));
}

static void print_json_member(const char *name, const char *text)
{
    printf("\"%s\": ", name);
    print_json_string(stdout, text, strlen(text));
    printf(", ");
}

static void print_json_tensors(const inspection *in)
{
    aigc_tensor_info t;
    printf("\"tensors\": [");
    for (uint64_t i = 0; i < in->info->n_tensors; i++) {
        if (aigc_model_tensor(in->model, i, &t, NULL) != AIGC_OK)
            continue;
        printf(i ? ", {" : "{");
        print_json_member("name", t.name);
        print_json_member("type", t.type);
        printf("\"dims\": [");
        for (int d = 0; d < t.n_dims; d++)
            printf(d ? ", %llu" : "%llu", ull(t.dims[d]));
        printf("], \"bytes\": %llu, \"runnable\": %s}", ull(t.bytes), t.runnable ? "true" : "false");
    }
    printf("]");
}

static void print_json_metadata(const inspection *in)
{
    char value[256];
    const char *key;
    bool comma = false;
    printf(", \"metadata\": {");
    for (uint64_t i = 0; i < in->info->n_metadata; i++) {
        if (aigc_model_metadata(in->model, i, &key, value, sizeof(value), NULL) != AIGC_OK)
            continue;
        printf(comma ? ", " : "");
        print_json_string(stdout, key, strlen(key));
        printf(": ");
        print_json_string(stdout, value, strlen(value));
        comma = true;
    }
    printf("}");
}

static void print_json(const inspection *in)
{
    const aigc_model_info *m = in->info;
    printf("{");
    print_json_member("file", in->path);
    print_json_member("name", m->name);
    print_json_member("architecture", m->architecture);
    print_json_member("quantisation", m->quantisation);
    print_json_member("tokenizer", m->tokenizer);
    printf("\"gguf_version\": %u, \"file_bytes\": %llu, \"weight_bytes\": %llu, \"parameters\": %llu, ",
           m->gguf_version, ull(m->file_bytes), ull(m->weight_bytes), ull(m->n_params));
    printf("\"layers\": %u, \"embedding\": %u, \"heads\": %u, \"kv_heads\": %u, \"feed_forward\": %u, ", m->n_layers,
           m->n_embd, m->n_heads, m->n_kv_heads, m->n_ff);
    printf("\"context\": %u, \"vocabulary\": %u, \"bos\": %d, \"eos\": %d, ", m->n_context, m->n_vocab, m->bos, m->eos);
    printf("\"types\": {");
    for (int k = 0; k < in->n_shares; k++)
        printf("%s\"%s\": {\"tensors\": %llu, \"bytes\": %llu}", k ? ", " : "", in->shares[k].type,
               ull(in->shares[k].n), ull(in->shares[k].bytes));
    printf("}, \"runs\": %s, ", in->refusal.code == AIGC_OK ? "true" : "false");
    if (in->refusal.code != AIGC_OK)
        print_json_member("refusal", in->refusal.message);
    else
        printf("\"memory\": {\"kv\": \"%s\", \"context\": %d, \"sequences\": %d, \"kv_bytes\": %zu, \"scratch_bytes\": "
               "%zu}, ",
               kv_name(in), in->engine.n_context, in->engine.n_sequences, in->engine.kv_bytes,
               in->engine.scratch_bytes);
    print_json_tensors(in);
    if (in->s->verbose)
        print_json_metadata(in);
    puts("}");
}

static int run(settings *s)
{
    inspection in = {.s = s};
    int status = find_model(s, &in.path);
    if (status != EXIT_OK)
        return status;
    if (aigc_model_open(in.path, AIGC_MODEL_DESCRIBE, &in.model, &in.refusal) != AIGC_OK)
        return complain("%s", in.refusal.message);
    in.info = aigc_model_describe(in.model);
    status = sum_types(&in);
    if (status == EXIT_OK) {
        measure_memory(&in);
        if (s->json) {
            print_json(&in);
        } else {
            print_description(&in);
            print_tensors(&in);
            if (s->verbose)
                print_metadata(&in);
        }
    }
    aigc_model_close(in.model);
    return status;
}

const command command_inspect = {
    .name = "inspect",
    .bit = FOR_INSPECT,
    .summary = "what a model file is, its tensors, its memory need",
    .synopsis = "[-m] FILE [-v] [--context N] [--kv f16|f32] [--json]",
    .details =
        "Describes a GGUF file: its shape, how its weights are quantised, every tensor, whether this version runs it\n"
        "(and why not), and the memory that it takes beside the weights, which stay in the page cache and are\n"
        "shared by all processes. With -v the metadata too.\n",
    .plain = PLAIN_MODEL,
    .run = run,
};
