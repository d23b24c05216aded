/* random.c: xoshiro256++ and splitmix64, after the public-domain algorithms of Blackman and Vigna. */
#include "base/random.h"

#include <math.h>

/* The finaliser of splitmix64: a bijection, so four different inputs can't all give 0 (the state xoshiro forbids). */
static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static uint64_t rotate_left(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

void random_seed(random_state *r, uint64_t seed, uint64_t stream)
{
    const uint64_t golden = 0x9e3779b97f4a7c15u; /* splitmix64's increment: 2^64 / golden ratio, odd */
    uint64_t x = seed;

    /* Stream 0 is plain splitmix64 seeding; the others start from a mixed point elsewhere. */
    if (stream)
        x = mix(seed + golden) + mix(stream ^ 0xd1b54a32d192ed03u);
    for (int i = 0; i < 4; i++) {
        x += golden;
        r->s[i] = mix(x);
    }
}

uint64_t random_u64(random_state *r)
{
    uint64_t *s = r->s;
    uint64_t result = rotate_left(s[0] + s[3], 23) + s[0];
    uint64_t t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

double random_unit(random_state *r)
{
    return (double)(random_u64(r) >> 11) * 0x1p-53;
}

/* Natural logarithm of x in (0, 1], from correctly rounded operations alone, so that it gives the same bits with every
 * C library: x = m * 2^e with m near 1, log m = 2 atanh((m - 1) / (m + 1)) as a series (|t| < 0.172: 13 terms reach
 * double precision). */
static double log_portable(double x)
{
    const double ln2 = 0x1.62e42fefa39efp-1;
    double t, t2, sum = 0;
    int e;
    double m = frexp(x, &e);

    if (m < 0x1.6a09e667f3bcdp-1) { /* sqrt(1/2) */
        m *= 2;
        e--;
    }
    t = (m - 1) / (m + 1);
    t2 = t * t;
    for (int k = 25; k >= 1; k -= 2)
        sum = sum * t2 + 1.0 / k;
    return e * ln2 + 2 * t * sum;
}

double random_normal(random_state *r)
{
    double u, v, q;

    do {
        u = 2 * random_unit(r) - 1;
        v = 2 * random_unit(r) - 1;
        q = u * u + v * v;
    } while (q >= 1 || q == 0);
    return u * sqrt(-2 * log_portable(q) / q);
}
