/*
 * recommend_image.c: the bytes of models. They are kept in the extension's tables, so they are written by one
 * transaction and replicated; and they are used through a file that all sessions map, so there is one copy of them in
 * memory, which a new session finds in place.
 *
 * The file is a copy of what the tables hold, made by the first session that needs it, in a folder of the data
 * directory whose name keeps it out of base backups. Its name tells which model it has, and how many items:
 *
 *     pgsql_tmp_aigc/DATABASE-MODEL-ITEMS-MARKER
 *
 * A file that is there is complete: it is written under another name, synced, and renamed. With more items than the
 * model had when it was stored it is one that recommend() has extended by rows that came since; the marker says up to
 * where. Files are never changed. Those that nobody needs any more are removed by whoever makes a new one: sessions
 * that still have them mapped are not disturbed.
 */
#include "postgres.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "common/file_perm.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "recommend_pg.h"
#include "storage/fd.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

#define FOLDER   "pgsql_tmp_aigc"
#define CHUNK    (1024 * 1024) /* bytes of a model in one row */
#define MAX_OPEN 16            /* models that a session keeps mapped */

#define MAX_NEWS 20000 /* new rows that one call takes */

/* Extending a model of this size is always quick enough; of a larger one at most a tenth of the time goes into it. */
#define SMALL_MODEL (32 * 1024 * 1024)

struct Image {
    dlist_node node;
    int64 model;
    uint32 n_items;
    int64 marker;
    void *data;
    size_t size;
    aigc_recommender *opened;
    instr_time extended; /* when, and how long it took, in seconds */
    double seconds;
    int uses;
    uint64 last_use;
    bool own; /* not a file, but memory of this session: goes with its use */
};

static dlist_head images = DLIST_STATIC_INIT(images);
static int n_open;
static uint64 use_count;

/* ---- images that this session has mapped ---- */

static void close_image(Image *image)
{
    aigc_recommender_close(image->opened);
    if (image->own) {
        aigc_free(image->data);
    } else {
        dlist_delete(&image->node);
        n_open--;
        munmap(image->data, image->size);
    }
    pfree(image);
}

static void make_room(void)
{
    while (n_open >= MAX_OPEN) {
        Image *oldest = NULL;
        dlist_iter at;

        dlist_foreach(at, &images)
        {
            Image *image = dlist_container(Image, node, at.cur);
            if (image->uses == 0 && (!oldest || image->last_use < oldest->last_use))
                oldest = image;
        }
        if (!oldest)
            return;
        close_image(oldest);
    }
}

/* The one with most items of this model, or NULL. */
static Image *find_image(int64 model)
{
    Image *best = NULL;
    dlist_iter at;

    dlist_foreach(at, &images)
    {
        Image *image = dlist_container(Image, node, at.cur);
        if (image->model == model && (!best || image->n_items > best->n_items))
            best = image;
    }
    return best;
}

static void give_back(void *arg)
{
    Use *use = arg;

    aigc_ranking_free(use->ranking);
    use->ranking = NULL;
    if (use->image && --use->image->uses == 0 && use->image->own)
        close_image(use->image);
    use->image = NULL;
}

static Use *begin_use(Image *image)
{
    Use *use = palloc0(sizeof *use);

    use->on_reset.func = give_back;
    use->on_reset.arg = use;
    MemoryContextRegisterResetCallback(CurrentMemoryContext, &use->on_reset);
    use->image = image;
    use->model = image->opened;
    image->uses++;
    image->last_use = ++use_count;
    return use;
}

int64 use_marker(const Use *use)
{
    return use->image->marker;
}

void end_use(Use *use)
{
    give_back(use);
}

/* ---- files ---- */

typedef struct FileName {
    Oid database;
    int64 model;
    uint32 n_items;
    int64 marker;
} FileName;

static char *file_path(const FileName *name)
{
    return psprintf(FOLDER "/%u-%016llx-%u-%016llx", name->database, (unsigned long long)name->model, name->n_items,
                    (unsigned long long)name->marker);
}

static bool parse_name(const char *file, FileName *name)
{
    unsigned long long model, marker;
    int end = 0;

    if (sscanf(file, "%u-%16llx-%u-%16llx%n", &name->database, &model, &name->n_items, &marker, &end) != 4 || file[end])
        return false;
    name->model = (int64)model;
    name->marker = (int64)marker;
    return true;
}

static void fail_file(const char *doing, const char *path)
{
    ereport(ERROR, (errcode_for_file_access(), errmsg("could not %s file \"%s\": %m", doing, path)));
}

/* The file with most items of this model. */
static bool find_file(int64 model, FileName *best)
{
    DIR *folder = AllocateDir(FOLDER);
    struct dirent *entry;
    FileName name;
    bool found = false;

    if (!folder && errno == ENOENT)
        return false;
    while ((entry = ReadDir(folder, FOLDER))) {
        if (parse_name(entry->d_name, &name) && name.database == MyDatabaseId && name.model == model &&
            (!found || name.n_items > best->n_items)) {
            *best = name;
            found = true;
        }
    }
    FreeDir(folder);
    return found;
}

/* Maps a file; NULL if it has gone. */
static Image *map_file(const FileName *name)
{
    char *path = file_path(name);
    struct stat info;
    aigc_error error;

    Image *image = MemoryContextAllocZero(TopMemoryContext, sizeof *image);
    int file = OpenTransientFile(path, O_RDONLY | PG_BINARY);
    if (file < 0 && errno == ENOENT) {
        pfree(image);
        return NULL;
    }
    if (file < 0 || fstat(file, &info) != 0) {
        pfree(image);
        fail_file("open", path);
    }
    void *data = mmap(NULL, info.st_size, PROT_READ, MAP_SHARED, file, 0);
    CloseTransientFile(file);
    if (data == MAP_FAILED) {
        pfree(image);
        fail_file("map", path);
    }
    *image = (Image){
        .model = name->model, .n_items = name->n_items, .marker = name->marker, .data = data, .size = info.st_size};
    dlist_push_tail(&images, &image->node);
    n_open++;
    if (aigc_recommender_open(image->data, image->size, &image->opened, &error) != AIGC_OK) {
        close_image(image);
        unlink(path);
        raise_core_error(&error, "Refresh the recommender.");
    }
    return image;
}

/* Gives the bytes of a model piece by piece: *size 0 at the end. */
typedef const void *(*PieceFunction)(void *source, size_t *size);

static void write_pieces(int file, const char *path, PieceFunction next, void *source)
{
    const char *piece;
    size_t size;

    while ((piece = next(source, &size)) && size > 0) {
        CHECK_FOR_INTERRUPTS();
        while (size > 0) {
            errno = 0;
            ssize_t written = write(file, piece, size);
            if (written <= 0) {
                if (errno == EINTR)
                    continue;
                if (errno == 0)
                    errno = ENOSPC;
                fail_file("write", path);
            }
            piece += written;
            size -= written;
        }
    }
    if (pg_fsync(file) != 0)
        fail_file("sync", path);
}

/* Writes a file aside and renames it when it is complete. */
static void write_file(const FileName *name, PieceFunction next, void *source)
{
    char *aside = psprintf(FOLDER "/writing-%d", MyProcPid), *path = file_path(name);

    if (MakePGDirectory(FOLDER) != 0 && errno != EEXIST)
        fail_file("create", FOLDER);
    PG_TRY();
    {
        int file = OpenTransientFile(aside, O_CREAT | O_TRUNC | O_WRONLY | PG_BINARY);
        if (file < 0)
            fail_file("create", aside);
        write_pieces(file, aside, next, source);
        if (CloseTransientFile(file) != 0)
            fail_file("close", aside);
        if (rename(aside, path) != 0)
            fail_file("rename", aside);
    }
    PG_CATCH();
    {
        unlink(aside);
        PG_RE_THROW();
    }
    PG_END_TRY();
}

/* Whether a file may go: of a database that is gone, a model that is no more, fewer items than another one has, or left
 * behind by a process that is no more. */
static bool is_stale(const char *file, const FileName *newest, const int64 *models, int n_models)
{
    FileName name;
    int pid;

    if (sscanf(file, "writing-%d", &pid) == 1)
        return kill(pid, 0) != 0 && errno == ESRCH;
    if (!parse_name(file, &name))
        return false;
    if (name.database != MyDatabaseId)
        return get_database_name(name.database) == NULL;
    if (name.model == newest->model)
        return name.n_items < newest->n_items;
    for (int i = 0; i < n_models; i++) {
        if (models[i] == name.model)
            return false;
    }
    return true;
}

/* Removes what nobody needs beside this file. */
static void remove_stale_files(FunctionCallInfo fcinfo, const FileName *newest)
{
    struct dirent *entry;
    bool null;

    Rights before = take_catalogue_rights(fcinfo);
    run_query(psprintf("SELECT id FROM %s.aigc_recommender_model", extension_schema(fcinfo)), 0, NULL, NULL, NULL, true,
              0);
    restore_rights(before);
    int n_models = (int)SPI_processed;
    int64 *models = palloc(Max(n_models, 1) * sizeof *models);
    for (int i = 0; i < n_models; i++)
        models[i] = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &null));

    DIR *folder = AllocateDir(FOLDER);
    while ((entry = ReadDir(folder, FOLDER))) {
        char *path = psprintf(FOLDER "/%s", entry->d_name);
        if (is_stale(entry->d_name, newest, models, n_models) && unlink(path) != 0 && errno != ENOENT)
            ereport(LOG, (errcode_for_file_access(), errmsg("could not remove file \"%s\": %m", path)));
    }
    FreeDir(folder);
}

/* ---- from the tables to a file ---- */

typedef struct Chunks {
    FunctionCallInfo fcinfo;
    int64 model;
    int part;
    size_t total;
} Chunks;

static const void *next_chunk(void *source, size_t *size)
{
    Chunks *chunks = source;
    Oid types[] = {INT8OID, INT4OID};
    Datum values[] = {Int64GetDatum(chunks->model), Int32GetDatum(chunks->part++)};
    bool null;

    *size = 0;
    if (chunks->part > 1)
        SPI_freetuptable(SPI_tuptable);
    Rights before = take_catalogue_rights(chunks->fcinfo);
    run_query(psprintf("SELECT data FROM %s.aigc_recommender_chunk WHERE model OPERATOR(pg_catalog.=) $1 AND part "
                       "OPERATOR(pg_catalog.=) $2",
                       extension_schema(chunks->fcinfo)),
              2, types, values, NULL, true, 0);
    restore_rights(before);
    if (SPI_processed == 0)
        return NULL;
    bytea *data = DatumGetByteaPP(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null));
    *size = VARSIZE_ANY_EXHDR(data);
    chunks->total += *size;
    return VARDATA_ANY(data);
}

/* The model as it is stored, in a file. */
static void make_file(FunctionCallInfo fcinfo, const Recommender *recommender)
{
    Chunks chunks = {fcinfo, recommender->model, 0, 0};
    FileName name = {MyDatabaseId, recommender->model, recommender->n_items, recommender->marker};
    MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "aigc model", ALLOCSET_DEFAULT_SIZES);
    MemoryContext old = MemoryContextSwitchTo(context);

    write_file(&name, next_chunk, &chunks);
    MemoryContextSwitchTo(old);
    MemoryContextDelete(context);
    if (chunks.total != (size_t)recommender->model_bytes)
        ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
                        errmsg("the model of recommender \"%s\" has %zu bytes, but should have " INT64_FORMAT,
                               recommender->name, chunks.total, recommender->model_bytes)));
    remove_stale_files(fcinfo, &name);
}

/* One session at a time makes files of a model: the others wait and find it made. A kind of lock that no advisory lock
 * function takes. */
static void lock_model(LOCKTAG *tag, int64 model)
{
    SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, (uint32)((uint64)model >> 32), (uint32)model, 0xa1);
    LockAcquire(tag, ExclusiveLock, false, false);
}

static void unlock_model(const LOCKTAG *tag)
{
    LockRelease(tag, ExclusiveLock, false);
}

static Image *open_image(FunctionCallInfo fcinfo, const Recommender *recommender)
{
    Image *image = find_image(recommender->model);
    FileName name;
    LOCKTAG lock;

    if (!recommender->has_model)
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("recommender \"%s\" has not been refreshed yet", recommender->name),
                        errhint("SELECT refresh_recommender(%s);", quote_literal_cstr(recommender->name))));
    while (!image) {
        CHECK_FOR_INTERRUPTS();
        make_room();
        if (find_file(recommender->model, &name)) {
            image = map_file(&name);
            continue;
        }
        lock_model(&lock, recommender->model);
        if (!find_file(recommender->model, &name))
            make_file(fcinfo, recommender);
        unlock_model(&lock);
    }
    return image;
}

Use *use_stored_model(FunctionCallInfo fcinfo, const Recommender *recommender)
{
    return begin_use(open_image(fcinfo, recommender));
}

/* ---- rows that came since ---- */

typedef struct Bytes {
    const void *data;
    size_t size;
} Bytes;

static const void *next_bytes(void *source, size_t *size)
{
    Bytes *bytes = source;

    *size = bytes->size;
    bytes->size = 0;
    return bytes->data;
}

/* Whether extending again would take too much of this session's time. */
static bool must_wait(const Image *image)
{
    instr_time now;

    if (image->size <= SMALL_MODEL || INSTR_TIME_IS_ZERO(image->extended))
        return false;
    INSTR_TIME_SET_CURRENT(now);
    INSTR_TIME_SUBTRACT(now, image->extended);
    return INSTR_TIME_GET_DOUBLE(now) < 10 * image->seconds;
}

/* The model with these rows too, in this session's memory. */
static Image *extended_image(const Recommender *recommender, const Image *image, ArrayType *keys, int64 marker)
{
    Image *extended = MemoryContextAllocZero(TopMemoryContext, sizeof *extended);
    aigc_recommender_info info;
    aigc_error error;

    PG_TRY();
    {
        Rights before = take_owner_rights(recommender);
        extend_model(recommender, image->opened, keys, &extended->data, &extended->size);
        restore_rights(before);
        if (aigc_recommender_open(extended->data, extended->size, &extended->opened, &error) != AIGC_OK)
            raise_core_error(&error, NULL);
    }
    PG_CATCH();
    {
        aigc_free(extended->data);
        pfree(extended);
        PG_RE_THROW();
    }
    PG_END_TRY();
    aigc_recommender_describe(extended->opened, &info);
    extended->own = true;
    extended->model = image->model;
    extended->n_items = info.n_items;
    extended->marker = marker;
    return extended;
}

/* The same as a file. NULL: somebody has removed that already. */
static Image *share_image(FunctionCallInfo fcinfo, const Image *own)
{
    FileName name = {MyDatabaseId, own->model, own->n_items, own->marker};
    Bytes source = {own->data, own->size};

    write_file(&name, next_bytes, &source);
    remove_stale_files(fcinfo, &name);
    return map_file(&name);
}

static void switch_image(Use *use, Image *image)
{
    Image *before = use->image;

    image->uses++;
    image->last_use = ++use_count;
    use->image = image;
    use->model = image->opened;
    if (--before->uses == 0 && before->own)
        close_image(before);
}

/* Whether there is a file with more items than the image has. */
static bool find_newer(const Image *image, FileName *name)
{
    return find_file(image->model, name) && name->n_items > image->n_items;
}

/* Extends the image by these rows, for all sessions; remembers what that costs. */
static void extend_image(FunctionCallInfo fcinfo, const Recommender *recommender, Use *use, ArrayType *keys,
                         int64 marker)
{
    instr_time start, end;

    INSTR_TIME_SET_CURRENT(start);
    switch_image(use, extended_image(recommender, use->image, keys, marker));
    Image *shared = share_image(fcinfo, use->image);
    if (!shared)
        return;
    INSTR_TIME_SET_CURRENT(end);
    shared->extended = end;
    INSTR_TIME_SUBTRACT(end, start);
    shared->seconds = INSTR_TIME_GET_DOUBLE(end);
    switch_image(use, shared);
}

/* The same if no other session is faster. */
static void extend_once(FunctionCallInfo fcinfo, const Recommender *recommender, Use *use, ArrayType *keys,
                        int64 marker)
{
    FileName name;
    LOCKTAG lock;

    lock_model(&lock, use->image->model);
    if (!find_newer(use->image, &name))
        extend_image(fcinfo, recommender, use, keys, marker);
    unlock_model(&lock);
}

/*
 * Goes over to an image that has the rows which came since, if there are any. A transaction that has written keeps its
 * image to itself: rows of its own that it may yet roll back are not to be met, or to move the marker, in other
 * sessions.
 */
static void catch_up(FunctionCallInfo fcinfo, const Recommender *recommender, Use *use)
{
    while (!use->image->own) {
        FileName name;
        int64 marker = use->image->marker;
        uint32 n_items = use->image->n_items;

        CHECK_FOR_INTERRUPTS();
        Rights before = take_owner_rights(recommender);
        ArrayType *keys = find_news(recommender, recommender->news, use->model, MAX_NEWS, &marker);
        restore_rights(before);
        if (!keys || must_wait(use->image))
            return;
        if (find_newer(use->image, &name)) {
            Image *newer = map_file(&name);
            if (newer)
                switch_image(use, newer);
        } else if (TransactionIdIsValid(GetTopTransactionIdIfAny())) {
            switch_image(use, extended_image(recommender, use->image, keys, marker));
        } else {
            extend_once(fcinfo, recommender, use, keys, marker);
            /* A key that is not found by what it is written as stays new for ever. */
            if (use->image->n_items == n_items && !find_newer(use->image, &name))
                return;
        }
    }
}

/* Images of the same model with fewer items, which nothing uses any more. */
static void close_outdone(const Image *best)
{
    dlist_mutable_iter at;

    dlist_foreach_modify(at, &images)
    {
        Image *image = dlist_container(Image, node, at.cur);
        if (image != best && image->model == best->model && image->uses == 0)
            close_image(image);
    }
}

Use *use_model(FunctionCallInfo fcinfo, const Recommender *recommender)
{
    Use *use = use_stored_model(fcinfo, recommender);

    if (recommender->news != NEWS_NONE)
        catch_up(fcinfo, recommender, use);
    if (!use->image->own)
        close_outdone(use->image);
    return use;
}

/* ---- from core to the tables ---- */

static void insert_chunks(FunctionCallInfo fcinfo, int64 model, const char *image, size_t size)
{
    char *sql = psprintf("INSERT INTO %s.aigc_recommender_chunk (model, part, data) VALUES ($1, $2, $3)",
                         extension_schema(fcinfo));
    Oid types[] = {INT8OID, INT4OID, BYTEAOID};
    bytea *data = palloc(VARHDRSZ + CHUNK);

    for (size_t at = 0, part = 0; at < size; at += CHUNK, part++) {
        size_t n = Min((size_t)CHUNK, size - at);
        CHECK_FOR_INTERRUPTS();
        SET_VARSIZE(data, VARHDRSZ + n);
        memcpy(VARDATA(data), image + at, n);
        Datum values[] = {Int64GetDatum(model), Int32GetDatum((int32)part), PointerGetDatum(data)};
        run_query(sql, 3, types, values, NULL, false, 0);
    }
    pfree(data);
}

static int64 random_id(void)
{
    int64 id;

    if (!pg_strong_random(&id, sizeof id))
        ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not obtain a random number")));
    return id;
}

void store_model(FunctionCallInfo fcinfo, const Recommender *recommender, const void *image, size_t size,
                 uint32 n_items, News news, int64 marker, bool fitted, Jsonb *summary)
{
    const char *schema = extension_schema(fcinfo);
    int64 id = random_id();
    Oid name_type[] = {TEXTOID};
    Datum name[] = {CStringGetTextDatum(recommender->name)};
    Oid types[] = {TEXTOID, INT8OID, INT8OID, TEXTOID, INT8OID, JSONBOID, TIMESTAMPTZOID, INT8OID};
    Datum values[] = {name[0],
                      Int64GetDatum(id),
                      Int64GetDatum((int64)size),
                      CStringGetTextDatum(news_name(news)),
                      Int64GetDatum(marker),
                      JsonbPGetDatum(summary),
                      TimestampTzGetDatum(recommender->fitted),
                      Int64GetDatum(n_items)};

    Rights before = take_catalogue_rights(fcinfo);
    run_query(psprintf("DELETE FROM %s.aigc_recommender_model WHERE recommender OPERATOR(pg_catalog.=) $1", schema), 1,
              name_type, name, NULL, false, 0);
    run_query(
        psprintf("INSERT INTO %s.aigc_recommender_model (recommender, id, bytes, news, marker, summary, fitted, "
                 "refreshed, items) VALUES ($1, $2, $3, $4, $5, $6, CASE WHEN %s THEN pg_catalog.clock_timestamp() "
                 "ELSE $7 END, pg_catalog.clock_timestamp(), $8)",
                 schema, fitted ? "true" : "false"),
        lengthof(types), types, values, NULL, false, 0);
    insert_chunks(fcinfo, id, image, size);
    restore_rights(before);
}
