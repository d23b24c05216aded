/* gguf_image.c: see gguf_image.h. */
#include "gguf_image.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

static void pack_v(image *f, const char *format, va_list args)
{
    for (const char *p = format; *p; p++) {
        unsigned char piece[4096] = {0};
        const char *s;
        size_t n = 0;

        switch (*p) {
        case 'r':
        case 's':
            s = va_arg(args, const char *);
            n = strlen(s);
            if (*p == 's') {
                memcpy(piece, &(uint64_t){n}, 8);
                memcpy(piece + 8, s, n);
                n += 8;
            } else
                memcpy(piece, s, n);
            break;
        case 'B':
            piece[0] = (unsigned char)va_arg(args, int);
            n = 1;
            break;
        case 'I':
            memcpy(piece, &(uint32_t){va_arg(args, unsigned)}, n = 4);
            break;
        case 'Q':
            memcpy(piece, &(uint64_t){va_arg(args, uint64_t)}, n = 8);
            break;
        case 'F':
            memcpy(piece, &(float){(float)va_arg(args, double)}, n = 4);
            break;
        case 'D':
            memcpy(piece, &(double){va_arg(args, double)}, n = 8);
            break;
        case 'a':
            n = (32 - f->size % 32) % 32;
            break;
        case 'z':
            n = (size_t)va_arg(args, int);
            break;
        default:
            fail_msg("pack: unknown letter %c", *p);
        }
        f->data = realloc(f->data, f->size + n + 1);
        memcpy(f->data + f->size, piece, n);
        f->size += n;
    }
}

image pack(const char *format, ...)
{
    image f = {malloc(1), 0};
    va_list args;

    va_start(args, format);
    pack_v(&f, format, args);
    va_end(args);
    return f;
}

aigc_status open_image(image f, gguf_file **file, aigc_error *err)
{
    return gguf_open_memory(f.data, f.size, "made.gguf", file, err);
}

image good_file(void)
{
    return pack(HEAD "sIs"
                     "sII"
                     "sIIQsss"
                     "sIQQIQ"
                     "sIQIQ"
                     "azaz",
                "GGUF", 3, N(2), N(3), "general.architecture", GGUF_STRING, "llama", "llama.block_count", GGUF_U32, 5,
                "words", GGUF_ARRAY, GGUF_STRING, N(3), "a", "", "ccc", "weight", 2, N(32), N(2), TYPE_Q8_0, N(0),
                "norm", 1, N(3), TYPE_F32, N(96), 68, 12);
}

gguf_file *open_good(image f)
{
    gguf_file *file = NULL;
    aigc_error err = {AIGC_OK, ""};

    if (open_image(f, &file, &err) != AIGC_OK)
        fail_msg("%s", err.message);
    return file;
}

void assert_prints(const gguf_file *file, const char *key, size_t size, const char *expected)
{
    char *out = malloc(size); /* exactly so much room */

    gguf_value_print(gguf_find(file, key), out, size);
    assert_string_equal(out, expected);
    free(out);
}
