#!/usr/bin/perl
# Timeouts, cancel and termination end a generation at once, and leave nothing behind.
use FindBin;
use lib $FindBin::RealBin;
use AigcTest;

# More than fits any time limit here: one text, in a context that takes it, or many texts. (In FROM, generate_series()
# would count to its end before the first text.)
my $endless = q{SELECT generate('Once upon a time', max_tokens => 100000)};
my $many    = q{SELECT count(generate('Once upon a time', max_tokens => 100000, stop => ARRAY[repeat('x', 100000)]))
    FROM (SELECT generate_series(1, 1000000)) AS s};

my $node = new_node('cancel', conf => "aigc.context_size = 200000\n");
my $main = session($node);
my $pid  = ask($main, 'SELECT pg_backend_pid()');
ask($main, q{SELECT generate('Once', max_tokens => 3)});

# The statement as the issue has it, and how late it ends. Other tests keep the machine busy meanwhile, so not every run
# can be in time: a quarter must.
my @late;
for (1 .. 20) {
    my $start = time;
    my (undef, $err) = ask($main, "SET statement_timeout = '200ms'; $endless");
    push @late, time - $start - 0.2;
    like($err, qr/canceling statement due to statement timeout/, 'statement_timeout ends the statement') if $_ == 1;
    last if $err !~ /statement timeout/;
}
is(scalar @late, 20, 'statement_timeout ends each of 20 statements');
cmp_ok(quartile(@late), '<', 0.1, sprintf 'within 100 ms (median %.0f ms late)', 1000 * median(@late));

# A thousand timeouts in one session, at every moment of prompt and decode, with flat memory. malloc keeps or gives back
# a megabyte or two as it sees fit, so each request carries a long stop string: one that is not freed shows. First, some
# texts to fill what finished ones keep for others that begin alike.
my $script = "SET aigc.context_size = 512;\n"
  . "SELECT count(generate('Once upon a time', max_tokens => 100000)) FROM generate_series(1, 8);\n";
for my $i (1 .. 1000) {
    my $limit = 1 + $i % 20;
    $script .= "SET statement_timeout = '${limit}ms';\n$many;\n";
    next if $i % 20 || ($i > 400 && $i <= 800);
    $script .= "SET statement_timeout = 0;\nSELECT '$i:', pg_read_file('/proc/self/status', 0, 5000);\n";
}
$script .= q{SELECT generate('Once upon a time', temperature => 0, max_tokens => 4);};
my ($out, $err);
$node->psql('postgres', $script, stdout => \$out, stderr => \$err, on_error_stop => 0);
my $timeouts = () = $err =~ /canceling statement due to statement timeout/g;
cmp_ok($timeouts, '>=', 1000, 'a thousand timeouts in one session');    # a SET may meet the limit before its own
like($out, qr/^, there was a\z/m, 'which still generates');
my (%early, %late);
while ($out =~ /^(\d+):(.*?)^nonvoluntary/gms) {
    my ($i, $status) = ($1, $2);
    push @{ ($i <= 400 ? \%early : \%late)->{$1} }, $2 while $status =~ /^(VmRSS|VmData|Threads):\s*(\d+)/gm;
}
for my $field (qw(VmRSS VmData)) {
    my $growth = median(@{ $late{$field} }) - median(@{ $early{$field} });
    cmp_ok($growth, '<', 8192, "$field is flat: $growth kB more after 600 timeouts");
}
is(median(@{ $late{Threads} }), median(@{ $early{Threads} }), 'and so is the number of threads');

# What texts leave behind for others that begin alike is a few contexts' keys and values, not all that may be used.
{
    my $fresh = session($node);
    my $status;
    ask($fresh, 'SET aigc.context_size = 256');    # 1 MB of keys and values for each of up to 32 sequences
    for my $i (1 .. 60) {
        ask($fresh, "SELECT generate(repeat('$i', 90), model => 'aigc-base', max_tokens => 1)");
        $status = backend_status(ask($fresh, 'SELECT pg_backend_pid()')) if $i == 10;
    }
    my $growth = backend_status(ask($fresh, 'SELECT pg_backend_pid()'))->{RssAnon} - $status->{RssAnon};
    cmp_ok($growth, '<', 6144, "memory stops growing: $growth kB more after 50 different prompts");
    $fresh->quit;
}

# Long texts are no exception, whether they are words or one word.
for my $call (q{count_tokens(repeat('Once upon a time ', 2000000))}, q{cardinality(tokenize(repeat('x', 16000000)))},
    q{generate(repeat('Once upon a time ', 2000000))}) {
    my $start = time;
    my (undef, $err) = ask($main, "SET statement_timeout = '200ms'; SELECT $call");
    my $took = time - $start;
    like($err, qr/statement timeout/, "statement_timeout ends $call");
    cmp_ok($took, '<', 2, sprintf 'soon (after %.0f ms)', 1000 * $took);
}

# A cursor's request is freed by its transaction's end, however that comes.
my %memory;
ask($main, 'SET statement_timeout = 0');
for my $i (1 .. 300) {
    my $end = ('ROLLBACK', 'COMMIT', 'CLOSE c; COMMIT', 'SELECT 1/0; ROLLBACK')[ $i % 4 ];
    ask($main, "BEGIN; DECLARE c CURSOR FOR SELECT generate_stream('Once', seed => $i, "
          . "stop => ARRAY[repeat('x', 100000)]); FETCH 2 FROM c; $end");
    $memory{$i} = backend_status($pid) if $i == 100 || $i == 300;
}
my $growth = $memory{300}{VmRSS} - $memory{100}{VmRSS};
cmp_ok($growth, '<', 8192, "memory is flat: $growth kB more after 200 abandoned cursors");
is(ask($main, q{SELECT generate('Once upon a time', temperature => 0, max_tokens => 4)}), ', there was a',
    'the session still generates');

# pg_cancel_backend() from another session.
my $other = session($node);
my @took;
for (1 .. 20) {
    $main->{stdin} .= "$many;\n\\warn over\n";
    $main->{run}->pump_nb;
    $node->poll_query_until('postgres', "SELECT state = 'active' FROM pg_stat_activity WHERE pid = $pid")
        or last;    # a session that does nothing yet takes no notice
    usleep(100_000);
    my $start = time;
    ask($other, "SELECT pg_cancel_backend($pid)");
    $main->{run}->pump until $main->{stderr} =~ /over\n/ || $main->{timeout}->is_expired;
    push @took, time - $start;
    last if $main->{stderr} !~ /canceling statement due to user request/;
    $main->{stderr} = $main->{stdout} = '';
}
is(scalar @took, 20, 'pg_cancel_backend() ends each of 20 statements');
cmp_ok(quartile(@took), '<', 0.1, sprintf 'within 100 ms (median %.0f ms)', 1000 * median(@took));
is(ask($main, 'SELECT 1'), '1', 'and the session goes on');

# pg_terminate_backend() and a client that goes away.
$main->{stdin} .= "$many;\n";
$main->{run}->pump_nb;
usleep(100_000);
ask($other, "SELECT pg_terminate_backend($pid)");
ok($node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid"),
    'pg_terminate_backend() ends the session');
is(ask($other, 'SELECT pg_postmaster_start_time() > now() - interval \'1 hour\''), 't', 'and only that one');

$node->stop('fast');
done_testing();
