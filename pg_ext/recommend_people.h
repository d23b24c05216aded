/*
 * recommend_people.h: the people that recommend_all() ranks together: what recommend_people.c does with a group of
 * them, and recommend_all.c, which reads who there is and what they did, and calls it.
 */
#ifndef RECOMMEND_PEOPLE_H
#define RECOMMEND_PEOPLE_H

#include "recommend_pg.h"

typedef struct Person {
    char *key;
    size_t first, n_events; /* of the events at hand */
    aigc_event *events;     /* where they are once all are there */
    bool passed_over;
} Person;

/* People who are ranked together. */
typedef struct People {
    MemoryContext context; /* what lives until they have been ranked */
    Person *people;        /* [most] */
    size_t n;
    Datum who; /* of the last of them, as the query below has it */
    aigc_event *events;
    size_t n_events, capacity;
    aigc_query *queries; /* in the context, as is done */
    bool *done;
    aigc_each *ranking; /* NULL: not begun */
    uint32_t *items;    /* [most][k] */
    float *scores;
} People;

typedef struct Everybody {
    Ask *ask; /* what holds for all: a profile without a user */
    Rows rows;
    size_t k, most; /* people of a group */
    Progress progress;
    int64 n_ranked;
    bool *hidden; /* [n_items] what the caller may not see */
    Oid key_type; /* that the keys of users in hand are compared as */
    bool has_feedback;
    bool may_hide;            /* the tables may have more items than the caller sees */
    bool only_without_events; /* pass over who has been ranked as one with events */
    People groups[2];
    People *group, *other; /* that is being read, and being ranked */
} Everybody;

/* Memory of a group, in the current memory context. */
void open_group(const Everybody *all, People *group);

void begin_person(People *group, const char *key);
/* The last person did this. Items without a usable weight have been seen: they weigh nothing. */
void add_event(People *group, uint32_t item, float weight, double time);

/* Has the group ranked that has been read, and begins another. Called with the caller's rights. */
void rank_group(Everybody *all);
/* Puts the group that was being ranked into the result, and lets go of its people. */
void finish_group(Everybody *all, People *group);

/* Which feedback, f, the caller may know of: the same as read_feedback() in recommend_ranking.c takes. $1 to $3. */
extern const char feedback_of[];
/* Runs a query over the feedback, with one more argument; NULL: null. */
void query_feedback(const Everybody *all, const char *sql, Oid type, const Datum *value);

/* The number of the item with the key in that column; AIGC_NO_ITEM also for null. */
uint32_t item_at(const Everybody *all, const SPITupleTable *table, uint64 row, int column, bool *null);

#endif
