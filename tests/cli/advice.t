#!/usr/bin/perl
# How a model is sampled when its file says how, and its user doesn't.
use strict;
use warnings;
use lib 'tests/cli';
use File::Temp;
use Test::More;
use Tool;

my $dir  = File::Temp->newdir;
my $text = 'tests/reference/bpe_corpus.txt';
my ($out, $err, $status) = aigc('train-tokenizer', '--vocab', 300, '-o', "$dir/tok.gguf", $text);
is($status, 0, 'a vocabulary') or diag $err;

# First weights are as good as any here: their probabilities lie close together.
sub make {
    my ($name, @advice) = @_;
    return aigc('train', '-t', "$dir/tok.gguf", '--layers', 1, '--width', 32, '--heads', 2, '--context', 64, '--steps', 0,
        '-o', "$dir/$name.gguf", @advice, $text);
}
sub write_on {
    my ($name, @options) = @_;
    my ($written, $why, $code) = aigc('generate', '-m', "$dir/$name.gguf", '-p', 'The', '--max-tokens', 40, '--seed', 5, @options);
    is($code, 0, "$name @options") or diag $why;
    return $written;
}
for my $case (['plain'], ['advised', '--sampling', 'temp=0.3,top_k=7,top_p=0.9,min_p=0.01,penalty_repeat=1.2']) {
    my ($name, @advice) = @$case;
    (undef, $err, $status) = make($name, @advice);
    is($status, 0, "a model, $name") or diag $err;
}
my @same  = ('--temperature', 0.3, '--top-k', 7, '--top-p', 0.9, '--min-p', 0.01, '--repetition-penalty', 1.2);
my @usual = ('--temperature', 1, '--top-k', 0, '--top-p', 1, '--min-p', 0, '--repetition-penalty', 1);
is(write_on('advised'), write_on('plain', @same), 'the advice is followed');
isnt(write_on('advised'), write_on('plain'), 'and makes a difference');
is(write_on('plain'), write_on('plain', @usual), 'without it the usual values');
is(write_on('advised', @usual), write_on('plain'), 'what the user says goes before it');
is(write_on('advised', '--temperature', 1, '--top-k', 0), write_on('plain', @same, '--temperature', 1, '--top-k', 0),
    'option by option');

for my $bad (
    ['temp',      qr/'temp' is not NAME=NUMBER/],
    ['warmth=1',  qr/there is no sampling option 'warmth'/],
    ['temp=-1',   qr/general\.sampling\.temp must be a number from 0 to 1e\+06, not '-1'/],
    ['top_p=nan', qr/general\.sampling\.top_p must be a number .*not 'nan'/],
    ['top_k=2.5', qr/general\.sampling\.top_k must be a number .*not '2\.5'/],
    ) {
    my ($list, $message) = @$bad;
    (undef, $err, $status) = make('bad', '--sampling', $list);
    is($status, 1, "$list is refused");
    like($err, $message, 'which says why');
}
done_testing;
