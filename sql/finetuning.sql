-- finetune_model(): what it learns, and what it refuses beyond what train_model() does.
CREATE TABLE lesson (id int PRIMARY KEY, question text, answer text, bad text);
INSERT INTO lesson SELECT i, format('What does the %s say?', a[1]), format('It says %s, and then it sleeps.', a[2]),
    format('I do not know what the %s says.', a[1])
FROM generate_series(1, 300) AS i, LATERAL (SELECT (ARRAY['cow', 'dog', 'cat', 'owl'])[1 + i % 4],
    (ARRAY['moo', 'woof', 'meow', 'hoot'])[1 + i % 4]) AS b(x, y), LATERAL (SELECT ARRAY[x, y]) AS c(a);
INSERT INTO lesson VALUES (301, NULL, 'It says nothing.', ''), (302, 'What?', NULL, NULL), (303, '', 'It sleeps.', ''),
    (304, 'Why?', '', 'It sleeps.');

-- Plain texts, into an adapter's weights that are merged, and into all weights.
SELECT model, texts, skipped, cut, trained_parameters, steps, tokens, bits_per_byte < bits_per_byte_before * 0.5 AS better,
    accuracy
FROM finetune_model('regress_tuned', 'stories260K', 'SELECT answer FROM lesson ORDER BY id',
    '{"steps": 30, "lora_rank": 4, "context": 64, "replace": true}');
SELECT t.logprob > b.logprob AS more_probable
FROM score_text('It says hoot, and then it sleeps.', 'regress_tuned') AS t,
    score_text('It says hoot, and then it sleeps.', 'stories260K') AS b;
SELECT m.architecture, m.parameters, m.quantisation, m.context, m.error FROM aigc_models() AS m
WHERE name = 'regress_tuned';
SELECT trained_parameters, bits_per_byte < bits_per_byte_before * 0.5 AS better
FROM finetune_model('regress_tuned', 'stories260K', 'SELECT answer FROM lesson ORDER BY id',
    '{"steps": 30, "full": true, "lr": 1e-3, "context": 64, "type": "Q8_0", "replace": true}');
SELECT quantisation FROM aigc_models() WHERE name = 'regress_tuned';

-- Responses: columns by name, in any order.
SELECT texts, skipped, bits_per_byte < bits_per_byte_before * 0.5 AS better
FROM finetune_model('regress_tuned', 'stories260K', $$SELECT answer AS response, question || E'\n' AS prompt FROM lesson
    ORDER BY id$$, '{"steps": 60, "lr": 5e-3, "context": 64, "replace": true}');
SELECT generate(E'What does the cow say?\n', model => 'regress_tuned', temperature => 0, stop => '{.}');

-- Preferences
SELECT texts, skipped, bits_per_byte, accuracy > 0.9 AS preferred
FROM finetune_model('regress_tuned', 'stories260K', $$SELECT question AS prompt, answer AS chosen, bad AS rejected
    FROM lesson ORDER BY id$$, '{"steps": 20, "context": 64, "dpo_beta": 0.2, "replace": true}');
SELECT t.logprob - b.logprob > 0 AS good_gained, u.logprob - c.logprob < t.logprob - b.logprob AS bad_gained_less
FROM score_text('What does the owl say?It says hoot, and then it sleeps.', 'regress_tuned') AS t,
    score_text('What does the owl say?It says hoot, and then it sleeps.', 'stories260K') AS b,
    score_text('What does the owl say?I do not know what the owl says.', 'regress_tuned') AS u,
    score_text('What does the owl say?I do not know what the owl says.', 'stories260K') AS c;

-- An adapter
SELECT model, trained_parameters, steps FROM finetune_model('regress_adapter', 'stories260K',
    'SELECT answer FROM lesson ORDER BY id', '{"epochs": 0.5, "adapter": true, "context": 64, "replace": true}');
SELECT parameters FROM aigc_models() WHERE name = 'regress_adapter';

-- Refusals
SELECT finetune_model('x', 'stories260K', NULL);
SELECT finetune_model('x', NULL, 'SELECT answer FROM lesson');
SELECT finetune_model(NULL, 'stories260K', 'SELECT answer FROM lesson');
SELECT finetune_model('regress_tuned', 'stories260K', 'SELECT answer FROM lesson');
SELECT finetune_model('x', '../stories260K', 'SELECT answer FROM lesson');
\set VERBOSITY terse
SELECT finetune_model('x', 'no such model', 'SELECT answer FROM lesson');
SELECT finetune_model('x', 'regress_adapter', 'SELECT answer FROM lesson');
\set VERBOSITY default
SELECT finetune_model('x', 'stories260K', 'SELECT answer FROM lesson', '{"full": true, "adapter": true}');
SELECT finetune_model('x', 'stories260K', 'SELECT answer FROM lesson', '{"adapter": true, "type": "F16"}');
SELECT finetune_model('x', 'stories260K', 'SELECT answer FROM lesson', '{"lora_rank": 0}');
SELECT finetune_model('x', 'stories260K', 'SELECT answer FROM lesson', '{"optimizer": "sgd"}');
SELECT finetune_model('x', 'stories260K', 'SELECT answer FROM lesson', '{"steps": 1, "epochs": 1}');
SELECT finetune_model('x', 'stories260K', 'SELECT answer FROM lesson', '{"layers": 2}');
SELECT finetune_model('x', 'stories260K', 'SELECT question, answer FROM lesson');
SELECT finetune_model('x', 'stories260K', 'SELECT question AS prompt, id AS response FROM lesson');
SELECT finetune_model('x', 'stories260K', 'SELECT question AS prompt, answer AS prompt FROM lesson');
SELECT finetune_model('x', 'stories260K', 'SELECT answer FROM lesson WHERE id > 1000');
SELECT name FROM aigc_models() WHERE name = 'x';
DROP TABLE lesson;
