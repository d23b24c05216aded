/* input.c: where a command's text and model come from. See input.h. */
#include "input.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "output.h"

/* Grows *text until the file ends. */
static int read_all(FILE *in, const char *name, char **text, size_t *len)
{
    size_t size = 1 << 16, used = 0;
    char *buffer = malloc(size);
    while (buffer != NULL) {
        errno = 0;
        used += fread(buffer + used, 1, size - 1 - used, in);
        if (ferror(in) || feof(in))
            break;
        if (used < size - 1)
            continue;
        char *larger = size <= SIZE_MAX / 2 ? realloc(buffer, size * 2) : NULL;
        if (larger == NULL)
            free(buffer);
        buffer = larger;
        size *= 2;
    }
    if (buffer == NULL)
        return complain("out of memory: cannot hold more than %zu bytes of %s", used, name);
    if (ferror(in)) {
        free(buffer);
        if (interrupted)
            return EXIT_INTERRUPTED;
        return complain("cannot read %s: %s", name, strerror(errno));
    }
    buffer[used] = '\0';
    *text = buffer;
    *len = used;
    return EXIT_OK;
}

static int copy_prompt(const char *prompt, char **text, size_t *len)
{
    *text = strdup(prompt);
    if (*text == NULL)
        return complain("out of memory: the prompt");
    *len = strlen(prompt);
    return EXIT_OK;
}

int read_text(const settings *s, char **text, size_t *len)
{
    if (s->prompt != NULL)
        return copy_prompt(s->prompt, text, len);
    if (s->file == NULL || strcmp(s->file, "-") == 0)
        return read_all(stdin, "standard input", text, len);
    FILE *in = fopen(s->file, "rb");
    if (in == NULL)
        return complain("cannot open %s: %s", s->file, strerror(errno));
    int status = read_all(in, s->file, text, len);
    fclose(in);
    return status;
}

/* The default model: in models/ beside this program where the Makefile puts it, in share/aigc/models/ when the program
 * is installed in bin/. False if there is none. */
static bool default_model(char path[PATH_MAX])
{
    static const char *const places[] = {"models", "../share/aigc/models"};
    char self[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (len <= 0)
        return false;
    self[len] = '\0';
    const char *directory = dirname(self);
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        int n = snprintf(path, PATH_MAX, "%s/%s/aigc-base.gguf", directory, places[i]);
        if (n < PATH_MAX && access(path, R_OK) == 0)
            return true;
    }
    return false;
}

int find_model(const settings *s, const char **path)
{
    static char found[PATH_MAX];
    *path = s->model != NULL ? s->model : getenv("AIGC_MODEL");
    if (s->model != NULL || (*path != NULL && **path != '\0'))
        return EXIT_OK; /* an empty --model is a mistake, to be complained of where it is opened */
    if (!default_model(found))
        return complain("no model: give one with --model FILE or in the environment variable AIGC_MODEL "
                        "(no default model is installed)");
    *path = found;
    return EXIT_OK;
}

int open_model(const settings *s, unsigned parts, aigc_model **model)
{
    const char *path;
    aigc_error err;
    int status = find_model(s, &path);
    if (status == EXIT_OK && aigc_model_open(path, parts, model, &err) != AIGC_OK)
        status = complain("%s", err.message);
    return status;
}

/* FILE or FILE=SCALE */
static int open_adapter(aigc_model *model, const char *text, aigc_adapter_use *use)
{
    char path[PATH_MAX], *end = NULL;
    const char *equals = strrchr(text, '=');
    size_t len = strlen(text);
    aigc_error err;
    use->scale = 1;
    if (equals != NULL && equals[1] != '\0') {
        float scale = strtof(equals + 1, &end);
        if (*end == '\0') { /* else the sign is part of the name */
            use->scale = scale;
            len = (size_t)(equals - text);
        }
    }
    if (len >= sizeof(path))
        return complain("%s: the name is too long", text);
    memcpy(path, text, len);
    path[len] = '\0';
    return aigc_adapter_open(model, path, &use->adapter, &err) == AIGC_OK ? EXIT_OK : complain("%s", err.message);
}

int open_engine(const settings *s, aigc_model *model, const aigc_engine_options *options, aigc_engine **engine)
{
    aigc_adapter_use adapters[LIST_MAX];
    aigc_engine_options with = *options;
    size_t n = 0;
    int status = EXIT_OK;
    aigc_error err;
    while (status == EXIT_OK && n < s->lora.n) {
        status = open_adapter(model, s->lora.items[n], &adapters[n]);
        n += status == EXIT_OK;
    }
    with.adapters = adapters;
    with.n_adapters = n;
    if (status == EXIT_OK && aigc_engine_open(model, &with, engine, &err) != AIGC_OK)
        status = complain("%s", err.message);
    while (n > 0) /* the engine keeps them open */
        aigc_adapter_close(adapters[--n].adapter);
    return status;
}

int open_personal(const settings *s, aigc_model *model, aigc_personal **personal)
{
    aigc_error err;
    *personal = NULL;
    if (s->personal == NULL)
        return s->learn ? complain("--learn needs a file to learn into: --personal FILE") : EXIT_OK;
    if (aigc_personal_open(model, s->personal, 0, personal, &err) != AIGC_OK)
        return complain("%s", err.message);
    return EXIT_OK;
}

int save_personal(const settings *s, const aigc_personal *personal)
{
    aigc_error err;
    if (aigc_personal_save(personal, s->personal, &err) != AIGC_OK)
        return complain("%s", err.message);
    return EXIT_OK;
}
