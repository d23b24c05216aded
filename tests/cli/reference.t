#!/usr/bin/perl
# The text that another implementation (llama2.c) prints for stories260K, byte for byte, on any number of threads, any
# level of instructions, with any batch.
use strict;
use warnings;
use lib 'tests/cli';
use Test::More;
use Tool;

my $model    = stories();
my $greedy   = slurp(shared('models/stories260K.greedy.txt'));
my $prompted = slurp(shared('models/stories260K.prompted.txt'));
my @greedy   = ('generate', '-m', $model, '-p', '', '--temperature', 0, '--max-tokens', 200);
my @prompted =
  ('generate', '-m', $model, '-p', 'Tom had a red ball', '--temperature', 0, '--max-tokens', 120, '--kv', 'f32');

# The file has the prompt and what follows; the tool prints what follows.
my $continued = $prompted;
$continued =~ s/^Tom had a red ball// or die "the reference does not begin with its prompt\n";

my ($out, $err, $status) = aigc(@greedy);
is($status, 0, 'greedy: exit status');
is($err, '', 'greedy: nothing on standard error');
is($out, $greedy, 'greedy: the reference text');
is(scalar(aigc(@prompted)), $continued, 'prompted, F32 keys and values: the reference text');

for my $threads (1, 2, 4) {
    is(scalar(aigc(@greedy, '--threads', $threads)), $greedy, "greedy on $threads threads");
    is(scalar(aigc(@prompted, '--threads', $threads)), $continued, "prompted on $threads threads");
}
for my $batch (1, 3, 512) {
    is(scalar(aigc(@prompted, '--batch', $batch)), $continued, "prompted, $batch tokens at a time");
}
is(scalar(aigc(@prompted, '--no-prefix-cache')), $continued, 'prompted without the prefix cache');
is(scalar(aigc(@greedy, '--sequences', 8)), $greedy, 'greedy in an engine of 8 sequences');

my ($have, $lack) = levels();
for my $level (@$have) {
    my $how = { env => { AIGC_CPU => $level } };
    is(scalar(aigc($how, @greedy)), $greedy, "greedy with AIGC_CPU=$level");
    is(scalar(aigc({ env => { AIGC_CPU => $level } }, @prompted)), $continued, "prompted with AIGC_CPU=$level");
}
SKIP: {
    skip "this processor lacks @$lack", 2 * @$lack if @$lack;
}

# Sampled text has no reference, but it must be the same everywhere too.
my @sampled = ('generate', '-m', $model, '-p', 'Once upon a time', '--seed', 42, '--max-tokens', 100);
my $sampled = aigc(@sampled, '--threads', 1);
cmp_ok(length $sampled, '>', 50, 'a sampled text');
is(scalar(aigc(@sampled, '--threads', $_)), $sampled, "sampled on $_ threads") for 2, 4;
is(scalar(aigc({ env => { AIGC_CPU => $_ } }, @sampled)), $sampled, "sampled with AIGC_CPU=$_") for @$have;

done_testing();
