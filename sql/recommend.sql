-- From two tables and a table of readers to recommendations. The tables are those of catalogue.sql.
\set SHOW_CONTEXT never
SELECT create_recommender('articles', items => 'articles', item_id => 'id', item_text => '{title,body}',
    item_tags => '{tags}', item_attributes => '{city}', item_time => 'published',
    events => 'reads', event_user => 'user_id', event_item => 'article_id', event_weight => 'seconds', event_time => 'at',
    users => 'people', user_id => 'id', user_attributes => '{age,city}');
SELECT * FROM recommend('{"user": 42}');
SELECT s->'items' AS items, s->'users' AS users, s->'full' AS "full", s->'passed_over' AS passed_over
FROM refresh_recommender('articles') AS s;
SELECT name, items, events, users, refreshed IS NOT NULL AS refreshed, bytes > 0 AS bytes, error FROM recommenders();

-- Somebody known: ranks without gaps, falling scores, nothing that was read before.
SELECT count(*), min(r.rank), max(r.rank), bool_and(a.id IS NOT NULL) AS in_catalogue
FROM recommend('{"user": 42}') AS r LEFT JOIN articles AS a ON a.id = r.item::bigint;
SELECT count(*) AS read_before FROM recommend('{"user": 42, "k": 48}') AS r JOIN reads ON user_id = 42
    AND article_id = r.item::bigint;
SELECT bool_and(score <= before) AS falling FROM (SELECT score, lag(score) OVER (ORDER BY rank) AS before
    FROM recommend('{"user": 42}')) AS r;
SELECT (SELECT count(*) FROM recommend('{"user": 42, "exclude_seen": false}', k => 1000)) AS everything;

-- The profile of somebody new: the first ones are about what was asked for, and say so.
CREATE VIEW for_new AS SELECT r.rank, a.tags && '{technology,travel,music}' AS about_it, a.city = 'New York' AS at_home,
    r.reasons->>'sentence' AS sentence, r.reasons->'because' AS because
FROM recommend('{"interests": ["technology", "travel", "music"], "location": "New York", "age": 30,
    "at": "2026-03-21"}') AS r JOIN articles AS a ON a.id = r.item::bigint;
SELECT count(*), count(*) FILTER (WHERE about_it) >= 9 AS about_it, count(*) FILTER (WHERE at_home) >= 2 AS at_home,
    bool_and(sentence ~ '^[A-Z].*\.$') AS sentences, count(*) FILTER (WHERE sentence ~ '(technology|travel|music)') >= 8
    AS that_say_so
FROM for_new;
SELECT DISTINCT jsonb_object_keys(b) FROM for_new, jsonb_array_elements(because) AS b ORDER BY 1;
SELECT bool_and(abs(1 - total) < 0.02) AS shares_add_up FROM (SELECT rank, sum((b->>'share')::float8)
    FILTER (WHERE (b->>'share')::float8 > 0) AS total FROM for_new, jsonb_array_elements(because) AS b GROUP BY rank) AS s;

-- Weights of interests, and what is rather not wanted.
SELECT a.tags && '{food}' AS food FROM recommend('{"interests": {"food": 3, "sport": 0.2}}', k => 1) AS r
    JOIN articles AS a ON a.id = r.item::bigint;

CREATE TEMP TABLE avoided AS SELECT a.tags && '{sport}' AS sport, r.reasons->>'sentence' AS sentence
FROM recommend('{"interests": {"sport": -1}}', k => 48) AS r JOIN articles AS a ON a.id = r.item::bigint;
SELECT sport, count(*) > 0 AS some, bool_and(sentence ~ 'unfortunately is about sport, which you would rather not see')
    AS told, bool_or(sentence ~ 'interest') AS as_interest FROM (SELECT sport, lower(sentence) AS sentence FROM avoided)
    AS a GROUP BY sport ORDER BY sport;

-- What is asked for comes before what people of that age and place read, which orders those that have as much of it.
SELECT max(r.rank) FILTER (WHERE about = 2) < min(r.rank) FILTER (WHERE about = 0) AS first FROM (SELECT rank,
    cardinality(ARRAY(SELECT unnest(a.tags) INTERSECT SELECT unnest('{technology,travel,music}'::text[]))) AS about
    FROM recommend('{"interests": ["technology", "travel", "music"], "location": "New York", "age": 30}', k => 48) AS r
    JOIN articles AS a ON a.id = r.item::bigint) AS r;

-- Likes, dislikes, exclusions, candidates.
SELECT bool_or(item IN ('15', '16')) AS again FROM recommend('{"likes": [15], "exclude": ["16"]}', k => 48);
SELECT count(*) FILTER (WHERE a.tags && '{music}') >= 2 AS music FROM recommend('{"likes": [15, 19, 20]}', k => 4) AS r
    JOIN articles AS a ON a.id = r.item::bigint;
SELECT bool_or(item = '34') AS disliked FROM recommend('{"dislikes": [34]}', k => 48);
-- What differs from something disliked does not resemble it.
SELECT count(*) > 0 AS unlike, count(*) FILTER (WHERE sentence ~ 'unfortunately') AS unfortunate FROM (SELECT
    reasons->>'sentence' AS sentence, (SELECT min((b->>'share')::float8) FROM jsonb_array_elements(reasons->'because') AS b
    WHERE b->>'reason' = 'dislike') AS least FROM recommend('{"likes": [15, 20], "dislikes": [34]}', k => 48)) AS r
WHERE least > 0;
SELECT item FROM recommend('{"interests": ["bees"], "among": [29, 34, 999, 40]}') ORDER BY item;
SELECT item FROM recommend('{"interests": ["bees"], "among": [29, 34, 999, 40]}', k => 1);
SELECT count(*) FROM recommend('{"among": []}');

-- Nobody in particular: what is popular. Nothing that matches: the same.
SELECT count(*), bool_and(score > 0) AS scored, bool_and(reasons->>'sentence' = 'Is popular.') AS popular
FROM recommend('{}', k => 5);
SELECT (SELECT array_agg(item ORDER BY rank) FROM recommend('{"interests": ["xyzzy"], "at": "2026-03-21"}'))
    = (SELECT array_agg(item ORDER BY rank) FROM recommend('{"at": "2026-03-21"}')) AS same;
SELECT count(*) FROM recommend('{"user": 12345678}');

-- How many: the argument, the profile, or ten.
SELECT (SELECT count(*) FROM recommend('{"k": 3}')) AS profile, (SELECT count(*) FROM recommend('{"k": 3}', k => 4)) AS
    argument, (SELECT count(*) FROM recommend('{"k": 0}')) AS none, (SELECT count(*) FROM recommend(NULL)) AS null;

-- The same again.
SELECT (SELECT array_agg(r) FROM recommend('{"user": 7, "seed": 3, "diversity": 0.4, "at": "2026-03-21"}') AS r)
    = (SELECT array_agg(r) FROM recommend('{"user": 7, "seed": 3, "diversity": 0.4, "at": "2026-03-21"}') AS r) AS same;

-- A read counts at once, and so does an article; deleted ones are gone at once.
BEGIN;
INSERT INTO reads VALUES (1500, 15, 200, '2026-03-20'), (1500, 20, 180, '2026-03-20'), (1500, 19, 90, '2026-03-20');
SELECT count(*) FILTER (WHERE a.tags && '{music}') >= 2 AS music, bool_or(a.id IN (15, 19, 20)) AS again
FROM recommend('{"user": 1500}', k => 4) AS r JOIN articles AS a ON a.id = r.item::bigint;
INSERT INTO articles VALUES (49, 'The cello in the subway at Union Square', 'A cellist, forty trains and one encore.',
    '{music,city life}', 'New York', '2026-03-21');
SELECT rank <= 3 AS near_the_top FROM recommend('{"interests": ["cello in the subway"]}') WHERE item = '49';
SELECT sentence ~ 'chosen' AS chosen FROM explain_recommendation('{"user": 42}', '49') LIMIT 1;
DELETE FROM articles WHERE id = 49;
SELECT count(*) FROM recommend('{"interests": ["cello in the subway"]}', k => 100) WHERE item = '49';
ROLLBACK;

-- Why.
SELECT bool_or(reason = 'interest' AND about = 'travel') AS interest, count(DISTINCT sentence) AS sentences
FROM explain_recommendation('{"interests": ["travel"], "at": "2026-03-21"}', '8');
SELECT bool_or(about = 'Where to hear jazz in Harlem on a Tuesday') AS titles
FROM explain_recommendation('{"likes": [15], "at": "2026-03-21"}', '20');
-- Also why not.
SELECT reason, share < 0 AS against, sentence FROM explain_recommendation('{}', '15');
SELECT * FROM explain_recommendation('{}', '999');

-- What was added since everything was learned is counted from then on, however many refreshes take it in, and what was
-- asked for comes first also where nobody could have chosen it.
BEGIN;
INSERT INTO articles SELECT 100 + i, 'An echidna in the garden', 'It digs.', '{pets}', 'Oslo', '2025-01-01' FROM generate_series(1, 3) AS i;
INSERT INTO reads VALUES (1, 101, 50, '2026-04-01');
SELECT s->'rows' AS rows, s->'items' AS items, s->'new_items' AS new_items, s->'new_events' AS new_events
FROM refresh_recommender('articles', false) AS s;
INSERT INTO reads VALUES (1, 102, 50, '2026-04-02');
SELECT s->'rows' AS rows, s->'events' AS events, s->'new_events' AS new_events FROM refresh_recommender('articles', false) AS s;
SELECT count(*) FROM recommend('{"interests": ["echidna"]}', k => 3) WHERE item::int > 100;
SELECT s->'rows' AS rows FROM refresh_recommender('articles', true) AS s;
ROLLBACK;

-- A long history, of which no item has much of a share.
BEGIN;
INSERT INTO reads SELECT 1600, id, 100, '2026-03-20' FROM articles WHERE id <= 40;
SELECT bool_and(reasons->>'sentence' ~* 'resembles "') AS told, bool_and(abs(1 - total) < 0.02) AS shares_add_up
FROM (SELECT reasons, (SELECT sum((b->>'share')::float8) FROM jsonb_array_elements(reasons->'because') AS b
    WHERE (b->>'share')::float8 > 0) AS total FROM recommend('{"user": 1600}', k => 3)) AS r;
ROLLBACK;

-- Items like one.
SELECT count(*), bool_or(item = '15') AS itself, bool_and(a.tags && '{music}') FILTER (WHERE rank <= 2) AS music
FROM similar_items('15', k => 5) AS s JOIN articles AS a ON a.id = s.item::bigint;
SELECT * FROM similar_items('999');

-- A title for each of them, written by the model.
SELECT count(*), count(content) AS written FROM recommend('{"user": 3, "seed": 1}', k => 2,
    write => 'Once upon a time there was {item}, ');
SELECT count(content) FROM recommend('{"user": 3}', k => 2);

-- How good it is: all rankings on the same held-out readers, and the model is as it was.
CREATE TEMP TABLE before AS SELECT refreshed FROM recommenders();
SELECT count(DISTINCT ranking) > 2 AS rankings, bool_and(recall BETWEEN 0 AND 1 AND ndcg BETWEEN 0 AND 1) AS sound,
    count(DISTINCT k) AS cutoffs, min(users) > 10 AS users
FROM evaluate_recommender('articles', '{"k": [5, 10], "users": 30, "seed": 1}');
SELECT max(ndcg) FILTER (WHERE ranking = 'blend') > max(ndcg) FILTER (WHERE ranking = 'popularity') AS better
FROM evaluate_recommender('articles', '{"k": 10, "users": 30, "holdout": "time"}');
SELECT refreshed = (SELECT refreshed FROM before) AS untouched FROM recommenders();
SELECT * FROM evaluate_recommender('articles', '{"holdout": "monthly"}');
SELECT * FROM evaluate_recommender('articles', '{"k": [1, 2, 3, 4, 5]}');
SELECT * FROM evaluate_recommender('articles', '{"users": 0}');
SELECT * FROM evaluate_recommender('articles', '{"folds": 5}');
SELECT * FROM evaluate_recommender('articles', '[]');

-- Vectors of a model's own: a column of embeddings from embed().
ALTER TABLE articles ADD COLUMN vector real[];
UPDATE articles SET vector = embed(title || '. ' || body);
SELECT drop_recommender('articles');
SELECT create_recommender('vectors', items => 'articles', item_embedding => 'vector');
SELECT refresh_recommender('vectors')->'items' AS items;
SELECT count(DISTINCT score) AS different, bool_and(score BETWEEN 0.1 AND 1.001) AS cosines FROM similar_items('15', k => 5);
SELECT bool_and(reasons->>'sentence' = 'Resembles "15", which you like.') AS why FROM recommend('{"likes": [15]}', k => 3);
SELECT drop_recommender('vectors');
ALTER TABLE articles DROP COLUMN vector;
SELECT create_recommender('articles', items => 'articles', item_id => 'id', item_text => '{title,body}',
    item_tags => '{tags}', item_attributes => '{city}', item_time => 'published',
    events => 'reads', event_user => 'user_id', event_item => 'article_id', event_weight => 'seconds', event_time => 'at',
    users => 'people', user_id => 'id', user_attributes => '{age,city}');
SELECT refresh_recommender('articles')->'items' AS items;

-- Several recommenders: one is named, or called default.
SELECT create_recommender('titles', items => 'articles', item_text => '{title}');
SELECT refresh_recommender('titles')->'items' AS items;
SELECT * FROM recommend('{}');
SELECT count(*) FROM recommend('{"recommender": "titles", "interests": ["jazz"]}');
SELECT item FROM recommend('{"interests": ["jazz Harlem"]}', 'titles', 1);
SELECT * FROM recommend('{}', 'absent');
SELECT create_recommender('default', events => 'reads', event_user => 'user_id', event_item => 'article_id',
    options => '{"factors": 16, "item_weights": 0, "weights": "binary", "half_life": 30, "seed": 7}');
SELECT s->'items' AS items, s->'factors' AS factors FROM refresh_recommender('default') AS s;
SELECT count(*) FROM recommend('{"user": 42}');
SELECT * FROM evaluate_recommender('titles');
SELECT * FROM evaluate_recommender('default', '{"holdout": "time"}');

-- Feedback, for those who have no table of events.
SELECT record_feedback('{"user": "ada"}', '15', 1, 'titles');
SELECT record_feedback('{"user": "ada"}', '16', -1, 'titles');
SELECT bool_or(item IN ('15', '16')) AS again FROM recommend('{"user": "ada"}', 'titles', 48);
SELECT refresh_recommender('titles')->'events' AS events;
SELECT count(*) AS of_feedback FROM evaluate_recommender('titles');
SELECT record_feedback('{"user": "ada"}', '999', 1, 'titles');
SELECT record_feedback('{}', '15', 1, 'titles');
SELECT record_feedback('{"user": "ada"}', '15', 0, 'titles');
SELECT record_feedback('{"user": "ada"}', '15', 'NaN', 'titles');
SELECT record_feedback(NULL, '15', 1, 'titles');

-- Profiles that are none, and keys that nobody knows.
SELECT * FROM recommend('[]', 'articles');
SELECT * FROM recommend('42', 'articles');
SELECT * FROM recommend('"interests"', 'articles');
SELECT * FROM recommend('{"intrests": ["music"]}', 'articles');
SELECT * FROM recommend('{"intrests": ["music"]}', 'titles');
SELECT * FROM recommend('{"interests": 3}', 'articles');
SELECT * FROM recommend('{"interests": {"music": "a lot"}}', 'articles');
SELECT * FROM recommend('{"interests": {"music": 1e400}}', 'articles');
SELECT * FROM recommend('{"interests": [["music"]]}', 'articles');
SELECT * FROM recommend('{"likes": ["abc"]}', 'articles');
SELECT * FROM recommend('{"likes": [{"item": 3}]}', 'articles');
SELECT * FROM recommend('{"user": "ada"}', 'articles');
SELECT * FROM recommend('{"user": [1]}', 'articles');
SELECT * FROM recommend('{"age": "thirty"}', 'articles');
SELECT * FROM recommend('{"age": "thirty"}', 'titles');
SELECT * FROM recommend('{"location": 12}', 'articles');
SELECT * FROM recommend('{"diversity": 2}', 'articles');
SELECT * FROM recommend('{"exclude_seen": "no"}', 'articles');
SELECT * FROM recommend('{"k": 1.5}', 'articles');
SELECT * FROM recommend('{"k": -1}', 'articles');
SELECT * FROM recommend('{}', 'articles', -1);
SELECT * FROM recommend('{"at": "yesterday-ish"}', 'articles');
SELECT * FROM recommend('{"at": "infinity"}', 'articles');
SELECT * FROM recommend('{"seed": 1e30}', 'articles');
SELECT * FROM recommend('{"recommender": 3}');
-- Null is as good as absent.
SELECT count(*) FROM recommend('{"user": null, "interests": null, "likes": [null], "k": null, "age": null,
    "recommender": null}', 'articles');

SELECT drop_recommender(name) FROM recommenders();
DROP VIEW for_new;
