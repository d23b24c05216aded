/* training.c: see training.h. */
#define _GNU_SOURCE
#include "training.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "output.h"

enum { TRIAL_STEPS = 4, TERMINAL_LINE = 1, PIPE_LINE = 20 }; /* steps between progress lines */

static void print_plan(const training *tr)
{
    aigc_trainer_info info;
    aigc_trainer_describe(tr->trainer, &info);
    size_t total = info.weight_bytes + info.gradient_bytes + info.moment_bytes + info.activation_bytes +
                   info.scratch_bytes + (info.n_train_tokens + info.n_valid_tokens) * sizeof(int32_t);
    fprintf(stderr, "model    %.2f million parameters", (double)info.n_params / 1e6);
    if (info.n_trained < info.n_params)
        fprintf(stderr, ", %.3f million of them trained", (double)info.n_trained / 1e6);
    fprintf(stderr, "\ntext     %llu tokens to train on, %llu held out\n", (unsigned long long)info.n_train_tokens,
            (unsigned long long)info.n_valid_tokens);
    if (info.n_train_examples > 0)
        fprintf(stderr, "examples %llu to train on, %llu held out; %llu cut to the context\n",
                (unsigned long long)info.n_train_examples, (unsigned long long)info.n_valid_examples,
                (unsigned long long)info.n_cut);
    fprintf(stderr, "memory   %s: ", human_size((double)total));
    fprintf(stderr, "weights and gradients %s, ", human_size((double)(info.weight_bytes + info.gradient_bytes)));
    fprintf(stderr, "moments %s, ", human_size((double)info.moment_bytes));
    fprintf(stderr, "activations %s, ", human_size((double)info.activation_bytes));
    fprintf(stderr, "other %s\n", human_size((double)info.scratch_bytes));
}

static void print_run(const training *tr)
{
    aigc_trainer_info info;
    aigc_trainer_describe(tr->trainer, &info);
    fprintf(stderr, "run      steps %llu to %llu of %llu tokens, on %d threads\n", (unsigned long long)info.step + 1,
            (unsigned long long)info.n_steps, (unsigned long long)info.step_tokens, info.n_threads);
}

/* ---- the beginning of a run ---- */

/* How many steps fit into the minutes: a few are run, the first not timed, and forgotten. */
static int count_steps(training *tr, uint64_t *n_steps)
{
    aigc_train_progress p;
    aigc_error err;
    double began = 0;
    if (aigc_trainer_start(tr->trainer, TRIAL_STEPS, &err) != AIGC_OK)
        return complain("%s", err.message);
    for (int i = 0; i < TRIAL_STEPS; i++) {
        if (i == 1)
            began = now();
        if (aigc_trainer_step(tr->trainer, &p, &err) != AIGC_OK)
            return complain("%s", err.message);
        if (interrupted)
            return EXIT_INTERRUPTED;
    }
    double each = (now() - began) / (TRIAL_STEPS - 1), n = tr->s->minutes * 60 / each;
    *n_steps = n < 1 ? 1 : n < 2e9 ? (uint64_t)n : 2000000000u;
    return EXIT_OK;
}

static uint64_t epochs_to_steps(const training *tr)
{
    aigc_trainer_info info;
    aigc_trainer_describe(tr->trainer, &info);
    double n = ceil(tr->s->epochs * (double)info.epoch_steps);
    return n < 1 ? 1 : n < 2e9 ? (uint64_t)n : 2000000000u;
}

static aigc_status go_on(training *tr, aigc_error *err)
{
    const settings *s = tr->s;
    const char *from = s->resume ? tr->checkpoint : s->resume_from;
    if (s->more > 0)
        return aigc_trainer_branch(tr->trainer, from, (uint64_t)s->more, true, err);
    if (s->steps > 0)
        return aigc_trainer_branch(tr->trainer, from, (uint64_t)s->steps, false, err);
    return aigc_trainer_load(tr->trainer, from, err);
}

static int begin_run(training *tr)
{
    const settings *s = tr->s;
    aigc_trainer_info info;
    aigc_error err;
    if (s->resume || s->resume_from != NULL) {
        if (go_on(tr, &err) != AIGC_OK)
            return complain("%s", err.message);
        aigc_trainer_describe(tr->trainer, &info);
    } else {
        uint64_t n_steps = s->steps > 0 ? (uint64_t)s->steps : 0;
        int status = EXIT_OK;
        if (s->steps < 0 && s->minutes > 0)
            status = count_steps(tr, &n_steps);
        else if (s->steps < 0)
            n_steps = epochs_to_steps(tr);
        if (status != EXIT_OK)
            return status;
        if (aigc_trainer_start(tr->trainer, n_steps, &err) != AIGC_OK)
            return complain("%s", err.message);
        aigc_trainer_describe(tr->trainer, &info);
    }
    tr->first = info.step;
    tr->step_tokens = info.step_tokens;
    return EXIT_OK;
}

/* The curve goes on where the log, if there is one, has the steps before. */
static int begin_curve(training *tr)
{
    if (tr->s->plot == NULL)
        return EXIT_OK;
    tr->curve.title = training_name(tr->s);
    return tr->s->log != NULL ? plot_read_log(&tr->curve, tr->s->log, tr->first) : EXIT_OK;
}

static int open_log(training *tr)
{
    if (tr->s->log == NULL)
        return EXIT_OK;
    tr->log = fopen(tr->s->log, "a");
    if (tr->log == NULL)
        return complain("cannot open %s: %s", tr->s->log, strerror(errno));
    if (ftell(tr->log) == 0)
        fputs("step,loss,gradient_norm,learning_rate,tokens_per_second,valid_bits_per_byte\n", tr->log);
    return EXIT_OK;
}

/* ---- steps ---- */

static void show_progress(const training *tr, const aigc_train_progress *p)
{
    bool terminal = isatty(STDERR_FILENO), last = p->step == p->n_steps;
    if (!last && p->step % (terminal ? TERMINAL_LINE : PIPE_LINE) != 0)
        return;
    double each = (now() - tr->began) / (double)(p->step - tr->first);
    double left = each * (double)(p->n_steps - p->step);
    fprintf(stderr, "%sstep %llu of %llu  loss %.4f  %.0f tokens/s  %d:%02d:%02d left  lr %.3g", terminal ? "\r" : "",
            (unsigned long long)p->step, (unsigned long long)p->n_steps, p->loss, (double)tr->step_tokens / each,
            (int)(left / 3600), (int)(left / 60) % 60, (int)left % 60, p->rate);
    if (tr->valid.n_preferences > 0)
        fprintf(stderr, "  held out %.4f, accuracy %.2f", tr->valid.loss, tr->valid.accuracy);
    else if (tr->evaluated)
        fprintf(stderr, "  held out %.4f bits/byte", tr->valid.bits_per_byte);
    fputs(terminal && !last ? " " : "\n", stderr);
}

static int write_log(const training *tr, const aigc_train_progress *p, bool evaluated)
{
    if (tr->log == NULL)
        return EXIT_OK;
    double each = (now() - tr->began) / (double)(p->step - tr->first);
    fprintf(tr->log, "%llu,%.6f,%.6f,%.6g,%.0f,", (unsigned long long)p->step, p->loss, p->gradient_norm, p->rate,
            (double)tr->step_tokens / each);
    if (evaluated)
        fprintf(tr->log, "%.6f", tr->valid.n_preferences > 0 ? tr->valid.loss : tr->valid.bits_per_byte);
    fputc('\n', tr->log);
    if (fflush(tr->log) != 0)
        return complain("cannot write %s: %s", tr->s->log, strerror(errno));
    return EXIT_OK;
}

static int add_to_curve(training *tr, const aigc_train_progress *p, bool evaluated)
{
    bool preferences = tr->valid.n_preferences > 0;
    if (tr->s->plot == NULL)
        return EXIT_OK;
    tr->curve.valid_name = preferences ? "held-out loss" : "held-out bits per byte";
    double valid = preferences ? tr->valid.loss : tr->valid.bits_per_byte;
    return plot_add(&tr->curve, (plot_point){p->step, p->loss, evaluated ? valid : NAN})
               ? EXIT_OK
               : complain("out of memory: the points of a plot");
}

static int save(const training *tr)
{
    aigc_error err;
    if (aigc_trainer_save(tr->trainer, tr->checkpoint, &err) != AIGC_OK)
        return complain("%s", err.message);
    return tr->s->plot != NULL ? plot_write(&tr->curve, tr->s->plot) : EXIT_OK;
}

/* What belongs after a step: evaluation, log, progress, checkpoint. */
static int after_step(training *tr, const aigc_train_progress *p)
{
    const settings *s = tr->s;
    bool last = p->step == p->n_steps;
    bool evaluate = s->valid != NULL && (last || p->step % (uint64_t)s->valid_every == 0);
    aigc_error err;
    if (evaluate && aigc_trainer_evaluate(tr->trainer, &tr->valid, &err) != AIGC_OK)
        return complain("%s", err.message);
    tr->evaluated |= evaluate;
    int status = write_log(tr, p, evaluate);
    if (status == EXIT_OK)
        status = add_to_curve(tr, p, evaluate);
    show_progress(tr, p);
    if (status == EXIT_OK && (last || interrupted || p->step % (uint64_t)s->save_every == 0))
        status = save(tr);
    return status;
}

static int run_steps(training *tr)
{
    aigc_trainer_info info;
    aigc_train_progress p;
    aigc_error err;
    aigc_trainer_describe(tr->trainer, &info);
    p.step = info.step;
    tr->began = now();
    while (p.step < info.n_steps) {
        if (aigc_trainer_step(tr->trainer, &p, &err) != AIGC_OK)
            return complain("%s", err.message);
        int status = after_step(tr, &p);
        if (status != EXIT_OK)
            return status;
        if (interrupted) {
            fprintf(stderr, "%sstopped after step %llu; --resume goes on from %s\n", isatty(STDERR_FILENO) ? "\n" : "",
                    (unsigned long long)p.step, tr->checkpoint);
            return EXIT_INTERRUPTED;
        }
    }
    return EXIT_OK;
}

/* ---- all of it ---- */

int training_open(training *tr, const char *tokenizer_path)
{
    settings *s = tr->s;
    aigc_error err;
    s->train.interrupt = &interrupted;
    if (asprintf(&tr->checkpoint, "%s%s", s->checkpoint != NULL ? s->checkpoint : s->output,
                 s->checkpoint != NULL ? "" : ".checkpoint") < 0)
        return complain("out of memory: a file's name");
    if (s->type != NULL && aigc_trainer_check_type(s->type, &err) != AIGC_OK) /* now, not after hours of training */
        return complain("%s", err.message);
    if (aigc_trainer_create(tokenizer_path, &s->train, &tr->trainer, &err) != AIGC_OK)
        return complain("%s", err.message);
    return EXIT_OK;
}

int training_run(training *tr)
{
    print_plan(tr);
    int status = begin_run(tr);
    if (status != EXIT_OK)
        return status;
    print_run(tr);
    status = begin_curve(tr);
    if (status == EXIT_OK)
        status = open_log(tr);
    return status == EXIT_OK ? run_steps(tr) : status;
}

const char *training_name(const settings *s)
{
    const char *slash = strrchr(s->output, '/');
    return s->name != NULL ? s->name : slash != NULL ? slash + 1 : s->output;
}

int training_report(const training *tr)
{
    aigc_train_score score;
    aigc_error err;
    if (tr->s->valid == NULL)
        return EXIT_OK;
    if (aigc_trainer_evaluate(tr->trainer, &score, &err) != AIGC_OK)
        return complain("%s", err.message);
    if (score.n_preferences > 0)
        printf("held out: loss %.6f, accuracy %.4f, %llu preferences\n", score.loss, score.accuracy,
               (unsigned long long)score.n_preferences);
    else
        printf("held out: loss %.6f, %.4f bits per byte, %llu tokens of %llu bytes\n", score.loss, score.bits_per_byte,
               (unsigned long long)score.n_tokens, (unsigned long long)score.n_bytes);
    return EXIT_OK;
}

void training_close(training *tr)
{
    if (tr->log != NULL)
        fclose(tr->log);
    plot_free(&tr->curve);
    aigc_trainer_destroy(tr->trainer);
    free(tr->checkpoint);
}
