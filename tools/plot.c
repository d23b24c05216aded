/* plot.c: see plot.h. */
#define _GNU_SOURCE
#include "plot.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"
#include "output.h"

/* In pixels. */
enum {
    WIDTH = 800,
    HEIGHT = 440,
    LEFT = 64,
    RIGHT = 736,
    TOP = 48,
    BOTTOM = 384,
    COLUMNS = (RIGHT - LEFT) / 2, /* points of a curve at most: a run may have millions of steps */
};

enum { SMOOTH_PART = 50, TICKS = 6 }; /* the running mean is as long as a fiftieth of the run */

/* ---- points ---- */

bool plot_add(plot *p, plot_point point)
{
    while (p->n > 0 && p->points[p->n - 1].step >= point.step)
        p->n--;
    if (p->n == p->capacity) {
        size_t capacity = p->capacity * 2 + 256;
        plot_point *larger = realloc(p->points, capacity * sizeof *larger);
        if (larger == NULL)
            return false;
        p->points = larger;
        p->capacity = capacity;
    }
    p->points[p->n++] = point;
    return true;
}

/* "step,loss,gradient_norm,learning_rate,tokens_per_second,valid": the last may be empty. */
static bool parse_line(const char *line, plot_point *point)
{
    int valid_at = 0;
    char *end;
    if (sscanf(line, "%" SCNu64 ",%lf,%*[^,],%*[^,],%*[^,],%n", &point->step, &point->loss, &valid_at) != 2 ||
        valid_at == 0 || !isfinite(point->loss))
        return false;
    point->valid = strtod(line + valid_at, &end);
    if (end == line + valid_at)
        point->valid = NAN;
    return true;
}

int plot_read_log(plot *p, const char *path, uint64_t last)
{
    char line[256];
    plot_point point;
    FILE *in = fopen(path, "r");
    if (in == NULL)
        return errno == ENOENT ? EXIT_OK : complain("cannot open %s: %s", path, strerror(errno));
    bool fits = true;
    while (fits && fgets(line, sizeof line, in) != NULL)
        if (parse_line(line, &point) && point.step <= last)
            fits = plot_add(p, point);
    bool failed = ferror(in);
    fclose(in);
    if (failed)
        return complain("cannot read %s", path);
    return fits ? EXIT_OK : complain("out of memory: the points of a plot");
}

void plot_free(plot *p)
{
    free(p->points);
}

/* ---- axes ---- */

typedef struct axis {
    double low, high, step; /* ticks at multiples of step */
} axis;

/* 1, 2 or 5 times a power of ten, so that about TICKS of them span the range. */
static axis make_axis(double low, double high)
{
    if (!(high - low > 1e-9 * (fabs(high) + 1)))
        high = low + 1e-3 * (fabs(low) + 1);
    double least = (high - low) / TICKS, step = pow(10, floor(log10(least)));
    while (step < least)
        step *= step * 2 >= least ? 2 : step * 5 >= least ? 5 : 10;
    return (axis){low, high, step};
}

static double place(const axis *a, double value, double from, double to)
{
    return from + (value - a->low) / (a->high - a->low) * (to - from);
}

/* Decimals that tell one tick from the next. */
static int decimals(const axis *a)
{
    int n = (int)ceil(-log10(a->step) - 1e-9);
    return n > 0 ? n : 0;
}

static double first_tick(const axis *a)
{
    return ceil(a->low / a->step - 1e-9) * a->step;
}

static void draw_x_axis(FILE *out, const axis *x)
{
    for (double tick = first_tick(x); tick <= x->high * (1 + 1e-12); tick += x->step) {
        double at = place(x, tick, LEFT, RIGHT);
        fprintf(out, "<line class='tick' x1='%.1f' y1='%d' x2='%.1f' y2='%d'/>", at, BOTTOM, at, BOTTOM + 5);
        fprintf(out, "<text x='%.1f' y='%d' text-anchor='middle'>%.*f</text>\n", at, BOTTOM + 20, decimals(x), tick);
    }
    fprintf(out, "<text x='%d' y='%d' text-anchor='middle'>step</text>\n", (LEFT + RIGHT) / 2, BOTTOM + 42);
}

/* Numbers at x; with lines across the picture if it is the left axis. */
static void draw_y_axis(FILE *out, const axis *y, bool left, const char *class)
{
    for (double tick = first_tick(y); tick <= y->high + 1e-9 * y->step; tick += y->step) {
        double at = place(y, tick, BOTTOM, TOP);
        if (left)
            fprintf(out, "<line class='grid' x1='%d' y1='%.1f' x2='%d' y2='%.1f'/>", LEFT, at, RIGHT, at);
        fprintf(out, "<text class='%s' x='%d' y='%.1f' text-anchor='%s'>%.*f</text>\n", class,
                left ? LEFT - 8 : RIGHT + 8, at + 4, left ? "end" : "start", decimals(y), tick);
    }
}

/* ---- curves ---- */

typedef struct curves {
    double x[COLUMNS], loss[COLUMNS], smooth[COLUMNS]; /* means of as many steps as share a column */
    int n;
} curves;

/* The running mean forgets exponentially; divided by its weights' sum, it is right from the first step on. */
static void make_curves(const plot *p, curves *c)
{
    double keep = 1 - 1 / (1 + (double)p->n / SMOOTH_PART), mean = 0, weight = 0;
    size_t group = (p->n + COLUMNS - 1) / COLUMNS;
    c->n = 0;
    for (size_t i = 0; i < p->n; i += group) {
        size_t end = i + group < p->n ? i + group : p->n;
        double sum = 0;
        for (size_t j = i; j < end; j++) {
            sum += p->points[j].loss;
            mean = keep * mean + (1 - keep) * p->points[j].loss;
            weight = keep * weight + (1 - keep);
        }
        c->x[c->n] = (double)p->points[end - 1].step;
        c->loss[c->n] = sum / (double)(end - i);
        c->smooth[c->n++] = mean / weight;
    }
}

static void widen(double value, double *low, double *high)
{
    *low = value < *low ? value : *low;
    *high = value > *high ? value : *high;
}

/* A little room above and below. */
static axis padded_axis(double low, double high)
{
    double room = 0.04 * (high - low);
    return make_axis(low - room, high + room);
}

static void draw_curve(FILE *out, const char *class, const curves *c, const double *values, const axis *x,
                       const axis *y)
{
    fprintf(out, "<polyline class='%s' points='", class);
    for (int i = 0; i < c->n; i++)
        fprintf(out, "%.1f,%.1f ", place(x, c->x[i], LEFT, RIGHT), place(y, values[i], BOTTOM, TOP));
    fputs("'/>\n", out);
}

static void draw_valid(FILE *out, const plot *p, const axis *x, const axis *y)
{
    const plot_point *last = NULL;
    fputs("<polyline class='valid' points='", out);
    for (size_t i = 0; i < p->n; i++)
        if (!isnan(p->points[i].valid)) {
            last = &p->points[i];
            fprintf(out, "%.1f,%.1f ", place(x, (double)last->step, LEFT, RIGHT), place(y, last->valid, BOTTOM, TOP));
        }
    fprintf(out, "'/>\n<circle class='dot' cx='%.1f' cy='%.1f' r='3.5'/>\n", place(x, (double)last->step, LEFT, RIGHT),
            place(y, last->valid, BOTTOM, TOP));
    fprintf(out, "<text class='second' x='%d' y='%d' text-anchor='end'>%s: %.4f</text>\n", RIGHT, TOP - 12,
            p->valid_name, last->valid);
}

/* Text of the title that XML would take for its own is left out. */
static void draw_title(FILE *out, const plot *p)
{
    fputs("<title>training of ", out);
    for (const char *c = p->title; *c != '\0'; c++)
        if (strchr("<>&", *c) == NULL && (unsigned char)*c >= ' ')
            fputc(*c, out);
    fputs("</title>\n", out);
}

static const char style[] =
    "<style>\n"
    "  .paper { fill: #ffffff } text { font: 13px system-ui, sans-serif; fill: #333333 }\n"
    "  .grid { stroke: #e3e3e3 } .tick, .frame { stroke: #888888; fill: none }\n"
    "  polyline { fill: none; stroke-width: 2; stroke-linejoin: round } .raw { stroke: #a9c6e8; stroke-width: 1 }\n"
    "  .loss { stroke: #1f6fb8 } .valid { stroke: #c2571a } .dot, text.second { fill: #c2571a }\n"
    "  text.first { fill: #1f6fb8 }\n"
    "  @media (prefers-color-scheme: dark) {\n"
    "    .paper { fill: #16181c } text { fill: #d0d0d0 } .grid { stroke: #2c3036 } .raw { stroke: #2f4d6e }\n"
    "    .loss { stroke: #6db3f2 } .valid { stroke: #f0a06a } .dot, text.second { fill: #f0a06a }\n"
    "    text.first { fill: #6db3f2 }\n"
    "  }\n"
    "</style>\n";

static void draw(FILE *out, const plot *p, const curves *c)
{
    double low = INFINITY, high = -INFINITY, valid_low = INFINITY, valid_high = -INFINITY;
    for (int i = 0; i < c->n; i++) {
        widen(c->loss[i], &low, &high);
        widen(c->smooth[i], &low, &high);
    }
    for (size_t i = 0; i < p->n; i++)
        if (!isnan(p->points[i].valid))
            widen(p->points[i].valid, &valid_low, &valid_high);
    axis x = make_axis((double)p->points[0].step, (double)p->points[p->n - 1].step), y = padded_axis(low, high);
    fprintf(out, "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 %d %d' width='%d' height='%d'>\n", WIDTH, HEIGHT,
            WIDTH, HEIGHT);
    draw_title(out, p);
    fputs(style, out);
    fprintf(out, "<rect class='paper' width='%d' height='%d'/>\n", WIDTH, HEIGHT);
    draw_y_axis(out, &y, true, "first");
    draw_x_axis(out, &x);
    draw_curve(out, "raw", c, c->loss, &x, &y);
    draw_curve(out, "loss", c, c->smooth, &x, &y);
    fprintf(out, "<text class='first' x='%d' y='%d'>training loss per token: %.4f</text>\n", LEFT, TOP - 12,
            c->smooth[c->n - 1]);
    if (valid_low <= valid_high) {
        axis second = padded_axis(valid_low, valid_high);
        draw_y_axis(out, &second, false, "second");
        draw_valid(out, p, &x, &second);
    }
    fprintf(out, "<rect class='frame' x='%d' y='%d' width='%d' height='%d'/>\n</svg>\n", LEFT, TOP, RIGHT - LEFT,
            BOTTOM - TOP);
}

int plot_write(const plot *p, const char *path)
{
    curves *c = malloc(sizeof *c);
    char *aside = NULL;
    int status = EXIT_OK;
    if (p->n == 0 || c == NULL || asprintf(&aside, "%s.tmp", path) < 0) {
        status = p->n == 0 ? EXIT_OK : complain("out of memory: a plot");
        free(c);
        return status;
    }
    FILE *out = fopen(aside, "w");
    if (out == NULL) {
        status = complain("cannot write %s: %s", aside, strerror(errno));
    } else {
        make_curves(p, c);
        draw(out, p, c);
        bool failed = ferror(out) != 0;
        if (fclose(out) != 0 || failed || rename(aside, path) != 0) {
            status = complain("cannot write %s: %s", path, strerror(errno));
            remove(aside);
        }
    }
    free(aside);
    free(c);
    return status;
}
