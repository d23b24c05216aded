/*
 * real.h: exp, log, sine and cosine in double precision, written out so that every machine gives the same bits.
 *
 * libm's differ between versions and processors. These are good to about 1e-15 relative, and are used where speed does
 * not matter: tables of angles, log-probabilities.
 */
#ifndef AIGC_BASE_REAL_H
#define AIGC_BASE_REAL_H

double real_exp(double x);                                /* 0 below -745, infinity above 709.7 */
double real_log(double x);                                /* x > 0; -infinity at 0 */
double real_pow(double x, double y);                      /* x > 0: exp(y log x) */
void real_sincos(double x, double *sine, double *cosine); /* |x| up to about 1e9 */

#endif
