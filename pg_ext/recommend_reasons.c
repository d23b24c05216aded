/*
 * recommend_reasons.c: why an item is recommended, as jsonb and as a sentence:
 *
 *     {"sentence": "Matches your interests in travel and music, and is popular.",
 *      "because": [{"reason": "interest", "about": "travel", "share": 0.412}, ...]}
 *
 * Items are called by their title as the caller may read it, else by their key.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "recommend_pg.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

#define MAX_TITLE        80   /* characters */
#define LEAST_SHARE      0.05 /* what is less is not in the sentence, */
#define LEAST_MATCH      0.01 /* but that the item has what the person has is a fact */
#define LEAST_NAMED      0.15 /* of the first one's share, to be named beside it */
#define MAX_NAMED        3    /* items or interests named in one clause */
#define MAX_KEY_IN_TABLE 512
#define REASONS_OF_ONE   64 /* more than core gives for one item */

static const char *const names[] = {
    [AIGC_REASON_INTEREST] = "interest",   [AIGC_REASON_EVENT] = "history",
    [AIGC_REASON_LIKE] = "like",           [AIGC_REASON_DISLIKE] = "dislike",
    [AIGC_REASON_PEOPLE] = "people",       [AIGC_REASON_ATTRIBUTE] = "people like you",
    [AIGC_REASON_MATCH] = "attribute",     [AIGC_REASON_POPULARITY] = "popularity",
    [AIGC_REASON_FRESHNESS] = "freshness",
};

const char *reason_name(aigc_reason_kind kind)
{
    return names[kind];
}

/* ---- titles ---- */

typedef struct Title {
    char key[MAX_KEY_IN_TABLE];
    char *title;
} Title;

/* The item's key that the reason names, or NULL. */
static char *named_item(const Ask *ask, const aigc_reason *reason)
{
    const KeyList *list = reason->kind == AIGC_REASON_EVENT     ? &ask->events
                          : reason->kind == AIGC_REASON_LIKE    ? &ask->likes
                          : reason->kind == AIGC_REASON_DISLIKE ? &ask->dislikes
                                                                : NULL;

    return list && reason->index >= 0 && reason->index < list->n ? list->keys[reason->index] : NULL;
}

static void collect_keys(const Ask *ask, HTAB *table)
{
    for (size_t i = 0; i < ask->n; i++) {
        for (size_t j = 0; j < ask->results[i].n_reasons; j++) {
            char *key = named_item(ask, &ask->results[i].reasons[j]);
            bool found;
            if (!key || strlen(key) >= MAX_KEY_IN_TABLE)
                continue;
            Title *title = hash_search(table, key, HASH_ENTER, &found);
            if (!found)
                title->title = NULL;
        }
    }
}

/* Whether the caller may read what items are called. */
static bool may_read_titles(const Recommender *recommender)
{
    Oid table = recommender->table[TABLE_ITEMS];

    if (!OidIsValid(table) || recommender->role[ITEM_TEXT].n == 0)
        return false;
    return pg_class_aclcheck(table, GetUserId(), ACL_SELECT) == ACLCHECK_OK ||
           pg_attribute_aclcheck(table, recommender->role[ITEM_TEXT].column[0].number, GetUserId(), ACL_SELECT) ==
               ACLCHECK_OK;
}

static void fill_titles(const Ask *ask, HTAB *table)
{
    const Recommender *recommender = ask->recommender;
    const Column *key = &recommender->role[ITEM_ID].column[0];
    Datum *keys = palloc((hash_get_num_entries(table) + 1) * sizeof *keys);
    HASH_SEQ_STATUS scan;
    Title *title;
    int n = 0;

    hash_seq_init(&scan, table);
    while ((title = hash_seq_search(&scan)))
        keys[n++] = CStringGetTextDatum(title->key);
    run_query(psprintf("SELECT %s, pg_catalog.left(%s, %d) FROM %s WHERE %s %s ANY ($1::%s[])", key->sql,
                       recommender->role[ITEM_TEXT].column[0].sql, MAX_TITLE + 1, recommender->table_sql[TABLE_ITEMS],
                       quote_identifier(key->name), equality_of(key), type_sql(key->type)),
              1, (Oid[]){TEXTARRAYOID},
              (Datum[]){PointerGetDatum(construct_array(keys, n, TEXTOID, -1, false, TYPALIGN_INT))}, NULL, true, 0);
    for (uint64 row = 0; row < SPI_processed; row++) {
        char *found_key = row_text(row, 1), *title_text = row_text(row, 2);
        title =
            found_key && strlen(found_key) < MAX_KEY_IN_TABLE ? hash_search(table, found_key, HASH_FIND, NULL) : NULL;
        if (title && title_text && *title_text)
            title->title = title_text;
    }
}

Titles *read_titles(const Ask *ask)
{
    Titles *titles = palloc(sizeof *titles);
    HASHCTL control = {.keysize = MAX_KEY_IN_TABLE, .entrysize = sizeof(Title), .hcxt = CurrentMemoryContext};

    titles->ask = ask;
    titles->by_key = hash_create("aigc titles", 64, &control, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
    collect_keys(ask, titles->by_key);
    if (hash_get_num_entries(titles->by_key) == 0)
        return titles;
    Rights before = take_reader_rights(ask->recommender);
    if (may_read_titles(ask->recommender))
        fill_titles(ask, titles->by_key);
    restore_rights(before);
    return titles;
}

static char *title_of(const Titles *titles, char *key)
{
    Title *found = strlen(key) < MAX_KEY_IN_TABLE ? hash_search(titles->by_key, key, HASH_FIND, NULL) : NULL;

    if (!found || !found->title)
        return key;
    int len = strlen(found->title);
    int cut = pg_mbcharcliplen(found->title, len, MAX_TITLE);
    return cut == len ? found->title : psprintf("%.*s...", cut, found->title);
}

/* ---- what a reason is about ---- */

static char *server_string(aigc_string utf8)
{
    text *value = utf8_to_text(utf8.data, utf8.len);

    return text_to_cstring(value);
}

static char *attribute_value(const aigc_attribute *attribute)
{
    switch (attribute->kind) {
    case AIGC_VALUE_NUMBER:
        return psprintf("%g", attribute->number);
    case AIGC_VALUE_POINT:
        return psprintf("%.2f, %.2f", attribute->latitude, attribute->longitude);
    case AIGC_VALUE_TEXT:
        break;
    }
    return server_string(attribute->text);
}

static const aigc_attribute *attribute_of_reason(const Ask *ask, const aigc_reason *reason)
{
    return reason->index >= 0 && (size_t)reason->index < ask->query.n_attributes ? &ask->query.attributes[reason->index]
                                                                                 : NULL;
}

char *reason_about(const Ask *ask, const Titles *titles, const aigc_reason *reason)
{
    const aigc_attribute *attribute;
    char *key;

    switch (reason->kind) {
    case AIGC_REASON_INTEREST:
        return reason->index >= 0 ? ask->profile->interests[reason->index].text : NULL;
    case AIGC_REASON_ATTRIBUTE:
    case AIGC_REASON_MATCH:
        attribute = attribute_of_reason(ask, reason);
        return attribute ? psprintf("%s %s", server_string(attribute->name), attribute_value(attribute)) : NULL;
    default:
        key = named_item(ask, reason);
        return key ? title_of(titles, key) : NULL;
    }
}

/* ---- sentences ---- */

/* An interest of negative weight. */
static bool is_avoided(const Ask *ask, const aigc_reason *reason)
{
    return reason->kind == AIGC_REASON_INTEREST && reason->index >= 0 &&
           ask->profile->interests[reason->index].weight < 0;
}

/* A place that the item is near to. */
static bool is_place(const Ask *ask, const aigc_reason *reason)
{
    const aigc_attribute *attribute = reason->kind == AIGC_REASON_MATCH ? attribute_of_reason(ask, reason) : NULL;

    return attribute && attribute->kind == AIGC_VALUE_POINT;
}

/* One clause tells of both: they are of a kind, and speak for the item or against it. */
static bool same_clause(const Ask *ask, const aigc_reason *a, const aigc_reason *b)
{
    return a->kind == b->kind && (a->share > 0) == (b->share > 0) && is_avoided(ask, a) == is_avoided(ask, b) &&
           is_place(ask, a) == is_place(ask, b);
}

/* What speaks against an item is told if it is what the person does not want. */
static bool is_tellable(const Ask *ask, const aigc_reason *reason)
{
    return reason->share > 0 || reason->kind == AIGC_REASON_DISLIKE || is_avoided(ask, reason);
}

/* Whether the sentence tells of these reasons, of which this is the first: together they have a share worth it. */
static bool is_told(const Ask *ask, const aigc_recommendation *result, const aigc_reason *first)
{
    double share = 0;

    for (size_t i = 0; i < result->n_reasons && is_tellable(ask, first); i++) {
        if (same_clause(ask, &result->reasons[i], first))
            share += fabs(result->reasons[i].share);
    }
    return share >= (first->kind == AIGC_REASON_MATCH ? LEAST_MATCH : LEAST_SHARE);
}

/* Whether the reason is that the person had this very item before. */
static bool is_itself(const Ask *ask, const aigc_recommendation *result, const aigc_reason *reason)
{
    char *key = named_item(ask, reason);

    return key && strcmp(key, item_key(ask, result->item)) == 0;
}

/* Adds "a", "a and b" or "a, b and c" of what reasons like the first are about, unless they hardly count beside it;
 * returns how many. */
static int append_subjects(StringInfo out, const Ask *ask, const Titles *titles, const aigc_recommendation *result,
                           const aigc_reason *first, const char *quote)
{
    char *subjects[MAX_NAMED];
    double least = 0;
    int n = 0;

    for (size_t i = 0; i < result->n_reasons && n < MAX_NAMED; i++) {
        const aigc_reason *reason = &result->reasons[i];
        if (!same_clause(ask, reason, first) || fabs(reason->share) < least || is_itself(ask, result, reason))
            continue;
        char *about = reason_about(ask, titles, reason);
        if (!about)
            continue;
        if (n == 0)
            least = LEAST_NAMED * fabs(reason->share);
        subjects[n++] = about;
    }
    for (int i = 0; i < n; i++)
        appendStringInfo(out, "%s%s%s%s", i == 0 ? "" : i == n - 1 ? " and " : ", ", quote, subjects[i], quote);
    return n;
}

static char *interest_clause(const Ask *ask, const aigc_reason *first, int n, const char *subjects)
{
    if (n == 0)
        return "is near your interests";
    if (!is_avoided(ask, first))
        return psprintf("matches your interest%s in %s", n > 1 ? "s" : "", subjects);
    return first->share > 0 ? psprintf("stays clear of %s", subjects)
                            : psprintf("unfortunately is about %s, which you would rather not see", subjects);
}

/* A clause for the first reason and those like it. */
static char *clause_of(const Ask *ask, const Titles *titles, const aigc_recommendation *result,
                       const aigc_reason *first)
{
    StringInfoData subjects;

    initStringInfo(&subjects);
    bool is_item =
        first->kind == AIGC_REASON_EVENT || first->kind == AIGC_REASON_LIKE || first->kind == AIGC_REASON_DISLIKE;
    int n = append_subjects(&subjects, ask, titles, result, first, is_item ? "\"" : "");
    switch (first->kind) {
    case AIGC_REASON_INTEREST:
        return interest_clause(ask, first, n, subjects.data);
    case AIGC_REASON_EVENT:
        return n                               ? psprintf("resembles %s, which you chose before", subjects.data)
               : is_itself(ask, result, first) ? "was chosen by you before"
                                               : "resembles what you chose before";
    case AIGC_REASON_LIKE:
        return n                               ? psprintf("resembles %s, which you like", subjects.data)
               : is_itself(ask, result, first) ? "is liked by you"
                                               : "resembles what you like";
    case AIGC_REASON_DISLIKE:
        return psprintf("%s %s, which you dislike", first->share > 0 ? "is unlike" : "unfortunately resembles",
                        subjects.data);
    case AIGC_REASON_PEOPLE:
        return first->index == AIGC_NOBODY_YET ? "is like what people with your taste choose"
                                               : "was chosen by people with your taste";
    case AIGC_REASON_ATTRIBUTE:
        return psprintf("is popular with people like you (%s)", subjects.data);
    case AIGC_REASON_MATCH:
        return is_place(ask, first) ? "is near you" : psprintf("fits your %s", subjects.data);
    case AIGC_REASON_POPULARITY:
        return "is popular";
    case AIGC_REASON_FRESHNESS:
        return "is new";
    }
    return "";
}

static void capitalise(char *sentence)
{
    *sentence = pg_toupper((unsigned char)*sentence);
}

/* To be popular goes without saying beside being popular with people like you. */
static bool goes_without_saying(const Ask *ask, const aigc_recommendation *result, const aigc_reason *reason)
{
    for (size_t i = 0; i < result->n_reasons && reason->kind == AIGC_REASON_POPULARITY; i++) {
        const aigc_reason *other = &result->reasons[i];
        if (other->kind == AIGC_REASON_ATTRIBUTE && is_told(ask, result, other))
            return true;
    }
    return false;
}

/* One clause for reasons of each kind, in the order of their largest share. */
char *reasons_sentence(const Ask *ask, const Titles *titles, const aigc_recommendation *result)
{
    const aigc_reason *firsts[REASONS_OF_ONE];
    char *clauses[lengthof(firsts)];
    StringInfoData sentence;
    int n = 0;

    for (size_t i = 0; i < result->n_reasons && n < REASONS_OF_ONE; i++) {
        const aigc_reason *reason = &result->reasons[i];
        int clause = 0;
        while (clause < n && !same_clause(ask, firsts[clause], reason))
            clause++;
        if (clause < n || !is_told(ask, result, reason) || goes_without_saying(ask, result, reason))
            continue;
        firsts[n] = reason;
        clauses[n++] = clause_of(ask, titles, result, reason);
    }
    if (n == 0)
        return "Is in the catalogue.";
    initStringInfo(&sentence);
    for (int i = 0; i < n; i++)
        appendStringInfo(&sentence, "%s%s", i == 0 ? "" : i == n - 1 ? ", and " : ", ", clauses[i]);
    appendStringInfoChar(&sentence, '.');
    capitalise(sentence.data);
    return sentence.data;
}

static void push_string(JsonbParseState **state, JsonbIteratorToken token, char *value)
{
    JsonbValue string = {.type = jbvString};

    string.val.string.val = value;
    string.val.string.len = strlen(value);
    pushJsonbValue(state, token, &string);
}

static void push_share(JsonbParseState **state, double share)
{
    JsonbValue number = {.type = jbvNumeric};
    char digits[32];

    snprintf(digits, sizeof digits, "%.3f", share);
    number.val.numeric = DatumGetNumeric(
        DirectFunctionCall3(numeric_in, CStringGetDatum(digits), ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
    pushJsonbValue(state, WJB_VALUE, &number);
}

static void push_reason(JsonbParseState **state, const Ask *ask, const Titles *titles, const aigc_reason *reason)
{
    char *about = reason_about(ask, titles, reason);

    pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
    push_string(state, WJB_KEY, "reason");
    push_string(state, WJB_VALUE, (char *)reason_name(reason->kind));
    if (about) {
        push_string(state, WJB_KEY, "about");
        push_string(state, WJB_VALUE, about);
    }
    push_string(state, WJB_KEY, "share");
    push_share(state, reason->share);
    pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

Jsonb *reasons_jsonb(const Ask *ask, const Titles *titles, const aigc_recommendation *result)
{
    JsonbParseState *state = NULL;

    pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
    push_string(&state, WJB_KEY, "sentence");
    push_string(&state, WJB_VALUE, reasons_sentence(ask, titles, result));
    push_string(&state, WJB_KEY, "because");
    pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
    for (size_t i = 0; i < result->n_reasons; i++)
        push_reason(&state, ask, titles, &result->reasons[i]);
    pushJsonbValue(&state, WJB_END_ARRAY, NULL);
    return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}
