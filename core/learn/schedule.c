/* schedule.c: see schedule.h. */
#include "learn/schedule.h"

#include "base/real.h"

static const double PI = 3.14159265358979323846;

uint64_t schedule_top(const learn_schedule *s)
{
    uint64_t top = s->warmup;
    if (s->kind == AIGC_SCHEDULE_STABLE)
        top = s->decay < s->n_steps ? s->n_steps - s->decay : 0;
    return top < s->warmup ? s->warmup : top;
}

/* How much of the fall from the highest rate to the least is left: 1 to 0. */
static double height(const learn_schedule *s, uint64_t step, uint64_t top)
{
    double part = (double)(step - top) / (double)(s->n_steps - top), sine, cosine;
    if (s->kind == AIGC_SCHEDULE_STABLE)
        return 1 - part;
    real_sincos(PI * part, &sine, &cosine);
    return 0.5 * (1 + cosine);
}

double schedule_rate(const learn_schedule *s, uint64_t step)
{
    if (step > s->n_steps)
        step = s->n_steps;
    if (step <= s->warmup)
        return s->rate * (double)step / (double)s->warmup;
    uint64_t top = schedule_top(s);
    return step <= top ? s->rate : s->rate * (s->least + (1 - s->least) * height(s, step, top));
}
