/*
 * catalogue.c: a made-up magazine for bench/serve/run, as rows for COPY, the same each time.
 *
 *     bench-catalogue articles|people|reads ITEMS PEOPLE
 *
 * Titles are words with Zipf's frequencies, two of them of the article's topic. An article's topic is its number modulo
 * 400 and its first tag. People read 20 articles or more, half of them more than 45, few a thousand, as in MovieLens;
 * two thirds of what they read is of three topics, the rest of all; popular articles more than others in both.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOPICS = 400, WORDS = 30000, CITIES = 500, GENRES = 40 };

static uint64_t state = 0x9e3779b97f4a7c15u;

/* From 0 (included) to 1 (not included): xorshift64*. */
static double uniform(void)
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (double)((state * 0x2545f4914f6cdd1du) >> 11) * 0x1p-53;
}

/* A rank from 0 to n - 1, the r-th with a probability near 1 / (r + 1). */
static int zipf(int n)
{
    int rank = (int)exp(uniform() * log(n + 1.0)) - 1;
    return rank < 0 ? 0 : rank < n ? rank : n - 1;
}

/* Two or three syllables by number, of which no two have the same. */
static const char *word(int n, char out[16])
{
    static const char *const syllables[32] = {
        "ba", "ce", "di", "fo", "gu",  "ha",  "je",  "ki",  "lo",  "mu",  "na",  "pe",  "ri",  "so",  "tu",  "va",
        "we", "xi", "yo", "zu", "bra", "cle", "dri", "flo", "gru", "sta", "tre", "pli", "sco", "thu", "sna", "que"};
    snprintf(out, 16, "%s%s%s", syllables[n % 32], syllables[n / 32 % 32], n < 1024 ? "" : syllables[n / 1024]);
    return out;
}

static const char *city(int n, char out[16])
{
    return n == 0 ? "New York" : word(20000 + n, out);
}

static void put_articles(int items)
{
    char w[16];

    for (int i = 1; i <= items; i++) {
        int topic = i % TOPICS;
        printf("%d\t", i);
        for (int j = 0; j < 6; j++)
            printf("%s%s", j ? " " : "", word(j < 2 ? (topic * 71 + zipf(60)) % WORDS : zipf(WORDS), w));
        printf("\t{topic%d,genre%d,%s}", topic, zipf(GENRES), word(zipf(2000), w));
        printf("\t%s\t2026-%02d-%02d %02d:00:00+00\n", city(zipf(CITIES), w), 1 + (int)(10 * uniform()),
               1 + (int)(28 * uniform()), (int)(24 * uniform()));
    }
}

static void put_people(int people)
{
    char w[16];

    for (int u = 1; u <= people; u++)
        printf("%d\t%d\t%s\n", u, 16 + (int)(60 * uniform() * uniform()), city(zipf(CITIES), w));
}

static void put_reads(int items, int people)
{
    for (int u = 1; u <= people; u++) {
        double normal = sqrt(-2 * log(1 - uniform())) * cos(2 * 3.14159265358979 * uniform());
        double n = 20 + 26 * exp(1.1 * normal);
        for (int j = 0; j < n && j < 1000; j++) {
            int topic = (u * 7 + zipf(3) * 131) % TOPICS;
            int item = uniform() < 0.65 ? topic + TOPICS * zipf(items / TOPICS) : zipf(items);
            int day = (int)(280 * sqrt(uniform()));
            printf("%d\t%d\t%.1f\t2026-%02d-%02d %02d:00:00+00\n", u, item % items + 1, 600 * uniform() * uniform(),
                   1 + day / 28, 1 + day % 28, (int)(24 * uniform()));
        }
    }
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "articles") == 0)
        put_articles(atoi(argv[2]));
    else if (argc == 4 && strcmp(argv[1], "people") == 0)
        put_people(atoi(argv[3]));
    else if (argc == 4 && strcmp(argv[1], "reads") == 0)
        put_reads(atoi(argv[2]), atoi(argv[3]));
    else {
        fprintf(stderr, "usage: bench-catalogue articles|people|reads ITEMS PEOPLE\n");
        return 2;
    }
    return 0;
}
