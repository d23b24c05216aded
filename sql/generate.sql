-- The text that another implementation gives for this model at temperature 0, after BOS alone.
SELECT generate('', temperature => 0, max_tokens => 200);
SELECT md5(generate('', temperature => 0, max_tokens => 200)) AS greedy;

-- Arguments by position and by name, with and without their defaults.
SELECT generate('Once upon a time', NULL, 20, 0);
SELECT generate('Once upon a time', temperature => 0, max_tokens => 20);
SELECT generate(prompt => 'Once upon a time', model => 'stories260K', max_tokens => 20, temperature => 0, top_p => 1,
    top_k => 0, min_p => 0, frequency_penalty => 0, presence_penalty => 0, repetition_penalty => 1, stop => '{}',
    seed => NULL);
SELECT generate('Once upon a time', 'stories260K.gguf', temperature => 0, max_tokens => 20);
SELECT length(generate('Once upon a time')) > 0 AS defaults;

-- NULL: no prompt gives no text, no option gives its default.
SELECT generate(NULL) IS NULL AS prompt, generate(NULL, temperature => -1) IS NULL AS not_looked_at;
SELECT generate('Once upon a time', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 5)
    = generate('Once upon a time', seed => 5) AS defaults;

-- Seeds.
SELECT generate('Tom', max_tokens => 20, seed => 1) = generate('Tom', max_tokens => 20, seed => 1) AS same_seed,
    generate('Tom', max_tokens => 20, seed => 1) = generate('Tom', max_tokens => 20, seed => 2) AS other_seed,
    generate('Tom', max_tokens => 20, seed => -1) = generate('Tom', max_tokens => 20, seed => -1) AS negative_seed,
    generate('Tom', max_tokens => 60) = generate('Tom', max_tokens => 60) AS no_seed;
SELECT generate('Tom had', max_tokens => 30, seed => 42);
SELECT generate('Tom had', temperature => 0.7, top_k => 20, top_p => 0.9, min_p => 0.05, max_tokens => 30, seed => 42);
SELECT generate('Tom had', temperature => 0, top_k => 1, top_p => 0.5, max_tokens => 10)
    = generate('Tom had', top_k => 1, max_tokens => 10) AS greedy_both_ways,
    generate('Tom had', temperature => 2, top_p => 0, max_tokens => 10)
    = generate('Tom had', temperature => 0, max_tokens => 10) AS and_by_top_p;

-- Lengths.
SELECT '[' || generate('Once upon a time', max_tokens => 0) || ']' AS nothing;
SELECT '[' || generate('Once upon a time', temperature => 0, max_tokens => 1) || ']' AS one;
SELECT count_tokens('Once upon a time' || generate('Once upon a time', temperature => 0, max_tokens => 100000)) > 100
    AS until_the_context_is_full;

-- Stop strings end the text and are not part of it, also when they begin inside a token.
SELECT '[' || generate('Once upon a time', temperature => 0, max_tokens => 60, stop => '{.}') || ']';
SELECT '[' || generate('Once upon a time', temperature => 0, max_tokens => 60, stop => '{"named Lily", xyz}') || ']';
SELECT '[' || generate('Once upon a time', temperature => 0, max_tokens => 60, stop => '{"ttle gi"}') || ']';
SELECT generate('Once upon a time', temperature => 0, max_tokens => 20, stop => '{}')
    = generate('Once upon a time', temperature => 0, max_tokens => 20, stop => NULL) AS none;

-- Penalties change what is repeated.
SELECT generate('Tom had a red ball', temperature => 0, max_tokens => 60, repetition_penalty => 1.3)
    <> generate('Tom had a red ball', temperature => 0, max_tokens => 60) AS repetition,
    generate('Tom had a red ball', temperature => 0, max_tokens => 60, frequency_penalty => 1)
    <> generate('Tom had a red ball', temperature => 0, max_tokens => 60) AS frequency,
    generate('Tom had a red ball', temperature => 0, max_tokens => 60, presence_penalty => 1)
    <> generate('Tom had a red ball', temperature => 0, max_tokens => 60) AS presence;

-- A row each.
SELECT name, generate(name || ' was', temperature => 0, max_tokens => 8)
FROM (VALUES (1, 'Tom'), (2, 'Lily'), (3, NULL)) AS person (i, name) ORDER BY i;
