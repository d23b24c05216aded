#!/usr/bin/perl
# recommend() on data as it is: keys that are missing or double, weights that are no weights, tables and columns that
# change or go, catalogues of no item, of one, and users of a million events. Each gives an error that says what is the
# matter, or a sensible result, and nothing is lost.
use FindBin;
use lib $FindBin::RealBin;
use AigcTest;

my $node = new_node('recommend_data');
my $s    = session($node);

sub passed_over
{
    my ($name) = @_;
    return ask($s, qq{SELECT refresh_recommender('$name', true)->'passed_over'});
}

# Rows of recommend_all(), and how many of them recommend() does not give to that user.
sub for_everybody
{
    my ($name, $k) = @_;
    return ask($s, qq{WITH t AS MATERIALIZED (SELECT * FROM recommend_all('$name', $k)), u AS (SELECT DISTINCT user_key FROM t),
        a AS (SELECT user_key, r.rank, r.item, r.score FROM u, recommend(jsonb_build_object('user', user_key), '$name', $k) AS r)
        SELECT count(t), count(*) FILTER (WHERE t IS DISTINCT FROM a) FROM t FULL JOIN a
        ON a.user_key = t.user_key AND a.rank = t.rank});
}

# ---- keys and weights ----

ask($s, q{
    CREATE TABLE goods (sku text, name text, price numeric);
    INSERT INTO goods VALUES ('a', 'red apple', 1), ('b', 'green apple', 1.2), ('c', 'yellow pear', 2),
        ('d', 'blue plum', 3), ('a', 'red apple again', 1), (NULL, 'nothing', 1), ('e', NULL, NULL);
    CREATE TABLE bought (who int, sku text, n float8);
    INSERT INTO bought VALUES (1, 'a', 1), (1, 'b', 1), (1, 'b', 2), (2, 'a', 5), (2, 'c', 1), (3, 'b', 0),
        (3, 'c', 'NaN'), (3, 'd', 'Infinity'), (3, 'a', '-Infinity'), (4, 'a', 2), (4, 'd', -1), (NULL, 'a', 1),
        (5, NULL, 1), (5, 'zz', 1), (5, 'c', NULL), (6, 'b', 1), (6, 'a', 1), (6, 'a', 1)});
ask($s, q{SELECT create_recommender('goods', items => 'goods', item_id => 'sku', item_text => '{name}',
    item_attributes => '{price}', events => 'bought', event_user => 'who', event_item => 'sku', event_weight => 'n')});
is(passed_over('goods'), '{"null_keys": 3, "duplicates": 1, "weight_zero": 1, "unknown_items": 1, '
      . '"weight_negative": 1, "weight_not_finite": 4}', 'what cannot be used is counted');
is(ask($s, q{SELECT count(*), count(DISTINCT item) FROM recommend('{}', k => 100)}), '5|5',
    'each item once, k larger than the catalogue');
is(ask($s, q{SELECT string_agg(item, ' ' ORDER BY item) FROM recommend('{"user": 3}')}), 'e',
    'what was seen with weights that are none has been seen');
is(ask($s, q{SELECT bool_or(item = 'd') FROM recommend('{"user": 4}')}), 'f', 'a negative weight is a dislike');
is(ask($s, q{SELECT count(*) FROM recommend('{"user": 3, "exclude_seen": false}')}), '5', 'unless seen ones are kept');
is(ask($s, q{SELECT item FROM recommend('{"interests": ["pear"]}', k => 1)}), 'c', 'text is found');
is(ask($s, q{SELECT bool_and(score = score AND abs(score) < 'Infinity') FROM recommend('{"user": 2}')}), 't',
    'scores are numbers');
is(for_everybody('goods', 10), '17|0', 'everybody gets the same');

# ---- sizes ----

ask($s, q{CREATE TABLE empty_items (id int PRIMARY KEY, title text); CREATE TABLE empty_events (u int, i int)});
ask($s, q{SELECT create_recommender('empty', items => 'empty_items', item_text => '{title}', events => 'empty_events',
    event_user => 'u', event_item => 'i')});
is(ask($s, q{SELECT refresh_recommender('empty')->'items'}), '0', 'an empty catalogue');
is(ask($s, q{SELECT count(*) FROM recommend('{"user": 1, "interests": ["x"]}', 'empty')}), '0', 'recommends nothing');
is(ask($s, q{SELECT count(*) FROM recommend_all('empty')}), '0', 'to nobody');
is(ask($s, q{SELECT count(*) FROM recommend_all('empty', users => '{1,2}')}), '0', 'and to whoever is named');
ask($s, q{INSERT INTO empty_items VALUES (1, 'the only one')});
is(ask($s, q{SELECT item FROM recommend('{"interests": ["only"]}', 'empty')}), '1', 'until the first item is there');
is(ask($s, q{SELECT refresh_recommender('empty')->'items'}), '1', 'one item');
is(ask($s, q{SELECT item FROM recommend('{"user": 1}', 'empty', 50)}), '1', 'is recommended');
is(ask($s, q{SELECT * FROM recommend_all('empty', 50, '{1}')}) =~ s/\|[^|]*$//r, '1|1|1', 'by name');
is(ask($s, q{SELECT count(*) FROM similar_items('1', 'empty')}), '0', 'nothing is like it');
like((ask($s, q{SELECT * FROM evaluate_recommender('empty')}))[1], qr/^$|ERROR/, 'evaluating nothing');

ask($s, q{INSERT INTO empty_items SELECT i, 'item ' || i FROM generate_series(2, 3000) AS i;
    INSERT INTO empty_events SELECT 1, 1 + i % 2500 FROM generate_series(1, 1000000) AS i;
    INSERT INTO empty_events SELECT 2 + i / 4, 1 + (i * 17) % 3000 FROM generate_series(1, 4000) AS i;
    CREATE INDEX ON empty_events (u); ANALYZE});
is(ask($s, q{SELECT s->'events' FROM refresh_recommender('empty') AS s}), '1004000', 'a million events of one user');
is(ask($s, q{SELECT count(*), min(item::int) > 2500 FROM recommend('{"user": 1}', 'empty', 100)}), '100|t',
    'who gets what is left');
is(for_everybody('empty', 3), '3006|0', 'as everybody does');
is(ask($s, q{SELECT count(*), count(DISTINCT user_key) FROM recommend_all('empty', 100000)}), '2999500|1002',
    'whole catalogues for everybody');

# ---- profiles of 10 MB ----

is(ask($s, q{SELECT count(*) FROM recommend(jsonb_build_object('interests', repeat('pear apple ', 1000000)), 'goods')}),
    '5', 'an interest of 11 MB');
is(ask($s, q{SELECT item FROM recommend((SELECT jsonb_build_object('interests', jsonb_agg('word' || i) || '["plum"]')
    FROM generate_series(1, 5000) AS i), 'goods', 1)}), 'd', '5,001 interests');
fails_like($s, q{SELECT recommend((SELECT jsonb_build_object('interests', jsonb_agg('word' || i))
    FROM generate_series(1, 800000) AS i), 'goods')}, qr/the profile has more than 10000 interests/, '800,000 interests');
is(ask($s, q{SELECT item FROM recommend((SELECT jsonb_build_object('exclude', jsonb_agg('key' || i) || '["a","b","c"]',
    'interests', '["plum"]'::jsonb) FROM generate_series(1, 800000) AS i), 'goods', 1)}), 'd', '800,000 exclusions');
like((ask($s, q{SELECT recommend((SELECT jsonb_object_agg('key' || i, i) FROM generate_series(1, 500000) AS i), 'goods')}))[1],
    qr/unknown key "key\d+" in the profile/, '500,000 unknown keys');

# ---- tables and columns that change ----

ask($s, 'ALTER TABLE goods RENAME TO wares; CREATE SCHEMA shop; ALTER TABLE wares SET SCHEMA shop');
is(ask($s, q{SELECT item FROM recommend('{"interests": ["pear"]}', 'goods', 1)}), 'c', 'a renamed table is followed');
is(ask($s, q{SELECT items FROM recommenders() WHERE name = 'goods'}), 'shop.wares', 'and listed by its new name');
is(ask($s, q{SELECT refresh_recommender('goods', true)->'items'}), '5', 'and refreshed');

ask($s, 'ALTER TABLE shop.wares RENAME COLUMN name TO label');
for my $query (q{recommend('{}', 'goods')}, q{refresh_recommender('goods')}, q{similar_items('a', 'goods')}) {
    fails_like($s, "SELECT $query", qr/ERROR:  table "wares" has no column "name"\nDETAIL:  Recommender "goods" uses it as item_text/);
}
is(ask($s, q{SELECT error FROM recommenders() WHERE name = 'goods'}), 'table "wares" has no column "name"',
    'recommenders() says so too');
ask($s, 'ALTER TABLE shop.wares RENAME COLUMN label TO name; ALTER TABLE shop.wares DROP COLUMN price');
fails_like($s, q{SELECT recommend('{}', 'goods')}, qr/table "wares" has no column "price"/, 'a dropped column');
ask($s, 'ALTER TABLE shop.wares ADD COLUMN price polygon');
is(ask($s, q{SELECT count(*) FROM recommend('{}', 'goods')}), '5', 'another column of that name will do');
ask($s, 'ALTER TABLE bought ALTER COLUMN n TYPE text');
fails_like($s, q{SELECT refresh_recommender('goods')},
    qr/column "n" has type text, but event_weight must be a number/, 'if its type does');
ask($s, 'ALTER TABLE bought ALTER COLUMN n TYPE float8 USING n::float8');

ask($s, 'ALTER TABLE bought RENAME TO sold; DROP TABLE sold');
fails_like($s, q{SELECT recommend('{}', 'goods')},
    qr/the table that recommender "goods" uses as events no longer exists/, 'a dropped table');
like(ask($s, q{SELECT error FROM recommenders() WHERE name = 'goods'}), qr/no longer exists/, 'is listed');
ask($s, 'DROP TABLE shop.wares');
is(ask($s, q{SELECT count(*) FROM recommenders() WHERE name = 'goods'}), '1', 'also if it was the catalogue');
ask($s, q{SELECT drop_recommender('goods')});
is(ask($s, q{SELECT count(*) FROM recommenders()}), '1', 'and can be dropped');

# ---- keys of other types ----

for my $key ([ 'uuid', q{('00000000-0000-4000-8000-' || lpad(i::text, 12, '0'))::uuid} ],
    [ 'char(8)', q{i::text} ], [ 'numeric', 'i + 0.5' ], [ 'date', q{'2026-01-01'::date + i} ],
    [ 'timestamptz', q{'2026-01-01 12:00+02'::timestamptz + i * interval '1 day'} ], [ 'int2', 'i::int2' ],
    [ 'bytea', q{int8send(i)} ])
{
    my ($type, $value) = @$key;
    ask($s, qq{DROP TABLE IF EXISTS keyed, keyed_events;
        CREATE TABLE keyed (k $type PRIMARY KEY, title text, w text);
        INSERT INTO keyed SELECT $value, 'thing number ' || i, 'w' || i FROM generate_series(1, 30) AS i;
        CREATE TABLE keyed_events AS SELECT i % 5 AS u, k FROM keyed, generate_series(1, 9) AS i
            WHERE (length(title) + i * ascii(right(title, 1))) % 3 = 0;
        SELECT create_recommender('keyed', items => 'keyed', item_text => '{title,w}', events => 'keyed_events',
            event_user => 'u', event_item => 'k'); SELECT refresh_recommender('keyed')});
    is(ask($s, qq{SET DateStyle = 'German'; SET timezone = 'Asia/Tokyo'; SET bytea_output = 'escape';
        SELECT right(title, 2) FROM recommend('{"interests": ["w17"]}', 'keyed', 1), keyed
        WHERE k = item::$type}), '17', "keys of type $type");
    ask($s, qq{INSERT INTO keyed SELECT $value, 'brand new object ' || i, 'w' || i FROM generate_series(31, 31) AS i});
    is(ask($s, qq{SELECT right(title, 2) FROM recommend('{"interests": ["brand new"]}', 'keyed', 1), keyed
        WHERE k = item::$type}), '31', 'and a new one');
    ask($s, q{RESET DateStyle; RESET timezone; RESET bytea_output; SELECT drop_recommender('keyed')});
}

# ---- places, arrays, tags of all kinds, Chinese ----

ask($s, q{
    CREATE TABLE venue (id int PRIMARY KEY, name text, place point, spot float8[], kinds text[], labels jsonb, words text);
    INSERT INTO venue VALUES (1, 'Blue Note', '(-74.0,40.73)', '{40.73,-74.0}', '{club,bar}', '["jazz"]', 'jazz, late'),
        (2, 'Ronnie Scott''s', '(-0.13,51.51)', '{51.51,-0.13}', '{club}', '["jazz", "soul"]', 'jazz;dinner'),
        (3, '北京爵士俱乐部', '(116.4,39.9)', '{39.9,116.4}', '{club}', 'null', '爵士|音乐'),
        (4, 'Nowhere', NULL, '{1,2,3}', NULL, '{"a": 1}', NULL);
    SELECT create_recommender('venue', items => 'venue', item_text => '{name}', item_tags => '{kinds,labels,words}',
        item_attributes => '{place,spot,kinds}'); SELECT refresh_recommender('venue')});
is(ask($s, q{SELECT item FROM recommend('{"location": [51.5, -0.1]}', 'venue', 1)}), '2', 'the nearest by a pair');
is(ask($s, q{SELECT item FROM recommend('{"location": {"lat": 40.7, "lon": -74}}', 'venue', 1)}), '1', 'by an object');
is(ask($s, q{SELECT item FROM recommend('{"interests": ["爵士"]}', 'venue', 1)}), '3', 'Chinese words');
is(ask($s, q{SELECT item FROM recommend('{"interests": ["soul"]}', 'venue', 1)}), '2', 'tags in jsonb');
is(ask($s, q{SELECT item FROM recommend('{"interests": ["dinner"]}', 'venue', 1)}), '2', 'tags in a text');
like(ask($s, q{SELECT reasons->>'sentence' FROM recommend('{"location": [51.5, -0.1]}', 'venue', 1)}), qr/^Is near you/,
    'the sentence says where it comes from');

# ---- embeddings of one's own ----

ask($s, q{
    CREATE TABLE vec (id int PRIMARY KEY, e real[]);
    INSERT INTO vec VALUES (1, '{1,0,0}'), (2, '{0.9,0.1,0}'), (3, '{0,0,1}'), (4, NULL), (5, '{1,2}'), (6, '{NaN,0,0}');
    SELECT create_recommender('vec', items => 'vec', item_embedding => 'e'); SELECT refresh_recommender('vec')});
is(ask($s, q{SELECT item FROM similar_items('1', 'vec', 1)}), '2', 'likeness by embeddings');
is(ask($s, q{SELECT reasons->>'sentence' FROM recommend('{"likes": [1], "exclude_seen": false, "among": [1]}', 'vec')}), 'Is liked by you.',
    'an item does not resemble itself');

# ---- keys that are long ----

ask($s, q{
    CREATE TABLE pages (url text PRIMARY KEY, title text);
    INSERT INTO pages SELECT 'https://example.com/' || repeat('folder/', 20) || i, 'Apples and pears ' || i FROM generate_series(1, 3) AS i;
    SELECT create_recommender('pages', items => 'pages', item_text => '{title}'); SELECT refresh_recommender('pages')});
is(ask($s, q{SELECT reasons->>'sentence' FROM recommend((SELECT jsonb_build_object('likes', min(url)) FROM pages), 'pages', 1)}),
    'Resembles "Apples and pears 1", which you like.', 'items with long keys are called by their titles');

$s->quit;
$node->stop('fast');
done_testing();
