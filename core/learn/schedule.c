/* schedule.c: see schedule.h. */
#include "learn/schedule.h"

#include "base/real.h"

static const double PI = 3.14159265358979323846;

enum { DECAY_PART = 5 }; /* of all steps, one in so many belongs to the decay */

/* How much of the fall from the highest rate to the least is left: 1 to 0. */
static double height(const learn_schedule *s, uint64_t step)
{
    uint64_t begin = s->kind == AIGC_SCHEDULE_STABLE ? s->n_steps - s->n_steps / DECAY_PART : s->warmup;
    if (begin < s->warmup)
        begin = s->warmup;
    if (step <= begin || s->n_steps <= begin)
        return 1;
    double part = (double)(step - begin) / (double)(s->n_steps - begin), sine, cosine;
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
    return s->rate * (s->least + (1 - s->least) * height(s, step));
}
