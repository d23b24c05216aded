# AigcTest: what the tests of the PostgreSQL extension share. Each *.t begins with
#
#     use FindBin;
#     use lib $FindBin::RealBin;
#     use AigcTest;
#
# and can be run from anywhere, by anybody, with nothing installed but PostgreSQL: loading this module puts a private
# copy of PostgreSQL with the extension into a temporary directory (tools/pg-stage) and runs the test there once more,
# as the user postgres (or nobody) if it was started by root, since a server refuses root. The directory is removed at
# the end; AIGC_KEEP=1 keeps it and says where it is.
#
# Tests use PostgreSQL's own modules (PostgreSQL::Test::Cluster, Test::More), which are loaded here.
package AigcTest;

use strict;
use warnings;
use Cwd qw(abs_path);
use File::Basename;
use File::Temp qw(tempdir);

# Makes the stage, runs the test in it as a user who may run servers, and returns the test's exit status.
sub run_in_stage
{
    my $test  = basename($0);
    my $root  = abs_path(dirname(abs_path(__FILE__)) . '/../..');
    my $data  = abs_path(($ENV{AIGC_SHARED} // "$root/../shared") . '/data') // '';
    my $stage = tempdir('aigc-pg-XXXXXX', TMPDIR => 1);
    my @user  = $> == 0 ? (getpwnam('postgres'), getpwnam('nobody'))[ 2, 3 ] : ();

    $SIG{INT} = $SIG{TERM} = 'IGNORE';    # for the child, which is in our process group; then we clean up
    chmod 0755, $stage;
    chomp(my $bin = `'$root/tools/pg-stage' '$stage'`);
    die "tools/pg-stage failed\n" if $? != 0;
    system("mkdir -p '$stage/work/tests' '$stage/models' && cp -R '$root/sql' '$root/expected' '$stage/work/' && "
          . "cp -R '$root/tests/tap' '$stage/work/tests/'") == 0 or die "cannot copy the tests to $stage\n";
    my @data = map { "$data/$_" } qw(models/stories260K.gguf models/stories260K.greedy.txt models/stories260K.prompted.txt
        tokenizers/ggml-vocab-gpt-2.gguf);
    for my $file ("$root/models/aigc-base.gguf", grep { -r } @data) {
        system('cp', $file, "$stage/models/") == 0 or die "cannot copy $file\n";
    }
    system("chown -R $user[0]:$user[1] '$stage/work' '$stage/models'") == 0 or die "cannot chown $stage\n" if @user;

    my $child = fork() // die "cannot fork: $!\n";
    if ($child == 0) {
        $SIG{INT} = $SIG{TERM} = 'DEFAULT';
        if (@user) {
            $) = "$user[1] $user[1]";
            $( = $user[1];
            ($<, $>) = @user[ 0, 0 ];
        }
        my $lib = `'$bin/pg_config' --pkglibdir`;
        chomp $lib;
        $ENV{AIGC_STAGE} = $stage;
        $ENV{AIGC_MODELS} = -e "$stage/models/stories260K.gguf" ? "$stage/models" : '';
        $ENV{PG_CONFIG}  = "$bin/pg_config";
        $ENV{PG_REGRESS} = "$lib/pgxs/src/test/regress/pg_regress";
        $ENV{PERL5LIB}   = "$lib/pgxs/src/test/perl";
        $ENV{PATH}       = "$bin:$ENV{PATH}";
        $ENV{TESTDIR} = $ENV{HOME} = "$stage/work";
        chdir "$stage/work" or die "cannot enter $stage/work: $!\n";
        exec $^X, "tests/tap/$test" or die "cannot run $test: $!\n";
    }
    waitpid $child, 0;
    my $status = $?;
    if ($ENV{AIGC_KEEP}) {
        print STDERR "# kept: $stage\n";
    } else {
        system('rm', '-rf', $stage);
    }
    return $status & 127 ? 128 + ($status & 127) : $status >> 8;
}

BEGIN {
    exit run_in_stage() if !$ENV{AIGC_STAGE};
}

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

sub import
{
    my $caller = caller;
    no strict 'refs';
    *{"${caller}::$_"} = \&{$_} for qw(new_node session ask fails_like backend_status median quartile time usleep);
    strict->import;
    warnings->import;
    Test::More->export_to_level(1);
    plan(skip_all => 'no ../shared/data/models/stories260K.gguf') if !$ENV{AIGC_MODELS};
}

# A running server of UTF-8 databases, with the extension in database postgres and the test model as default. Lines of
# configuration and arguments of init() may be added: new_node('name', conf => "a = 1\n", init => [...], create => 0).
sub new_node
{
    my ($name, %o) = @_;
    my $node = PostgreSQL::Test::Cluster->new($name);
    $node->init(extra => [ '--encoding=UTF8', '--no-locale' ], @{ $o{init} // [] });
    $node->append_conf('postgresql.conf', <<"END");
aigc.model_directory = '$ENV{AIGC_MODELS}'
aigc.model = 'stories260K'
aigc.threads = 2
END
    $node->append_conf('postgresql.conf', $o{conf}) if $o{conf};
    $node->start;
    $node->safe_psql('postgres', 'CREATE EXTENSION aigc') if $o{create} // 1;
    return $node;
}

# A session that stays open.
sub session
{
    my ($node, $database) = @_;
    no warnings 'redefine';
    local *PostgreSQL::Test::BackgroundPsql::note = sub { };    # it would note every query and answer
    return $node->background_psql($database // 'postgres', on_error_stop => 0);
}

# What a session answers to a query, and what it says on stderr.
sub ask
{
    my ($session, $query) = @_;
    no warnings 'redefine';
    local *PostgreSQL::Test::BackgroundPsql::note = sub { };
    my $out = $session->query($query);
    my $err = $session->{stderr};
    $session->{stderr} = '';
    return wantarray ? ($out, $err) : $out;
}

# A query must fail with this message, in a session that goes on.
sub fails_like
{
    my ($session, $query, $pattern, $name) = @_;
    my ($out, $err) = ask($session, $query);
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    like($err, $pattern, $name // $query);
    is(ask($session, 'SELECT 1'), '1', 'the session goes on') if $err !~ /transaction is aborted/ && $query !~ /^BEGIN/;
    return $err;
}

# Fields of /proc/PID/status, in kB where they are memory.
sub backend_status
{
    my ($pid) = @_;
    my %status;
    open my $in, '<', "/proc/$pid/status" or die "no process $pid: $!\n";
    while (<$in>) {
        $status{$1} = $2 if /^(\w+):\s*(\w+)/;
    }
    return \%status;
}

sub median
{
    my @sorted = sort { $a <=> $b } @_;
    return $sorted[ $#sorted / 2 ];
}

sub quartile
{
    my @sorted = sort { $a <=> $b } @_;
    return $sorted[ $#sorted / 4 ];
}

END {
    # A failed test without the server's log is a riddle.
    if (($? != 0 || !PostgreSQL::Test::Utils::all_tests_passing()) && !$ENV{AIGC_KEEP}) {
        for my $log (glob "'$PostgreSQL::Test::Utils::log_path/'*.log") {
            my @lines = split /\n/, PostgreSQL::Test::Utils::slurp_file($log);
            splice @lines, 0, -40 if @lines > 40;
            diag(basename($log), ":\n", join "\n", @lines);
        }
    }
}

1;
