#!/usr/bin/perl
# Recommenders on replicas, in dumps, and in other schemas.
use FindBin;
use lib $FindBin::RealBin;
use AigcTest;
use PostgreSQL::Test::Utils;

my $primary = new_node('primary', init => [ allows_streaming => 1 ]);
my $main = session($primary);
ask($main, '\i sql/catalogue.sql');
ask($main, q{SELECT create_recommender('articles', items => 'articles', item_text => '{title,body}',
    item_tags => '{tags}', item_attributes => '{city}', item_time => 'published', events => 'reads',
    event_user => 'user_id', event_item => 'article_id', event_weight => 'seconds', event_time => 'at',
    users => 'people', user_attributes => '{age,city}');
    SELECT refresh_recommender('articles')});
my $query = q{SELECT string_agg(item || ' ' || score, ', ' ORDER BY rank) FROM recommend('{"user": 5, "interests": ["bees"],
    "at": "2026-03-21"}')};
my $expected = ask($main, $query);
like($expected, qr/^\d+ /, 'the primary recommends');

# ---- a replica ----

$primary->backup('base');
my $base = $primary->backup_dir . '/base';
ok(-e $primary->data_dir . '/pgsql_tmp_aigc' && !-e "$base/pgsql_tmp_aigc", 'a base backup leaves mapped files out');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;
is($standby->safe_psql('postgres', $query), $expected, 'a read-only replica recommends the same');
my $all = q{SELECT md5(string_agg(r::text, ' ')) FROM recommend_all() AS r};
is($standby->safe_psql('postgres', $all), ask($main, $all), 'for everybody as well');
ask($main, q{INSERT INTO articles VALUES (60, 'Zeppelins over the Spree', 'An airship visits.', '{travel}', 'Berlin', '2026-03-21');
    INSERT INTO reads VALUES (1900, 15, 100, '2026-03-21'), (1900, 20, 100, '2026-03-21')});
$primary->wait_for_catchup($standby);
is($standby->safe_psql('postgres', q{SELECT item FROM recommend('{"interests": ["zeppelins"]}', k => 1)}), 60,
    'new items on the replica');
is($standby->safe_psql('postgres', q{SELECT bool_or(item IN ('15', '20')) FROM recommend('{"user": 1900}', k => 100)}), 'f',
    'and new events');
ask($main, q{SELECT refresh_recommender('articles', true)});
$primary->wait_for_catchup($standby);
is($standby->safe_psql('postgres', $query), ask($main, $query), 'a refresh arrives there');
my ($ret, $out, $err) = $standby->psql('postgres', q{SELECT refresh_recommender('articles')});
like($err, qr/cannot execute refresh_recommender\(\) in a read-only transaction/, 'a replica cannot refresh');
($ret, $out, $err) = $standby->psql('postgres', q{SELECT record_feedback('{"user": 1}', '1')});
like($err, qr/cannot execute record_feedback\(\) in a read-only transaction/, 'or record');
like(ask($main, 'BEGIN READ ONLY; ' . $query . '; COMMIT'), qr/^\d+ /, 'a read-only transaction recommends');
is(ask($main, 'BEGIN READ ONLY; ' . $all . '; COMMIT'), $standby->safe_psql('postgres', $all), 'for everybody');
$standby->stop('fast');

# ---- dump and restore ----

ask($main, q{SELECT record_feedback('{"user": 77}', '15', 2);
    CREATE TABLE gone (id int PRIMARY KEY, title text);
    SELECT create_recommender('of a table that is gone', items => 'gone', item_text => '{title}');
    DROP TABLE gone; CREATE SCHEMA "Odd ""schema"; ALTER TABLE people SET SCHEMA "Odd ""schema"});
my $dump = "$ENV{AIGC_STAGE}/work/recommend.dump";
command_ok([ 'pg_dump', '--format', 'custom', '--file', $dump, $primary->connstr('postgres') ], 'pg_dump');
$primary->safe_psql('postgres', 'CREATE DATABASE restored');
command_ok([ 'pg_restore', '--exit-on-error', '--dbname', $primary->connstr('restored'), $dump ], 'pg_restore');
is($primary->safe_psql('restored', q{SELECT name, items, events, users, error FROM recommenders()}),
    'articles|articles|reads|"Odd ""schema".people|not refreshed yet', 'definitions are restored, by name');
is($primary->safe_psql('restored', 'SELECT recommender, user_key, item, value FROM aigc_feedback'), 'articles|77|15|2',
    'and feedback');
($ret, $out, $err) = $primary->psql('restored', $query);
like($err, qr/recommender "articles" has not been refreshed yet\nHINT:  SELECT refresh_recommender\('articles'\);/,
    'models are not in a dump, and the error says what to do');
$primary->safe_psql('restored', q{SELECT refresh_recommender('articles')});
is($primary->safe_psql('restored', $query), ask($main, q{SELECT refresh_recommender('articles', true) IS NULL; } . $query) =~ s/^f\n//r,
    'refreshed it recommends as before');

# As SQL, without owners, into a database where the tables have other oids.
command_ok([ 'pg_dump', '--no-owner', '--file', "$dump.sql", $primary->connstr('restored') ], 'pg_dump as SQL');
$primary->safe_psql('postgres', 'CREATE DATABASE again');
$primary->safe_psql('again', 'CREATE TABLE filler (i int)');
command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dump.sql", $primary->connstr('again') ], 'psql');
is($primary->safe_psql('again', q{SELECT refresh_recommender('articles')->'items'}), 49, 'restored and refreshed');

# ---- the extension moves ----

ask($main, 'CREATE SCHEMA words; ALTER EXTENSION aigc SET SCHEMA words; SET search_path = words, public');
like(ask($main, $query), qr/^\d+ /, 'in another schema everything is found');
ask($main, q{SELECT words.drop_recommender('articles')});
is(ask($main, 'SELECT count(*) FROM words.recommenders()'), 1, 'and dropped');
ask($main, 'DROP EXTENSION aigc; CREATE EXTENSION aigc SCHEMA public; SET search_path = public');
is(ask($main, 'SELECT count(*) FROM recommenders()'), 0, 'the extension dropped and created again has none');

$main->quit;
$primary->stop('fast');
done_testing();
