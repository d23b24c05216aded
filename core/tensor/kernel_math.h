/*
 * kernel_math.h: exp and the activations made of it, once for all CPU levels.
 *
 * Each level includes this after defining vf (a float, or a vector of floats) and
 *     v_set(float)  v_add(a, b)  v_sub(a, b)  v_mul(a, b)  v_div(a, b)  v_fma(a, b, c) = a * b + c, rounded once
 *     v_min(a, b) = a < b ? a : b   v_max(a, b) = a > b ? a : b   (so the result is b if either is NaN)   v_abs(a)
 *     v_if_positive(x, a, b) = x > 0 ? a : b
 *     v_scale2(p, t, n): p * 2^n rounded once, for |n| <= 151; n as a float, and t = n + 0x1.8p23, whose low bits are n
 * Every operation rounds to nearest even, so every level gets the same bits. The polynomials are minimax fits of our
 * own (Remez exchange in 40 digits), their coefficients rounded to float.
 */
#ifndef AIGC_TENSOR_KERNEL_MATH_H
#define AIGC_TENSOR_KERNEL_MATH_H

/* exp(x), relative error below 1.2e-7 where the result is normal; 0 from -104 down, infinity from 89 up; NaN stays. */
static inline vf v_exp(vf x)
{
    const vf round = v_set(0x1.8p23f);
    x = v_max(v_set(-104.0f), x);
    x = v_min(v_set(89.0f), x);
    vf t = v_fma(x, v_set(0x1.715476p0f), round); /* log2(e) */
    vf n = v_sub(t, round);
    vf r = v_fma(n, v_set(-0x1.62e4p-1f), x); /* ln 2 in two parts */
    r = v_fma(n, v_set(-0x1.7f7d1cp-20f), r);
    /* exp(r) = 1 + r + r^2 P(r) for |r| <= ln(2) / 2, relative error 2.7e-8 */
    vf p = v_fma(v_set(0x1.59374cp-10f), r, v_set(0x1.11ba5ap-7f));
    p = v_fma(p, r, v_set(0x1.5569980p-5f));
    p = v_fma(p, r, v_set(0x1.55558ep-3f));
    p = v_fma(p, r, v_set(0x1.fffffap-2f));
    p = v_add(v_fma(v_mul(r, r), p, r), v_set(1.0f));
    return v_scale2(p, t, n);
}

/* x / (1 + exp(-x)) */
static inline vf v_silu(vf x)
{
    return v_div(x, v_add(v_set(1.0f), v_exp(v_sub(v_set(0.0f), x))));
}

/* 0.5 x (1 + tanh(u)) with u = sqrt(2/pi) (x + 0.044715 x^3) is x / (1 + exp(-2u)), which loses nothing where tanh is
 * near -1. */
static inline vf v_gelu_tanh(vf x)
{
    vf minus_2u = v_mul(x, v_fma(v_mul(x, x), v_set(-0x1.2444f2p-4f), v_set(-0x1.988454p0f)));
    return v_div(x, v_add(v_set(1.0f), v_exp(minus_2u)));
}

/* x Phi(x), Phi the normal distribution. For a = |x| / sqrt(2): erfc(a) / 2 = exp(-a^2) t Q(t), t = 1 / (1 + 0.3 a),
 * relative error of the fit 2e-8 for a <= 10. */
static inline vf v_gelu_erf(vf x)
{
    static const float q[] = {0x1.5a7f3ep-4f, 0x1.5d9ff0p-4f,  0x1.2fcc86p-4f, 0x1.b82adap-4f, -0x1.83af0ep-5f,
                              0x1.186e80p-2f, -0x1.064916p-2f, 0x1.f13742p-3f, -0x1.094336p-4f};
    vf t = v_div(v_set(1.0f), v_fma(v_abs(x), v_set(0x1.b27248p-3f), v_set(1.0f)));
    vf p = v_set(q[8]);
    for (int i = 7; i >= 0; i--)
        p = v_fma(p, t, v_set(q[i]));
    vf tail = v_mul(v_mul(t, p), v_exp(v_mul(v_mul(x, x), v_set(-0.5f))));
    return v_mul(x, v_if_positive(x, v_sub(v_set(1.0f), tail), tail));
}

#endif
