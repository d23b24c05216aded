/*
 * plot.h: the curve of a training run as an SVG picture: loss over steps, smoothed, and what was held out. training.c
 * adds points and writes it again at each checkpoint.
 */
#ifndef AIGC_TOOLS_PLOT_H
#define AIGC_TOOLS_PLOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct plot_point {
    uint64_t step;
    double loss;
    double valid; /* NAN: not evaluated at this step */
} plot_point;

typedef struct plot {
    const char *title;
    const char *valid_name; /* of the held-out figure, with its unit */
    plot_point *points;     /* steps rise */
    size_t n, capacity;
} plot;

/* Adds a step. Points of this step and later ones are forgotten: a run that was killed has made them, this one makes
 * them again. False if memory ran out. */
bool plot_add(plot *p, plot_point point);

/* Adds the steps up to `last` of a log as training.c writes it. A missing file has none. Returns an exit status. */
int plot_read_log(plot *p, const char *path, uint64_t last);

/* Writes the picture aside, then renames it. Returns an exit status. */
int plot_write(const plot *p, const char *path);

void plot_free(plot *p);

#endif
