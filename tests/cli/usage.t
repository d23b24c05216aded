#!/usr/bin/perl
# Help, bad usage (exit status 2), errors (1), and what they say.
use strict;
use warnings;
use lib 'tests/cli';
use File::Temp;
use Test::More;
use Tool;

my @commands = qw(generate tokenize inspect score bench);

sub check
{
    my ($name, $want_status, $want_error, @arguments) = @_;
    my ($out, $err, $status) = aigc(@arguments);
    is($status, $want_status, "$name: exit status");
    is($out, '', "$name: nothing on standard output");
    like($err, $want_error, "$name: message");
    like($err, qr/\Aaigc: [^\n]+\n\z/, "$name: one line");
}

my ($out, $err, $status) = aigc('--help');
is($status, 0, '--help');
like($out, qr/^  $_ /m, "--help lists $_") for @commands;
($out, $err, $status) = aigc('--version');
like($out, qr/^aigc \d+\.\d+\.\d+ \(\w+\)$/, '--version');
for my $command (@commands) {
    ($out, $err, $status) = aigc($command, '--help');
    is($status, 0, "$command --help");
    like($out, qr/^Usage: aigc $command.*--model FILE/s, "$command --help shows usage and options");
    my @wide = grep { length > 120 } split /\n/, $out;
    is_deeply(\@wide, [], "$command --help is at most 120 columns wide");
}

check('no command',      2, qr/no command given/);
check('unknown command', 2, qr/unknown command 'frobnicate'/, 'frobnicate');
for (
    [ 'trailing letters',   qr/--max-tokens: '10x'/,     '--max-tokens',  '10x' ],
    [ 'empty number',       qr/--max-tokens: ''/,        '--max-tokens',  '' ],
    [ 'negative count',     qr/--max-tokens: '-1'/,      '--max-tokens',  '-1' ],
    [ 'huge count',         qr/--max-tokens: '9999999999'/, '--max-tokens', '9999999999' ],
    [ 'NaN',                qr/--temperature: 'nan'/,    '--temperature', 'nan' ],
    [ 'infinity',           qr/--temperature: 'inf'/,    '--temperature', 'inf' ],
    [ 'negative',           qr/--temperature: '-0.5'/,   '--temperature', '-0.5' ],
    [ 'top-p too large',    qr/--top-p: '2'/,            '--top-p',       '2' ],
    [ 'top-p below zero',   qr/--top-p: '-0.1'/,         '--top-p',       '-0.1' ],
    [ 'min-p too large',    qr/--min-p: '1.5'/,          '--min-p',       '1.5' ],
    [ 'penalty too large',  qr/--presence-penalty: '3'/, '--presence-penalty', '3' ],
    [ 'negative seed',      qr/--seed: '-1'/,            '--seed',        '-1' ],
    [ 'seed over 64 bits',  qr/--seed: '18446744073709551616'/, '--seed', '18446744073709551616' ],
    [ 'no threads',         qr/--threads: '0'/,          '--threads',     '0' ],
    [ 'unknown kv type',    qr/--kv: 'q8'/,              '--kv',          'q8' ],
    [ 'bias without value', qr/--logit-bias: '3'/,       '--logit-bias',  '3' ],
    [ 'empty stop string',  qr/--stop: ''/,              '--stop',        '' ],
    [ 'missing value',      qr/no value for option '--seed'/, '--seed' ],
    [ 'unknown option',     qr/unknown option '--frob'/, '--frob' ],
    [ 'unknown letter',     qr/unknown option '-z'/,     '-z' ],
    [ 'plain argument',     qr/unexpected argument 'extra'/, 'extra' ],
    [ 'two inputs',         qr/not both/,                '-p', 'a', '-f', 'b' ],
    [ 'no alternatives',    qr/--alternatives: '0'/,     '-n', '0' ],
) {
    my ($name, $error, @arguments) = @$_;
    check($name, 2, qr/$error.*\(try 'aigc generate --help'\)/, 'generate', '-m', 'x', @arguments);
}
check('bench: bad list', 2, qr/--threads: '1,,2'/, 'bench', '--threads', '1,,2');
check('two models',      2, qr/more than one model/, 'inspect', 'a.gguf', 'b.gguf');

for my $command (@commands) {
    my @text = $command =~ /inspect|bench/ ? () : ('-p', 'x');
    check("$command: missing model", 1, qr{/nonexistent/m\.gguf}, $command, '-m', '/nonexistent/m.gguf', @text);
}
check('empty model name', 1, qr/the path of the model is empty/, 'generate', '-m', '', '-p', 'x');
check('missing file',    1, qr{cannot open /nonexistent/t}, 'score', '-m', 'x', '-f', '/nonexistent/t');
my $dir = File::Temp->newdir;
check('a directory',     1, qr/\Q$dir\E/, 'inspect', $dir);
check('not a GGUF file', 1, qr/README\.md/, 'inspect', 'README.md');
open my $empty, '>', "$dir/empty.gguf" or die;
close $empty;
check('an empty file',   1, qr/empty\.gguf/, 'inspect', "$dir/empty.gguf");

SKIP: {
    my $model = shared('models/stories260K.gguf');
    skip 'no ../shared/data/models/stories260K.gguf here', 21 unless $model;
    check('prompt is not UTF-8', 1, qr/UTF-8/, 'generate', '-m', $model, '-p', "abc\xff");
    check('prompt too long', 1, qr/context/, 'generate', '-m', $model, '-p', 'word ' x 2000);
    check('context too long', 1, qr/context.*2000000000|2000000000.*context/,
        'generate', '-m', $model, '-p', 'x', '--context', 2000000000);
    check('bias out of the vocabulary', 1, qr/99999/, 'generate', '-m', $model, '-p', 'x', '--logit-bias', '99999:1');
    check('id out of the vocabulary', 1, qr/99999/, 'tokenize', '-m', $model, '--decode', '-p', '5 99999');
    ($out, $err, $status) = aigc({ env => { AIGC_MODEL => $model } }, 'generate', '-p', '', '--max-tokens', 5);
    is($status, 0, 'AIGC_MODEL names the model');
    ($out, $err, $status) = aigc({ env => { AIGC_MODEL => '/nonexistent/m' } }, 'generate', '-m', $model, '-p', '');
    is($status, 0, '--model goes before AIGC_MODEL');
    is(scalar(aigc('generate', '-p', '', '--max-tokens', 5)) ne '', 1, 'there is a default model');
}

# A wrong level would go unnoticed: all levels print the same.
($out, $err, $status) = aigc({ env => { AIGC_CPU => 'AVX2' } }, 'generate', '-p', '');
is("$status $out$err", "2 aigc: AIGC_CPU is 'AVX2', not generic, avx2 or avx512\n", 'an unknown AIGC_CPU is bad usage');
for my $level ('', 'generic', 'avx2', 'avx512') {
    (undef, undef, $status) = aigc({ env => { AIGC_CPU => $level } }, 'generate', '--help');
    is($status, 0, "AIGC_CPU='$level'");
}

done_testing();
