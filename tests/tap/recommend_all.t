#!/usr/bin/perl
# recommend_all() over many users: progress for others to see, cancel, memory that does not grow with them, and keys
# that look different and are equal.
use FindBin;
use lib $FindBin::RealBin;
use AigcTest;

my $node = new_node('recommend_all', conf => "work_mem = '4MB'\n");
my $main = session($node);
ask($main, q{
    CREATE TABLE film (id int PRIMARY KEY, title text, tags text[]);
    INSERT INTO film SELECT i, 'film ' || md5(i::text), ARRAY['genre' || i % 20] FROM generate_series(1, 1000) AS i;
    CREATE TABLE seen (who int, film int);
    INSERT INTO seen SELECT u, 1 + (u * 7919 + n * n * 104729) % 50 * 20 + u % 20
        FROM generate_series(1, 120000) AS u, generate_series(1, 3) AS n;
    CREATE INDEX ON seen (who); ANALYZE;
    SELECT create_recommender('films', items => 'film', item_text => '{title}', item_tags => '{tags}',
        events => 'seen', event_user => 'who', event_item => 'film', options => '{"iterations": 2, "item_weights": 0}')});
my ($result, $error) = ask($main, q{SELECT refresh_recommender('films')->'users'});
is($result, 120000, 'refreshed') or diag $error;
my $pid = ask($main, 'SELECT pg_backend_pid()');

# ---- memory ----

# kB that the backend holds beside what it shares.
sub memory
{
    return backend_status($pid)->{RssAnon};
}

ask($main, q{SELECT count(*) FROM recommend_all(users => ARRAY(SELECT i::text FROM generate_series(1, 6000) AS i))});
my $few = memory();
my $peak = $few;
$main->{stdin} .= q{SELECT count(*), count(DISTINCT user_key) FROM recommend_all();} . "\n\\echo over\n";
$main->{run}->pump_nb;
my (%phases, @done);
my $watch = session($node);
while ($main->{stdout} !~ /over\n/ && !$main->{timeout}->is_expired) {
    my $row = ask($watch, q{SELECT phase || ' ' || done || ' ' || coalesce(total::text, '?') FROM aigc_progress
        WHERE command = 'recommend_all' AND target = 'films'});
    $phases{$1}++, push @done, $2 if $row =~ /^(.*) (\d+) (\d+|\?)$/;
    push @done, 'too many' if $row =~ / (\d+) (\d+)$/ && $1 > $2;
    my $now = memory();
    $peak = $now if $now > $peak;
    $main->{run}->pump_nb;
    usleep(10_000);
}
like($main->{stdout}, qr/^1200000\|120000$/m, 'everybody');
$main->{stdout} = '';
ok($phases{ranking}, 'it is in aigc_progress');
is("@done", join(' ', sort { $a <=> $b } @done), 'and goes forward');
cmp_ok($done[-1] // 0, '>', 0, 'by users');
is(ask($watch, 'SELECT count(*) FROM aigc_progress'), 0, 'and leaves it');
cmp_ok($peak - $few, '<', 24 * 1024, 'twenty times as many users need no more memory');
note("RssAnon: $few kB after 6000 users, at most $peak kB with 120000");

# ---- cancel ----

sub cancelled_soon
{
    my ($query, $wait, $name) = @_;
    $main->{stdin} .= "$query;\n\\echo over\n";
    $main->{run}->pump_nb;
    ok($node->poll_query_until('postgres', "SELECT EXISTS (SELECT FROM aigc_progress WHERE $wait)"), "$name: it runs");
    my $start = time;
    ask($watch, "SELECT pg_cancel_backend($pid)");
    $main->{run}->pump until $main->{stdout} =~ /over\n/ || $main->{timeout}->is_expired;
    like($main->{stderr}, qr/canceling statement due to user request/, "$name: it is cancelled");
    cmp_ok(time - $start, '<', 5, 'soon');
    note(sprintf '%s: cancelled after %.0f ms', $name, 1000 * (time - $start));
    ($main->{stdout}, $main->{stderr}) = ('', '');
}
cancelled_soon('SELECT count(*) FROM recommend_all()', q{phase = 'ranking' AND done > 0}, 'ranking');
cancelled_soon('SELECT count(*) FROM recommend_all(k => 1000)', q{phase = 'ranking' AND done > 0}, 'long lists');
ask($main, 'CREATE ROLE reader; GRANT SELECT ON film, seen TO reader; SET ROLE reader');
cancelled_soon('SELECT count(*) FROM recommend_all()', q{phase = 'ranking' AND done > 0 AND total IS NULL},
    'a role that is not told how many users there are');
ask($main, 'RESET ROLE');
($result, $error) = ask($main, q{SET statement_timeout = 100; SELECT count(*) FROM recommend_all()});
like($error, qr/canceling statement due to statement timeout/, 'statement_timeout');
ask($main, 'RESET statement_timeout');
is(ask($main, 'SELECT count(*) FROM aigc_progress'), 0, 'no progress is left');
is(ask($main, q{SELECT count(*) FROM recommend_all(users => '{1,2,3}', k => 5)}), 15, 'the session goes on');
cmp_ok(memory(), '<', $peak + 24 * 1024, 'nothing was leaked');

# A session that is ended while its threads compute takes nobody with it.
my $lost = session($node);
my $lost_pid = ask($lost, 'SELECT pg_backend_pid()');
$lost->{stdin} .= "SELECT count(*) FROM recommend_all();\n";
$lost->{run}->pump_nb;
ok($node->poll_query_until('postgres', "SELECT EXISTS (SELECT FROM aigc_progress WHERE pid = $lost_pid AND done > 0)"),
    'another session');
ask($watch, "SELECT pg_terminate_backend($lost_pid)");
ok($node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $lost_pid)"), 'is gone');
eval { $lost->{run}->finish };
is(ask($main, 'SELECT pg_backend_pid()'), $pid, 'this one is not');

# What interrupts and is not to end the statement does not make it begin again and again.
ask($main, 'SET client_connection_check_interval = 1') if ask($main, 'SHOW server_version_num') >= 140000;
is(ask($main, q{SELECT count(*) FROM recommend_all(users => ARRAY(SELECT i::text FROM generate_series(1, 5000) AS i))}), 50000,
    'interrupted every millisecond');
ask($main, 'RESET client_connection_check_interval');

# In the select list, where rows may be left untaken; beside others; in a subtransaction that is rolled back.
is(ask($main, q{SELECT (recommend_all(users => '{1,2,3}', k => 2)).user_key LIMIT 3}), "1\n1\n2", 'in the select list');
is(ask($main, q{SELECT count(*) FROM generate_series(1, 3) AS u, recommend_all(users => ARRAY[u::text]) AS r,
    recommend(jsonb_build_object('user', u)) AS s WHERE r.rank = s.rank AND r.item = s.item}), 30, 'beside others');
is(ask($main, q{BEGIN; SAVEPOINT s; SELECT count(*) FROM recommend_all(users => '{x}'); ROLLBACK TO s;
    SELECT count(*) FROM recommend_all(users => '{7}'); COMMIT}), 10, 'after an error');

# ---- keys that look different and are equal ----

SKIP: {
    skip 'this server has no ICU', 2 if !ask($main, q{SELECT count(*) FROM pg_collation WHERE collprovider = 'i'});
    ask($main, q{CREATE COLLATION any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
        CREATE TABLE clicks (who text COLLATE any_case, what int);
        INSERT INTO clicks VALUES ('ada', 1), ('Ada', 2), ('ADA', 3), ('ben', 1), ('Ben', 2), ('cy', 1);
        SELECT create_recommender('clicks', events => 'clicks', event_user => 'who', event_item => 'what');
        SELECT refresh_recommender('clicks')});
    is(ask($main, q{SELECT lower(user_key), string_agg(item, ' ' ORDER BY item) FROM recommend_all('clicks') GROUP BY 1
        ORDER BY 1}), "ben|3\ncy|2 3", 'equal keys are one user');
    is(ask($main, q{SELECT user_key, string_agg(item, ' ' ORDER BY item) FROM recommend_all('clicks', users => '{BEN,aDa,CY}')
        GROUP BY 1 ORDER BY 1}), "BEN|3\nCY|2 3", 'also when they are given');
}

$_->quit for $main, $watch;
$node->stop('fast');
done_testing();
