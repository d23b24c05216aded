/* pairs.c: see pairs.h. */
#include "recommend/pairs.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

bool pairs_alloc(pairs *p, uint32_t n_rows, uint32_t n_columns, uint64_t n, bool with_time)
{
    *p = (pairs){.n_rows = n_rows, .n_columns = n_columns};
    p->start = aigc_calloc((size_t)n_rows + 1, sizeof *p->start);
    p->item = aigc_realloc_array(NULL, n, sizeof *p->item);
    p->weight = aigc_realloc_array(NULL, n, sizeof *p->weight);
    if (with_time)
        p->time = aigc_realloc_array(NULL, n, sizeof *p->time);
    if (p->start && p->item && p->weight && (p->time || !with_time))
        return true;
    pairs_free(p);
    return false;
}

void pairs_free(pairs *p)
{
    free(p->start);
    free(p->item);
    free(p->weight);
    free(p->time);
    *p = (pairs){0};
}

size_t pairs_bytes(const pairs *p)
{
    return p->start ? (p->n_rows + 1) * sizeof *p->start + pairs_n(p) * (p->time ? 12 : 8) : 0;
}

bool pairs_transpose_begin(const pairs *p, pairs *out)
{
    uint64_t n = pairs_n(p);

    if (!pairs_alloc(out, p->n_columns, p->n_rows, n, false))
        return false;
    for (uint64_t i = 0; i < n; i++)
        out->start[p->item[i] + 1]++;
    for (uint32_t r = 0; r < out->n_rows; r++)
        out->start[r + 1] += out->start[r];
    return true;
}

/* start becomes the ends of the rows. */
void pairs_transpose_rows(const pairs *p, uint32_t begin, uint32_t end, pairs *out)
{
    for (uint32_t u = begin; u < end; u++) {
        for (uint64_t i = p->start[u]; i < p->start[u + 1]; i++) {
            uint64_t at = out->start[p->item[i]]++;
            out->item[at] = u;
            out->weight[at] = p->weight[i];
        }
    }
}

void pairs_transpose_end(pairs *out)
{
    memmove(out->start + 1, out->start, out->n_rows * sizeof *out->start);
    out->start[0] = 0;
}

bool pairs_transpose(const pairs *p, pairs *out)
{
    if (!pairs_transpose_begin(p, out))
        return false;
    pairs_transpose_rows(p, 0, p->n_rows, out);
    pairs_transpose_end(out);
    return true;
}

bool pairs_select_begin(const pairs *p, const uint32_t *rows, uint32_t n_rows, pairs *out)
{
    uint64_t n = 0;

    for (uint32_t r = 0; r < n_rows; r++)
        n += p->start[rows[r] + 1] - p->start[rows[r]];
    if (!pairs_alloc(out, n_rows, p->n_columns, n, p->time != NULL))
        return false;
    for (uint32_t r = 0; r < n_rows; r++)
        out->start[r + 1] = out->start[r] + p->start[rows[r] + 1] - p->start[rows[r]];
    return true;
}

void pairs_select_rows(const pairs *p, const uint32_t *rows, uint32_t begin, uint32_t end, pairs *out)
{
    for (uint32_t r = begin; r < end; r++) {
        uint64_t from = p->start[rows[r]], m = p->start[rows[r] + 1] - from, to = out->start[r];
        memcpy(out->item + to, p->item + from, m * sizeof *p->item);
        memcpy(out->weight + to, p->weight + from, m * sizeof *p->weight);
        if (p->time)
            memcpy(out->time + to, p->time + from, m * sizeof *p->time);
    }
}

uint32_t pairs_rows(const pairs *p, uint32_t begin, uint64_t most)
{
    uint32_t end = begin;

    while (end < p->n_rows && (end == begin || p->start[end] - p->start[begin] < most))
        end++;
    return end;
}
