/* examples.c: see examples.h. */
#include "examples.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "input.h"
#include "output.h"

/* How a message is written: before its role's name, behind it, before the content, and behind that. */
typedef struct chat_form {
    const char *begin, *names[3], *middle, *space, *end; /* names: of system, user, assistant */
} chat_form;

static const char *const roles[] = {"system", "user", "assistant"};
enum { SYSTEM, USER, ASSISTANT, N_ROLES };

static const chat_form plain = {"", {"", "User", "Assistant"}, ":", " ", "\n"};
static const chat_form chatml = {"<|im_start|>", {"system", "user", "assistant"}, "\n", "", "<|im_end|>\n"};

typedef struct feeding {
    aigc_trainer *trainer;
    const chat_form *form;
    aigc_train_text kind;
    const char *path;
    size_t line;
} feeding;

static int complain_line(const feeding *f, const char *what)
{
    return complain("%s, line %zu: %s", f->path, f->line, what);
}

static int report(const feeding *f, aigc_status code, const aigc_error *err)
{
    if (code == AIGC_INTERRUPTED)
        return EXIT_INTERRUPTED;
    return code == AIGC_OK ? EXIT_OK : complain_line(f, err->message);
}

/* ---- chats ---- */

typedef struct buffer {
    char *text;
    size_t len, size;
    bool failed;
} buffer;

static void append(buffer *b, const char *text, size_t len)
{
    if (len > b->size - b->len) {
        size_t size = 2 * (b->len + len) + 256;
        char *larger = b->failed ? NULL : realloc(b->text, size);
        if (larger == NULL) {
            b->failed = true;
            return;
        }
        b->text = larger;
        b->size = size;
    }
    memcpy(b->text + b->len, text, len);
    b->len += len;
}

static void append_string(buffer *b, const char *text)
{
    append(b, text, strlen(text));
}

/* One message: what the assistant says is learned from all that came before, then becomes part of it. */
static int feed_message(const feeding *f, const json_t *message, buffer *chat)
{
    const json_t *content = json_object_get(message, "content");
    const char *given = json_string_value(json_object_get(message, "role"));
    const chat_form *form = f->form;
    int role = 0;
    aigc_error err;
    if (given == NULL || !json_is_string(content))
        return complain_line(f, "a message needs \"role\" and \"content\", both text");
    while (role < N_ROLES && strcmp(given, roles[role]) != 0)
        role++;
    if (role == N_ROLES)
        return complain_line(f, "a message's role is \"system\", \"user\" or \"assistant\"");
    append_string(chat, form->begin);
    append_string(chat, form->names[role]);
    if (*form->names[role] != '\0')
        append_string(chat, form->middle);
    size_t known = chat->len;
    if (*form->names[role] != '\0')
        append_string(chat, form->space);
    append(chat, json_string_value(content), json_string_length(content));
    append_string(chat, form->end);
    if (chat->failed)
        return complain("out of memory: a chat of %zu bytes", chat->len);
    if (role != ASSISTANT)
        return EXIT_OK;
    return report(
        f, aigc_trainer_feed_pair(f->trainer, f->kind, chat->text, known, chat->text + known, chat->len - known, &err),
        &err);
}

static int feed_messages(const feeding *f, const json_t *messages)
{
    buffer chat = {0};
    int status = EXIT_OK;
    if (!json_is_array(messages) || json_array_size(messages) == 0)
        return complain_line(f, "\"messages\" is not a list of messages");
    for (size_t i = 0; i < json_array_size(messages) && status == EXIT_OK; i++)
        status = feed_message(f, json_array_get(messages, i), &chat);
    free(chat.text);
    return status;
}

/* ---- lines ---- */

/* The member's text; false if it is missing or something else. */
static bool get_text(const json_t *object, const char *key, const char **text, size_t *len)
{
    const json_t *value = json_object_get(object, key);
    *text = json_string_value(value);
    *len = json_string_length(value);
    return *text != NULL;
}

static int feed_object(const feeding *f, const json_t *object)
{
    const char *a, *b, *c;
    size_t a_len, b_len, c_len;
    aigc_error err;
    if (json_object_get(object, "messages") != NULL)
        return feed_messages(f, json_object_get(object, "messages"));
    if (get_text(object, "text", &a, &a_len))
        return report(f, aigc_trainer_feed(f->trainer, f->kind, a, a_len, &err), &err);
    if (get_text(object, "prompt", &a, &a_len) && get_text(object, "chosen", &b, &b_len) &&
        get_text(object, "rejected", &c, &c_len))
        return report(f, aigc_trainer_feed_preference(f->trainer, f->kind, a, a_len, b, b_len, c, c_len, &err), &err);
    if (get_text(object, "prompt", &a, &a_len) && get_text(object, "response", &b, &b_len))
        return report(f, aigc_trainer_feed_pair(f->trainer, f->kind, a, a_len, b, b_len, &err), &err);
    return complain_line(f, "needs \"prompt\" with \"response\" or with \"chosen\" and \"rejected\", or \"text\", or "
                            "\"messages\" (all of them text, but messages)");
}

static int feed_line(const feeding *f, const char *line, size_t len)
{
    json_error_t why;
    json_t *object = json_loadb(line, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &why);
    if (object == NULL)
        return complain("%s, line %zu, column %d: %s", f->path, f->line, why.column, why.text);
    int status = json_is_object(object) ? feed_object(f, object) : complain_line(f, "is not a JSON object");
    json_decref(object);
    return status;
}

static int feed_lines(feeding *f, const char *text, size_t len)
{
    const char *end = text + len;
    int status = EXIT_OK;
    for (const char *line = text; line < end && status == EXIT_OK;) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        const char *stop = newline != NULL ? newline : end;
        f->line++;
        if (strspn(line, " \t\r") < (size_t)(stop - line))
            status = feed_line(f, line, (size_t)(stop - line));
        line = newline != NULL ? newline + 1 : end;
    }
    return status;
}

static bool ends_with(const char *path, const char *end)
{
    size_t n = strlen(path), m = strlen(end);
    return n >= m && strcmp(path + n - m, end) == 0;
}

/* The form that the base's chat template has. */
static const chat_form *find_form(const char *base)
{
    static char template[1 << 16];
    const chat_form *form = &plain;
    const char *key;
    aigc_model *model;
    if (aigc_model_open(base, AIGC_MODEL_DESCRIBE, &model, NULL) != AIGC_OK)
        return form; /* the trainer has opened it, and will say what is wrong if it is */
    for (uint64_t i = 0; i < aigc_model_describe(model)->n_metadata; i++)
        if (aigc_model_metadata(model, i, &key, template, sizeof(template), NULL) == AIGC_OK &&
            strcmp(key, "tokenizer.chat_template") == 0 && strstr(template, "<|im_start|>") != NULL)
            form = &chatml;
    aigc_model_close(model);
    return form;
}

int feed_examples(const settings *s, aigc_trainer *t, aigc_train_text kind, const char *path)
{
    settings one = *s;
    feeding f = {t, find_form(s->train.base), kind, path, 0};
    aigc_error err;
    char *text;
    size_t len;
    one.file = path;
    int status = read_text(&one, &text, &len);
    if (status != EXIT_OK)
        return status;
    if (ends_with(path, ".jsonl") || ends_with(path, ".json")) {
        status = feed_lines(&f, text, len);
    } else {
        aigc_status code = aigc_trainer_feed(t, kind, text, len, &err);
        if (code != AIGC_OK)
            status = code == AIGC_INTERRUPTED ? EXIT_INTERRUPTED : complain("%s: %s", path, err.message);
    }
    free(text);
    return status;
}
