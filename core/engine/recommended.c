/* recommended.c: sampling as the model's file recommends it. The keys are those of llama.cpp's converters. */
#include <math.h>

#include "engine/engine.h"
#include "format/gguf.h"

aigc_sampling aigc_sampling_unset(void)
{
    return (aigc_sampling){.temperature = NAN, .top_p = NAN, .top_k = -1, .min_p = NAN, .repetition_penalty = NAN};
}

/* A value of another type or out of range is as good as none: it is advice. */
static void fill(double *value, const gguf_file *file, const char *key, double low, double high, double otherwise)
{
    float advised = NAN;
    if (!isnan(*value))
        return;
    *value = otherwise;
    if (gguf_get_f32(file, key, false, &advised, NULL) == AIGC_OK && advised >= low && advised <= high)
        *value = advised;
}

void aigc_sampling_fill(aigc_sampling *sampling, const aigc_model *model)
{
    const gguf_file *file = model->file;
    const aigc_sampling usual = aigc_request_defaults().sampling;
    fill(&sampling->temperature, file, "general.sampling.temp", 0, 1e6, usual.temperature);
    fill(&sampling->top_p, file, "general.sampling.top_p", 0, 1, usual.top_p);
    fill(&sampling->min_p, file, "general.sampling.min_p", 0, 1, usual.min_p);
    fill(&sampling->repetition_penalty, file, "general.sampling.penalty_repeat", 1e-6, 1e6, usual.repetition_penalty);
    if (sampling->top_k < 0) {
        int64_t advised = 0;
        sampling->top_k = usual.top_k;
        if (gguf_get_i64(file, "general.sampling.top_k", false, &advised, NULL) == AIGC_OK && advised >= 0 &&
            advised <= INT32_MAX)
            sampling->top_k = (int)advised;
    }
}
