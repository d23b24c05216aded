/* notes.c: what a trained model's file says of the model besides its shape: description, licence, chat template. */
#include <math.h>
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

/* Advice on sampling is numbers, in these ranges. */
static aigc_status check_sampling(const char *key, const char *value, aigc_error *err)
{
    static const struct {
        const char *name;
        double low, high;
    } known[] = {
        {"temp", 0, 1e6}, {"top_p", 0, 1}, {"min_p", 0, 1}, {"penalty_repeat", 1e-6, 1e6}, {"top_k", 0, INT32_MAX}};
    const char *name = key + strlen(NOTE_SAMPLING);
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        char *end;
        double number = strtod(value, &end);
        if (strcmp(name, known[i].name) != 0)
            continue;
        if (end == value || *end != '\0' || !(number >= known[i].low && number <= known[i].high) ||
            (strcmp(key, NOTE_TOP_K) == 0 && number != floor(number)))
            return aigc_fail(err, AIGC_E_ARGUMENT, "%s must be a number from %g to %g, not '%s'", key, known[i].low,
                             known[i].high, value);
        return AIGC_OK;
    }
    return aigc_fail(err, AIGC_E_ARGUMENT,
                     "there is no sampling option '%s' (temp, top_p, min_p, penalty_repeat and top_k are known)", name);
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
    if (strncmp(key, NOTE_SAMPLING, strlen(NOTE_SAMPLING)) == 0) {
        aigc_status status = check_sampling(key, value, err);
        if (status != AIGC_OK)
            return status;
    }
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
