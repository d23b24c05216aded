#!/usr/bin/perl
# Whose rights recommend() has: rows that row security or a missing grant hides from the caller never appear, are not
# named in reasons, and are treated like rows that do not exist wherever they are named.
use FindBin;
use lib $FindBin::RealBin;
use AigcTest;

my $node  = new_node('recommend_rights');
my $admin = session($node);
$node->psql('postgres', q{CREATE ROLE editor; CREATE ROLE reader; CREATE ROLE other; CREATE ROLE stranger});
my $setup = session($node);
ask($setup, q{GRANT CREATE ON SCHEMA public TO editor, other; SET ROLE editor});
ask($setup, '\i sql/catalogue.sql');
ask($setup, q{
    ALTER TABLE articles ADD COLUMN hidden boolean NOT NULL DEFAULT false;
    GRANT SELECT ON articles, reads, people TO reader;
    SELECT create_recommender('articles', items => 'articles', item_text => '{title,body}', item_tags => '{tags}',
        item_attributes => '{city}', events => 'reads', event_user => 'user_id', event_item => 'article_id',
        event_time => 'at', users => 'people', user_attributes => '{age,city}');
    SELECT refresh_recommender('articles')});

sub as
{
    my ($role) = @_;
    my $session = session($node);
    ask($session, "SET ROLE $role");
    return $session;
}
my $reader   = as('reader');
my $stranger = as('stranger');
my $editor   = as('editor');
my $items    = q{SELECT string_agg(item, ' ' ORDER BY rank) FROM recommend('{"likes": [15], "at": "2026-03-21"}', k => 48)};
my $scores = q{SELECT string_agg(item || ':' || score, ' ' ORDER BY rank) FROM recommend('{"likes": [15],
    "interests": ["music", "gardens"], "at": "2026-03-21"}', k => 48) WHERE item NOT IN ('16', '29')};

# recommend_all(): how many rows it gives this role, how many of them differ from recommend()'s, and which users.
my $everybody = q{WITH t AS MATERIALIZED (SELECT * FROM recommend_all('articles', 48)), u AS (SELECT DISTINCT user_key FROM t),
    a AS (SELECT user_key, r.rank, r.item, r.score FROM u, recommend(jsonb_build_object('user', user_key), 'articles', 48) AS r)
    SELECT count(*) || ' ' || count(*) FILTER (WHERE t IS DISTINCT FROM a) || ' ' ||
        CASE WHEN count(DISTINCT t.user_key) > 9 THEN 'many' ELSE string_agg(DISTINCT t.user_key, ',') END
    FROM t FULL JOIN a ON a.user_key = t.user_key AND a.rank = t.rank};
my $letter = q{SELECT md5(string_agg(t::text, ' ')) FROM recommend_all('articles', 48) AS t};

is(ask($reader, $items), ask($editor, $items), 'who may read everything gets what the owner gets');
is(ask($reader, $letter), ask($editor, $letter), 'and so for everybody');
like(ask($reader, $everybody), qr/^\d{5} 0 many$/, 'which is what each of them gets');
# What is left when rows are hidden must be what is left when they are deleted.
ask($editor, q{BEGIN; DELETE FROM articles WHERE id IN (16, 29)});
my $without = ask($editor, $letter);
ask($editor, 'ROLLBACK');
my $before = ask($reader, $scores);

# ---- row security on the items ----

ask($editor, q{UPDATE articles SET hidden = id IN (16, 29);
    ALTER TABLE articles ENABLE ROW LEVEL SECURITY; CREATE POLICY shown ON articles TO reader USING (NOT hidden)});
unlike(ask($reader, $items), qr/\b(16|29)\b/, 'hidden items do not appear');
is(ask($reader, $scores), $before, 'and the others\' scores are as before');
is(ask($reader, q{SELECT count(*) FROM recommend('{}', k => 46)}), 46, 'there are as many as are asked for');
is(ask($reader, q{SELECT count(*) FROM recommend('{}', k => 48)}), 46, 'and no more than may be seen');
is(ask($reader, q{SELECT count(*) FROM recommend('{"among": [16, 29]}')}), 0, 'a hidden candidate is none');
is(ask($reader, $letter), $without, 'for everybody: as if hidden items were not there, in the list, its scores and the events');
like(ask($reader, $everybody), qr/^\d{5} 0 many$/, 'and as for each of them');
is(ask($reader, q{SELECT count(*) FROM recommend_all('articles', 48, '{1700}', '{"among": [16, 29], "exclude_seen": false}')}), 0,
    'hidden candidates are none');
isnt(ask($editor, $letter), $without, 'the owner gets all');
is(ask($reader, q{SELECT string_agg(item || score, ' ' ORDER BY rank) FROM recommend('{"likes": [16], "at": "2026-03-21"}')}),
    ask($reader, q{SELECT string_agg(item || score, ' ' ORDER BY rank) FROM recommend('{"likes": [9999], "at": "2026-03-21"}')}),
    'to like a hidden item is to like none');
is(ask($reader, q{SELECT string_agg(item || score, ' ' ORDER BY rank) FROM recommend('{"dislikes": [16], "at": "2026-03-21"}')}),
    ask($reader, q{SELECT string_agg(item || score, ' ' ORDER BY rank) FROM recommend('{"at": "2026-03-21"}')}),
    'and to dislike it is to say nothing');
for my $query (q{similar_items('16')}, q{explain_recommendation('{}', '16')}, q{record_feedback('{"user": 1}', '16')}) {
    my $hidden = fails_like($reader, "SELECT $query", qr/there is no item "16"/);
    (my $absent = $query) =~ s/16/9999/;
    (my $expected = $hidden) =~ s/16/9999/g;
    my $got = (ask($reader, "SELECT $absent"))[1];
    s/^.*?ERROR/ERROR/s for $got, $expected;
    s/LINE.*//s for $got, $expected;
    is($got, $expected, "$query: the same as for an item that does not exist");
}
like(ask($editor, $items), qr/\b16\b.*\b29\b|\b29\b.*\b16\b/, 'the owner still gets them');

# Words, too, are as if nothing had them: "turbine" stands in 16 alone.
sub asked_for
{
    my ($session, $profile) = @_;
    return ask($session, qq{SELECT string_agg(item || ' ' || score || ' ' || reasons::text, ' ' ORDER BY rank) FROM recommend('$profile', k => 48)});
}
is(asked_for($reader, '{"interests": ["turbine"]}'), asked_for($reader, '{"interests": ["xyzzy"]}'), 'a hidden item\'s word is unknown');
is(asked_for($reader, q({"interests": ["jazz turbine"]})) =~ s/turbine/xyzzy/gr, asked_for($reader, '{"interests": ["jazz xyzzy"]}'), 'beside another word');
isnt(asked_for($editor, '{"interests": ["turbine"]}'), asked_for($editor, '{"interests": ["xyzzy"]}'), 'not for the owner');
# And what is hidden from the beginning changes nothing.
for my $profile ('{"user": 42}', '{}', '{"interests": ["music", "zeppelin"]}') {
    my $as_before = asked_for($reader, $profile);
    ask($editor, q{BEGIN; INSERT INTO articles VALUES (500, 'A zeppelin of music', 'It hums.', '{music,zeppelin}', 'Atlantis', now(), true); COMMIT});
    is(ask($editor, q{SELECT item FROM recommend('{"interests": ["zeppelin"]}', k => 1)}), 500, 'a new hidden item is there');
    is(asked_for($reader, $profile), $as_before, "and tells nothing to $profile");
    is(asked_for($reader, '{"city": "Atlantis"}'), asked_for($reader, '{"city": "Utopia"}'), 'nor by what it has');
    ask($editor, 'DELETE FROM articles WHERE id = 500');
}
is(ask($reader, 'SELECT summary IS NULL AND bytes IS NULL FROM recommenders()'), 't', 'how many there are is not told');
is(ask($editor, 'SELECT summary IS NULL OR bytes IS NULL FROM recommenders()'), 'f', 'but to the owner');

# Somebody who read hidden articles: neither as a reason nor by their effect.
ask($editor, q{INSERT INTO reads VALUES (1700, 16, 100, '2026-03-20'), (1700, 29, 100, '2026-03-20')});
is(ask($reader, q{SELECT string_agg(item || score, ' ' ORDER BY rank) FROM recommend('{"user": 1700, "at": "2026-03-21"}')}),
    ask($reader, q{SELECT string_agg(item || score, ' ' ORDER BY rank) FROM recommend('{"user": 1701, "at": "2026-03-21"}')}),
    'events on hidden items do not count');

# Somebody of whom nothing is known but a city which only a hidden article has: like one from a city that none has.
ask($editor, q{UPDATE articles SET city = 'Nowhere' WHERE id = 16; INSERT INTO people VALUES (3000, NULL, 'Nowhere'),
    (3001, NULL, 'Elsewhere'); SELECT refresh_recommender('articles', true)});
my $of = q{SELECT string_agg(item || score, ' ' ORDER BY rank) FROM recommend_all('articles', 48, '{%s}')};
is(ask($reader, sprintf $of, 3000), ask($reader, sprintf $of, 3001), 'an attribute that only hidden items have tells nothing');
is(ask($reader, sprintf $of, 3000), ask($reader, q{SELECT string_agg(item || score, ' ' ORDER BY rank)
    FROM recommend('{"user": 3000}', k => 48)}), 'and each gets what recommend() says');
isnt(ask($editor, sprintf $of, 3000), ask($editor, sprintf $of, 3001), 'where the article is seen, it tells');

# ---- row security on events and users ----

ask($editor, q{ALTER TABLE reads ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON reads TO reader USING (user_id = 1);
    ALTER TABLE people ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON people TO reader USING (id = 1)});
is(ask($reader, q{SELECT string_agg(item || score, ' ' ORDER BY rank) FROM recommend('{"user": 42, "at": "2026-03-21"}')}),
    ask($reader, q{SELECT string_agg(item || score, ' ' ORDER BY rank) FROM recommend('{"user": 4242, "at": "2026-03-21"}')}),
    'a user whose rows are hidden is like one who does not exist');
like(ask($reader, $everybody), qr/^\d+ 0 1$/, 'everybody is who has events that may be seen');
is(ask($reader, q{SELECT string_agg(item || score, ' ' ORDER BY rank) FROM recommend_all(users => '{42}')}),
    ask($reader, q{SELECT string_agg(item || score, ' ' ORDER BY rank) FROM recommend_all(users => '{4242}')}),
    'given by key, they are like those who do not exist');
is(ask($reader, q{SELECT count(*) FROM recommend('{"user": 1}', k => 48) AS r JOIN reads ON user_id = 1 AND article_id =
    r.item::bigint}), 0, 'one whose rows may be seen is known');

# ---- grants ----

fails_like($stranger, q{SELECT * FROM recommend('{}')}, qr/there is no recommender that you could use/,
    'without a grant there is no recommender in reach');
fails_like($stranger, q{SELECT * FROM recommend('{}', 'articles')}, qr/permission denied for table articles/, 'by name');
fails_like($stranger, q{SELECT * FROM similar_items('1', 'articles')}, qr/permission denied for table articles/);
fails_like($stranger, q{SELECT * FROM recommend_all()}, qr/there is no recommender that you could use/);
fails_like($stranger, q{SELECT * FROM recommend_all('articles')}, qr/permission denied for table articles/);
fails_like($stranger, q{SELECT * FROM recommend_all('articles', users => '{1}')}, qr/permission denied for table articles/);
fails_like($stranger, q{SELECT record_feedback('{"user": 1}', '1', 1, 'articles')}, qr/permission denied for table articles/);
# Somebody's own "default" must not come before what others ask for without a name.
ask(as('other'), q{CREATE TABLE bait (id int PRIMARY KEY); GRANT SELECT ON bait TO PUBLIC; SELECT create_recommender('default', items => 'bait')});
fails_like($reader, q{SELECT * FROM recommend('{}')}, qr/there is more than one recommender: name one/, 'somebody\'s "default" does not take over');
ask(as('other'), q{SELECT drop_recommender('default'); DROP TABLE bait});
is(ask($stranger, 'SELECT count(*) FROM recommenders()'), 0, 'and none is listed');
fails_like($stranger, 'SELECT * FROM aigc_recommender', qr/permission denied/, 'the catalogue is nobody\'s to read');
fails_like($stranger, 'SELECT * FROM aigc_recommender_chunk', qr/permission denied/, 'nor are models');
fails_like($stranger, q{INSERT INTO aigc_feedback VALUES ('articles', '1', '1', 1, 'x', now())}, qr/permission denied/);
fails_like($stranger, q{SELECT create_recommender('mine', items => 'articles')}, qr/permission denied for table articles/,
    'a recommender cannot be made of what one may not read');
for my $query (q{refresh_recommender('articles')}, q{drop_recommender('articles')}, q{evaluate_recommender('articles')}) {
    fails_like($reader, "SELECT $query", qr/must be owner of recommender "articles"/);
}
ask($editor, 'REVOKE SELECT ON reads, people FROM reader');
is(ask($reader, q{SELECT count(*) FROM recommend('{"interests": ["music"]}')}), 10, 'without a user, events are not read');
fails_like($reader, q{SELECT * FROM recommend('{"user": 1}')}, qr/permission denied for table reads/, 'with one they are');
fails_like($reader, 'SELECT * FROM recommend_all()', qr/permission denied for table reads/, 'for everybody too');
fails_like($reader, q{SELECT * FROM recommend_all(users => '{1}')}, qr/permission denied for table reads/, 'and for some');
ask($editor, 'GRANT SELECT ON reads TO reader');
fails_like($reader, 'SELECT * FROM recommend_all()', qr/permission denied for table people/, 'who they are must be told too');
ask($editor, 'REVOKE SELECT ON reads FROM reader');
ask($editor, 'REVOKE SELECT ON articles FROM reader; GRANT SELECT (id) ON articles TO reader');
fails_like($reader, q{SELECT * FROM recommend('{}', 'articles')}, qr/permission denied for table articles/,
    'row security reads a column that is not granted') if 0;
ask($editor, 'ALTER TABLE articles DISABLE ROW LEVEL SECURITY');
is(ask($reader, q{SELECT count(*) FROM recommend('{"likes": [15]}')}), 10, 'a grant on the key is enough');
unlike(ask($reader, q{SELECT string_agg(reasons::text, ' ') FROM recommend('{"likes": [15]}')}), qr/Harlem/,
    'but titles are not told then');
ask($editor, 'REVOKE SELECT (id) ON articles FROM reader');
fails_like($reader, q{SELECT * FROM recommend('{}', 'articles')}, qr/permission denied for table articles/, 'revoked');

# ---- somebody else's functions do not run with a superuser's rights ----

ask($setup, q{RESET ROLE; SET ROLE other;
    CREATE TABLE bait (id int, title text); INSERT INTO bait VALUES (1, 'one'), (2, 'two');
    CREATE FUNCTION who(i int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN
        IF current_user <> 'other' THEN RAISE EXCEPTION 'running as %', current_user; END IF; RETURN i; END $$;
    CREATE VIEW trap AS SELECT who(id) AS id, title FROM bait;
    SELECT create_recommender('trap', items => 'trap', item_id => 'id', item_text => '{title}');
    SELECT refresh_recommender('trap')});
is(ask($admin, q{SELECT count(*) FROM recommend('{"interests": ["two"]}', 'trap')}), 2, 'a superuser reads as the owner');
is(ask($admin, q{SELECT count(*) FROM recommend_all('trap', users => '{x}')}), 2, 'also for everybody');
ask($admin, 'GRANT SELECT ON trap TO reader');
fails_like($reader, q{SELECT * FROM recommend_all('trap', users => '{x}')}, qr/running as reader/);
fails_like($reader, q{SELECT * FROM recommend('{}', 'trap')}, qr/running as reader/, 'everybody else as themselves');
is(ask($admin, q{SELECT refresh_recommender('trap', true)->'items'}), 2, 'refreshed by a superuser it reads as the owner');
ask($setup, q{RESET ROLE; SET ROLE other; CREATE OR REPLACE FUNCTION who(i int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN
    CREATE TEMP TABLE trace (i int); RETURN i; END $$});
fails_like($admin, q{SELECT refresh_recommender('trap', true)}, qr/security-restricted operation/, 'and is confined');

# ---- feedback is seen by who recorded it, and by the owner ----

ask($setup, q{RESET ROLE; SET ROLE editor; GRANT SELECT ON articles TO reader, stranger;
    SELECT create_recommender('by feedback', items => 'articles', item_text => '{title}');
    SELECT refresh_recommender('by feedback')});
ask($reader, q{SELECT record_feedback('{"user": "x"}', '15', 1, 'by feedback')});
my $seen = q{SELECT bool_or(item = '15') FROM recommend('{"user": "x"}', 'by feedback', 100)};
is(ask($reader, $seen), 'f', 'who recorded feedback gets it respected');
is(ask($stranger, $seen), 't', 'another role does not see it');
is(ask($editor, $seen), 'f', 'the owner does');
my $recorded = q{SELECT string_agg(DISTINCT user_key, ' ') FROM recommend_all('by feedback', 100) WHERE item <> '15'};
is(ask($reader, $recorded), 'x', 'for everybody: those of whom one has recorded something');
fails_like($stranger, $recorded, qr/recommender "by feedback" has no events that would tell who its users are/);
ask($stranger, q{SELECT record_feedback('{"user": "y"}', '15', 1, 'by feedback')});
is(ask($stranger, $recorded), 'y', 'of one\'s own');
is(ask($reader, $recorded), 'x');
is(ask($editor, $recorded), 'x y', 'and all for the owner');

# ---- roles that go ----

ask($admin, q{REASSIGN OWNED BY other TO postgres; DROP OWNED BY other; DROP ROLE other});
fails_like($admin, q{SELECT * FROM recommend('{}', 'trap')}, qr/role "other", which owns recommender "trap", does not exist/);
like(ask($admin, q{SELECT error FROM recommenders() WHERE name = 'trap'}), qr/its owner, role "other", does not exist/);
ask($admin, q{SELECT drop_recommender('trap')});
is(ask($admin, q{SELECT count(*) FROM recommenders() WHERE name = 'trap'}), 0, 'a superuser drops what nobody owns');

$_->quit for $admin, $setup, $reader, $stranger, $editor;
$node->stop('fast');
done_testing();
