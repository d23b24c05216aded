#!/usr/bin/perl
# Ends of train_model() and finetune_model(): a model that is better, or nothing at all: cancel, timeouts, termination,
# crashes, disks that are full or not writable.
use FindBin;
use lib $FindBin::RealBin;
use AigcTest;
use PostgreSQL::Test::Utils;

my $node = new_node('training_end', conf => "restart_after_crash = on\n");
my $dir  = $ENV{AIGC_MODELS};
my $temp = $node->data_dir . '/base/pgsql_tmp';
my $main = session($node);
my $tiny = q{"layers": 1, "width": 32, "heads": 2, "context": 32, "batch": 4, "vocab": 300};

# What is in the model directory beside what was there, and in PostgreSQL's directory for temporary files.
sub left
{
    my @left;
    for my $in ($dir, $temp) {
        opendir my $entries, $in or next;
        push @left, grep { !/^\.\.?$/ && !/^(aigc-base|stories|ggml)/ } readdir $entries;
    }
    return join ' ', sort @left;
}

# 2,000 short texts of some words and phrases, another choice for each row.
ask($main, q{
    CREATE TABLE review (id int PRIMARY KEY, body text);
    SELECT setseed(0.5);
    INSERT INTO review SELECT i, format('I bought this %s %s last %s. It %s, and the %s is %s. %s',
        (ARRAY['small','large','cheap','used','blue','heavy'])[1 + random() * 5],
        (ARRAY['kettle','printer','bicycle','lamp','jacket','camera','chair'])[1 + random() * 6],
        (ARRAY['week','month','summer','winter','year'])[1 + random() * 4],
        (ARRAY['works well','broke after two days','does what it should','is louder than I thought',
            'arrived late'])[1 + random() * 4],
        (ARRAY['price','quality','colour','battery','manual'])[1 + random() * 4],
        (ARRAY['good','poor','fair','as described','a disappointment'])[1 + random() * 4],
        (ARRAY['I would buy it again.','I sent it back.','Three stars.','Recommended!',
            'My sister has one too.'])[1 + random() * 4])
    FROM generate_series(1, 2000) AS i});
my $learned  = q{SELECT body FROM review WHERE id % 20 <> 0 ORDER BY id};
my $held_out = q{FROM review, score_text(body, '%s') WHERE id %% 20 = 0};

# ---- a model that is better ----

my $before = ask($main, sprintf "SELECT exp(-sum(logprob) / sum(tokens)) $held_out", 'stories260K');
is(ask($main, qq(SELECT texts, bits_per_byte < bits_per_byte_before FROM finetune_model('tuned', 'stories260K',
    \$\$$learned\$\$, '{"epochs": 1, "context": 64}'))), '1900|t', 'finetune_model() on 2,000 short texts, some held out');
my $after = ask($main, sprintf "SELECT exp(-sum(logprob) / sum(tokens)) $held_out", 'tuned');
cmp_ok($after, '<', 0.75 * $before, sprintf 'perplexity on the rows held out: %.1f instead of %.1f', $after, $before);
like(ask($main, q{SELECT generate('I bought this', model => 'tuned', temperature => 0, max_tokens => 60)}),
    qr/ last (week|month|summer|winter|year)\. It .*, and the/s, 'generate() writes like them');
is(left(), 'tuned.gguf', 'which is all that is left');
unlink "$dir/tuned.gguf";

# ---- cancelled half-way ----

# Runs a query in a session and ends it from another when its training is so far; what it said.
sub end_at
{
    my ($session, $query, $condition, $end) = @_;
    my $pid = ask($session, 'SELECT pg_backend_pid()');
    $session->{stdin} .= "$query;\n\\warn over\n";
    $session->{run}->pump_nb;
    $node->poll_query_until('postgres', "SELECT EXISTS (SELECT FROM aigc_progress WHERE pid = $pid AND $condition)")
      or die "never came so far: $condition\n";
    my $start = time;
    $end->($pid);
    $session->{run}->pump until $session->{stderr} =~ /over\n|terminat|closed/ || $session->{timeout}->is_expired;
    my $err = $session->{stderr};
    $session->{stderr} = $session->{stdout} = '';
    return ($err, time - $start);
}

my $cancel = sub { ask($main, "SELECT pg_cancel_backend($_[0])") };
my $other = session($node);
my ($err, $took) = end_at($other, qq(SELECT finetune_model('tuned', 'stories260K', \$\$$learned\$\$, '{"steps": 200}')),
    q{phase = 'training' AND done >= total / 2}, $cancel);
like($err, qr/canceling statement due to user request/, 'cancelled half-way');
is(left(), '', 'it leaves nothing behind');

# At every phase and moment, and soon: on a quiet machine within 100 ms.
my @late;
for my $limit (map { 20 + 37 * $_ } 1 .. 40) {
    my $function = $limit % 2 ? q{train_model('x', } : q{finetune_model('x', 'stories260K', };
    my $query = ($limit % 3 ? "'SELECT body FROM review'" : q{'SELECT body AS prompt, body AS chosen, repeat(body, 2) AS rejected
        FROM review'});
    $query = "'SELECT string_agg(body || id, chr(10)) FROM review, generate_series(1, 50)'" if $limit % 5 == 0;
    $query = "'SELECT body FROM review'" if $limit % 2 && $limit % 5;
    my $start = time;
    (undef, $err) = ask($other, "SET statement_timeout = $limit; SELECT ${function}$query, '{\"steps\": 1000000, \"batch\": 32}')");
    push @late, time - $start - $limit / 1000;
    last if $err !~ /statement timeout/;
}
is(scalar @late, 40, 'statement_timeout ends each of 40 statements') or diag $err;
cmp_ok(quartile(@late), '<', 0.1, sprintf 'within 100 ms (median %.0f ms late)', 1000 * median(@late));
is(left(), '', 'and they leave nothing');

# Also where one matrix keeps a thread busy for a second: its update by Muon.
@late = ();
for my $limit (map { 1500 + 170 * $_ } 1 .. 8) {
    my $start = time;
    (undef, $err) = ask($other, qq(SET aigc.threads = 1; SET statement_timeout = $limit; SELECT train_model('x',
        'SELECT body FROM review LIMIT 100', '{"steps": 1000000, "layers": 1, "width": 768, "heads": 12, "context": 8,
        "batch": 1, "vocab": 300}')));
    push @late, time - $start - $limit / 1000 if $err =~ /statement timeout/;
}
is(scalar @late, 8, 'updates of large matrices are ended') or diag $err;
cmp_ok(quartile(@late), '<', 0.1, sprintf 'within 100 ms (median %.0f ms late)', 1000 * median(@late));
ask($other, 'RESET aigc.threads');
my $memory = backend_status(ask($other, 'SELECT pg_backend_pid()'));
is($memory->{Threads}, 1, 'no thread either');
cmp_ok($memory->{VmRSS}, '<', 300_000, 'nor memory');

# A savepoint around it.
is(ask($other, qq(SET statement_timeout = 0; BEGIN; SAVEPOINT s; SELECT train_model('x', 'SELECT 1', '{"steps": 1}');
    ROLLBACK TO s; SELECT steps FROM train_model('x', \$\$$learned\$\$, '{"steps": 2, $tiny}'); COMMIT)), '2',
    'a savepoint takes back a refused call');
is(left(), 'x.gguf', 'the next one gives a model');
unlink "$dir/x.gguf";

# ---- terminated, and gone ----

($err) = end_at(session($node), qq(SELECT train_model('x', \$\$$learned\$\$, '{"steps": 1000000, $tiny}')), q{phase = 'training'},
    sub { ask($main, "SELECT pg_terminate_backend($_[0])") });
like($err, qr/terminating connection due to administrator command/, 'terminated');
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM aigc_progress'), 'it is seen no more');
is(left(), '', 'and leaves nothing');

# A file of a process that is gone is removed by the next training, one of a process that is there is not.
my $gone = fork() // die "cannot fork: $!\n";
exit_now() if $gone == 0;
waitpid $gone, 0;
sub exit_now { require POSIX; POSIX::_exit(0) }
for my $name (".aigc-training-$gone-0badf00d", ".aigc-training-$gone-0badf00d.$gone.tmp", ".aigc-training-$$-0badf00d", '.aigc-training-x') {
    append_to_file("$dir/$name", 'x');
}
is(ask($main, qq(SELECT steps FROM train_model('x', \$\$$learned\$\$, '{"steps": 1, $tiny}'))), '1', 'the next training');
is(left(), ".aigc-training-$$-0badf00d .aigc-training-x x.gguf", 'removes what a process that is gone has left, and no more');
unlink "$dir/.aigc-training-$$-0badf00d", "$dir/.aigc-training-x", "$dir/x.gguf";

# ---- disks ----

SKIP: {
    skip 'no prlimit', 3 if system('command -v prlimit > /dev/null') != 0;
    my $limited = session($node);
    my $pid = ask($limited, 'SELECT pg_backend_pid()');
    system_or_bail('prlimit', '--pid', $pid, '--fsize=60000:60000');
    fails_like($limited, qq(SELECT train_model('x', \$\$$learned\$\$, '{"steps": 1, $tiny}')),
        qr/could not write model "x": .*File too large/, 'a disk that takes no more');
    is(left(), '', 'keeps no half of a model');
}
chmod 0555, $dir;
fails_like($main, qq(SELECT train_model('x', \$\$$learned\$\$, '{"steps": 1000000, $tiny}')),
    qr/could not write to the model directory: Permission denied/, 'a directory that cannot be written is seen at once');
chmod 0755, $dir;

# ---- a crash ----

# kill -9 while the model is written: it is large enough for that to take a while. Until it is complete the file has no
# name, so that it goes with the process; a file system without such files has a temporary name there.
sub is_writing {
    my ($pid) = @_;
    return 1 if grep { /^\.aigc/ } split / /, left();
    return grep { (readlink // '') =~ m{^\Q$dir\E/.*\(deleted\)$} } glob "/proc/$pid/fd/*";
}

my ($left, $seen);
for my $attempt (1 .. 3) {
    my $session = session($node);
    my $pid = ask($session, 'SELECT pg_backend_pid()');
    $session->{stdin} .= q(SELECT train_model('x', 'SELECT body FROM review LIMIT 50', '{"steps": 1, "layers": 12, "width": 512,
        "heads": 4, "context": 8, "batch": 1, "vocab": 300}');) . "\n";
    $session->{run}->pump_nb;
    my $until = time + 120;
    until (($seen = is_writing($pid)) || -e "$dir/x.gguf" || time > $until) {
        usleep(1000);
    }
    kill 9, $pid;
    for (1 .. 1000) {
        last if $node->log_contains(qr/\(PID $pid\) was terminated by signal 9.*ready to accept connections/s);
        usleep(100_000);
    }
    $left = left();
    last if !-e "$dir/x.gguf";
    unlink "$dir/x.gguf";    # it was faster
}
ok($seen, 'a training is killed while it writes its model');
like($left, qr/^(\.aigc-training-\d+-\w+)?$/, 'which leaves no model, and half a file at most');
my $again = session($node);
is(ask($again, 'SELECT count(*) FROM aigc_progress'), '0', 'nor a report');
is(ask($again, qq(SELECT steps FROM train_model('x', \$\$$learned\$\$, '{"steps": 1, $tiny}'))), '1', 'after the crash one trains again');
is(left(), 'x.gguf', 'and what the crash left is gone');

$node->stop('fast');
done_testing();
