/* notes.c: what a trained model's file says of the model besides its shape: description, licence, chat template. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "learn/trainer.h"

static const char *const PREFIX = "general.";
/* These follow from the model or have an argument of their own. */
static const char *const taken[] = {"general.architecture", "general.name", "general.type", "general.alignment"};

static bool may_be_set(const char *key)
{
    if (strcmp(key, "tokenizer.chat_template") == 0)
        return true;
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++)
        if (strcmp(key, taken[i]) == 0)
            return false;
    return strncmp(key, PREFIX, strlen(PREFIX)) == 0 && key[strlen(PREFIX)] != '\0' &&
           strspn(key, "abcdefghijklmnopqrstuvwxyz0123456789._-") == strlen(key);
}

static aigc_status replace(model_note *note, const char *value, aigc_error *err)
{
    char *copy = strdup(value);
    if (copy == NULL)
        return aigc_fail_memory(err, note->key, strlen(value) + 1);
    free(note->value);
    note->value = copy;
    return AIGC_OK;
}

aigc_status aigc_trainer_annotate(aigc_trainer *t, const char *key, const char *value, aigc_error *err)
{
    if (!may_be_set(key))
        return aigc_fail(err, AIGC_E_ARGUMENT,
                         "a model's '%s' can't be set (general.* and tokenizer.chat_template can)", key);
    if (t->options.base != NULL)
        return aigc_fail(err, AIGC_E_ARGUMENT, "an adapted model keeps its base's %s", key);
    if (value[0] == '\0' || utf8_valid(value, strlen(value)) != strlen(value))
        return aigc_fail(err, AIGC_E_TEXT, "%s must be text in UTF-8 and not empty", key);
    for (size_t i = 0; i < t->n_notes; i++)
        if (strcmp(t->notes[i].key, key) == 0)
            return replace(&t->notes[i], value, err);
    model_note *larger = aigc_realloc_array(t->notes, t->n_notes + 1, sizeof *larger);
    if (larger == NULL)
        return aigc_fail_memory(err, key, (t->n_notes + 1) * sizeof *larger);
    t->notes = larger;
    model_note note = {strdup(key), strdup(value)};
    if (note.key == NULL || note.value == NULL) {
        free(note.key);
        free(note.value);
        return aigc_fail_memory(err, key, strlen(key) + strlen(value) + 2);
    }
    t->notes[t->n_notes++] = note;
    return AIGC_OK;
}

void trainer_free_notes(aigc_trainer *t)
{
    for (size_t i = 0; i < t->n_notes; i++) {
        free(t->notes[i].key);
        free(t->notes[i].value);
    }
    free(t->notes);
}
