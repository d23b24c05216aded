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
    seed bigint DEFAULT NULL,
    lora text DEFAULT NULL
) RETURNS text
AS 'MODULE_PATHNAME', 'sql_generate'
LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 100000;

COMMENT ON FUNCTION generate(text, text, int, float8, float8, int, float8, float8, float8, float8, text[], bigint,
    text) IS
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
    seed bigint DEFAULT NULL,
    lora text DEFAULT NULL
) RETURNS TABLE (rank int, text text, logprob float8)
AS 'MODULE_PATHNAME', 'sql_generate_alternatives'
LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 100000 ROWS 3;

COMMENT ON FUNCTION generate_alternatives(text, int, text, int, float8, float8, int, float8, float8, float8, float8,
    text[], bigint, text) IS
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
    seed bigint DEFAULT NULL,
    lora text DEFAULT NULL
) RETURNS SETOF text
AS 'MODULE_PATHNAME', 'sql_generate_stream'
LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 100000 ROWS 100;

COMMENT ON FUNCTION generate_stream(text, text, int, float8, float8, int, float8, float8, float8, float8, text[],
    bigint, text) IS
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

CREATE FUNCTION score_text(text text, model text DEFAULT NULL, lora text DEFAULT NULL,
    OUT tokens int, OUT logprob float8, OUT perplexity float8, OUT bits_per_byte float8)
AS 'MODULE_PATHNAME', 'sql_score_text'
LANGUAGE C STABLE PARALLEL RESTRICTED COST 100000;

COMMENT ON FUNCTION score_text(text, text, text) IS
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

-- ---- training: train_model(), finetune_model(), aigc_progress -------------------------------------------------------

CREATE FUNCTION aigc_get_progress(OUT pid int, OUT datid oid, OUT usesysid oid, OUT command text, OUT target text,
    OUT phase text, OUT done bigint, OUT total bigint, OUT loss float8, OUT tokens_per_second float8,
    OUT started timestamptz, OUT estimated_end timestamptz) RETURNS SETOF record
AS 'MODULE_PATHNAME', 'sql_progress'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 10;

COMMENT ON FUNCTION aigc_get_progress() IS
'what the view aigc_progress shows';

CREATE VIEW aigc_progress AS
    SELECT p.pid, d.datname, pg_catalog.pg_get_userbyid(p.usesysid) AS usename, p.command, p.target, p.phase, p.done,
        p.total, p.loss, p.tokens_per_second, p.started, p.estimated_end
    FROM aigc_get_progress() AS p LEFT JOIN pg_catalog.pg_database AS d ON d.oid = p.datid;

GRANT SELECT ON aigc_progress TO PUBLIC;

COMMENT ON VIEW aigc_progress IS
'sessions that train a model or refresh a recommender, and how far they are; NULL where one may not see it';
COMMENT ON COLUMN aigc_progress.pid IS 'process of the session, as in pg_stat_activity';
COMMENT ON COLUMN aigc_progress.datname IS 'its database';
COMMENT ON COLUMN aigc_progress.usename IS 'its user';
COMMENT ON COLUMN aigc_progress.command IS 'the function that runs';
COMMENT ON COLUMN aigc_progress.target IS 'the model or recommender that is made, cut to 63 bytes';
COMMENT ON COLUMN aigc_progress.phase IS 'what it is doing';
COMMENT ON COLUMN aigc_progress.done IS 'steps of the phase that are done, or rows read';
COMMENT ON COLUMN aigc_progress.total IS 'steps of the phase in all; NULL if not known';
COMMENT ON COLUMN aigc_progress.loss IS 'loss of the last step, natural logarithm per token';
COMMENT ON COLUMN aigc_progress.tokens_per_second IS 'speed of the phase: tokens that are learned per second, or events';
COMMENT ON COLUMN aigc_progress.started IS 'when the function began';
COMMENT ON COLUMN aigc_progress.estimated_end IS 'when the phase will end at this speed; NULL if not known';

-- Who may put models into the model directory: superusers, and who is granted this role. It belongs to the cluster, not
-- to the extension: it may be there already, it stays when the extension is dropped, and a dump of the database leads
-- to it through CREATE EXTENSION.
DO $$
BEGIN
    CREATE ROLE aigc_trainer NOLOGIN;
    COMMENT ON ROLE aigc_trainer IS 'may make models with train_model() and finetune_model() of the extension aigc';
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;
END
$$;

CREATE FUNCTION train_model(
    name text,
    query text,
    options jsonb DEFAULT '{}',
    OUT model text,
    OUT texts bigint,
    OUT skipped bigint,
    OUT parameters bigint,
    OUT steps bigint,
    OUT tokens bigint,
    OUT loss float8,
    OUT bits_per_byte float8,
    OUT seconds float8
) RETURNS record
AS 'MODULE_PATHNAME', 'sql_train_model'
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000000000;

COMMENT ON FUNCTION train_model(text, text, jsonb) IS
'trains a model, and a vocabulary, on the texts of a query and puts it into the model directory under a name';

REVOKE ALL ON FUNCTION train_model(text, text, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION train_model(text, text, jsonb) TO aigc_trainer;

CREATE FUNCTION finetune_model(
    name text,
    base text,
    query text,
    options jsonb DEFAULT '{}',
    OUT model text,
    OUT texts bigint,
    OUT skipped bigint,
    OUT cut bigint,
    OUT trained_parameters bigint,
    OUT steps bigint,
    OUT tokens bigint,
    OUT loss float8,
    OUT bits_per_byte_before float8,
    OUT bits_per_byte float8,
    OUT accuracy float8,
    OUT seconds float8
) RETURNS record
AS 'MODULE_PATHNAME', 'sql_finetune_model'
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000000000;

COMMENT ON FUNCTION finetune_model(text, text, text, jsonb) IS
'adapts a model to the texts, responses or preferences of a query and puts the result into the model directory';

REVOKE ALL ON FUNCTION finetune_model(text, text, text, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION finetune_model(text, text, text, jsonb) TO aigc_trainer;

-- ---- end of training ------------------------------------------------------------------------------------------------
