/* vocabularies.c: see vocabularies.h. */
#include "vocabularies.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void set_string(gguf_writer *w, const char *key, const char *value)
{
    if (value)
        gguf_writer_set_string(w, key, value, strlen(value));
}

static void set_values(gguf_writer *w, const made_vocabulary *v)
{
    set_string(w, "general.name", v->name);
    set_string(w, "tokenizer.ggml.model", v->model);
    set_string(w, "tokenizer.ggml.pre", v->pre);
    if (v->tokens)
        gguf_writer_set_strings(w, "tokenizer.ggml.tokens", v->tokens, v->n_tokens);
    if (v->merges)
        gguf_writer_set_strings(w, "tokenizer.ggml.merges", v->merges, v->n_merges);
    if (v->scores)
        gguf_writer_set_f32s(w, "tokenizer.ggml.scores", v->scores, v->n_scores);
    if (v->types)
        gguf_writer_set_i32s(w, "tokenizer.ggml.token_type", v->types, v->n_types);
    if (v->more)
        v->more(w);
    if (v->from)
        gguf_writer_copy_values(w, v->from);
}

gguf_file *make_vocabulary(const made_vocabulary *v)
{
    const char *directory = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"; /* the writer syncs: better no disk */
    char path[64];
    gguf_writer *w;
    gguf_file *file;
    aigc_error err = {.message = "the writer could not be made"};

    snprintf(path, sizeof path, "%s/aigc-vocabulary-%d.gguf", directory, (int)getpid());
    if (gguf_writer_create(&w, &err) != AIGC_OK)
        fail_msg("%s", err.message);
    set_values(w, v);
    if (gguf_writer_begin(w, path, &err) != AIGC_OK || gguf_writer_finish(w, &err) != AIGC_OK ||
        gguf_open(path, &file, &err) != AIGC_OK)
        fail_msg("%s", err.message);
    unlink(path);
    return file;
}

const char *shared_path(const char *path)
{
    static char full[512];
    const char *shared = getenv("AIGC_SHARED");

    snprintf(full, sizeof full, "%s/data/%s", shared ? shared : "../shared", path);
    return full;
}

gguf_file *open_shared(const char *path)
{
    gguf_file *file = NULL;
    aigc_error err;

    if (access(shared_path(path), R_OK) != 0) {
        print_message("skipped: %s is not there\n", shared_path(path));
        return NULL;
    }
    if (gguf_open(shared_path(path), &file, &err) != AIGC_OK)
        fail_msg("%s", err.message);
    return file;
}

tokenizer *open_tokenizer(const gguf_file *file)
{
    tokenizer *t = NULL;
    aigc_error err;

    if (tokenizer_open(file, &t, &err) != AIGC_OK)
        fail_msg("%s", err.message);
    return t;
}

char *read_whole(const char *path, size_t *len)
{
    FILE *f = fopen(path, "rb");
    char *text;
    long size;

    if (!f)
        return NULL;
    fseek(f, 0, SEEK_END);
    size = ftell(f);
    rewind(f);
    text = malloc((size_t)size + 1);
    assert_non_null(text);
    *len = fread(text, 1, (size_t)size, f);
    text[*len] = '\0';
    fclose(f);
    return text;
}
