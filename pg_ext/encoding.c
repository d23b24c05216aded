/*
 * encoding.c: text between the database's encoding and the UTF-8 that core speaks.
 *
 * In a UTF-8 database nothing is copied or converted. In a SQL_ASCII database, which keeps bytes of no stated encoding,
 * PostgreSQL checks that they are UTF-8. Generated text that the database's encoding cannot express is an error, since
 * leaving characters out would be a different text.
 */
#include "postgres.h"

#include "aigc_pg.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/memutils.h"

const char *text_to_utf8(const text *value, size_t *len)
{
    const char *bytes = VARDATA_ANY(value);
    int n_bytes = VARSIZE_ANY_EXHDR(value);
    const char *utf8 = pg_server_to_any(bytes, n_bytes, PG_UTF8);

    *len = utf8 == bytes ? (size_t)n_bytes : strlen(utf8);
    return utf8;
}

char *text_to_utf8_cstring(const text *value)
{
    size_t len;
    const char *utf8 = text_to_utf8(value, &len);

    return pnstrdup(utf8, len);
}

/* U+0000 is a character of UTF-8 that no text value can hold: the replacement character stands for it. */
static const char *without_nul(const char *utf8, size_t *len)
{
    StringInfoData out;

    if (!memchr(utf8, '\0', *len))
        return utf8;
    initStringInfo(&out);
    for (size_t i = 0; i < *len; i++) {
        if (utf8[i] == '\0')
            appendStringInfoString(&out, "\xef\xbf\xbd");
        else
            appendStringInfoChar(&out, utf8[i]);
    }
    *len = out.len;
    return out.data;
}

text *utf8_to_text(const char *utf8, size_t len)
{
    utf8 = without_nul(utf8, &len);
    if (!AllocSizeIsValid(len + VARHDRSZ))
        ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
                        errmsg("text of %zu bytes is longer than a text value can be", len)));

    char *converted = pg_any_to_server(utf8, (int)len, PG_UTF8);
    if (converted != utf8)
        len = strlen(converted);

    text *value = palloc(len + VARHDRSZ);
    SET_VARSIZE(value, len + VARHDRSZ);
    memcpy(VARDATA(value), converted, len);
    return value;
}

char *utf8_for_display(const char *utf8)
{
    char *out = pstrdup(utf8);
    int len = strlen(out);
    bool keep = GetDatabaseEncoding() == PG_UTF8 && pg_verify_mbstr(PG_UTF8, out, len, true);

    for (char *c = out; *c; c++) {
        unsigned char byte = *c;
        if (byte < ' ' || byte == 0x7f || (byte >= 0x80 && !keep))
            *c = '?';
    }
    return out;
}
