-- Tokens, with the model's BOS as generate() puts it before a prompt.
SELECT tokenize('Tom had a red ball');
SELECT count_tokens('Tom had a red ball'), count_tokens(''), tokenize('');
SELECT tokenize('Once', 'stories260K') = tokenize('Once') AS model_by_name,
    tokenize('Once', NULL) = tokenize('Once') AS by_default;
SELECT tokenize(NULL) IS NULL AS text, count_tokens(NULL) IS NULL AS counted, detokenize(NULL) IS NULL AS tokens;

-- Back again, in every script.
SELECT t, detokenize(tokenize(t)) = t AS same, count_tokens(t) = cardinality(tokenize(t)) AS counted
FROM (VALUES ('Tom had a red ball'), ('  two spaces, and a tab	'), (E'lines\nand\n\nlines'), (''),
    ('grüße'), ('日本語'),
    ('🙂 and 👩‍👩‍👧'), ('Ω≈ç√∫'), ('مرحبا')) AS sample (t);
SELECT detokenize('{}') = '' AS nothing, detokenize('{1}') = '' AS bos;
SELECT detokenize('[5:7]={1,274,287}'::int[]) = detokenize('{1,274,287}') AS other_lower_bound;

-- How probable a text is.
SELECT tokens, round(logprob::numeric, 3) AS logprob, round(perplexity::numeric, 3) AS perplexity,
    round(bits_per_byte::numeric, 3) AS bits_per_byte
FROM score_text('Once upon a time, there was a little girl named Lily.');
SELECT (score_text('Once upon a time, there was a little girl')).perplexity
    < (score_text('girl little a was there time a upon Once')).perplexity AS likes_order;
SELECT * FROM score_text('');
SELECT * FROM score_text(NULL);
SELECT abs(perplexity - exp(-logprob / tokens)) < 1e-9 AS perplexity,
    abs(bits_per_byte + logprob / ln(2) / octet_length('Tom had a red ball')) < 1e-9 AS bits
FROM score_text('Tom had a red ball');
SELECT score_text('Tom had') = score_text('Tom had', 'stories260K') AS reproducible;

-- What a text is about.
SELECT array_length(embed('Tom had a red ball'), 1) AS dimensions, (SELECT round(sum(x * x)::numeric, 4) AS square
    FROM unnest(embed('Tom had a red ball')) AS x);
SELECT embed('') IS NULL AS empty, embed(NULL) IS NULL AS null, embed('Tom') = embed('Tom', 'stories260K') AS by_default;
SELECT array_length(embed(repeat('Tom had a red ball. ', 500)), 1) AS longer_than_the_context;
SET aigc.threads = 1;
CREATE TEMP TABLE one AS SELECT embed('Tom had a red ball') AS vector;
SET aigc.threads = 3;
SELECT vector = embed('Tom had a red ball') AS reproducible FROM one;
RESET aigc.threads;

-- Models.
SELECT name, architecture, parameters, quantisation, context, bytes, loaded, error FROM aigc_models()
WHERE name = 'stories260K';
