/* real.c: see real.h. Reductions by fma with split constants (Cody and Waite), then Taylor or atanh series. */
#include "base/real.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

static const double LN2_HIGH = 0x1.62e42fefa39efp-1, LN2_LOW = 0x1.abc9e3b39803fp-56;
static const double HALF_PI_HIGH = 0x1.921fb54442d18p+0, HALF_PI_MIDDLE = 0x1.1a62633145c07p-54,
                    HALF_PI_LOW = -0x1.f1976b7ed8fbcp-110;

/* 2^n for n in [-1022, 1023] */
static double power_of_two(int n)
{
    uint64_t bits = (uint64_t)(n + 1023) << 52;
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

double real_exp(double x)
{
    if (!(x > -745.2))
        return x != x ? x : 0.0;
    if (x > 709.78)
        return INFINITY;
    double n = rint(x * 0x1.71547652b82fep+0);
    double r = fma(-n, LN2_LOW, fma(-n, LN2_HIGH, x)); /* |r| <= ln 2 / 2 */
    double term = 1.0;                                 /* Horner form of the sum of r^i / i!, to r^14 */
    for (int i = 14; i >= 1; i--)
        term = fma(term, r / i, 1.0);
    int half = (int)n / 2; /* in two steps, for results below the smallest normal number */
    return term * power_of_two(half) * power_of_two((int)n - half);
}

double real_log(double x)
{
    if (x == 0.0)
        return -INFINITY;
    if (!(x > 0.0) || x == INFINITY)
        return x > 0.0 ? x : NAN;
    int exponent;
    double m = frexp(x, &exponent); /* exact */
    if (m < 0x1.6a09e667f3bcdp-1) { /* below sqrt(1/2) */
        m *= 2.0;
        exponent--;
    }
    double s = (m - 1.0) / (m + 1.0), s2 = s * s; /* log m = 2 atanh s, |s| < 0.172 */
    double sum = 0.0;
    for (int i = 23; i >= 3; i -= 2)
        sum = fma(sum, s2, 1.0 / i);
    double tail = 2.0 * s * (sum * s2);
    return fma(exponent, LN2_HIGH, fma(exponent, LN2_LOW, tail) + 2.0 * s);
}

double real_pow(double x, double y)
{
    return real_exp(y * real_log(x));
}

static double sine_series(double r, double r2)
{
    double sum = 1.0;
    for (int i = 20; i >= 2; i -= 2)
        sum = fma(-sum, r2 / (i * (i + 1)), 1.0);
    return r * sum;
}

static double cosine_series(double r2)
{
    double sum = 1.0;
    for (int i = 19; i >= 1; i -= 2)
        sum = fma(-sum, r2 / (i * (i + 1)), 1.0);
    return sum;
}

void real_sincos(double x, double *sine, double *cosine)
{
    double n = rint(x * 0x1.45f306dc9c883p-1); /* quarter turns */
    double r = fma(-n, HALF_PI_LOW, fma(-n, HALF_PI_MIDDLE, fma(-n, HALF_PI_HIGH, x)));
    double s = sine_series(r, r * r), c = cosine_series(r * r);
    switch ((int)(int64_t)fmod(n, 4.0) & 3) {
    case 0:
        *sine = s, *cosine = c;
        break;
    case 1:
        *sine = c, *cosine = -s;
        break;
    case 2:
        *sine = -s, *cosine = -c;
        break;
    default:
        *sine = -c, *cosine = s;
    }
}
