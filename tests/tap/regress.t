#!/usr/bin/perl
# Runs pg_regress on sql/ and expected/ and reports each file as a test.
use FindBin;
use lib $FindBin::RealBin;
use AigcTest;
use File::Basename;
use PostgreSQL::Test::Utils;

my $node  = new_node('regress', create => 0);
my @files = map { basename($_, '.sql') } sort glob 'sql/*.sql';
my @command = (
    $ENV{PG_REGRESS}, '--host', $node->host, '--port', $node->port, '--dbname', 'regression_aigc', '--inputdir', '.',
    '--outputdir', '.', '--bindir', dirname($ENV{PG_CONFIG}), '--load-extension', 'aigc', @files
);
my ($out, $err);
IPC::Run::run(\@command, '>', \$out, '2>', \$err);

my %passed;
for (split /\n/, $out) {
    $passed{$1} = $2 eq 'ok' if /^test (\S+)\s+\.\.\. (ok|FAILED)\b/;              # to PostgreSQL 15
    $passed{$2} = !$1        if /^(not )?ok\s+\d+\s+[-+]?\s*(\S+)\s+\d+ ms/;    # from 16 on
}
ok($passed{$_}, "pg_regress: $_") for @files;
diag($err, -e 'regression.diffs' ? slurp_file('regression.diffs') : $out) if grep { !$passed{$_} } @files;

done_testing();
