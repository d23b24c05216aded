/* pg_ext/aigc--0.1.sql */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION aigc" to load this file. \quit

-- Generation. The options stand in the same order in all three functions; NULL means an option's default: for model,
-- max_tokens and seed the setting of that name; for temperature, top_p, top_k, min_p and repetition_penalty what the
-- model's file recommends, or else 1, 1, 0, 0 and 1. What is drawn is random, so the functions are
-- VOLATILE; they keep a model, its keys and values and its threads in the session, so a parallel worker would have to
-- take all that again: PARALLEL RESTRICTED. Costs are in operator calls, of which a token takes many.

CREATE FUNCTION generate(
    prompt text,
    model text DEFAULT NULL,
    max_tokens int DEFAULT NULL,
    temperature float8 DEFAULT NULL,
    top_p float8 DEFAULT NULL,
    top_k int DEFAULT NULL,
    min_p float8 DEFAULT NULL,
    frequency_penalty float8 DEFAULT 0,
    presence_penalty float8 DEFAULT 0,
    repetition_penalty float8 DEFAULT NULL,
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
    temperature float8 DEFAULT NULL,
    top_p float8 DEFAULT NULL,
    top_k int DEFAULT NULL,
    min_p float8 DEFAULT NULL,
    frequency_penalty float8 DEFAULT 0,
    presence_penalty float8 DEFAULT 0,
    repetition_penalty float8 DEFAULT NULL,
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
    temperature float8 DEFAULT NULL,
    top_p float8 DEFAULT NULL,
    top_k int DEFAULT NULL,
    min_p float8 DEFAULT NULL,
    frequency_penalty float8 DEFAULT 0,
    presence_penalty float8 DEFAULT 0,
    repetition_penalty float8 DEFAULT NULL,
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

CREATE FUNCTION embed(text text, model text DEFAULT NULL) RETURNS real[]
AS 'MODULE_PATHNAME', 'sql_embed'
LANGUAGE C STABLE PARALLEL RESTRICTED COST 100000;

COMMENT ON FUNCTION embed(text, text) IS
'what a text is about, as a vector of length 1: the mean of a model''s last states over its tokens';

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
'sessions that train a model, refresh a recommender or rank for all users, and how far they are; NULL where one may not see it';
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
    COMMENT ON ROLE aigc_trainer IS 'may make and drop models with train_model(), finetune_model() and drop_model() of the extension aigc';
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

CREATE FUNCTION drop_model(name text, if_exists boolean DEFAULT false) RETURNS void
AS 'MODULE_PATHNAME', 'sql_drop_model'
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000;

COMMENT ON FUNCTION drop_model(text, boolean) IS
'removes a model from the model directory; sessions that generate with it finish what they have begun';

REVOKE ALL ON FUNCTION drop_model(text, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION drop_model(text, boolean) TO aigc_trainer;

-- ---- end of training ------------------------------------------------------------------------------------------------

-- ---- recommendation: create_recommender(), recommend() and their kind -----------------------------------------------
--
-- What people set up is kept in tables of the extension, which nobody but its owner can touch: the functions below read
-- and write them. Definitions and feedback are dumped; models are not, like the contents of indexes: refresh_recommender()
-- makes them again.

CREATE TABLE aigc_recommender (
    name text PRIMARY KEY,
    owner name NOT NULL,
    items regclass,
    item_id text,
    item_text text[] NOT NULL,
    item_tags text[] NOT NULL,
    item_attributes text[] NOT NULL,
    item_time text,
    item_embedding text,
    events regclass,
    event_user text,
    event_item text,
    event_weight text,
    event_time text,
    users regclass,
    user_id text,
    user_attributes text[] NOT NULL,
    options jsonb NOT NULL,
    created timestamptz NOT NULL DEFAULT pg_catalog.now()
);
REVOKE ALL ON aigc_recommender FROM PUBLIC;

COMMENT ON TABLE aigc_recommender IS
'recommenders: the tables and columns that each of them reads; create_recommender() and drop_recommender() write here';

CREATE TABLE aigc_recommender_model (
    recommender text PRIMARY KEY REFERENCES aigc_recommender ON DELETE CASCADE,
    id bigint NOT NULL UNIQUE,
    refreshed timestamptz NOT NULL,
    fitted timestamptz NOT NULL,
    bytes bigint NOT NULL,
    items bigint NOT NULL,
    news text NOT NULL,
    marker bigint NOT NULL,
    summary jsonb NOT NULL
);
REVOKE ALL ON aigc_recommender_model FROM PUBLIC;

COMMENT ON TABLE aigc_recommender_model IS
'what each recommender has learned: one row for its model, written by refresh_recommender()';

CREATE TABLE aigc_recommender_chunk (
    model bigint NOT NULL REFERENCES aigc_recommender_model (id) ON DELETE CASCADE,
    part int NOT NULL,
    data bytea NOT NULL,
    PRIMARY KEY (model, part)
);
ALTER TABLE aigc_recommender_chunk ALTER COLUMN data SET STORAGE EXTERNAL;
REVOKE ALL ON aigc_recommender_chunk FROM PUBLIC;

COMMENT ON TABLE aigc_recommender_chunk IS
'the bytes of models, in parts';

CREATE TABLE aigc_feedback (
    recommender text NOT NULL,
    user_key text,
    item text NOT NULL,
    value float8 NOT NULL,
    recorded_by name NOT NULL,
    at timestamptz NOT NULL
);
CREATE INDEX aigc_feedback_user ON aigc_feedback (recommender, user_key);
REVOKE ALL ON aigc_feedback FROM PUBLIC;

COMMENT ON TABLE aigc_feedback IS
'what record_feedback() was told: events of recommenders, beside those of their event tables';

-- A row whose table is gone has nothing to be restored to.
SELECT pg_catalog.pg_extension_config_dump('aigc_recommender', $$WHERE NOT EXISTS (
    SELECT FROM (VALUES (items), (events), (users)) AS t (relation)
    WHERE relation IS NOT NULL AND NOT EXISTS (SELECT FROM pg_catalog.pg_class AS c WHERE c.oid = relation))$$);
SELECT pg_catalog.pg_extension_config_dump('aigc_feedback', '');

CREATE FUNCTION create_recommender(
    name text,
    items regclass DEFAULT NULL,
    item_id text DEFAULT NULL,
    item_text text[] DEFAULT '{}',
    item_tags text[] DEFAULT '{}',
    item_attributes text[] DEFAULT '{}',
    item_time text DEFAULT NULL,
    item_embedding text DEFAULT NULL,
    events regclass DEFAULT NULL,
    event_user text DEFAULT NULL,
    event_item text DEFAULT NULL,
    event_weight text DEFAULT NULL,
    event_time text DEFAULT NULL,
    users regclass DEFAULT NULL,
    user_id text DEFAULT NULL,
    user_attributes text[] DEFAULT '{}',
    options jsonb DEFAULT '{}'
) RETURNS void
AS 'MODULE_PATHNAME', 'sql_create_recommender'
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000;

COMMENT ON FUNCTION create_recommender(text, regclass, text, text[], text[], text[], text, text, regclass, text, text,
    text, text, regclass, text, text[], jsonb) IS
'names a catalogue, the events on it and its users, so that recommend() can rank the catalogue for a person';

CREATE FUNCTION drop_recommender(name text, if_exists boolean DEFAULT false) RETURNS void
AS 'MODULE_PATHNAME', 'sql_drop_recommender'
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000;

COMMENT ON FUNCTION drop_recommender(text, boolean) IS
'forgets a recommender, its model and its feedback; tables that it reads are left alone';

CREATE FUNCTION recommenders(OUT name text, OUT owner name, OUT items regclass, OUT events regclass,
    OUT users regclass, OUT refreshed timestamptz, OUT bytes bigint, OUT summary jsonb, OUT error text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'sql_recommenders'
LANGUAGE C STABLE PARALLEL RESTRICTED COST 1000 ROWS 10;

COMMENT ON FUNCTION recommenders() IS
'recommenders whose tables the caller may read, when they were refreshed, and what keeps one from being used';


CREATE FUNCTION refresh_recommender(name text, "full" boolean DEFAULT NULL) RETURNS jsonb
AS 'MODULE_PATHNAME', 'sql_refresh_recommender'
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000000;

COMMENT ON FUNCTION refresh_recommender(text, boolean) IS
'learns a recommender''s tables: all of them (full), or only what is new (not full), or what is worth while (NULL)';

CREATE FUNCTION recommend(
    profile jsonb,
    recommender text DEFAULT NULL,
    k int DEFAULT NULL,
    write text DEFAULT NULL,
    model text DEFAULT NULL
) RETURNS TABLE (rank int, item text, score float8, reasons jsonb, content text)
AS 'MODULE_PATHNAME', 'sql_recommend'
LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 100000 ROWS 10;

COMMENT ON FUNCTION recommend(jsonb, text, int, text, text) IS
'the items of a catalogue that suit a person best, with reasons, and with a text for each of them if write is a prompt';

CREATE FUNCTION recommend_all(
    recommender text DEFAULT NULL,
    k int DEFAULT NULL,
    users text[] DEFAULT NULL,
    profile jsonb DEFAULT '{}'
) RETURNS TABLE (user_key text, rank int, item text, score float8)
AS 'MODULE_PATHNAME', 'sql_recommend_all'
LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 1000000 ROWS 100000;

COMMENT ON FUNCTION recommend_all(text, int, text[], jsonb) IS
'what recommend() says to each user who has events, or to each of the users given; profile holds for all of them';

CREATE FUNCTION explain_recommendation(profile jsonb, item text, recommender text DEFAULT NULL,
    OUT reason text, OUT about text, OUT share float8, OUT sentence text) RETURNS SETOF record
AS 'MODULE_PATHNAME', 'sql_explain_recommendation'
LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 100000 ROWS 5;

COMMENT ON FUNCTION explain_recommendation(jsonb, text, text) IS
'what an item''s score for a person is made of, the largest share first';

CREATE FUNCTION similar_items(to_item text, recommender text DEFAULT NULL, k int DEFAULT 10)
RETURNS TABLE (rank int, item text, score float8)
AS 'MODULE_PATHNAME', 'sql_similar_items'
LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 100000 ROWS 10;

COMMENT ON FUNCTION similar_items(text, text, int) IS
'items that the same people like and that have the same content, the most similar first';

CREATE FUNCTION evaluate_recommender(name text, options jsonb DEFAULT '{}')
RETURNS TABLE (ranking text, k int, recall float8, ndcg float8, ndcg_error float8, coverage float8, users int)
AS 'MODULE_PATHNAME', 'sql_evaluate_recommender'
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000000 ROWS 20;

COMMENT ON FUNCTION evaluate_recommender(text, jsonb) IS
'how well a recommender finds events that it has not seen, beside popularity; the model in use is left alone';

CREATE FUNCTION record_feedback(profile jsonb, item text, value float8 DEFAULT 1, recommender text DEFAULT NULL)
RETURNS void
AS 'MODULE_PATHNAME', 'sql_record_feedback'
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000;

COMMENT ON FUNCTION record_feedback(jsonb, text, float8, text) IS
'notes that somebody liked (above 0) or disliked (below 0) an item: an event for recommenders without a table of events';

-- ---- end of recommendation ------------------------------------------------------------------------------------------
