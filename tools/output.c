/* output.c: what all commands share about writing. See output.h. */
#include "output.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

#include "options.h"

volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    interrupted = number;
}

void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

int complain(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("aigc: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    return EXIT_ERROR;
}

bool output_arrived(void)
{
    static bool told;
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout))
        return true;
    if (!told)
        complain("cannot write to standard output: %s", errno ? strerror(errno) : "a write failed");
    told = true;
    return false;
}

double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void print_json_string(FILE *out, const char *text, size_t len)
{
    fputc('"', out);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '"' || c == '\\')
            fprintf(out, "\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            fprintf(out, "\\u%04x", c);
        else
            fputc(c, out);
    }
    fputc('"', out);
}

void print_json_number(FILE *out, double x)
{
    if (isfinite(x))
        fprintf(out, "%.9g", x);
    else
        fputs("null", out);
}

void print_escaped(FILE *out, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '\n')
            fputs("\\n", out);
        else if (c == '\t')
            fputs("\\t", out);
        else if (c == '\r')
            fputs("\\r", out);
        else if (c == '\\')
            fputs("\\\\", out);
        else if (c < 0x20 || c == 0x7f)
            fprintf(out, "\\x%02x", c);
        else
            fputc(c, out);
    }
}

bool token_text(const aigc_model *model, int32_t id, char **text, size_t *len)
{
    /* SentencePiece drops the space before a text's first token, so the token is shown as the second of two. */
    const int32_t twice[2] = {id, id};
    char *alone, *both;
    size_t alone_len, both_len;
    if (aigc_detokenize(model, twice, 1, AIGC_TEXT_RENDER_SPECIAL, &alone, &alone_len, NULL) != AIGC_OK)
        return false;
    if (aigc_detokenize(model, twice, 2, AIGC_TEXT_RENDER_SPECIAL, &both, &both_len, NULL) != AIGC_OK) {
        aigc_free(alone);
        return false;
    }
    size_t skip = both_len > alone_len && memcmp(both, alone, alone_len) == 0 ? alone_len : 0;
    *len = skip > 0 ? both_len - skip : alone_len;
    memmove(both, skip > 0 ? both + skip : alone, *len);
    *text = both;
    aigc_free(alone);
    return true;
}

void print_token(FILE *out, const aigc_model *model, int32_t id, void (*print)(FILE *, const char *, size_t))
{
    char *text;
    size_t len;
    if (!token_text(model, id, &text, &len))
        return;
    print(out, text, len);
    aigc_free(text);
}

const char *human_size(double bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    static char buffers[4][32];
    static int turn;
    char *buffer = buffers[turn++ % 4];
    int unit = 0;
    while (bytes >= 1024 && unit < 4) {
        bytes /= 1024;
        unit++;
    }
    snprintf(buffer, sizeof(buffers[0]), unit == 0 ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
    return buffer;
}
