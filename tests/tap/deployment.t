#!/usr/bin/perl
# The extension as an administrator meets it: shared_preload_libraries, configuration files, dump and restore, replicas.
use FindBin;
use lib $FindBin::RealBin;
use AigcTest;
use PostgreSQL::Test::Utils;

my $greedy = q{SELECT generate('Once upon a time', temperature => 0, max_tokens => 30)};

# As it is installed, with nothing configured, it generates by the default model.
my $fresh = PostgreSQL::Test::Cluster->new('fresh');
$fresh->init;
$fresh->start;
$fresh->safe_psql('postgres', 'CREATE EXTENSION aigc');
isnt($fresh->safe_psql('postgres', q{SELECT generate('Once upon a time')}), '', 'the default model is installed');
is($fresh->safe_psql('postgres', q{SELECT loaded FROM aigc_models() WHERE name = 'aigc-base'}), 'f', 'by its name');
$fresh->stop('fast');

# Preloaded into the postmaster, where it must start no thread.
my $primary = new_node('primary', init => [ allows_streaming => 1 ], conf => <<'END');
shared_preload_libraries = 'aigc'
session_preload_libraries = 'aigc'
aigc.kv_memory = '64MB'
END
my $postmaster = (split /\n/, slurp_file($primary->data_dir . '/postmaster.pid'))[0];
my $expected = $primary->safe_psql('postgres', $greedy);
like($expected, qr/^, there was a/, 'a preloaded library generates');
is(backend_status($postmaster)->{Threads}, 1, 'the postmaster has one thread');
is($primary->safe_psql('postgres', $greedy), $expected, 'every session forked from it generates');
is($primary->safe_psql('postgres', 'SHOW aigc.kv_memory'), '64MB', 'settings come from the configuration file');
ok(!$primary->log_contains(qr/WARNING|already defined|redefine/), 'and raise no warning');

# A bad setting in the file is refused with its reason; a reload leaves the good one.
$primary->append_conf('postgresql.conf', "aigc.max_tokens = -5\n");
$primary->reload;
ok($primary->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_file_settings WHERE name = 'aigc.max_tokens'
    AND error IS NOT NULL}), 'a bad value in the file is reported');
is($primary->safe_psql('postgres', 'SHOW aigc.max_tokens'), '256', 'and not used');
$primary->adjust_conf('postgresql.conf', 'aigc.max_tokens', '7');
$primary->reload;
ok($primary->poll_query_until('postgres', q{SELECT current_setting('aigc.max_tokens') = '7'}), 'a good one is');

# Settings of a role and of a database.
$primary->safe_psql('postgres', q{ALTER DATABASE postgres SET aigc.seed = 5});
is($primary->safe_psql('postgres', q{SELECT generate('Once') = generate('Once', seed => 5)}), 't',
    'ALTER DATABASE ... SET aigc.seed');

# A stored text and what depends on the extension survive dump and restore.
$primary->safe_psql('postgres', q{
    CREATE TABLE story (prompt text, ending text DEFAULT generate('Tom had', temperature => 0, max_tokens => 5));
    INSERT INTO story VALUES ('Tom had');
    CREATE VIEW tokens AS SELECT prompt, count_tokens(prompt) AS n, generate(prompt, max_tokens => n)
    FROM story, generate_series(1, 2) AS n;
    CREATE FUNCTION summary(p text) RETURNS text LANGUAGE sql AS $$
        SELECT generate(p, temperature => 0, stop => '{.}') $$});
my $dump = "$ENV{AIGC_STAGE}/work/dump.sql";
command_ok([ 'pg_dump', '--file', $dump, $primary->connstr('postgres') ], 'pg_dump');
like(slurp_file($dump), qr/CREATE EXTENSION IF NOT EXISTS aigc/, 'dumps the extension');
unlike(slurp_file($dump), qr/CREATE FUNCTION public\.generate\(/, 'but not what it consists of');
$primary->safe_psql('postgres', 'CREATE DATABASE restored');
command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $primary->connstr('restored') ], 'restore');
for my $query ('SELECT * FROM story', q{SELECT prompt, n FROM tokens}, q{SELECT summary('Tom had')}) {
    is($primary->safe_psql('restored', $query), $primary->safe_psql('postgres', $query), "restored: $query");
}

# A read-only replica.
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;
is($standby->safe_psql('postgres', 'SELECT pg_is_in_recovery()'), 't', 'a replica');
is($standby->safe_psql('postgres', $greedy), $expected, 'generates');
is($standby->safe_psql('postgres', q{BEGIN; DECLARE c CURSOR FOR SELECT generate_stream('Once upon a time',
    temperature => 0, max_tokens => 1); FETCH ALL FROM c; COMMIT}), ',', 'and streams');
$standby->stop('fast');

# Nothing but the functions of the extension is left to see in the library.
my $symbols = `nm -D --defined-only \$(pg_config --pkglibdir)/aigc.so`;
is(join(' ', grep { !/^(sql_|pg_finfo_sql_|Pg_magic_func|_PG_init)/ } map { (split)[2] } split /\n/, $symbols), '',
    'the library shows only what PostgreSQL looks up');

$primary->stop('fast');
done_testing();
