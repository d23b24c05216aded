/*
 * recommend_pg.h: what the files of the recommendation part share.
 *
 *     recommender.c          the catalogue of recommenders: create, drop, list, find, whose rights hold
 *     recommend_columns.c    the tables and columns that a recommender names, checked, as SQL
 *     recommend_query.c      SQL run through SPI: plans kept for the session, rights switched and given back
 *     recommend_profile.c    profiles, parsed and checked
 *     recommend_read.c       a user's tables, read row by row into core
 *     recommend_news.c       rows that came after a refresh
 *     recommend_refresh.c    refresh_recommender()
 *     recommend_options.c    how to learn, and how to evaluate
 *     recommend_image.c      a model's bytes: chunks in a table, one file mapped by all sessions
 *     recommend_ranking.c    a person's rows and profile as a query of core; items that may be shown
 *     recommend_reasons.c    reasons as sentences and jsonb
 *     recommend.c            recommend(), explain_recommendation(), similar_items()
 *     recommend_all.c        recommend_all(), and recommend_people.h, .c: the people that it ranks together
 *     recommend_evaluate.c   evaluate_recommender()
 *     recommend_feedback.c   record_feedback()
 *
 * Three roles take turns. The extension's own tables are read and written as their owner. A model is made with the
 * rights of the recommender's owner. Everything that is read when somebody asks is read with that caller's rights.
 */
#ifndef RECOMMEND_PG_H
#define RECOMMEND_PG_H

#include "aigc_pg.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "progress.h"
#include "utils/array.h"
#include "utils/hsearch.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

/* ---- columns (recommend_columns.c) --------------------------------------------------------------------------- */

typedef enum RecommendTable { TABLE_ITEMS, TABLE_EVENTS, TABLE_USERS, N_TABLES } RecommendTable;

/* What a column is for: the arguments of create_recommender() that name columns, in their order. */
typedef enum ColumnRole {
    ITEM_ID,
    ITEM_TEXT,
    ITEM_TAGS,
    ITEM_ATTRIBUTES,
    ITEM_TIME,
    ITEM_EMBEDDING,
    EVENT_USER,
    EVENT_ITEM,
    EVENT_WEIGHT,
    EVENT_TIME,
    USER_ID,
    USER_ATTRIBUTES,
    N_ROLES
} ColumnRole;

/* What an attribute's type makes of it. */
typedef enum AttributeKind {
    ATTRIBUTE_CATEGORY,
    ATTRIBUTE_CATEGORIES,
    ATTRIBUTE_NUMBER,
    ATTRIBUTE_PLACE
} AttributeKind;

typedef struct RoleInfo {
    const char *argument; /* of create_recommender(), and column of aigc_recommender */
    RecommendTable table;
    bool list; /* text[] rather than text */
} RoleInfo;

extern const RoleInfo role_info[N_ROLES];
extern const char *const table_argument[N_TABLES];

/* A column as it is today. */
typedef struct Column {
    char *name;
    AttrNumber number;
    Oid type;
    char *sql; /* expression that gives the value as its role wants it */
    AttributeKind kind;
} Column;

typedef struct ColumnList {
    int n;
    Column *column; /* [n] */
} ColumnList;

/* How rows of the items' table are found that the model has not seen: see recommend_news.c. */
typedef enum News { NEWS_NONE, NEWS_ALL, NEWS_KEY, NEWS_TIME, NEWS_PLACE, N_NEWS } News;

typedef struct Recommender {
    char *name;
    char *owner_name;
    Oid owner;                 /* InvalidOid if that role is gone */
    Oid table[N_TABLES];       /* InvalidOid: none */
    char *table_sql[N_TABLES]; /* qualified and quoted */
    ColumnList role[N_ROLES];
    Jsonb *options; /* of learning */
    bool stored;    /* not about to be created */
    bool has_model;
    int64 model; /* a new one for each refresh */
    int64 model_bytes;
    uint32 n_items; /* that the model has */
    News news;
    int64 marker; /* of the last row that the model has seen */
    TimestampTz refreshed;
    TimestampTz fitted; /* the last full refresh */
    Jsonb *summary;
} Recommender;

/* Looks up the tables and columns that the recommender names. Raises an error that names what is gone or of a type that
 * its role cannot use. */
void resolve_columns(Recommender *recommender);

/* Raises unless the current user may read every column. */
void check_column_rights(const Recommender *recommender);

/* Whether the role may read the keys of the items, without an error. False for tables that are gone. */
bool may_read_keys(const Recommender *recommender, Oid role);

/* "operator(schema.=)" of a key's type, and the type's name, for comparing with keys that came as text. */
char *equality_of(const Column *column);
char *type_sql(Oid type);

/* What to order rows by, so that it does not depend on the database's locale. */
char *order_sql(const char *alias, const Column *column);

/* SQL that compares the values of two columns: "a = b", each qualified by its table's alias. */
char *comparison_sql(const char *alias, const Column *column, const char *other_alias, const char *other_name,
                     Oid other_type);

/* Whether values are dates or timestamps, which become numbers of seconds. */
bool column_is_moment(const Column *column);

/* ---- profiles (recommend_profile.c) -------------------------------------------------------------------------- */

/* Most results that may be asked for. */
#define MAX_RESULTS 100000

typedef struct Interest {
    char *text;
    double weight;
} Interest;

typedef struct Attribute {
    char *name;
    aigc_value_kind kind;
    char *text;
    double number;
    double latitude, longitude;
} Attribute;

typedef struct KeyList {
    char **keys; /* [n] */
    int n;
} KeyList;

/* Strings are in the database's encoding. */
typedef struct Profile {
    char *user; /* NULL: nobody known */
    Interest *interests;
    int n_interests;
    Attribute *attributes;
    int n_attributes;
    KeyList likes, dislikes, exclude, among;
    bool has_among;
    bool exclude_seen;
    int k; /* -1: not said */
    double diversity;
    double at; /* seconds since 1970; NaN: when the last event was */
    bool has_seed;
    uint64 seed;
} Profile;

/* The name that the profile gives to "recommender", or NULL. Raises if the profile is no object. */
char *profile_recommender(Jsonb *profile);

/* Raises on keys that are not known and values of the wrong kind. */
Profile *read_profile(Jsonb *profile, const Recommender *recommender);

/* ---- a user's tables, read into core (recommend_read.c) ------------------------------------------------------- */

/* A row of the items' table: core's view of it and the row's marker. Valid until the next row is read. */
typedef struct ItemRow {
    aigc_item item;
    int64 marker;
} ItemRow;

/* Rows whose key is one of $1 (text[]), or else all rows in the order of their keys. */
char *items_sql(const Recommender *recommender, const char *marker_sql, bool of_keys);

/* The row of SPI_tuptable that items_sql() gave, in the current memory context. False if its key is null. */
bool read_item(const Recommender *recommender, uint64 row, int n_embedding, ItemRow *out);

/* Dimensions of the embedding column: those of its first value, 0 if there is none. */
int embedding_size(const Recommender *recommender);

/* Attribute values of the row of a user, from the given column of SPI_tuptable on, appended to *list. */
void read_attributes(const ColumnList *columns, uint64 row, int first, aigc_attribute **list, size_t *n);

/* SELECT list of columns: "a, b, c", each as its role wants it. */
void append_columns(StringInfo sql, const ColumnList *columns);

/* Counts rows that cannot be used, for the summary of a refresh. */
typedef struct ReadCounts {
    int64 null_keys;      /* rows without a key, or events without a user or an item */
    int64 duplicates;     /* rows with a key that came before */
    int64 unknown_events; /* events on items that are not in the catalogue */
    int64 rows[N_TABLES]; /* read in all */
} ReadCounts;

/* Read everything into a fit; progress counts rows. *marker: the highest of the items. */
void read_items_into(aigc_fit *fit, const Recommender *recommender, const char *marker_sql, int n_embedding,
                     Progress *progress, ReadCounts *counts, int64 *marker);
void read_users_into(aigc_fit *fit, const Recommender *recommender, Progress *progress, ReadCounts *counts);
void read_events_into(aigc_fit *fit, const Recommender *recommender, Progress *progress, ReadCounts *counts);

/* A string of the database's encoding as core's: UTF-8. */
aigc_string utf8_string(const char *value);

/* The same bytes, for keys, which core does not interpret. */
aigc_string key_string(const char *key);

/* ---- rows that a model has not seen (recommend_news.c) --------------------------------------------------------- */

News news_of(const char *name);
const char *news_name(News news);

/* How new rows of the items' table can be found, whatever its size, or with so many of them. */
News news_of_table(const Recommender *recommender);
News choose_news(const Recommender *recommender, uint32 n_items);

/* SQL of a row's marker for that; NULL: it has none. */
char *marker_sql(const Recommender *recommender, News news);

/* Keys (text[]) of rows that the model lacks, at most limit, or NULL if there are none; looked for after the marker,
 * which is moved. With the rights of the recommender's owner. */
ArrayType *find_news(const Recommender *recommender, News news, const aigc_recommender *model, int limit,
                     int64 *marker);

/* Rows of a result that are worked on between two looks for interrupts. */
#define ROWS_PER_LOOK 4096

/* aigc_recommender_extend() that a cancel ends. */
void extend_recommender(const aigc_recommender *model, const aigc_item *items, size_t n_items, const aigc_event *events,
                  size_t n_events, void **image, size_t *size);
/* A new image of the model and the rows with these keys: free it with aigc_free(). */
void extend_model(const Recommender *recommender, const aigc_recommender *model, ArrayType *keys, void **image,
                  size_t *size);

/* ---- fits (recommend_refresh.c) ------------------------------------------------------------------------------- */

/* A fit from the user's tables, run to its end. The end of the memory context frees it. */
typedef struct FitRun {
    aigc_fit *fit;
    aigc_fit_info info;
    ReadCounts counts;
    int64 marker; /* of the table's news */
} FitRun;

/* The recommender's options, with this session's threads and interrupts. */
aigc_fit_options fit_options(const Recommender *recommender);

/* Options as jsonb over those (recommend_options.c), with or without the ones of evaluate_recommender(). Raises on
 * unknown ones. */
void read_fit_options(const Jsonb *json, bool evaluation, aigc_fit_options *options);

/* Reads the tables with the rights of the recommender's owner, and fits. command: for aigc_progress. */
FitRun *run_fit(FunctionCallInfo fcinfo, const Recommender *recommender, aigc_fit_options *options,
                const char *command);

/* ---- models' bytes (recommend_image.c) ------------------------------------------------------------------------ */

typedef struct Image Image;

/* A model in use, and what is being computed with it. The end of the memory context gives both back. */
typedef struct Use {
    const aigc_recommender *model;
    aigc_ranking *ranking;
    Image *image;
    MemoryContextCallback on_reset;
} Use;

/* The recommender's model, with the rows that came since. Raises if it has never been refreshed. */
Use *use_model(FunctionCallInfo fcinfo, const Recommender *recommender);

/* The same as it was stored. */
Use *use_stored_model(FunctionCallInfo fcinfo, const Recommender *recommender);
int64 use_marker(const Use *use);
void end_use(Use *use);

/* Puts an image into the extension's tables in place of the recommender's model. */
void store_model(FunctionCallInfo fcinfo, const Recommender *recommender, const void *image, size_t size,
                 uint32 n_items, News news, int64 marker, bool fitted, Jsonb *summary);

/* ---- ranking for a person (recommend_ranking.c) ----------------------------------------------------------------- */

/* A query of core with what its numbers stand for. Lives in the memory context of SPI_connect(). */
typedef struct Ask {
    FunctionCallInfo fcinfo;
    Recommender *recommender;
    Profile *profile;
    Use *use;
    aigc_query query;
    KeyList events; /* keys of query.events, likewise likes and dislikes */
    KeyList likes, dislikes;
    const aigc_recommendation *results; /* [n] */
    size_t n;
} Ask;

/* Finds the recommender, reads the profile and what the caller may see of the person's rows. NULL profile: {}. */
Ask *begin_ask(FunctionCallInfo fcinfo, Jsonb *profile, const char *recommender);

/* Ranks; results are items that the caller may see. */
void rank_items(Ask *ask, size_t k);
void end_ask(Ask *ask);

/* Numbers of those of the items with these keys that the caller may see and the model has. */
uint32_t *visible_items(Ask *ask, const KeyList *keys, size_t *n);

/* The rows of SPI_tuptable are then the keys of those of these items that are there. With whose rights is up to the
 * caller. */
void visible_keys(const Recommender *recommender, const KeyList *keys);

char *item_key(const Ask *ask, uint32_t item);

/* Whether the current user may see fewer items than the recommender's owner, so that terms which only hidden items have
 * must count as unknown. */
bool may_hide_items(const Recommender *recommender);
#define FEW_ITEMS_OF_TERM 256 /* that are looked at for whether one may be seen; of a term of more some surely may */

/* SQL of all events: who, key (of the item), weight, at; and, if those rows are called e, of what they add up to. */
char *event_rows_sql(const Recommender *recommender);
extern const char event_sums_sql[];

/* Attributes of a row of SPI_tuptable, from the given column on, added to *attributes except those of a name that is
 * there. */
void add_row_attributes(const ColumnList *columns, uint64 row, int first, aigc_attribute **attributes, size_t *n);

/* ---- reasons (recommend_reasons.c) ---------------------------------------------------------------------------- */

/* What items are called: their first text, cut, or their key. */
typedef struct Titles {
    const Ask *ask;
    HTAB *by_key;
} Titles;

/* Reads the titles of what the results' reasons name. */
Titles *read_titles(const Ask *ask);

const char *reason_name(aigc_reason_kind kind);
/* What a reason is about, in the database's encoding; NULL: nothing in particular. */
char *reason_about(const Ask *ask, const Titles *titles, const aigc_reason *reason);
char *reasons_sentence(const Ask *ask, const Titles *titles, const aigc_recommendation *result);
Jsonb *reasons_jsonb(const Ask *ask, const Titles *titles, const aigc_recommendation *result);

/* ---- the catalogue (recommender.c) --------------------------------------------------------------------------- */

/* The recommender of that name, or for NULL the one that serves when none is named. Columns are resolved. */
Recommender *find_recommender(FunctionCallInfo fcinfo, const char *name);

/* A role's name as a value of type name. */
Datum role_name(Oid role);

/* Raises unless the current user has the rights of the recommender's owner. */
void check_recommender_owner(const Recommender *recommender);

/* Schema of the extension's tables, quoted: that of the SQL function that was called. */
const char *extension_schema(FunctionCallInfo fcinfo);

/* Seconds since 1970, as core has its times. */
double seconds_of(TimestampTz moment);

/* ---- queries (recommend_query.c) ----------------------------------------------------------------------------- */

typedef struct Rights {
    Oid user;
    int context;
} Rights;

/* Takes the rights of the owner of the extension's tables, of the recommender's owner (confined as for a maintenance
 * command), or of whoever asks; restore_rights() gives them back, and so does an error. */
Rights take_catalogue_rights(FunctionCallInfo fcinfo);
Rights take_owner_rights(const Recommender *recommender);
Rights take_reader_rights(const Recommender *recommender);
void restore_rights(Rights before);

/* Runs SQL by a plan that the session keeps, within SPI_connect(); the rows are in SPI_tuptable. limit 0: all. */
void run_query(const char *sql, int n_args, const Oid *types, const Datum *values, const char *nulls, bool read_only,
               long limit);

/* The same by a plan for any values, which is made once: for queries that want the same way whatever is asked for. */
void run_fixed_query(const char *sql, int n_args, const Oid *types, const Datum *values, bool read_only, long limit);

/* A value of the current row, as a palloc'd C string or NULL. */
char *row_text(uint64 row, int column);

/* A value of type jsonb. */
Jsonb *jsonb_of(const char *json);

/* Values of the current statement as text, whatever the session's formats are; within NewGUCNestLevel(). */
void pin_formats(void);

/* The rows that a set-returning function gives back, collected before it returns. */
typedef struct Rows {
    Tuplestorestate *store;
    TupleDesc desc;
} Rows;

Rows begin_rows(FunctionCallInfo fcinfo);

#endif
