-- A small shop's books, with nothing but what is printed on them: no events, no place, no users.
\set SHOW_CONTEXT never
CREATE SCHEMA "Book Shop";
CREATE TABLE "Book Shop"."Books" ("Id" uuid PRIMARY KEY, "Title" text, "Blurb" text, "Genres" jsonb, "Price" numeric(8,2),
    "Published" date);
INSERT INTO "Book Shop"."Books" SELECT md5(t)::uuid, t, b, g::jsonb, p, y::date FROM (VALUES
    ('The Soul of a New Machine', 'Engineers race to build a computer in a basement.', '["technology", "history"]', 15, '1981-08-01'),
    ('Neuromancer', 'A hacker is hired for one last job in cyberspace.', '["science fiction", "technology"]', 10, '1984-07-01'),
    ('In Patagonia', 'A journey to the end of the world in search of a bone.', '["travel", "memoir"]', 11, '1977-10-01'),
    ('The Great Railway Bazaar', 'By train from London to Tokyo and back.', '["travel"]', 12, '1975-01-01'),
    ('Here Is New York', 'A short walk through the city in a hot summer.', '["travel", "New York"]', 9, '1949-01-01'),
    ('Just Kids', 'A poet and a photographer grow up among musicians.', '["music", "New York"]', 15, '2010-01-19'),
    ('How Music Works', 'What venues, machines and money do to what we hear.', '["music", "technology"]', 18, '2012-09-12'),
    ('The Rest Is Noise', 'The century, heard through the ears of those who wrote for it.', '["music", "history"]', 17, '2007-10-16'),
    ('The Power Broker', 'How one man built the roads and bridges of a city.', '["history", "New York"]', 24, '1974-09-16'),
    ('Salt, Fat, Acid, Heat', 'Four elements of good cooking.', '["food"]', 30, '2017-04-25'),
    ('Castle of Heaven', 'On what it was to be the cantor of Leipzig.', '["music", "biography"]', 16, '2013-10-29'),
    ('The Innovators', 'On what it was to be the first of those with a computer.', '["technology"]', 17, '2014-10-07'),
    ('Vagabonding', 'A guide to long journeys.', '["travel"]', 10, '2002-12-24'),
    ('爵士乐入门', '从新奥尔良到纽约的爵士音乐史。', '["音乐", "历史"]', 12, '2018-03-01')) AS v (t, b, g, p, y);
SELECT create_recommender('books', items => '"Book Shop"."Books"', item_text => '{Title,Blurb}', item_tags => '{Genres}',
    item_attributes => '{Price}', item_time => 'Published');
SELECT refresh_recommender('books')->'items' AS items;

-- Somebody new. No column is a place, so the place is looked for in what the books are about.
SELECT rank, "Title", "Genres", reasons->>'sentence' AS why FROM recommend('{"interests": ["technology", "travel", "music"],
    "location": "New York", "age": 30}', k => 4) JOIN "Book Shop"."Books" ON "Id" = item::uuid ORDER BY rank;

-- Nobody: what is new, or was at some time.
SELECT rank, "Title", reasons->>'sentence' AS why FROM recommend('{}', k => 3) JOIN "Book Shop"."Books" ON "Id" = item::uuid
ORDER BY rank;
SELECT rank, "Title", reasons->>'sentence' AS why FROM recommend('{"at": "1985-01-01"}', k => 3)
    JOIN "Book Shop"."Books" ON "Id" = item::uuid ORDER BY rank;

-- What two books have in common is not "of the".
SELECT rank, "Title" FROM similar_items(md5('Castle of Heaven')::uuid::text, k => 3) JOIN "Book Shop"."Books" ON "Id" = item::uuid
ORDER BY rank;
SELECT "Title" FROM recommend('{"interests": ["the castle"]}', k => 1) JOIN "Book Shop"."Books" ON "Id" = item::uuid;
SELECT "Title" FROM recommend('{"interests": ["音乐"]}', k => 1) JOIN "Book Shop"."Books" ON "Id" = item::uuid;

-- One word of two is no match.
SELECT "Title", reasons->>'sentence' ~ 'New York' AS told FROM recommend('{"interests": ["New York", "computer"]}', k => 14)
    JOIN "Book Shop"."Books" ON "Id" = item::uuid WHERE "Title" ~ 'New' ORDER BY 1;

SELECT drop_recommender('books');

-- Where the users' table calls it location, and the items' city.
CREATE TABLE "Book Shop"."Shops" (id int PRIMARY KEY, city text, size int);
INSERT INTO "Book Shop"."Shops" SELECT i, CASE WHEN i = 7 THEN 'Oslo' ELSE 'Rome' END, i FROM generate_series(1, 9) AS i;
CREATE TABLE "Book Shop"."Customers" (id int PRIMARY KEY, location text);
SELECT create_recommender('shops', items => '"Book Shop"."Shops"', item_attributes => '{city}', users => '"Book Shop"."Customers"',
    user_attributes => '{location}');
SELECT refresh_recommender('shops')->'items' AS items;
SELECT item, reasons->>'sentence' AS why FROM recommend('{"location": "Oslo"}', k => 1);
SELECT drop_recommender('shops');

-- What is popular, and more so with people of that age: said once.
ALTER TABLE "Book Shop"."Customers" ADD COLUMN age int;
INSERT INTO "Book Shop"."Customers" SELECT i, 'Rome', CASE WHEN i % 2 = 0 THEN 60 + i % 5 ELSE 20 + i % 5 END FROM
    generate_series(1, 200) AS i;
CREATE TABLE "Book Shop"."Visits" AS SELECT u, s FROM generate_series(1, 200) AS u, generate_series(1, 9) AS s
WHERE u * s * 7 % 11 < 8 - s + CASE WHEN u % 2 = 0 AND s <= 3 THEN 3 ELSE 0 END;
SELECT create_recommender('shops', items => '"Book Shop"."Shops"', events => '"Book Shop"."Visits"', event_user => 'u',
    event_item => 's', users => '"Book Shop"."Customers"', user_attributes => '{age}');
SELECT refresh_recommender('shops')->'items' AS items;
SELECT bool_or((SELECT count(*) = 2 FROM jsonb_array_elements(reasons->'because') AS b WHERE b->>'reason' IN ('popularity',
        'people like you') AND (b->>'share')::float8 > 0.05)) AS both,
    bool_or(reasons->>'sentence' ~* 'is popular\y.*is popular\y') AS said_twice
FROM recommend('{"age": 62}');
SELECT drop_recommender('shops');
DROP SCHEMA "Book Shop" CASCADE;
