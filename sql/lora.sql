--
-- lora => 'name': an adapter of the model directory beside a model
--
SET aigc.model = 'stories260K';
CREATE TEMP TABLE riddle AS
    SELECT 'What does number ' || i || ' say?' AS prompt, 'It says moo.' AS response FROM generate_series(1, 20) AS i;
SELECT model, trained_parameters FROM finetune_model('regress_lora', 'stories260K',
    'SELECT prompt, response FROM riddle', '{"epochs": 20, "adapter": true, "context": 64, "seed": 1, "replace": true}');
SELECT model FROM finetune_model('regress_merged', 'stories260K',
    'SELECT prompt, response FROM riddle', '{"epochs": 20, "context": 64, "seed": 1, "replace": true}');

-- What was learned is there with the adapter, and only with it.
SELECT generate('What does number 50 say?', lora => 'regress_lora', temperature => 0, max_tokens => 20,
    stop => '{.}') AS adapted;
SELECT generate('What does number 50 say?', temperature => 0, max_tokens => 20, stop => '{.}') LIKE '%moo%' AS plain;
SELECT string_agg(g, '' ORDER BY n) AS streamed FROM generate_stream('What does number 50 say?', temperature => 0,
    max_tokens => 20, stop => '{.}', lora => 'regress_lora') WITH ORDINALITY AS s(g, n);
SELECT rank, text FROM generate_alternatives('What does number 50 say?', 1, temperature => 0, max_tokens => 20,
    stop => '{.}', lora => 'regress_lora.gguf');

-- Beside the model or merged into it, it is the same but for rounding, which halves as keys and values would add to.
SET aigc.kv_type = 'f32';
SELECT abs(a.logprob - m.logprob) < 0.001 AS same, abs(a.logprob - b.logprob) > 1 AS adapted
FROM score_text('What does number 7 say?It says moo.', lora => 'regress_lora') AS a,
    score_text('What does number 7 say?It says moo.', 'regress_merged') AS m,
    score_text('What does number 7 say?It says moo.') AS b;
RESET aigc.kv_type;
SELECT name, loaded FROM aigc_models() WHERE name IN ('regress_lora', 'regress_merged');

-- Refusals
\set VERBOSITY terse
SELECT generate('x', lora => 'no such adapter');
SELECT generate('x', lora => '../regress_lora');
SELECT generate('x', lora => 'stories260K');
SELECT generate('x', 'regress_lora');
