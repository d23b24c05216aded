-- Recommendations for everybody: what recommend() says to each, to the last bit. The tables are those of catalogue.sql.
\set SHOW_CONTEXT never
SELECT create_recommender('articles', items => 'articles', item_text => '{title,body}', item_tags => '{tags}',
    item_attributes => '{city}', item_time => 'published', events => 'reads', event_user => 'user_id',
    event_item => 'article_id', event_weight => 'seconds', event_time => 'at', users => 'people',
    user_attributes => '{age,city}');
SELECT * FROM recommend_all();
SELECT refresh_recommender('articles')->'items' AS items;
SELECT count(*), count(DISTINCT user_key) = (SELECT count(DISTINCT user_id) FROM reads) AS all_readers,
    max(rank) FROM recommend_all();

-- One by one, in the same order, with the same scores.
CREATE FUNCTION differences(k int, profile jsonb, users text[] DEFAULT NULL, recommender text DEFAULT 'articles')
RETURNS TABLE (compared bigint, different bigint) LANGUAGE SQL AS $$
    WITH together AS MATERIALIZED (SELECT * FROM recommend_all(recommender, k, users, profile)),
        asked AS (SELECT DISTINCT t.user_key FROM together AS t),
        alone AS (SELECT a.user_key, r.rank, r.item, r.score FROM asked AS a, LATERAL
            recommend(profile || jsonb_build_object('user', a.user_key), recommender, k) AS r)
    SELECT count(*), count(*) FILTER (WHERE t IS DISTINCT FROM a)
    FROM together AS t FULL JOIN alone AS a ON a.user_key = t.user_key AND a.rank = t.rank
$$;
SELECT * FROM differences(10, '{}');
SELECT * FROM differences(3, '{"interests": {"music": 2, "bees": 0.5}, "diversity": 0.6}');
SELECT * FROM differences(5, '{"likes": [15], "dislikes": [34], "exclude": [16], "city": "Tokyo", "seed": 3}');
SELECT * FROM differences(1000, '{"exclude_seen": false}');
SELECT * FROM differences(5, '{"among": [1, 2, 3, 29, 40, 999]}');

-- For some: in the order in which they are named, each once, known or not. Everybody comes in the order of their keys.
SELECT string_agg(user_key, ' ' ORDER BY o) FROM recommend_all(users => '{17,42,5,17,123456}', k => 1)
    WITH ORDINALITY AS r (user_key, rank, item, score, o);
SELECT * FROM differences(10, '{}', '{17,42,5,123456,-1}');
SELECT count(*) FROM recommend_all(users => '{}');
SELECT bool_and(rising) FROM (SELECT user_key::int >= lag(user_key::int) OVER (ORDER BY o) AS rising
    FROM recommend_all(k => 1) WITH ORDINALITY AS r (user_key, rank, item, score, o)) AS r;
SELECT (SELECT count(*) FROM recommend_all(k => 2, users => '{1}', profile => '{"k": 3}')) AS argument,
    (SELECT count(*) FROM recommend_all(users => '{1}', profile => '{"k": 3}')) AS profile,
    (SELECT count(*) FROM recommend_all(NULL, NULL, '{1}', NULL)) AS neither;

-- A letter about this week's articles.
SELECT count(*) > 500 AS readers, count(DISTINCT item) AS articles, max(rank) FROM recommend_all(k => 3,
    profile => (SELECT jsonb_build_object('among', jsonb_agg(id)) FROM articles WHERE published >= '2026-03-14'));
SELECT count(*) FROM recommend_all(k => 48) AS r JOIN reads ON user_id = user_key::bigint AND article_id = item::bigint;

-- What is new counts, what is deleted is gone, and so are events that say nothing.
BEGIN;
INSERT INTO articles VALUES (49, 'The cello in the subway at Union Square', 'A cellist, forty trains and one encore.',
    '{music,city life}', 'New York', '2026-03-21');
DELETE FROM articles WHERE id IN (7, 15);
INSERT INTO reads VALUES (1500, 20, 180, '2026-03-20'), (1500, 20, 33.3, '2026-03-21'), (1500, 20, 0.1, '2026-03-19'),
    (1500, 15, 90, '2026-03-20'), (1501, 20, 0, '2026-03-20'), (1501, 19, 'NaN', '2026-03-20'),
    (1501, 18, NULL, NULL), (1502, NULL, 1, NULL), (1503, 7, 1, NULL), (1503, 4000, 1, NULL), (1504, 21, -5, NULL),
    (1505, 22, 'infinity', NULL), (NULL, 22, 1, NULL);
SELECT count(*) FILTER (WHERE item IN ('7', '15')) AS deleted, count(*) FILTER (WHERE item = '49') > 100 AS new,
    string_agg(DISTINCT user_key, ' ') FILTER (WHERE user_key > '15' AND length(user_key) = 4) AS odd,
    count(*) FILTER (WHERE user_key IS NULL) AS nobody
FROM recommend_all(k => 48);
SELECT * FROM differences(48, '{}');
SELECT * FROM differences(48, '{}', '{1500,1501,1502,1503,1504,1505}');
ROLLBACK;

-- Feedback is an event: of readers, and of those who have nothing else.
SELECT record_feedback('{"user": 42}', '15', 3, 'articles'), record_feedback('{"user": 42}', '16', -1, 'articles'),
    record_feedback('{"user": 1}', '20', 1, 'articles'), record_feedback('{"user": 1}', '20', -1, 'articles'),
    record_feedback('{"user": 9001}', '29', 1, 'articles'), record_feedback('{"user": 9002}', '1', 1, 'articles');
SELECT * FROM differences(20, '{}');
SELECT * FROM differences(20, '{}', '{42,1,9001,17}');
SELECT count(*), count(DISTINCT user_key), string_agg(DISTINCT user_key, ' ') FILTER (WHERE user_key LIKE '9___') AS odd
FROM recommend_all(k => 1);
SELECT create_recommender('titles', items => 'articles', item_text => '{title}');
SELECT refresh_recommender('titles')->'items' AS items;
SELECT * FROM recommend_all('titles');
SELECT count(*) FROM recommend_all('titles', users => '{ada,ben}');
SELECT record_feedback('{"user": "ada"}', '15', 1, 'titles'), record_feedback('{"user": ""}', '16', 1, 'titles');
SELECT user_key, count(*), bool_or(item = '15') AS again FROM recommend_all('titles', 48) GROUP BY 1 ORDER BY 1;
SELECT * FROM differences(48, '{}', NULL, 'titles');

-- What cannot be.
SELECT * FROM recommend_all();
SELECT * FROM recommend_all('absent');
SELECT * FROM recommend_all('articles', 0);
SELECT * FROM recommend_all('articles', -3);
SELECT * FROM recommend_all('articles', 100001);
SELECT * FROM recommend_all('articles', users => '{1,NULL,3}');
SELECT * FROM recommend_all('articles', users => '{1,ada}');
SELECT * FROM recommend_all('articles', profile => '{"user": 42}');
SELECT * FROM recommend_all('articles', profile => '{"intrests": ["music"]}');
SELECT * FROM recommend_all('articles', profile => '[]');
SELECT * FROM recommend_all('articles', profile => '{"k": 0}');

SELECT drop_recommender(name) FROM recommenders();
DROP FUNCTION differences;
