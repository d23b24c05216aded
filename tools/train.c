/* train.c: `aigc train`: a model from text files. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "commands.h"
#include "input.h"
#include "output.h"

enum { TRIAL_STEPS = 4, TERMINAL_LINE = 1, PIPE_LINE = 20 }; /* steps between progress lines */

typedef struct training {
    const settings *s;
    aigc_trainer *trainer;
    char *checkpoint; /* path */
    FILE *log;        /* NULL: none */
    double began;     /* when the steps of this process began */
    uint64_t first;   /* the step before them */
    uint64_t step_tokens;
    double valid_bits; /* the last evaluation's; 0: none yet */
} training;

static int feed_file(const training *tr, aigc_train_text kind, const char *path)
{
    settings one = *tr->s;
    char *text;
    size_t len;
    aigc_error err;
    one.file = path;
    int status = read_text(&one, &text, &len);
    if (status != EXIT_OK)
        return status;
    aigc_status code = aigc_trainer_feed(tr->trainer, kind, text, len, &err);
    free(text);
    if (code == AIGC_INTERRUPTED)
        return EXIT_INTERRUPTED;
    return code == AIGC_OK ? EXIT_OK : complain("%s: %s", path, err.message);
}

static int feed_all(const training *tr)
{
    int status = EXIT_OK;
    aigc_error err;
    for (size_t i = 0; i < tr->s->files.n && status == EXIT_OK; i++) {
        if (tr->s->weights.n > 0 && aigc_trainer_weigh(tr->trainer, tr->s->weights.items[i], &err) != AIGC_OK)
            return complain("%s", err.message);
        status = feed_file(tr, AIGC_TEXT_TRAIN, tr->s->files.items[i]);
    }
    if (status == EXIT_OK && tr->s->valid != NULL)
        status = feed_file(tr, AIGC_TEXT_VALID, tr->s->valid);
    return status;
}

static void print_plan(const training *tr)
{
    aigc_trainer_info info;
    aigc_trainer_describe(tr->trainer, &info);
    size_t total = info.weight_bytes + info.gradient_bytes + info.moment_bytes + info.activation_bytes +
                   info.scratch_bytes + (info.n_train_tokens + info.n_valid_tokens) * sizeof(int32_t);
    fprintf(stderr, "model    %.2f million parameters\n", (double)info.n_params / 1e6);
    fprintf(stderr, "text     %llu tokens to train on, %llu held out\n", (unsigned long long)info.n_train_tokens,
            (unsigned long long)info.n_valid_tokens);
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
        int status = s->steps < 0 ? count_steps(tr, &n_steps) : EXIT_OK;
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
    if (tr->valid_bits > 0)
        fprintf(stderr, "  held out %.4f bits/byte", tr->valid_bits);
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
        fprintf(tr->log, "%.6f", tr->valid_bits);
    fputc('\n', tr->log);
    if (fflush(tr->log) != 0)
        return complain("cannot write %s: %s", tr->s->log, strerror(errno));
    return EXIT_OK;
}

static int save(const training *tr)
{
    aigc_error err;
    if (aigc_trainer_save(tr->trainer, tr->checkpoint, &err) != AIGC_OK)
        return complain("%s", err.message);
    return EXIT_OK;
}

/* What belongs after a step: evaluation, log, progress, checkpoint. */
static int after_step(training *tr, const aigc_train_progress *p)
{
    const settings *s = tr->s;
    bool last = p->step == p->n_steps;
    bool evaluate = s->valid != NULL && (last || p->step % (uint64_t)s->valid_every == 0);
    aigc_train_score score;
    aigc_error err;
    if (evaluate) {
        if (aigc_trainer_evaluate(tr->trainer, &score, &err) != AIGC_OK)
            return complain("%s", err.message);
        tr->valid_bits = score.bits_per_byte;
    }
    int status = write_log(tr, p, evaluate);
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

/* ---- the result ---- */

static int write_model(const training *tr)
{
    const settings *s = tr->s;
    const char *slash = strrchr(s->output, '/'), *name = s->name;
    aigc_train_score score;
    aigc_error err;
    if (name == NULL)
        name = slash != NULL ? slash + 1 : s->output;
    if (aigc_trainer_write(tr->trainer, s->output, s->type, name, &err) != AIGC_OK)
        return complain("%s", err.message);
    printf("%s: written as %s\n", s->output, s->type);
    if (s->valid == NULL)
        return EXIT_OK;
    if (aigc_trainer_evaluate(tr->trainer, &score, &err) != AIGC_OK)
        return complain("%s", err.message);
    printf("held out: loss %.6f, %.4f bits per byte, %llu tokens of %llu bytes\n", score.loss, score.bits_per_byte,
           (unsigned long long)score.n_tokens, (unsigned long long)score.n_bytes);
    return EXIT_OK;
}

static int annotate(const training *tr, const char *key, const char *value)
{
    aigc_error err;
    if (value == NULL || aigc_trainer_annotate(tr->trainer, key, value, &err) == AIGC_OK)
        return EXIT_OK;
    return complain("%s", err.message);
}

static int annotate_template(const training *tr)
{
    static const char key[] = "tokenizer.chat_template";
    settings from_file = *tr->s;
    char *text;
    size_t len;
    if (tr->s->chat_template == NULL || strchr(tr->s->chat_template, '{') != NULL)
        return annotate(tr, key, tr->s->chat_template);
    from_file.file = tr->s->chat_template;
    int status = read_text(&from_file, &text, &len);
    if (status != EXIT_OK)
        return status;
    bool whole = strlen(text) == len;
    if (whole && len > 0 && text[len - 1] == '\n')
        text[len - 1] = '\0'; /* the file's, not the template's, as Jinja has it */
    status = whole ? annotate(tr, key, text) : complain("%s: a NUL in it", tr->s->chat_template);
    free(text);
    return status;
}

static int annotate_all(const training *tr)
{
    int status = annotate(tr, "general.description", tr->s->description);
    if (status == EXIT_OK)
        status = annotate(tr, "general.license", tr->s->license);
    return status == EXIT_OK ? annotate_template(tr) : status;
}

static int train(training *tr)
{
    int status = annotate_all(tr);
    if (status == EXIT_OK)
        status = feed_all(tr);
    if (status != EXIT_OK)
        return status;
    print_plan(tr);
    status = begin_run(tr);
    if (status != EXIT_OK)
        return status;
    print_run(tr);
    status = open_log(tr);
    if (status == EXIT_OK)
        status = run_steps(tr);
    return status == EXIT_OK ? write_model(tr) : status;
}

static int check_usage(const settings *s)
{
    const char *what = NULL;
    bool resumes = s->resume || s->resume_from != NULL;
    if (s->output == NULL)
        what = "no --output given";
    else if (s->tokenizer == NULL && s->train.init == NULL)
        what = "no --tokenizer given";
    else if (s->tokenizer != NULL && s->train.init != NULL)
        what = "give either --tokenizer or --init, whose vocabulary is taken";
    else if (s->files.n == 0)
        what = "no text files given";
    else if (s->weights.n > 0 && s->weights.n != s->files.n)
        what = "--weights must be as many as the text files";
    else if (s->resume && s->resume_from != NULL)
        what = "give either --resume or --resume-from";
    else if (s->more > 0 && (s->resume_from == NULL || s->steps >= 0 || s->minutes > 0))
        what = "--more says how long a run with --resume-from is, and no other option does";
    else if ((s->steps >= 0 && s->minutes > 0) || (s->steps < 0 && !(s->minutes > 0) && !resumes))
        what = "give either --steps or --minutes";
    else if (s->resume_from != NULL && s->minutes > 0)
        what = "with --resume-from, --more or --steps says how long the run is, not --minutes";
    if (what == NULL)
        return EXIT_OK;
    fprintf(stderr, "aigc: %s (try 'aigc train --help')\n", what);
    return EXIT_USAGE;
}

/* A branch must leave the checkpoint that it begins from as it is. */
static int check_branch(const training *tr)
{
    struct stat from, to;
    if (tr->s->resume_from == NULL || stat(tr->s->resume_from, &from) != 0 || stat(tr->checkpoint, &to) != 0 ||
        from.st_dev != to.st_dev || from.st_ino != to.st_ino)
        return EXIT_OK; /* a missing file is named when it is opened */
    return complain("%s would be overwritten: give another --checkpoint, or --resume to go on with it", tr->checkpoint);
}

static int run_train(settings *s)
{
    training tr = {.s = s};
    aigc_error err;
    int status = check_usage(s);
    if (status != EXIT_OK)
        return status;
    s->train.interrupt = &interrupted;
    if (asprintf(&tr.checkpoint, "%s%s", s->checkpoint != NULL ? s->checkpoint : s->output,
                 s->checkpoint != NULL ? "" : ".checkpoint") < 0)
        return complain("out of memory: a file's name");
    status = check_branch(&tr);
    if (status == EXIT_OK && aigc_trainer_create(s->tokenizer, &s->train, &tr.trainer, &err) != AIGC_OK)
        status = complain("%s", err.message);
    if (status == EXIT_OK)
        status = train(&tr);
    if (tr.log != NULL)
        fclose(tr.log);
    aigc_trainer_destroy(tr.trainer);
    free(tr.checkpoint);
    return status;
}

const command command_train = {
    .name = "train",
    .bit = FOR_TRAIN,
    .summary = "train a model on text",
    .synopsis = "(-t TOKENIZER | --init MODEL) -o MODEL (--steps N | --minutes M) [options] TEXT...",
    .details =
        "Trains a model on text files (UTF-8; documents end with a line <|endoftext|>; --weights mixes them) and "
        "writes it as a GGUF file.\n"
        "The vocabulary is that of TOKENIZER, a file that `aigc train-tokenizer` wrote or any model with one; with\n"
        "--init, vocabulary, shape and first weights are those of a model (of any type that aigc runs).\n"
        "\n"
        "SIGINT and SIGTERM stop after the step with a checkpoint; --resume, with the same options and text, goes on\n"
        "from it to the same weights, bit for bit. The same holds for any number of threads. Under --schedule stable\n"
        "a run can be given another end while its learning rate has not begun to fall: another --steps with --resume,\n"
        "or, with --resume-from, a run of its own that leaves the first one's checkpoint as it is. Needs OpenBLAS\n"
        "(Debian: libopenblas0-pthread).\n",
    .plain = PLAIN_FILES,
    .run = run_train,
};
