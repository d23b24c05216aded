/* arch.c: see arch.h. */
#include "model/arch.h"

#include <string.h>

#define BIT(role) (1u << (role))

const role_shape layer_roles[LAYER_ROLES] = {
    [ATTN_Q] = {"attn_q", DIM_EMBD, DIM_Q},           [ATTN_K] = {"attn_k", DIM_EMBD, DIM_KV},
    [ATTN_V] = {"attn_v", DIM_EMBD, DIM_KV},          [ATTN_QKV] = {"attn_qkv", DIM_EMBD, DIM_QKV},
    [ATTN_OUTPUT] = {"attn_output", DIM_Q, DIM_EMBD}, [FFN_GATE] = {"ffn_gate", DIM_EMBD, DIM_FF},
    [FFN_UP] = {"ffn_up", DIM_EMBD, DIM_FF},          [FFN_DOWN] = {"ffn_down", DIM_FF, DIM_EMBD},
    [ATTN_NORM] = {"attn_norm", DIM_EMBD, DIM_EMBD},  [FFN_NORM] = {"ffn_norm", DIM_EMBD, DIM_EMBD},
};

enum {
    NORMS = BIT(ATTN_NORM) | BIT(FFN_NORM),
    SPLIT_QKV = BIT(ATTN_Q) | BIT(ATTN_K) | BIT(ATTN_V),
    PLAIN_FFN = BIT(FFN_UP) | BIT(FFN_DOWN),
    GATED_FFN = BIT(FFN_GATE) | PLAIN_FFN,
};

static const arch rows[] = {
    {
        .name = "llama", /* Llama 1 to 3, Mistral, and all that share their shape */
        .norm = NORM_RMS,
        .position = POSITION_ROPE_PAIRS,
        .activation = ACTIVATION_SILU,
        .weights = NORMS | SPLIT_QKV | BIT(ATTN_OUTPUT) | GATED_FFN,
    },
    {
        .name = "qwen2", /* Qwen 2 and 2.5 */
        .norm = NORM_RMS,
        .position = POSITION_ROPE_HALVES,
        .activation = ACTIVATION_SILU,
        .weights = NORMS | SPLIT_QKV | BIT(ATTN_OUTPUT) | GATED_FFN,
        .biases = SPLIT_QKV,
    },
    {
        .name = "gpt2", /* Radford et al., 2019 */
        .norm = NORM_LAYER,
        .position = POSITION_LEARNED,
        .activation = ACTIVATION_GELU_TANH,
        .weights = NORMS | BIT(ATTN_QKV) | BIT(ATTN_OUTPUT) | PLAIN_FFN,
        .biases = NORMS | BIT(ATTN_QKV) | BIT(ATTN_OUTPUT) | PLAIN_FFN,
    },
};

enum { N_ROWS = sizeof rows / sizeof rows[0] };

const arch *arch_find(const char *name, size_t len)
{
    for (size_t i = 0; i < N_ROWS; i++)
        if (strlen(rows[i].name) == len && memcmp(rows[i].name, name, len) == 0)
            return &rows[i];
    return NULL;
}

const char *arch_names(void)
{
    return "llama, qwen2, gpt2";
}
