/* tune.c: see tune.h. */
#include "recommend/tune.h"

#include <math.h>

void climb_begin(climb *c, double start, double factor, double low, double high)
{
    *c = (climb){
        .best = start, .tried = start, .factor = factor, .low = low, .high = high, .up = true, .score = -INFINITY};
}

bool climb_next(climb *c)
{
    if (!c->begun)
        return true;
    if (c->n_tried >= CLIMB_MOST)
        return false;
    c->tried = c->up ? c->best * c->factor : c->best / c->factor;
    if (c->tried <= c->high && c->tried >= c->low)
        return true;
    if (!c->up || c->turned)
        return false;
    c->up = false;
    c->turned = true;
    c->tried = c->best / c->factor;
    return c->tried >= c->low;
}

/* A better value goes on in its direction; a worse first one turns round; a worse later one ends the search. */
void climb_score(climb *c, double score)
{
    bool better = score > c->score;

    c->n_tried++;
    if (better) {
        c->score = score;
        c->best = c->tried;
        c->turned = c->turned || c->begun;
    } else if (c->up && !c->turned) {
        c->up = false;
        c->turned = true;
    } else {
        c->n_tried = CLIMB_MOST;
    }
    c->begun = true;
}
