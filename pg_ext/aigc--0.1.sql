/* pg_ext/aigc--0.1.sql */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION aigc" to load this file. \quit

-- Generation. The options stand in the same order in all three functions; NULL means an option's default, and for
-- model, max_tokens and seed the default is the setting of that name. What is drawn is random, so the functions are
-- VOLATILE; they keep a model, its keys and values and its threads in the session, so a parallel worker would have to
-- take all that again: PARALLEL RESTRICTED. Costs are in operator calls, of which a token takes many.

CREATE FUNCTION generate(
    prompt text,
    model text DEFAULT NULL,
    max_tokens int DEFAULT NULL,
    temperature float8 DEFAULT 1,
    top_p float8 DEFAULT 1,
    top_k int DEFAULT 0,
    min_p float8 DEFAULT 0,
    frequency_penalty float8 DEFAULT 0,
    presence_penalty float8 DEFAULT 0,
    repetition_penalty float8 DEFAULT 1,
    stop text[] DEFAULT '{}',
    seed bigint DEFAULT NULL
) RETURNS text
AS 'MODULE_PATHNAME', 'sql_generate'
LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 100000;

COMMENT ON FUNCTION generate(text, text, int, float8, float8, int, float8, float8, float8, float8, text[], bigint) IS
'text that a model writes after a prompt';

CREATE FUNCTION generate_alternatives(
    prompt text,
    n int DEFAULT 3,
    model text DEFAULT NULL,
    max_tokens int DEFAULT NULL,
    temperature float8 DEFAULT 1,
    top_p float8 DEFAULT 1,
    top_k int DEFAULT 0,
    min_p float8 DEFAULT 0,
    frequency_penalty float8 DEFAULT 0,
    presence_penalty float8 DEFAULT 0,
    repetition_penalty float8 DEFAULT 1,
    stop text[] DEFAULT '{}',
    seed bigint DEFAULT NULL
) RETURNS TABLE (rank int, text text, logprob float8)
AS 'MODULE_PATHNAME', 'sql_generate_alternatives'
LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 100000 ROWS 3;

COMMENT ON FUNCTION generate_alternatives(text, int, text, int, float8, float8, int, float8, float8, float8, float8,
    text[], bigint) IS
'n texts that a model writes after a prompt, decoded as one batch, the most probable per token first';

CREATE FUNCTION generate_stream(
    prompt text,
    model text DEFAULT NULL,
    max_tokens int DEFAULT NULL,
    temperature float8 DEFAULT 1,
    top_p float8 DEFAULT 1,
    top_k int DEFAULT 0,
    min_p float8 DEFAULT 0,
    frequency_penalty float8 DEFAULT 0,
    presence_penalty float8 DEFAULT 0,
    repetition_penalty float8 DEFAULT 1,
    stop text[] DEFAULT '{}',
    seed bigint DEFAULT NULL
) RETURNS SETOF text
AS 'MODULE_PATHNAME', 'sql_generate_stream'
LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 100000 ROWS 100;

COMMENT ON FUNCTION generate_stream(text, text, int, float8, float8, int, float8, float8, float8, float8, text[],
    bigint) IS
'text that a model writes after a prompt, piece by piece as it is written';

-- Tokens. What these give depends on a model file and on settings, so STABLE is the most that can be said.

CREATE FUNCTION tokenize(text text, model text DEFAULT NULL) RETURNS int[]
AS 'MODULE_PATHNAME', 'sql_tokenize'
LANGUAGE C STABLE PARALLEL SAFE COST 1000;

COMMENT ON FUNCTION tokenize(text, text) IS
'token ids of a text, as generate() would see it for a prompt';

CREATE FUNCTION detokenize(tokens int[], model text DEFAULT NULL) RETURNS text
AS 'MODULE_PATHNAME', 'sql_detokenize'
LANGUAGE C STABLE PARALLEL SAFE COST 1000;

COMMENT ON FUNCTION detokenize(int[], text) IS
'text of token ids';

CREATE FUNCTION count_tokens(text text, model text DEFAULT NULL) RETURNS int
AS 'MODULE_PATHNAME', 'sql_count_tokens'
LANGUAGE C STABLE PARALLEL SAFE COST 1000;

COMMENT ON FUNCTION count_tokens(text, text) IS
'number of tokens of a text, as generate() would see it for a prompt';

CREATE FUNCTION score_text(text text, model text DEFAULT NULL,
    OUT tokens int, OUT logprob float8, OUT perplexity float8, OUT bits_per_byte float8)
AS 'MODULE_PATHNAME', 'sql_score_text'
LANGUAGE C STABLE PARALLEL RESTRICTED COST 100000;

COMMENT ON FUNCTION score_text(text, text) IS
'how probable a model finds a text: tokens scored, sum of their log-probabilities, perplexity, bits per byte';

-- Models and version

CREATE FUNCTION aigc_models(OUT name text, OUT architecture text, OUT parameters bigint, OUT quantisation text,
    OUT context int, OUT bytes bigint, OUT loaded boolean, OUT error text) RETURNS SETOF record
AS 'MODULE_PATHNAME', 'sql_models'
LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 10000 ROWS 10;

COMMENT ON FUNCTION aigc_models() IS
'model files in aigc.model_directory, whether this session has them open, and what keeps one from being used';

CREATE FUNCTION aigc_version() RETURNS text
AS 'MODULE_PATHNAME', 'sql_version'
LANGUAGE C STABLE PARALLEL SAFE;

COMMENT ON FUNCTION aigc_version() IS
'version of the aigc library that the server has loaded';
