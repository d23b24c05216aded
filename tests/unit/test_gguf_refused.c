/* test_gguf_refused.c: malformed GGUF files are refused, each with its own message. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gguf_image.h"

typedef struct bad_file {
    aigc_status status;
    const char *message; /* part of it */
    image file;
} bad_file;

static void file_is_refused(void **state)
{
    const bad_file *bad = *state;
    gguf_file *file = NULL;
    aigc_error err = {AIGC_OK, ""};

    assert_int_equal(open_image(bad->file, &file, &err), bad->status);
    assert_null(file);
    assert_int_equal(err.code, bad->status);
    assert_memory_equal(err.message, "made.gguf: ", 11);
    if (!strstr(err.message, bad->message))
        fail_msg("the message is: %s", err.message);
}

enum { MAX_BAD = 100 };
static bad_file bad_files[MAX_BAD];
static struct CMUnitTest bad_tests[MAX_BAD];
static size_t n_bad;

static void refuse(const char *name, aigc_status status, const char *message, image file)
{
    assert_true(n_bad < MAX_BAD);
    bad_files[n_bad] = (bad_file){status, message, file};
    bad_tests[n_bad] = (struct CMUnitTest){name, file_is_refused, NULL, NULL, &bad_files[n_bad]};
    n_bad++;
}

/* A file with one metadata pair, whose bytes after the key are given. */
#define PAIR(format, ...) pack(HEAD "s" format, "GGUF", 3, N(0), N(1), "some.key", __VA_ARGS__)
/* A file with one tensor, whose description after the name is given, and 4096 bytes of data. */
#define TENSOR(format, ...) pack(HEAD "s" format "az", "GGUF", 3, N(1), N(0), "t", __VA_ARGS__, 4096)
/* A file with this general.alignment. */
#define ALIGNED(n) pack(HEAD "sII", "GGUF", 3, N(0), N(1), "general.alignment", GGUF_U32, n)

static void refuse_wrong_beginnings(void)
{
    refuse("not GGUF: empty", AIGC_E_FORMAT, "it is empty", pack(""));
    refuse("not GGUF: two bytes", AIGC_E_FORMAT, "it has 2 bytes", pack("r", "GG"));
    refuse("not GGUF: text", AIGC_E_FORMAT, "it begins with the bytes 48 65 6c 6c", pack("r", "Hello, world"));
    refuse("not GGUF: Git LFS pointer", AIGC_E_FORMAT, "it is a Git LFS pointer",
           pack("r", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"));
    refuse("not GGUF: zip", AIGC_E_FORMAT, "it is a zip archive", pack("rI", "PK\x03\x04", 1));
    refuse("not GGUF: safetensors", AIGC_E_FORMAT, "it is a safetensors file", pack("Qr", N(10), "{\"a\": 1234}"));
    refuse("not GGUF: old ggml", AIGC_E_FORMAT, "it is an old ggml file", pack("rI", "lmgg", 1));
    refuse("not GGUF: ELF", AIGC_E_FORMAT, "it is an ELF",
           pack("r", "\x7f"
                     "ELF\x02\x01\x01"));
    refuse("header: magic alone", AIGC_E_FORMAT, "truncated: the version of header needs 4 bytes at offset 4",
           pack("r", "GGUF"));
    refuse("header: version 0", AIGC_E_UNSUPPORTED, "version 0", pack(HEAD, "GGUF", 0, N(0), N(0)));
    refuse("header: version 1", AIGC_E_UNSUPPORTED, "version 1", pack(HEAD, "GGUF", 1, N(0), N(0)));
    refuse("header: version 4", AIGC_E_UNSUPPORTED, "version 4", pack(HEAD, "GGUF", 4, N(0), N(0)));
    refuse("header: big-endian", AIGC_E_UNSUPPORTED, "big-endian", pack(HEAD, "GGUF", 3 << 24, N(0), N(0)));
    refuse("header: no counts", AIGC_E_FORMAT, "the number of tensors", pack("rI", "GGUF", 3));
    refuse("header: too many pairs", AIGC_E_FORMAT, "says it has 1000000000000 metadata pairs",
           pack(HEAD "z", "GGUF", 3, N(0), N(1000000000000), 1000));
    refuse("header: 2^64 - 1 pairs", AIGC_E_FORMAT, "18446744073709551615 metadata pairs",
           pack(HEAD "z", "GGUF", 3, N(0), UINT64_MAX, 1000));
    refuse("header: too many tensors", AIGC_E_FORMAT, "says it has 100 tensors",
           pack(HEAD "z", "GGUF", 3, N(100), N(0), 1000));
    refuse("header: 2^64 - 1 tensors", AIGC_E_FORMAT, "18446744073709551615 tensors",
           pack(HEAD "z", "GGUF", 3, UINT64_MAX, N(0), 1000));
}

static void refuse_wrong_metadata(void)
{
    refuse("key: empty", AIGC_E_FORMAT, "key of metadata pair 0 has 0 bytes",
           pack(HEAD "sIIz", "GGUF", 3, N(0), N(1), "", GGUF_U32, 1, 10));
    refuse("key: beyond the file", AIGC_E_FORMAT, "truncated: key of metadata pair 0 needs 200 bytes",
           pack(HEAD "Qz", "GGUF", 3, N(0), N(1), N(200), 20));
    refuse("key: 2^64 - 1 bytes", AIGC_E_FORMAT, "has 18446744073709551615 bytes",
           pack(HEAD "Qz", "GGUF", 3, N(0), N(1), UINT64_MAX, 20));
    refuse("key: not UTF-8", AIGC_E_FORMAT, "byte 0xff",
           pack(HEAD "sII", "GGUF", 3, N(0), N(1),
                "a\xff"
                "b",
                GGUF_U32, 1));
    refuse("key: control character", AIGC_E_FORMAT, "byte 0x1b",
           pack(HEAD "sII", "GGUF", 3, N(0), N(1), "a\x1b[1m", GGUF_U32, 1));
    refuse("key: NUL inside", AIGC_E_FORMAT, "byte 0x00",
           pack(HEAD "QrBrII", "GGUF", 3, N(0), N(1), N(3), "a", 0, "b", GGUF_U32, 1));
    refuse("key: twice", AIGC_E_FORMAT, "metadata pair \"k\" appears twice",
           pack(HEAD "sIIsII", "GGUF", 3, N(0), N(2), "k", GGUF_U32, 1, "k", GGUF_U32, 1));
    refuse("value: unknown type", AIGC_E_FORMAT, "\"some.key\" has type 13", PAIR("IQ", 13, N(0)));
    refuse("value: cut number", AIGC_E_FORMAT, "truncated: the value of metadata pair 0 needs 8 bytes",
           PAIR("II", GGUF_U64, 0));
    refuse("value: cut type", AIGC_E_FORMAT, "truncated: the type of metadata pair 0", PAIR("BB", 1, 1));
    refuse("value: boolean 2", AIGC_E_FORMAT, "boolean \"some.key\" has the value 2", PAIR("IB", GGUF_BOOL, 2));
    refuse("string: beyond the file", AIGC_E_FORMAT, "truncated: a string of metadata pair 0 needs 5 bytes",
           PAIR("IQr", GGUF_STRING, N(5), "four"));
    refuse("string: 2^64 - 1 bytes", AIGC_E_FORMAT, "needs 18446744073709551615 bytes",
           PAIR("IQr", GGUF_STRING, UINT64_MAX, "four"));
    refuse("array: of arrays", AIGC_E_UNSUPPORTED, "array of arrays", PAIR("IIQz", GGUF_ARRAY, GGUF_ARRAY, N(1), 64));
    refuse("array: unknown item type", AIGC_E_FORMAT, "an array of type 99", PAIR("IIQz", GGUF_ARRAY, 99, N(1), 64));
    refuse("array: too many numbers", AIGC_E_FORMAT, "has 17 items of type u32, but 64 bytes remain",
           PAIR("IIQz", GGUF_ARRAY, GGUF_U32, N(17), 64));
    refuse("array: size that overflows", AIGC_E_FORMAT, "has 2305843009213693953 items of type u64",
           PAIR("IIQz", GGUF_ARRAY, GGUF_U64, N(1) << 61 | 1, 64));
    refuse("array: too many strings", AIGC_E_FORMAT, "has 9 items of type string",
           PAIR("IIQz", GGUF_ARRAY, GGUF_STRING, N(9), 64));
    refuse("array: string beyond the file", AIGC_E_FORMAT, "a string of metadata pair 0 needs 9 bytes",
           PAIR("IIQsQr", GGUF_ARRAY, GGUF_STRING, N(2), "first", N(9), "second"));
    refuse("array: string cut in its length", AIGC_E_FORMAT, "a string's length of metadata pair 0",
           PAIR("IIQsI", GGUF_ARRAY, GGUF_STRING, N(2), "first", 1));
    refuse("array: boolean 7", AIGC_E_FORMAT, "has the value 7", PAIR("IIQBBB", GGUF_ARRAY, GGUF_BOOL, N(3), 0, 1, 7));
    refuse("array: no count", AIGC_E_FORMAT, "the item count", PAIR("III", GGUF_ARRAY, GGUF_U32, 1));
}

static void refuse_wrong_tensors(void)
{
    refuse("alignment: 0", AIGC_E_FORMAT, "general.alignment is 0", ALIGNED(0));
    refuse("alignment: 48", AIGC_E_FORMAT, "general.alignment is 48", ALIGNED(48));
    refuse("alignment: 4", AIGC_E_FORMAT, "general.alignment is 4", ALIGNED(4));
    refuse("alignment: 2^31", AIGC_E_FORMAT, "general.alignment is 2147483648", ALIGNED(1u << 31));
    refuse("alignment: a string", AIGC_E_FORMAT, "general.alignment is 32 (type string)",
           pack(HEAD "sIs", "GGUF", 3, N(0), N(1), "general.alignment", GGUF_STRING, "32"));
    refuse("tensor: five dimensions", AIGC_E_FORMAT, "\"t\" has 5 dimensions",
           TENSOR("IQQQQQIQ", 5, N(1), N(1), N(1), N(1), N(1), TYPE_F32, N(0)));
    refuse("tensor: dimension 0", AIGC_E_FORMAT, "dimension 1 of tensor \"t\" is 0",
           TENSOR("IQQIQ", 2, N(4), N(0), TYPE_F32, N(0)));
    refuse("tensor: elements that overflow", AIGC_E_FORMAT, "more than 2^63 elements",
           TENSOR("IQQIQ", 2, N(1) << 33, N(1) << 31, TYPE_F32, N(0)));
    refuse("tensor: bytes that overflow", AIGC_E_FORMAT, "more than 2^64 bytes",
           TENSOR("IQIQ", 1, N(1) << 62, TYPE_F32, N(0)));
    refuse("tensor: unknown type", AIGC_E_UNSUPPORTED, "\"t\" has type 1000", TENSOR("IQIQ", 1, N(4), 1000, N(0)));
    refuse("tensor: removed type", AIGC_E_UNSUPPORTED, "\"t\" has type 4", TENSOR("IQIQ", 1, N(32), 4, N(0)));
    refuse("tensor: rows that are no whole blocks", AIGC_E_FORMAT, "have 48 elements, not a multiple of 32",
           TENSOR("IQQIQ", 2, N(48), N(2), TYPE_Q8_0, N(0)));
    refuse("tensor: offset not aligned", AIGC_E_FORMAT, "begins at offset 8", TENSOR("IQIQ", 1, N(4), TYPE_F32, N(8)));
    refuse("tensor: beyond the data", AIGC_E_FORMAT, "has 32 bytes at offset 4096 of the data, which have 4096",
           TENSOR("IQIQ", 1, N(8), TYPE_F32, N(4096)));
    refuse("tensor: offset 2^64 - 32", AIGC_E_FORMAT, "at offset 18446744073709551584",
           TENSOR("IQIQ", 1, N(8), TYPE_F32, UINT64_MAX - 31));
    refuse("tensor: too long by one element", AIGC_E_FORMAT, "has 4100 bytes at offset 0",
           TENSOR("IQIQ", 1, N(1025), TYPE_F32, N(0)));
    refuse("tensor: no data at all", AIGC_E_FORMAT, "which have 0",
           pack(HEAD "sIQIQ", "GGUF", 3, N(1), N(0), "t", 1, N(8), TYPE_F32, N(0)));
    refuse("tensor: name twice", AIGC_E_FORMAT, "tensor \"t\" appears twice",
           pack(HEAD "sIQIQsIQIQaz", "GGUF", 3, N(2), N(0), "t", 1, N(8), TYPE_F32, N(0), "t", 1, N(8), TYPE_F32, N(0),
                64));
    refuse("tensor: name not UTF-8", AIGC_E_FORMAT, "name of tensor 0 has a byte 0xc3",
           pack(HEAD "sIQIQaz", "GGUF", 3, N(1), N(0), "\xc3", 1, N(8), TYPE_F32, N(0), 64));
    refuse("tensor: empty name", AIGC_E_FORMAT, "name of tensor 0 has 0 bytes",
           pack(HEAD "sIQIQaz", "GGUF", 3, N(1), N(0), "", 1, N(8), TYPE_F32, N(0), 64));
    refuse("tensor: very long name", AIGC_E_FORMAT, "name of tensor 0 has 2000 bytes",
           pack(HEAD "Qzz", "GGUF", 3, N(1), N(0), N(2000), 2000, 100));
}

/* ---- names made to collide ---- */

/* The hash of gguf_index.c. */
static uint64_t hash_name(const char *name)
{
    uint64_t h = 0xcbf29ce484222325u;

    for (const unsigned char *p = (const unsigned char *)name; *p; p++)
        h = (h ^ *p) * 0x100000001b3u;
    h = (h ^ h >> 33) * 0xff51afd7ed558ccdu;
    h = (h ^ h >> 33) * 0xc4ceb9fe1a85ec53u;
    return h ^ h >> 33;
}

static void refuse_collisions(void)
{
    enum { KEYS = 200, SLOTS = 512 };
    image f = pack(HEAD, "GGUF", 3, N(0), N(KEYS));
    int n = 0;

    for (unsigned i = 0; n < KEYS; i++) {
        char key[32];

        snprintf(key, sizeof key, "key %u", i);
        if (hash_name(key) % SLOTS < 4) {
            image pair = pack("sII", key, GGUF_U32, i);

            f.data = realloc(f.data, f.size + pair.size);
            memcpy(f.data + f.size, pair.data, pair.size);
            f.size += pair.size;
            free(pair.data);
            n++;
        }
    }
    refuse("key: made to collide", AIGC_E_FORMAT, "made to collide", f);
}

int main(void)
{
    int failed;

    refuse_wrong_beginnings();
    refuse_wrong_metadata();
    refuse_wrong_tensors();
    refuse_collisions();
    failed = _cmocka_run_group_tests("gguf_refused", bad_tests, n_bad, NULL, NULL);
    for (size_t i = 0; i < n_bad; i++)
        free(bad_files[i].file.data);
    return failed;
}
