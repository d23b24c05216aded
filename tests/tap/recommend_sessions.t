#!/usr/bin/perl
# Refreshing beside readers: old results until it commits, progress for others to see, cancel, crash at any moment, one
# copy of the model for all sessions.
use FindBin;
use lib $FindBin::RealBin;
use AigcTest;

my $node = new_node('recommend_sessions');
my $main = session($node);
my $reader = session($node);
ask($main, q{
    CREATE TABLE film (id int PRIMARY KEY, title text, tags text[]);
    INSERT INTO film SELECT i, 'film ' || md5(i::text), ARRAY['genre' || (i - 1) % 20, 'year' || i % 50]
        FROM generate_series(1, 1500) AS i;
    CREATE TABLE seen (who int, film int, at timestamptz);
    INSERT INTO seen SELECT u, 1 + CASE WHEN n < 30 THEN (u * 7919 + n * n * 104729) % 75 * 20 + u % 20 ELSE (u * 31 + n * 997) % 1500 END,
        '2026-01-01'::timestamptz + n * interval '1 hour'
        FROM generate_series(1, 1500) AS u, generate_series(1, 40) AS n;
    CREATE INDEX ON seen (who); CREATE INDEX ON seen (film); ANALYZE;
    SELECT create_recommender('films', items => 'film', item_text => '{title}', item_tags => '{tags}',
        events => 'seen', event_user => 'who', event_item => 'film', event_time => 'at')});
my ($result, $error) = ask($main, q{SELECT refresh_recommender('films')->'events'});
is($result, 60000, 'refreshed') or diag $error;
my $query    = q{SELECT string_agg(item || ' ' || score, ', ' ORDER BY rank) FROM recommend('{"user": 5, "at": "2026-02-01"}')};
my $expected = ask($reader, $query);
like($expected, qr/^\d+ /, 'a reader');

# Starts a refresh in a session and waits until the others see that it computes.
sub start_refresh
{
    my ($session) = @_;
    $session->{stdin} .= q{SELECT refresh_recommender('films', true) IS NOT NULL;} . "\n\\echo over\n";
    $session->{run}->pump_nb;
    ok($node->poll_query_until('postgres', q{SELECT EXISTS (SELECT FROM aigc_progress WHERE command = 'refresh_recommender'
        AND target = 'films' AND phase NOT LIKE 'reading%')}), 'the refresh is in aigc_progress');
}

sub wait_for_end
{
    my ($session) = @_;
    $session->{run}->pump until $session->{stdout} =~ /over\n/ || $session->{timeout}->is_expired;
    my ($out, $err) = ($session->{stdout}, $session->{stderr});
    $session->{stdout} = $session->{stderr} = '';
    return ($out, $err);
}

# ---- two sessions ----

ask($main, q{INSERT INTO seen SELECT 9000 + i / 50, 1 + i * 13 % 1500, '2026-01-20' FROM generate_series(1, 9000) AS i});
my $pid = ask($main, 'SELECT pg_backend_pid()');
ask($main, 'BEGIN');
start_refresh($main);
is(ask($reader, $query), $expected, 'while one refreshes others get the old results');
like(ask($reader, q{SELECT done || ' of ' || coalesce(total::text, '?') FROM aigc_progress}), qr/^\d+ of /, 'with its progress');
fails_like($reader, q{SELECT refresh_recommender('films')}, qr/recommender "films" is being refreshed or dropped by another session/);
is((wait_for_end($main))[0], "t\nover\n", 'it ends');
is(ask($reader, $query), $expected, 'and before it commits as well');
isnt(ask($main, $query), $expected, 'its own session has the new ones');
ask($main, 'COMMIT');
isnt(ask($reader, $query), $expected, 'then everybody');
is(ask($reader, $query), ask($main, $query), 'the same for all');
is(ask($reader, 'SELECT count(*) FROM aigc_progress'), 0, 'no progress is left');
$expected = ask($reader, $query);
ask($main, q{BEGIN; INSERT INTO seen SELECT 5, i, '2026-01-30' FROM generate_series(1, 9) AS i; SELECT refresh_recommender('films', true); ROLLBACK});
is(ask($main, $query), $expected, 'a refresh that is rolled back has not been');
ask($reader, 'BEGIN ISOLATION LEVEL REPEATABLE READ');
is(ask($reader, $query), $expected, 'a snapshot');
ask($main, q{SELECT refresh_recommender('films', true)});
is(ask($reader, $query), $expected, 'keeps its model');
ask($reader, 'COMMIT');

# ---- cancel ----

start_refresh($main);
my $start = time;
ask($reader, "SELECT pg_cancel_backend($pid)");
like((wait_for_end($main))[1], qr/canceling statement due to user request/, 'a refresh is cancelled');
cmp_ok(time - $start, '<', 5, 'soon');
is(ask($main, $query), ask($reader, $query), 'and all is as before');
($result, $error) = ask($main, q{SET statement_timeout = 300; SELECT refresh_recommender('films', true); RESET statement_timeout});
like($error, qr/canceling statement due to statement timeout/, 'statement_timeout');
ask($main, 'RESET statement_timeout');
is(ask($main, q{SELECT count(*) FROM aigc_recommender_model}), 1, 'one model');

# ---- one copy in memory ----

my @sessions = map { session($node) } 1 .. 3;
my %maps;
for my $session (@sessions) {
    ask($session, $query);
    my $backend = ask($session, 'SELECT pg_backend_pid()');
    open my $in, '<', "/proc/$backend/maps" or die "no process $backend: $!\n";
    my @model = grep { /pgsql_tmp_aigc/ } <$in>;
    is(scalar @model, 1, 'a session maps one file');
    like($model[0], qr/ r--s /, 'shared and read-only');
    $maps{ (split ' ', $model[0])[4] }++;
}
is(scalar keys %maps, 1, 'all sessions the same one');
my $folder = $node->data_dir . '/pgsql_tmp_aigc';
is(scalar(() = glob "$folder/*"), 1, 'files of older models are removed');
$_->quit for @sessions;

# ---- crash ----

start_refresh($main);
$node->stop('immediate');
eval { $main->quit };
$main->{run}->kill_kill if $main->{run};
$reader->{run}->kill_kill;
$node->start;
$main = session($node);
my $after = ask($main, $query);
like($after, qr/^\d+ /, 'after a crash during a refresh the old model serves');
is(ask($main, q{SELECT count(*) FROM aigc_recommender_model}), 1, 'and is the only one');
is(ask($main, q{SELECT refresh_recommender('films', true)->'items'}), 1500, 'the next refresh goes through');
unlink glob "$folder/*";
$reader = session($node);
is(ask($reader, $query), ask($main, $query), 'a lost file is written again');

# A process that is killed while it writes the file leaves nothing that others would take for it.
open my $out, '>', "$folder/writing-999999" or die "cannot write: $!\n";
print $out 'half';
close $out;
ask($main, q{SELECT refresh_recommender('films', true)});
ask($main, $query);
is(scalar(() = glob "$folder/*"), 1, 'half a file of a process that is gone is removed');

# ---- what comes between two refreshes ----

my @files = glob "$folder/*";
ask($main, q{BEGIN; INSERT INTO film VALUES (7001, 'a preposterous title', '{genre1}')});
is(ask($main, q{SELECT item FROM recommend('{"interests": ["preposterous"]}', k => 1)}), 7001,
    'a transaction meets its own new item');
is("@{[ glob qq{$folder/*} ]}", "@files", 'and keeps it to itself');
ask($main, 'ROLLBACK');

ask($main, q{INSERT INTO film VALUES (7001, 'the unmistakable title', '{genre1}')});
is(ask($reader, q{SELECT item FROM recommend('{"interests": ["unmistakable"]}', k => 1)}), 7001, 'a new item at once');
my $second = session($node);
is(ask($second, q{SELECT item FROM recommend('{"interests": ["unmistakable"]}', k => 1)}), 7001, 'in every session');
is(scalar(() = glob "$folder/*"), 1, 'by one file');
is(ask($main, q{SELECT s->'full', s->'new_items' FROM refresh_recommender('films', false) AS s}), 'false|1', 'refreshed by what is new');
is(ask($second, q{SELECT item FROM recommend('{"interests": ["unmistakable"]}', k => 1)}), 7001, 'it stays');
ask($main, q{DELETE FROM film WHERE id = 7001});
is(ask($second, q{SELECT count(*) FROM recommend('{"interests": ["unmistakable"]}', k => 1000) WHERE item = '7001'}), 0,
    'and goes at once');

# ---- dropped beside readers ----

ask($main, q{SELECT drop_recommender('films')});
fails_like($second, $query, qr/there is no recommender that you could use/);
is(ask($main, 'SELECT (SELECT count(*) FROM aigc_recommender_model) + (SELECT count(*) FROM aigc_recommender_chunk)'), 0,
    'nothing of it is left');
$_->quit for $main, $reader, $second;
$node->stop('fast');
done_testing();
