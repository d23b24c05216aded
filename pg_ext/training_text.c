/*
 * training_text.c: the texts that a query gives. The query runs as the calling user, through SPI and a cursor, in a
 * transaction that is read-only meanwhile: it can change nothing, not even by a function that it calls, and it sees
 * exactly what the user may see. Its texts are read more than once (to learn a vocabulary, then to train), so they are
 * kept in a tuplestore: in memory up to work_mem, then in a temporary file of PostgreSQL, which counts against
 * temp_file_limit and goes with the transaction or the next start of the server.
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "parser/parse_coerce.h"
#include "training.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/plancache.h"

enum {
    ROWS_AT_ONCE = 16, /* that are fetched: each may be long */
    ROWS_BETWEEN_REPORTS = 64
};

typedef struct Reader {
    TextSpool *spool;
    int column[3]; /* of the query, counted from 1, for each text of the form */
    int64 row;     /* that is being read, counted from 1; 0: none yet */
} Reader;

static void add_context(void *arg)
{
    const Reader *reader = arg;

    if (reader->row > 0)
        errcontext("row " INT64_FORMAT " of the query of %s()", reader->row, reader->spool->function);
    else
        errcontext("the query of %s()", reader->spool->function);
}

/* ---- columns ---- */

static char *list_columns(TupleDesc desc)
{
    StringInfoData names;

    initStringInfo(&names);
    for (int i = 0; i < desc->natts; i++)
        appendStringInfo(&names, "%s%s", i > 0 ? ", " : "", NameStr(TupleDescAttr(desc, i)->attname));
    return names.data;
}

/* Number of the column of that name, or 0. */
static int find_column(TupleDesc desc, const char *name)
{
    for (int i = 0; i < desc->natts; i++) {
        if (strcmp(NameStr(TupleDescAttr(desc, i)->attname), name) == 0)
            return i + 1;
    }
    return 0;
}

/* Whether the query has these columns and no other, in any order. */
static bool has_columns(Reader *reader, TupleDesc desc, TextForm form, const char *const names[3])
{
    if (desc->natts != (int)form)
        return false;
    for (int i = 0; i < (int)form; i++) {
        if ((reader->column[i] = find_column(desc, names[i])) == 0)
            return false;
    }
    reader->spool->form = form;
    return true;
}

static void check_type(TupleDesc desc, int column)
{
    Form_pg_attribute att = TupleDescAttr(desc, column - 1);
    Oid type = getBaseType(att->atttypid);

    if (!IsBinaryCoercible(type, TEXTOID) && type != BPCHAROID)
        ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
                        errmsg("column \"%s\" of the query is of type %s, but must be text", NameStr(att->attname),
                               format_type_be(att->atttypid)),
                        errhint("Write %s::text if that is the text meant.", quote_identifier(NameStr(att->attname)))));
}

static void find_columns(Reader *reader, TupleDesc desc, bool plain)
{
    static const char *const answers[] = {"prompt", "response", NULL};
    static const char *const preferences[] = {"prompt", "chosen", "rejected"};

    reader->spool->form = TEXT_PLAIN;
    reader->column[0] = 1;
    if (desc->natts != 1 && (plain || (!has_columns(reader, desc, TEXT_ANSWERS, answers) &&
                                       !has_columns(reader, desc, TEXT_PREFERENCES, preferences))))
        ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
                        desc->natts == 0 ? errmsg("the query has no column")
                                         : errmsg("the query has %d columns (%s)", desc->natts, list_columns(desc)),
                        plain ? errdetail("It must have one column of text.")
                              : errdetail("It must have one column of text, or the columns prompt and response, or the "
                                          "columns prompt, chosen and rejected.")));
    for (int i = 0; i < (int)reader->spool->form; i++)
        check_type(desc, reader->column[i]);
}

/* ---- rows ---- */

static void open_store(TextSpool *spool)
{
    spool->desc = CreateTemplateTupleDesc(spool->form);
    for (int i = 1; i <= (int)spool->form; i++)
        TupleDescInitEntry(spool->desc, i, "text", TEXTOID, -1, 0);
    spool->store = tuplestore_begin_heap(true, false, work_mem);
    spool->slot = MakeSingleTupleTableSlot(spool->desc, &TTSOpsMinimalTuple);
    spool->row = AllocSetContextCreate(CurrentMemoryContext, "aigc text", ALLOCSET_DEFAULT_SIZES);
}

/* Whether there may be nothing in this column: a prompt may be empty, what is to be learned may not. */
static bool may_be_empty(const TextSpool *spool, int column)
{
    return spool->form != TEXT_PLAIN && column == 0;
}

/* Keeps one row, or skips it: one that has a NULL, or nothing to learn. */
static void keep_row(Reader *reader, HeapTuple tuple, TupleDesc desc)
{
    TextSpool *spool = reader->spool;
    Datum values[3];
    bool nulls[3] = {false};

    for (int i = 0; i < (int)spool->form; i++) {
        bool is_null;
        size_t len = 0;
        Datum value = SPI_getbinval(tuple, desc, reader->column[i], &is_null);
        const char *utf8 = is_null ? NULL : text_to_utf8(DatumGetTextPP(value), &len);
        if (is_null || (len == 0 && !may_be_empty(spool, i))) {
            spool->n_skipped++;
            return;
        }
        values[i] = PointerGetDatum(cstring_to_text_with_len(utf8, (int)len));
    }
    tuplestore_putvalues(spool->store, spool->desc, values, nulls);
    spool->n_rows++;
}

static void keep_batch(Reader *reader, Progress *progress)
{
    for (uint64 i = 0; i < SPI_processed; i++) {
        MemoryContextReset(reader->spool->row);
        MemoryContext old = MemoryContextSwitchTo(reader->spool->row);
        reader->row++;
        keep_row(reader, SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
        MemoryContextSwitchTo(old);
        if (reader->row % ROWS_BETWEEN_REPORTS == 0)
            progress_update(progress, reader->row, NAN, 0);
    }
}

/* ---- the query ---- */

static Portal open_query(const char *query)
{
    SPIPlanPtr plan = SPI_prepare(query, 0, NULL);

    if (!plan)
        elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));

    List *statements = SPI_plan_get_plan_sources(plan);
    CachedPlanSource *source = list_length(statements) == 1 ? linitial(statements) : NULL;
    if (!source || source->commandTag != CMDTAG_SELECT || linitial_node(Query, source->query_list)->hasModifyingCTE)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("the query must be a single SELECT that changes nothing")));
    return SPI_cursor_open(NULL, plan, NULL, NULL, true);
}

static void run_query(Reader *reader, const char *query, bool plain, MemoryContext home, Progress *progress)
{
    Portal portal = open_query(query);

    find_columns(reader, portal->tupDesc, plain);
    MemoryContext old = MemoryContextSwitchTo(home);
    open_store(reader->spool);
    MemoryContextSwitchTo(old);
    for (;;) {
        SPI_cursor_fetch(portal, true, ROWS_AT_ONCE);
        if (SPI_processed == 0)
            break;
        keep_batch(reader, progress);
        SPI_freetuptable(SPI_tuptable);
    }
    SPI_cursor_close(portal);
}

void text_spool_fill(TextSpool *spool, const char *function, const text *query, bool plain, Progress *progress)
{
    Reader reader = {.spool = spool};
    ErrorContextCallback context = {.previous = error_context_stack, .callback = add_context, .arg = &reader};
    MemoryContext home = CurrentMemoryContext;
    char *sql = text_to_cstring(query);
    bool read_only = XactReadOnly;

    memset(spool, 0, sizeof *spool);
    spool->function = function;
    progress_phase(progress, "reading texts", 0);
    error_context_stack = &context;
    if (SPI_connect() != SPI_OK_CONNECT)
        elog(ERROR, "SPI_connect failed");
    /* An error leaves this set until the end of the (sub)transaction that it aborts, which resets it. */
    XactReadOnly = true;
    run_query(&reader, sql, plain, home, progress);
    XactReadOnly = read_only;
    SPI_finish();
    error_context_stack = context.previous;
    if (spool->n_rows == 0)
        ereport(ERROR, (errcode(ERRCODE_NO_DATA_FOUND), errmsg("the query of %s() gave no text", function),
                        spool->n_skipped == 0
                            ? errdetail("It gave no row.")
                            : errdetail("It gave " INT64_FORMAT " rows, all NULL or empty.", spool->n_skipped)));
}

void text_spool_rewind(TextSpool *spool)
{
    tuplestore_rescan(spool->store);
}

bool text_spool_next(TextSpool *spool, const char *texts[3], size_t lens[3])
{
    ExecClearTuple(spool->slot); /* which frees a tuple that was read from disk, and lies in that context */
    MemoryContextReset(spool->row);
    MemoryContext old = MemoryContextSwitchTo(spool->row);
    bool found = tuplestore_gettupleslot(spool->store, true, false, spool->slot);

    for (int i = 0; found && i < (int)spool->form; i++) {
        bool is_null;
        const text *value = DatumGetTextPP(slot_getattr(spool->slot, i + 1, &is_null));
        texts[i] = VARDATA_ANY(value);
        lens[i] = VARSIZE_ANY_EXHDR(value);
    }
    MemoryContextSwitchTo(old);
    return found;
}

void text_spool_free(TextSpool *spool)
{
    ExecDropSingleTupleTableSlot(spool->slot);
    tuplestore_end(spool->store);
    MemoryContextDelete(spool->row);
}
