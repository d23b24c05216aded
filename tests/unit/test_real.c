/* real.h against libm (which is itself within an ulp), and against exact identities. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/random.h"
#include "base/real.h"

enum { ROUNDS = 200000 };
static const double CLOSE = 4e-16;

static void exponentials(void **state)
{
    (void)state;
    random_state r;
    random_seed(&r, 1, 0);
    for (int i = 0; i < ROUNDS; i++) {
        double x = (random_unit(&r) - 0.5) * 1400;
        assert_true(fabs(real_exp(x) - exp(x)) <= CLOSE * exp(x));
    }
    assert_true(real_exp(0.0) == 1.0);
    assert_true(real_exp(-800.0) == 0.0);
    assert_true(isinf(real_exp(800.0)));
    assert_true(isnan(real_exp(NAN)));
    assert_true(fabs(real_exp(-740.0) - exp(-740.0)) <= 5e-324); /* below the normal numbers */
}

static void logarithms(void **state)
{
    (void)state;
    random_state r;
    random_seed(&r, 2, 0);
    for (int i = 0; i < ROUNDS; i++) {
        double x = ldexp(random_unit(&r) + 0.5, (int)(random_unit(&r) * 2000) - 1000);
        assert_true(fabs(real_log(x) - log(x)) <= CLOSE * fabs(log(x)) + 1e-17);
    }
    assert_true(real_log(1.0) == 0.0);
    assert_true(isinf(real_log(0.0)) && real_log(0.0) < 0);
    assert_true(isnan(real_log(-1.0)));
    assert_true(real_log(INFINITY) == INFINITY);
    assert_true(fabs(real_pow(10000.0, -0.5) - 0.01) < 1e-17);
}

static void angles(void **state)
{
    (void)state;
    random_state r;
    random_seed(&r, 3, 0);
    for (int i = 0; i < ROUNDS; i++) {
        double x = (random_unit(&r) - 0.5) * 4e6, s, c;
        real_sincos(x, &s, &c);
        assert_true(fabs(s - sin(x)) <= CLOSE);
        assert_true(fabs(c - cos(x)) <= CLOSE);
    }
    double s, c;
    real_sincos(0.0, &s, &c);
    assert_true(s == 0.0 && c == 1.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exponentials),
        cmocka_unit_test(logarithms),
        cmocka_unit_test(angles),
    };
    return cmocka_run_group_tests_name("real", tests, NULL, NULL);
}
