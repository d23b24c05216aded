-- train_model(): arguments, and what it refuses. Nothing here depends on the processor's arithmetic: OpenBLAS sums in an
-- order of its own on each, so a model's text is compared only with that of the same model.
CREATE TABLE fox (id int PRIMARY KEY, body text);
INSERT INTO fox SELECT i, format('The %s fox jumps over the %s dog. Then it sleeps until noon.',
    (ARRAY['red', 'blue', 'small'])[1 + i % 3], (ARRAY['lazy', 'old', 'big', 'good'])[1 + i % 4])
FROM generate_series(1, 400) AS i;
INSERT INTO fox VALUES (0, NULL), (401, ''), (402, NULL);

\set model '''regress_fox'''
SELECT model, texts, skipped, parameters, steps, tokens, loss BETWEEN 0 AND 2 AS learned,
    bits_per_byte BETWEEN 0 AND 1 AS held_out, seconds > 0 AS timed
FROM train_model(:model, 'SELECT body FROM fox ORDER BY id', '{"steps": 40, "layers": 1, "width": 32, "heads": 2,
    "context": 32, "batch": 16, "lr": 0.02, "vocab": 300, "seed": 7, "replace": true}');
SELECT architecture, parameters, quantisation, context, error FROM aigc_models() WHERE name = :model;
SELECT bits_per_byte < 1 AS known FROM score_text('The small fox jumps over the old dog.', :model);
SELECT bits_per_byte > 2 AS unknown FROM score_text('SELECT count(*) FROM pg_class', :model);
SELECT generate('The red', model => :model, temperature => 0, max_tokens => 8) AS first \gset

-- The same options and texts give the same model; the vocabulary of a model can be used again; types are written.
SELECT skipped, quantisation FROM train_model(:model, 'SELECT body FROM fox ORDER BY id', '{"steps": 40, "layers": 1,
    "width": 32, "heads": 2, "context": 32, "batch": 16, "lr": 0.02, "vocab": 300, "seed": 7, "replace": true}') AS t,
    aigc_models() AS m WHERE m.name = :model;
SELECT generate('The red', model => :model, temperature => 0, max_tokens => 8) = :'first' AS same;
CREATE VIEW fox_body AS SELECT body FROM fox;
SELECT parameters, bits_per_byte IS NULL AS nothing_held_out FROM train_model(:model, 'TABLE fox_body',
    '{"steps": 2, "tokenizer": "regress_fox", "arch": "gpt2", "layers": 1, "width": 32, "heads": 2, "context": 32, "batch": 2,
    "type": "Q8_0", "valid": 0, "precision": "bf16", "dropout": 0.1, "optimizer": "muon", "description": "a fox",
    "license": "CC0-1.0", "chat_template": "{{ messages }}", "replace": true}');
SELECT architecture, quantisation FROM aigc_models() WHERE name = :model;
SELECT steps FROM train_model(:model, 'VALUES (''One line, and no more than that.'')', '{"minutes": 0.01, "layers": 1,
    "width": 32, "heads": 2, "context": 8, "batch": 1, "valid": null, "replace": true}') WHERE steps < 1;

-- Names
SELECT train_model(:model, 'TABLE fox_body', '{"steps": 1}');
SELECT train_model('', 'TABLE fox_body', '{"steps": 1}');
SELECT train_model('../fox', 'TABLE fox_body', '{"steps": 1}');
SELECT train_model('.fox', 'TABLE fox_body', '{"steps": 1}');
SELECT train_model(E'fo\nx', 'TABLE fox_body', '{"steps": 1}');
SELECT train_model(repeat('x', 300), 'TABLE fox_body', '{"steps": 1}');
SELECT train_model(NULL, 'TABLE fox_body', '{"steps": 1}');
SELECT train_model('fox', NULL, '{"steps": 1}');

-- Options
SELECT train_model('fox', 'TABLE fox_body');
SELECT train_model('fox', 'TABLE fox_body', NULL);
SELECT train_model('fox', 'TABLE fox_body', '{"steps": 1, "minutes": 1}');
SELECT train_model('fox', 'TABLE fox_body', '{"stepz": 1}');
SELECT train_model('fox', 'TABLE fox_body', '[1, 2]');
SELECT train_model('fox', 'TABLE fox_body', '5');
SELECT train_model('fox', 'TABLE fox_body', '{"steps": "many"}');
SELECT train_model('fox', 'TABLE fox_body', '{"steps": 1.5}');
SELECT train_model('fox', 'TABLE fox_body', '{"steps": 0}');
SELECT train_model('fox', 'TABLE fox_body', '{"steps": 1e400}');
SELECT train_model('fox', 'TABLE fox_body', '{"minutes": {"a": [1]}}');
SELECT train_model('fox', 'TABLE fox_body', '{"steps": 1, "lr": -1}');
SELECT train_model('fox', 'TABLE fox_body', '{"steps": 1, "replace": "yes"}');
SELECT train_model('fox', 'TABLE fox_body', '{"steps": 1, "type": 8}');
SELECT train_model('fox', 'TABLE fox_body', '{"steps": 1, "type": "Q9"}');
SELECT train_model('fox', 'TABLE fox_body', '{"steps": 1, "arch": "rnn"}');
SELECT train_model('fox', 'TABLE fox_body', '{"steps": 1, "heads": 3}');
SELECT train_model('fox', 'TABLE fox_body', '{"steps": 1, "schedule": "linear"}');
SELECT train_model('fox', 'TABLE fox_body', '{"steps": 1, "precision": 16}');
SELECT train_model('fox', 'TABLE fox_body', '{"steps": 1, "vocab": 10}');
SELECT train_model('fox', 'TABLE fox_body', '{"steps": 1, "seed": -1}');
SELECT train_model('fox', 'TABLE fox_body', '{"steps": 1, "vocab": 300, "tokenizer": "stories260K"}');
SELECT train_model('fox', 'TABLE fox_body', '{"steps": 1, "tokenizer": "../stories260K"}');
SET aigc.training_memory = '1MB';
\set VERBOSITY sqlstate
SELECT train_model('fox', 'TABLE fox_body', '{"steps": 1, "layers": 8, "width": 512}');
\set VERBOSITY default
RESET aigc.training_memory;

-- Queries
SELECT train_model('fox', '', '{"steps": 1}');
SELECT train_model('fox', 'SELEC body FROM fox', '{"steps": 1}');
SELECT train_model('fox', 'SELECT nothing FROM fox', '{"steps": 1}');
SELECT train_model('fox', 'SELECT body FROM fox WHERE false', '{"steps": 1}');
SELECT train_model('fox', 'SELECT body FROM fox WHERE body IS NULL', '{"steps": 1}');
SELECT train_model('fox', 'SELECT id FROM fox', '{"steps": 1}');
SELECT train_model('fox', 'SELECT id, body FROM fox', '{"steps": 1}');
SELECT train_model('fox', 'SELECT FROM fox', '{"steps": 1}');
SELECT train_model('fox', 'SELECT body FROM fox; DROP TABLE fox', '{"steps": 1}');
SELECT train_model('fox', 'DELETE FROM fox RETURNING body', '{"steps": 1}');
SELECT train_model('fox', 'WITH gone AS (DELETE FROM fox RETURNING body) SELECT body FROM gone', '{"steps": 1}');
SELECT train_model('fox', 'COPY fox TO STDOUT', '{"steps": 1}');
SELECT train_model('fox', 'SELECT 1/0 || body FROM fox', '{"steps": 1}');
CREATE FUNCTION shoot(text) RETURNS text LANGUAGE sql AS $$ DELETE FROM fox RETURNING body $$;
SELECT train_model('fox', 'SELECT shoot(body) FROM fox', '{"steps": 1}');
SELECT train_model('fox', $$SELECT set_config('transaction_read_only', 'off', true) || shoot(body) FROM fox$$,
    '{"steps": 1}');
SELECT train_model('fox', $$SELECT train_model('vixen', 'TABLE fox_body', '{"steps": 1}')::text$$, '{"steps": 1}');
BEGIN TRANSACTION READ ONLY;
SELECT train_model('fox', 'TABLE fox_body', '{"steps": 1}');
ROLLBACK;

-- The transaction can write again afterwards, also after an error that a savepoint caught.
BEGIN;
SELECT loss > 0 AS trained FROM train_model(:model, 'TABLE fox_body', '{"steps": 1, "layers": 1, "width": 32, "heads": 2,
    "context": 8, "batch": 1, "vocab": 300, "replace": true}');
DELETE FROM fox WHERE id = 0;
DO $$ BEGIN
    PERFORM train_model('fox', 'SELECT shoot(body) FROM fox', '{"steps": 1}');
EXCEPTION WHEN read_only_sql_transaction THEN
    DELETE FROM fox WHERE id = 402;
END $$;
COMMIT;
SELECT count(*) FROM fox;

-- drop_model()
SELECT drop_model(:model);
\set VERBOSITY terse
SELECT drop_model(:model);
\set VERBOSITY default
SELECT drop_model(:model, if_exists => true);
SELECT drop_model('aigc-base');
SELECT drop_model('aigc-base.gguf', true);
SELECT drop_model('../fox');
SELECT drop_model('/etc/passwd', true);
SELECT drop_model(NULL);
SET aigc.model = 'stories260K';
SELECT drop_model('stories260K');
RESET aigc.model;
BEGIN TRANSACTION READ ONLY;
SELECT drop_model('fox');
ROLLBACK;

-- Nothing was left, and nobody trains any more.
SELECT name FROM aigc_models() WHERE name ~ '^(fox|vixen)';
SELECT * FROM aigc_progress;
DROP FUNCTION shoot;
DROP VIEW fox_body;
DROP TABLE fox;
