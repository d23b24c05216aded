-- Defining recommenders: what is checked, and what a hostile name can do. Tables are those of catalogue.sql.
\set SHOW_CONTEXT never
SELECT create_recommender('all', items => 'articles', item_text => '{title,body}', item_tags => '{tags}',
    item_attributes => '{city}', item_time => 'published',
    events => 'reads', event_user => 'user_id', event_item => 'article_id', event_weight => 'seconds', event_time => 'at',
    users => 'people', user_attributes => '{age,city}');
SELECT create_recommender('titles only', items => 'articles', item_text => '{title}');
SELECT create_recommender('events only', events => 'reads', event_user => 'user_id', event_item => 'article_id');
SELECT name, items, events, users, refreshed, error FROM recommenders();

-- The key is the primary key's column unless it is named.
SELECT name, item_id, user_id FROM aigc_recommender ORDER BY name;

-- What is missing or does not fit.
SELECT create_recommender('all', items => 'articles');
SELECT create_recommender(NULL, items => 'articles');
SELECT create_recommender('', items => 'articles');
SELECT create_recommender(repeat('x', 201), items => 'articles');
SELECT create_recommender('x');
SELECT create_recommender('x', users => 'people');
SELECT create_recommender('x', items => 'absent');
SELECT create_recommender('x', items => 'reads');
SELECT create_recommender('x', items => 'articles', item_id => 'absent');
SELECT create_recommender('x', items => 'articles', item_text => '{title,absent}');
SELECT create_recommender('x', items => 'articles', item_text => '{title,NULL}');
SELECT create_recommender('x', items => 'articles', item_time => 'title');
SELECT create_recommender('x', items => 'articles', item_text => '{xmin}');
SELECT create_recommender('x', item_text => '{title}', events => 'reads', event_user => 'user_id',
    event_item => 'article_id');
SELECT create_recommender('x', events => 'reads');
SELECT create_recommender('x', events => 'reads', event_user => 'user_id');
SELECT create_recommender('x', events => 'reads', event_user => 'user_id', event_item => 'article_id',
    event_weight => 'at');
SELECT create_recommender('x', items => 'reads_user_id_idx');
SELECT create_recommender('x', items => 'articles', options => '{"factors": 0}');
SELECT create_recommender('x', items => 'articles', options => '{"users": 5}');
SELECT create_recommender('x', items => 'articles', options => '{"weights": "square"}');
SELECT create_recommender('x', items => 'articles', options => '{"half_life": -1}');
SELECT create_recommender('x', items => 'articles', options => '[]');
CREATE TEMP TABLE scratch (id int PRIMARY KEY, title text);
SELECT create_recommender('x', items => 'scratch', item_text => '{title}');
CREATE TABLE shape (id int PRIMARY KEY, outline polygon, doc json, many int[]);
SELECT create_recommender('x', items => 'shape', item_id => 'outline');
SELECT create_recommender('x', items => 'shape', item_id => 'doc');
DROP TABLE shape;

-- Names are names: quotes, semicolons and SQL in each argument that holds one.
CREATE TABLE "it""ems; DROP TABLE articles; --" ("i'd"";--" int PRIMARY KEY, "ti{},tle" text, "t""a'gs" text[],
    "at;tr" text, "ti me" timestamptz);
CREATE TABLE "eve'nts" ("us""er" int, "it'em;" int, "$1" real, "SELECT" timestamptz);
CREATE TABLE "us.ers" ("a.b" int PRIMARY KEY, """;" int);
INSERT INTO "it""ems; DROP TABLE articles; --" VALUES (1, 'A', '{x}', 'p', '2026-01-01'), (2, 'B', '{y}', 'q', NULL);
INSERT INTO "eve'nts" VALUES (7, 1, 2, '2026-01-02'), (7, 2, 1, '2026-01-03'), (8, 1, 1, '2026-01-03');
INSERT INTO "us.ers" VALUES (7, 30), (8, 40);
SELECT create_recommender('o''dd"; DROP TABLE reads; --', items => '"it""ems; DROP TABLE articles; --"',
    item_text => '{"ti{},tle"}', item_tags => ARRAY['t"a''gs'], item_attributes => '{at;tr}', item_time => 'ti me',
    events => '"eve''nts"', event_user => 'us"er', event_item => 'it''em;', event_weight => '$1',
    event_time => 'SELECT', users => '"us.ers"', user_id => 'a.b', user_attributes => ARRAY['";']);
SELECT refresh_recommender('o''dd"; DROP TABLE reads; --')->>'events' AS events;
SELECT rank, item FROM recommend('{"user": 8}', 'o''dd"; DROP TABLE reads; --');
SELECT rank, item FROM recommend('{"user": 8, "\";": 3, "at;tr": "q", "among": [2]}', 'o''dd"; DROP TABLE reads; --');
SELECT item FROM similar_items('1', 'o''dd"; DROP TABLE reads; --');
SELECT record_feedback('{"user": "8"}', '2', 1, 'o''dd"; DROP TABLE reads; --');

-- Names that are no names of columns are not SQL either.
SELECT create_recommender('x', items => 'articles; DROP TABLE articles');
SELECT create_recommender('x', items => 'articles', item_id => 'id) FROM articles; DROP TABLE articles; --');
SELECT create_recommender('x', items => 'articles', item_text => ARRAY['title", (SELECT 1)']);
SELECT create_recommender('x', items => 'articles', item_tags => ARRAY['tags''']);
SELECT create_recommender('x', items => 'articles', item_attributes => ARRAY['city; SELECT 1']);
SELECT create_recommender('x', items => 'articles', item_time => 'published --');
SELECT create_recommender('x', items => 'articles', item_embedding => '''{1}''::real[]');
SELECT create_recommender('x', events => 'reads', event_user => '1', event_item => 'article_id');
SELECT create_recommender('x', events => 'reads', event_user => 'user_id', event_item => 'article_id OR true');
SELECT create_recommender('x', events => 'reads', event_user => 'user_id', event_item => 'article_id',
    event_weight => 'pg_sleep(9)', event_time => 'now()');
SELECT create_recommender('x', items => 'articles', users => 'people', user_id => 'id" = 1 OR "id',
    user_attributes => '{"(SELECT 1)"}');
SELECT refresh_recommender('x''; DROP TABLE articles; --');
SELECT * FROM recommend('{"user": "1; DROP TABLE articles"}', 'o''dd"; DROP TABLE reads; --');
SELECT * FROM recommend('{"likes": ["1) OR true; --"]}', 'o''dd"; DROP TABLE reads; --');
SELECT * FROM similar_items(''' OR true; --', 'o''dd"; DROP TABLE reads; --');
SELECT count(*) FROM articles;
SELECT count(*) > 0 AS read FROM reads;

-- Embeddings are arrays of numbers, or have a cast to one; text has one to everything. A table that is none.
CREATE TYPE two AS (x real, y real);
CREATE FUNCTION array_of(two) RETURNS real[] LANGUAGE sql IMMUTABLE AS 'SELECT ARRAY[$1.x, $1.y]';
CREATE CAST (two AS real[]) WITH FUNCTION array_of(two);
CREATE TABLE pictures (id int PRIMARY KEY, seen two, name text, numbers numeric[]);
INSERT INTO pictures VALUES (1, (1, 0), 'a', '{1,0}'), (2, (0, 1), 'b', '{0,1}'), (3, (0.1, 0.9), 'c', '{0.9,0.1}');
SELECT create_recommender('seen', items => 'pictures', item_embedding => 'seen');
SELECT create_recommender('numbers', items => 'pictures', item_embedding => 'numbers');
SELECT create_recommender('x', items => 'pictures', item_embedding => 'name');
SELECT create_recommender('x', items => 4294967295);
SELECT count(refresh_recommender(name)) FROM recommenders() WHERE name IN ('seen', 'numbers');
SELECT (SELECT item FROM similar_items('2', 'seen', 1)) AS seen, (SELECT item FROM similar_items('1', 'numbers', 1)) AS numbers;
SELECT drop_recommender('seen'), drop_recommender('numbers');
DROP TABLE pictures;
DROP TYPE two CASCADE;

-- Drop: what a recommender reads stays, what it has learned goes.
SELECT drop_recommender('o''dd"; DROP TABLE reads; --');
SELECT count(*) FROM "eve'nts";
SELECT (SELECT count(*) FROM aigc_recommender_model), (SELECT count(*) FROM aigc_recommender_chunk),
    (SELECT count(*) FROM aigc_feedback);
DROP TABLE "it""ems; DROP TABLE articles; --", "eve'nts", "us.ers";
SELECT drop_recommender('absent');
SELECT drop_recommender('absent', if_exists => true);
SELECT drop_recommender(NULL);
SELECT drop_recommender(name) FROM recommenders();
SELECT count(*) FROM recommenders();
SELECT * FROM recommend('{}');
