-- One request with n alternatives. Rank 1 has the highest log-probability per token.
SELECT rank, text, logprob <= 0 AS log_of_a_probability
FROM generate_alternatives('Once upon a time', 3, max_tokens => 12, seed => 1);
SELECT array_agg(rank ORDER BY logprob / count_tokens('Tom' || text) DESC) = '{1,2,3,4,5,6}' AS by_mean
FROM generate_alternatives('Tom', 6, max_tokens => 10, seed => 8, temperature => 1.5);
SELECT count(*), count(DISTINCT rank), min(rank), max(rank)
FROM generate_alternatives('Once upon a time', 32, max_tokens => 4, seed => 1);
SELECT count(*) AS default_n FROM generate_alternatives('Once upon a time', max_tokens => 1);
SELECT count(*) AS null_n FROM generate_alternatives('Once upon a time', NULL, max_tokens => 1);

-- The same as without neighbours in the batch: reproducible, and the first one is generate()'s.
SELECT a = b AS reproducible
FROM (SELECT array_agg(t ORDER BY rank)
        FROM generate_alternatives('Tom', 5, max_tokens => 20, seed => 3) AS t) AS x (a),
    (SELECT array_agg(t ORDER BY rank)
        FROM generate_alternatives('Tom', 5, max_tokens => 20, seed => 3) AS t) AS y (b);
SELECT generate('Tom', max_tokens => 20, seed => 3)
    IN (SELECT text FROM generate_alternatives('Tom', 5, max_tokens => 20, seed => 3)) AS one_is_generate;
SELECT text = generate('Tom', temperature => 0, max_tokens => 20) AS greedy
FROM generate_alternatives('Tom', 2, temperature => 0, max_tokens => 20);

-- The log-probability is that of the text, as score_text() finds it.
SELECT abs(logprob - ((score_text('Once upon a time' || text)).logprob - (score_text('Once upon a time')).logprob))
    < 0.01 AS agrees
FROM generate_alternatives('Once upon a time', 1, temperature => 0, max_tokens => 8);

SELECT count(*) AS no_prompt FROM generate_alternatives(NULL, 3);
SELECT rank, '[' || text || ']' AS text, logprob FROM generate_alternatives('Once', 2, max_tokens => 0);
