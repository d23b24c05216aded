/*
 * optimiser.c: from gradients to weights: the bound on the gradient's norm, AdamW, and which weights are Muon's
 * (muon.c). Phases of the learner, over slices of the trained weights.
 */
#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/real.h"
#include "learn/learner_state.h"
#include "learn/muon.h"

aigc_status optimiser_create(learner *l, aigc_error *err)
{
    const learn_layout *layout = &l->layout;
    size_t capacity = layout->n_floats / SLICE + (size_t)layout->n_tensors;
    l->slices = aigc_calloc(capacity, sizeof *l->slices);
    l->slice_squares = aigc_calloc(capacity, sizeof *l->slice_squares);
    if (l->slices == NULL || l->slice_squares == NULL)
        return aigc_fail_memory(err, "the optimiser's slices", capacity * sizeof *l->slices);
    for (int i = 0; i < layout->n_tensors; i++) {
        const learn_tensor *t = &layout->tensors[i];
        size_t n = t->offset >= layout->first_trained ? t->k * t->rows : 0, offset = t->offset - layout->first_trained;
        for (size_t at = 0; at < n; at += SLICE)
            l->slices[l->n_slices++] = (slice){
                .offset = offset + at, .n = n - at < SLICE ? n - at : SLICE, .tensor = i, .decays = !t->is_vector};
    }
    return AIGC_OK;
}

void optimiser_free(learner *l)
{
    free(l->slices);
    free(l->slice_squares);
    muon_free(l->muon);
}

bool plan_update(planner *p)
{
    p->list = &p->l->squares;
    add_phase(p, learn_squares, p->l->n_slices);
    p->list = &p->l->update;
    add_phase(p, learn_adamw, p->l->n_slices);
    if (p->l->muon != NULL)
        muon_plan(p->l->muon, p);
    return !p->l->squares.failed && !p->l->update.failed;
}

aigc_status learner_use_muon(learner *l, aigc_error *err)
{
    aigc_status status = muon_create(l, &l->muon, err);
    if (status != AIGC_OK)
        return status;
    for (int i = 0; i < l->n_slices; i++)
        l->slices[i].muon = muon_has(l->muon, l->slices[i].tensor);
    l->memory.scratch += muon_bytes(l->muon);
    return plan_phases(l) ? AIGC_OK : aigc_fail_memory(err, "the plan of a step", sizeof(phase));
}

/* What the phases of an update go by. */
static void set_update(learner *l, const adamw_options *o, double rate, uint64_t step, double norm)
{
    float gradient_scale = o->clip > 0 && norm > o->clip ? (float)(o->clip / norm) : 1.0f;
    for (int decays = 0; decays < 2; decays++)
        l->adamw[decays] = (adamw_step){
            .beta1 = (float)o->beta1,
            .beta2 = (float)o->beta2,
            .eps = (float)o->eps,
            .rate = (float)(rate / (1 - real_pow(o->beta1, (double)step))),
            .inverse_root = (float)(1 / sqrt(1 - real_pow(o->beta2, (double)step))),
            .keep = (float)(1 - (decays ? rate * o->weight_decay : 0)),
            .gradient_scale = gradient_scale,
        };
    for (int i = 0; i < l->n_slices; i++)
        l->slices[i].done = false;
    if (l->muon != NULL)
        muon_set_step(l->muon, rate, (float)(1 - rate * o->weight_decay), gradient_scale);
}

aigc_status learner_update(learner *l, const adamw_options *o, double rate, uint64_t step, double *norm,
                           aigc_error *err)
{
    if (!l->updating) {
        double squares = 0;
        if (!run_phases(l, &l->squares))
            return aigc_fail(err, AIGC_INTERRUPTED, "the step was interrupted");
        for (int i = 0; i < l->n_slices; i++)
            squares += l->slice_squares[i];
        *norm = l->norm_found = sqrt(squares);
        if (!isfinite(*norm))
            return AIGC_OK;
        set_update(l, o, rate, step, *norm);
        l->updating = true;
    }
    if (!run_phases(l, &l->update))
        return aigc_fail(err, AIGC_INTERRUPTED, "the step was interrupted");
    l->updating = false;
    *norm = l->norm_found;
    return AIGC_OK;
}

void learner_abandon_update(learner *l)
{
    l->updating = false;
}

void learn_squares(learner *l, const phase *p, int chunk, int thread)
{
    (void)p;
    (void)thread;
    const slice *s = &l->slices[chunk];
    l->slice_squares[chunk] = math_square_sum(l->gradients + s->offset, s->n);
}

void learn_adamw(learner *l, const phase *p, int chunk, int thread)
{
    (void)p;
    (void)thread;
    slice *s = &l->slices[chunk];
    if (!s->muon && !s->done)
        math_adamw(&l->adamw[s->decays], l->trained + s->offset, l->gradients + s->offset, l->moments[0] + s->offset,
                   l->moments[1] + s->offset, s->n);
    s->done = true;
}
