-- The recipes of docs/postgresql.md.
CREATE TABLE article (id int PRIMARY KEY, title text, body text);
INSERT INTO article VALUES (1, 'Tom had', repeat('Tom had a red ball. ', 100)), (2, 'Lily saw', 'Lily saw a dog.'),
    (3, 'One day', NULL);
SET aigc.seed = 1;

SELECT id, count_tokens(body) AS tokens FROM article WHERE count_tokens(body) > 300;
SELECT id, s.tokens FROM article, LATERAL score_text(title) AS s ORDER BY s.perplexity DESC, id;
SELECT count(*) FROM generate_alternatives('Dear Sir or Madam,', 5, temperature => 0.8, max_tokens => 10);

-- Keep a text.
CREATE TABLE teaser (article_id int PRIMARY KEY REFERENCES article, text text);
INSERT INTO teaser SELECT id, generate(title || E'\n\n', max_tokens => 4, temperature => 0.3, stop => E'{"\n"}')
FROM article WHERE id = 1 ON CONFLICT DO NOTHING;

-- Without one long transaction.
DO $$
DECLARE a record;
BEGIN
    FOR a IN SELECT id, title FROM article WHERE id NOT IN (SELECT article_id FROM teaser) LOOP
        INSERT INTO teaser VALUES (a.id, generate(a.title || E'\n\n', max_tokens => 4));
        COMMIT;
    END LOOP;
END $$;
SELECT count(*), count(text) FROM teaser;

-- Choose among fixed answers.
SELECT label FROM unnest('{dog,cat,politics}'::text[]) AS label
ORDER BY (score_text('Once upon a time, there was a little ' || label)).logprob DESC LIMIT 1;

-- Cut a text to what fits.
SELECT id, generate(detokenize((tokenize(body))[1:300]) || E'\nIn short:', max_tokens => 3) IS NOT NULL AS generated
FROM article ORDER BY id;

-- Go on after errors.
CREATE FUNCTION try_generate(prompt text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN generate(prompt);
EXCEPTION WHEN program_limit_exceeded THEN
    RETURN NULL;
END $$;
SELECT id, try_generate(body) IS NULL AS too_long FROM article WHERE body IS NOT NULL ORDER BY id;

DROP FUNCTION try_generate(text);
DROP TABLE teaser, article;
RESET aigc.seed;
