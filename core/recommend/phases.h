/* phases.h: the phases of a fit, for fit.c. */
#ifndef AIGC_RECOMMEND_PHASES_H
#define AIGC_RECOMMEND_PHASES_H

#include "recommend/fit.h"

aigc_status phases_step(aigc_fit *fit, aigc_error *err);
void phases_progress(const aigc_fit *fit, aigc_fit_progress *progress);
void phases_free(aigc_fit *fit);

#endif
