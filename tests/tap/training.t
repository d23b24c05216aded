#!/usr/bin/perl
# train_model() and finetune_model() among roles, sessions and servers: who may call them, whose rows they read, what
# others see of them, names, encodings, replicas, dump and restore.
use FindBin;
use lib $FindBin::RealBin;
use AigcTest;
use PostgreSQL::Test::Utils;

my $node = new_node('training', init => [ allows_streaming => 1 ]);
my $main = session($node);
my $dir  = $ENV{AIGC_MODELS};
my $tiny = q{"layers": 1, "width": 32, "heads": 2, "context": 32, "batch": 4, "vocab": 300};
my $long = qq({"steps": 1000000, $tiny});

ask($main, q{
    CREATE ROLE ann LOGIN; CREATE ROLE bob LOGIN; CREATE ROLE cas LOGIN; CREATE ROLE dan LOGIN;
    GRANT aigc_trainer TO ann, bob; GRANT pg_read_all_stats TO dan;
    CREATE TABLE note (owner text, body text);
    INSERT INTO note SELECT o, format('%s wrote note number %s today.', o, i) FROM unnest('{ann,ann,bob}'::text[]) o,
        generate_series(1, 50) i;
    ALTER TABLE note ENABLE ROW LEVEL SECURITY;
    CREATE POLICY own ON note USING (owner = current_user);
    GRANT SELECT ON note TO ann, bob, cas;
    CREATE TABLE secret AS SELECT 'Nobody reads this.'::text AS body});

# Starts a query in a session and returns once the others see its training in this phase.
sub in_background
{
    my ($session, $query, $phase) = @_;
    my $pid = ask($session, 'SELECT pg_backend_pid()');
    $session->{stdin} .= "$query;\n\\warn over\n";
    $session->{run}->pump_nb;
    ok($node->poll_query_until('postgres', "SELECT EXISTS (SELECT FROM aigc_progress WHERE pid = $pid AND "
          . "phase = '$phase' AND done > 0)"), "others see the phase: $phase");
    return $pid;
}

# Waits for the end of what in_background() began; what it said.
sub outcome
{
    my ($session) = @_;
    $session->{run}->pump until $session->{stderr} =~ /over\n/ || $session->{timeout}->is_expired;
    my $err = $session->{stderr};
    $session->{stderr} = $session->{stdout} = '';
    return $err;
}

sub models
{
    opendir my $in, $dir or die "$dir: $!\n";
    return join ' ', sort grep { !/^\.\.?$/ && !/^(aigc-base|stories|ggml)/ } readdir $in;
}

# ---- rights ----

ask($main, 'SET ROLE cas');
for my $call (qq(train_model('cas', 'SELECT 1', '$long')), q{finetune_model('cas', 'stories260K', 'SELECT 1')},
    q{drop_model('stories260K')}) {
    my ($function) = $call =~ /^(\w+)/;
    fails_like($main, "SELECT $call", qr/permission denied for function $function/);
}
ask($main, 'RESET ROLE; SET ROLE ann');
is(ask($main, qq(SELECT texts, skipped FROM train_model('ann', 'SELECT body FROM note', '{"steps": 1, $tiny}'))),
    '100|0', 'a trainer reads the rows that row security gives her');
fails_like($main, qq(SELECT train_model('x', 'SELECT body FROM secret', '{"steps": 1}')),
    qr/permission denied for table secret/);
fails_like($main, qq(SELECT train_model('x', \$\$SELECT pg_read_file('/etc/passwd')\$\$, '{"steps": 1}')),
    qr/permission denied for function pg_read_file/);
ask($main, 'RESET ROLE; SET ROLE bob');
is(ask($main, q{SELECT texts FROM finetune_model('bob', 'stories260K', 'SELECT body FROM note', '{"steps": 1}')}), '50',
    'and another those that it gives him');
ask($main, 'RESET ROLE');
is(ask($main, qq(SELECT texts FROM train_model('ann', 'SELECT body FROM note', '{"steps": 1, "replace": true, $tiny}'))),
    '150', 'a superuser all');
is(models(), 'ann.gguf bob.gguf', 'each model is a file of its name, and there is nothing else');
is(ask($main, q{SELECT count(*) FROM generate('ann', model => 'ann', max_tokens => 5)}), '1', 'which generates');

# ---- names ----

for my $name (q{it's}, q{"quoted"}, q{; DROP TABLE note}, q{$1 %s %n --}, q{two words}, "\x{c3}\x{a9}\x{e6}\x{97}\x{a5}",
    'x.gguf') {
    my $sql = "'" . $name =~ s/'/''/gr . "'";
    (my $file = $name) =~ s/\.gguf$//;
    is(ask($main, qq(SELECT model FROM train_model($sql, 'SELECT body FROM note', '{"steps": 1, $tiny}'))), $file,
        "a model called $name");
    ok(-s "$dir/$file.gguf", 'has that file');
    is(ask($main, "SELECT count(*) FROM generate('ann', model => $sql, max_tokens => 1)"), '1', 'and is found');
    unlink "$dir/$file.gguf";
}
symlink '/etc/passwd', "$dir/link.gguf";
fails_like($main, qq(SELECT train_model('link', 'SELECT body FROM note', '{"steps": 1, $tiny}')), qr/"link" exists/);
is(ask($main, qq(SELECT steps FROM train_model('link', 'SELECT body FROM note', '{"steps": 1, "replace": true, $tiny}'))),
    '1', 'a link is replaced');
ok(!-l "$dir/link.gguf" && -s '/etc/passwd', 'and not followed');
unlink "$dir/link.gguf";

# ---- drop_model() ----

for my $name (q{it's}, q{two words.gguf}) {
    my $sql = "'" . $name =~ s/'/''/gr . "'";
    ask($main, qq(SELECT train_model($sql, 'SELECT body FROM note', '{"steps": 1, $tiny}')));
    (my $file = $name) =~ s/\.gguf$//;
    ok(-s "$dir/$file.gguf", "a model called $name");
    is(ask($main, "SET ROLE ann; SELECT drop_model($sql); RESET ROLE"), '', 'a trainer drops it');
    ok(!-e "$dir/$file.gguf", 'its file is gone');
    fails_like($main, "SELECT generate('ann', model => $sql)", qr/there is no model "\Q$file\E"/);
}
my $user = session($node);
ask($main, qq(SELECT train_model('used', 'SELECT body FROM note', '{"steps": 1, $tiny}')));
ask($user, q{BEGIN; DECLARE c CURSOR FOR SELECT generate_stream('ann', model => 'used', max_tokens => 20); FETCH 1 FROM c});
is(ask($main, q{SELECT drop_model('used')}), '', 'a model that another session reads from is dropped');
my ($rest, $complaint) = ask($user, 'FETCH ALL FROM c');
ok($rest ne '' && $complaint eq '', 'which goes on') or diag $complaint;
fails_like($user, q{COMMIT; SELECT generate('ann', model => 'used')}, qr/there is no model "used"/);
symlink '/etc/passwd', "$dir/link.gguf";
ask($main, q{SELECT drop_model('link')});
ok(!-l "$dir/link.gguf" && -s '/etc/passwd', 'a link is dropped and not followed');
mkdir "$dir/folder.gguf";
fails_like($main, q{SELECT drop_model('folder')}, qr/model "folder" is not a regular file/);
fails_like($main, qq(SELECT train_model('folder', 'SELECT body FROM note', '{"steps": 1, "replace": true, $tiny}')),
    qr/model "folder" is not a regular file/);
rmdir "$dir/folder.gguf";

# ---- what others see, and two at once ----

my $first = session($node);
ask($first, 'SET ROLE ann');
my $second = do { local $ENV{PGUSER} = 'bob'; session($node) };
my $user = ask($main, 'SELECT current_user');
my $one = in_background($first, "SELECT train_model('first', 'SELECT body FROM note', '$long')", 'training');
my $two = in_background($second, q{SELECT finetune_model('second', 'stories260K', 'SELECT body FROM note',
    '{"steps": 1000000}')}, 'training');
is(ask($main, qq(SELECT pid = $one, datname, usename, command, target, done < total, total, loss > 0,
    tokens_per_second > 0, started < clock_timestamp(), estimated_end > clock_timestamp()
    FROM aigc_progress WHERE command = 'train_model')),
    "t|postgres|$user|train_model|first|t|1000000|t|t|t|t", 'a superuser sees all of it');
my $columns = q{string_agg(concat_ws('|', usename, command, target, phase), ' ' ORDER BY usename)};
is(ask($main, "SELECT count(*) FROM aigc_progress"), '2', 'of two trainings at once');
for ([ bob => 'bob|finetune_model|second|training' ], [ cas => 'bob' ], [ ann => 'bob' ],
    [ dan => 'bob|finetune_model|second|training' ]) {
    my ($role, $seen) = @$_;
    is(ask($main, "SET ROLE $role; SELECT $columns FROM aigc_progress WHERE pid = $two; RESET ROLE"), $seen,
        "what $role sees of bob's");
}
fails_like($main, qq(SELECT train_model('first', 'SELECT body FROM note', '{"steps": 1, "replace": true, $tiny}')),
    qr/model "first" is being made by another session/, 'two sessions cannot make one model');
is(ask($main, qq(SELECT steps FROM train_model('third', 'SELECT body FROM note', '{"steps": 1, $tiny}'))), '1',
    'but a third one another');
is(ask($main, "SELECT count(*) FROM pg_stat_progress_vacuum") . ask($main, 'SELECT count(*) FROM pg_stat_progress_copy'),
    '00', q{PostgreSQL's own views do not show them});
my $threads = 0;
for my $task (grep { !m{/$one$} } glob "/proc/$one/task/*") {
    my ($mask) = slurp_file("$task/status") =~ /^SigBlk:\s*(\w+)/m;
    $threads++ if (hex($mask) & 0x4000) && (hex($mask) & 0x200) && (hex($mask) & 0x2);    # SIGTERM, USR1, INT
}
is($threads, 1, q{no thread but the session's own has a signal unblocked});
ask($main, "SELECT pg_cancel_backend($_)") for $one, $two;
like(outcome($_), qr/canceling statement due to user request/, 'cancelled') for $first, $second;
is(models(), 'ann.gguf bob.gguf third.gguf', 'leaves nothing');
is(ask($main, 'SELECT count(*) FROM aigc_progress'), '0', 'in the view either');

# A savepoint that is rolled back within the query takes the report away only until the next one.
ask($main, q{CREATE FUNCTION stumble(t text) RETURNS text LANGUAGE plpgsql AS $$
    BEGIN BEGIN PERFORM 1/0; EXCEPTION WHEN division_by_zero THEN NULL; END; RETURN t; END $$});
$one = in_background($first, "RESET ROLE; SELECT train_model('first', 'SELECT stumble(body) FROM note', '$long')", 'training');
ask($main, "SELECT pg_cancel_backend($one)");
outcome($first);
ask($first, 'SET track_activities = off');
is(ask($first, qq(SELECT steps FROM train_model('first', 'SELECT body FROM note', '{"steps": 1, $tiny}'))), '1',
    'nothing is reported, nor needed, while track_activities is off');
unlink "$dir/$_.gguf" for qw(first third);

# ---- encodings ----

$node->safe_psql('postgres', q{CREATE DATABASE ascii TEMPLATE template0 ENCODING 'SQL_ASCII'});
$node->safe_psql('postgres', q{CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1'});
for my $name (qw(ascii latin)) {
    my $database = session($node, $name);
    ask($database, q{CREATE EXTENSION aigc; CREATE TABLE note AS SELECT 'A line of text.'::text AS body
        FROM generate_series(1, 20)});
    if ($name eq 'ascii') {
        ask($database, q{INSERT INTO note VALUES (E'\xff\xfe'); SET client_min_messages = error});
        my $err = fails_like($database, qq(SELECT train_model('bytes', 'SELECT body FROM note', '{"steps": 1, $tiny}')),
            qr/invalid byte sequence for encoding "UTF8": 0xff/);
        like($err, qr/row 21 of the query of train_model\(\)/, 'and the row is named');
    } else {
        ask($database, q{INSERT INTO note VALUES (convert_from('\x636166e9', 'LATIN1'))});
        is(ask($database, qq(SELECT texts FROM train_model('latin', 'SELECT body FROM note', '{"steps": 1, $tiny}'))),
            '21', 'a LATIN1 database trains');
        is($node->safe_psql('postgres', q{SELECT score_text(U&'caf\00e9', 'latin') = score_text(U&'caf\00e9', 'latin')}),
            't', 'a model that a UTF-8 database reads');
        unlink "$dir/latin.gguf";
    }
    $database->quit;
}

# ---- replicas; dump and restore ----

ask($main, 'GRANT EXECUTE ON FUNCTION train_model TO cas; CREATE VIEW watch AS SELECT * FROM aigc_progress');
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
my ($rc, $out, $err) = $standby->psql('postgres', qq(SELECT train_model('x', 'SELECT body FROM note', '$long')));
like($err, qr/cannot execute train_model\(\) during recovery/, 'a replica refuses to train');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM aigc_progress'), '0', 'but has the view');
$standby->stop('fast');

my $dump = "$ENV{AIGC_STAGE}/work/training.sql";
command_ok([ 'pg_dump', '--file', $dump, $node->connstr('postgres') ], 'pg_dump');
unlike(slurp_file($dump), qr/CREATE ROLE|GRANT .* aigc_trainer/, 'does not dump the role, nor what it was granted');
like(slurp_file($dump), qr/GRANT .*train_model.* TO cas/, 'but what an administrator granted');
my $other = new_node('other', create => 0);
$other->safe_psql('postgres', "CREATE ROLE $_") for qw(ann bob cas);
command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $other->connstr('postgres') ],
    'a restore into a server that has no such role');
is($other->safe_psql('postgres', q{SELECT rolcanlogin, rolsuper FROM pg_roles WHERE rolname = 'aigc_trainer'}), 'f|f',
    'makes it');
is($other->safe_psql('postgres', q{SELECT r, has_function_privilege(r, 'train_model(text, text, jsonb)', 'EXECUTE')
    FROM unnest('{aigc_trainer,ann,cas}'::text[]) r}), "aigc_trainer|t\nann|f\ncas|t", 'with its rights');
$other->stop('fast');

# The role is the cluster's: it outlives the extension, and is taken as it is.
(undef, undef, $err) = $node->psql('postgres', 'DROP ROLE aigc_trainer');
like($err, qr/cannot be dropped because some objects depend on it/, 'the role cannot be dropped while it is needed');
for my $database (qw(ascii latin)) {
    $node->safe_psql('postgres', "DROP DATABASE $database");
}
$node->safe_psql('postgres', q{COMMENT ON ROLE aigc_trainer IS 'ours'; DROP EXTENSION aigc CASCADE; CREATE EXTENSION aigc});
is($node->safe_psql('postgres', q{SELECT pg_has_role('ann', 'aigc_trainer', 'MEMBER'),
    has_function_privilege('ann', 'train_model(text, text, jsonb)', 'EXECUTE'),
    shobj_description('aigc_trainer'::regrole, 'pg_authid')}), 't|t|ours', 'it keeps its members and its comment');
$node->safe_psql('postgres', 'DROP EXTENSION aigc; DROP ROLE aigc_trainer; CREATE EXTENSION aigc');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_roles WHERE rolname = 'aigc_trainer'}), '1',
    'and is made anew when it is gone');

$node->stop('fast');
done_testing();
