-- The pieces of a stream are the text.
SELECT string_agg(piece, '' ORDER BY i) = generate('Once upon a time', temperature => 0, max_tokens => 50) AS same,
    count(*) BETWEEN 20 AND 50 AS in_pieces
FROM generate_stream('Once upon a time', temperature => 0, max_tokens => 50) WITH ORDINALITY AS s (piece, i);
SELECT string_agg(piece, '' ORDER BY i) = generate('Tom', max_tokens => 40, seed => 9) AS same
FROM generate_stream('Tom', max_tokens => 40, seed => 9) WITH ORDINALITY AS s (piece, i);
SELECT string_agg(piece, '' ORDER BY i) AS until_stop
FROM generate_stream('Once upon a time', temperature => 0, stop => '{" named Lily"}') WITH ORDINALITY AS s (piece, i);
SELECT count(*) AS empty_pieces FROM generate_stream('Tom', max_tokens => 40, seed => 9) AS piece WHERE piece = '';
SELECT count(*) AS no_prompt FROM generate_stream(NULL);
SELECT count(*) AS no_tokens FROM generate_stream('Tom', max_tokens => 0);

-- A cursor computes what it is asked for.
BEGIN;
DECLARE story CURSOR FOR SELECT generate_stream('Once upon a time', temperature => 0, max_tokens => 12);
FETCH 1 FROM story;
FETCH 2 FROM story;
FETCH ALL FROM story;
FETCH 1 FROM story;
COMMIT;

-- Two at once, and one left in the middle.
BEGIN;
DECLARE a CURSOR FOR SELECT generate_stream('Once upon a time', temperature => 0, max_tokens => 6);
DECLARE b CURSOR FOR SELECT generate_stream('Tom had a red ball', temperature => 0, max_tokens => 6);
FETCH 2 FROM a;
FETCH 2 FROM b;
CLOSE a;
FETCH 2 FROM b;
SAVEPOINT s;
SELECT 1 / 0;
ROLLBACK TO s;
FETCH 1 FROM b;
ROLLBACK;

-- Beside other set-returning functions, for several prompts, and cut short.
SELECT generate_stream('Once upon a time', temperature => 0, max_tokens => 3) AS piece, generate_series(1, 2) AS i;
SELECT prompt, string_agg(piece, '' ORDER BY i) AS answer
FROM (VALUES ('Tom had'), ('Lily saw')) AS p (prompt),
    LATERAL generate_stream(prompt, temperature => 0, max_tokens => 8) WITH ORDINALITY AS s (piece, i)
GROUP BY prompt ORDER BY prompt;
SELECT generate_stream('Once upon a time', temperature => 0) AS piece LIMIT 2;
