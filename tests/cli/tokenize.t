#!/usr/bin/perl
# `aigc tokenize` against the ids of the reference tokenizers, and back again.
use strict;
use warnings;
use lib 'tests/cli';
use Test::More;
use Tool;

# Cases are separated by a line of their own; each line of .out has one case's ids.
sub cases
{
    my ($vocabulary) = @_;
    my @texts = split /\n__ggml_vocab_test__\n/, slurp(shared("tokenizers/$vocabulary.inp"));
    my @ids   = map { join ' ', split } split /\n/, slurp(shared("tokenizers/$vocabulary.out")), -1;
    pop @ids if @ids && $ids[-1] eq '' && @ids > @texts;
    is(scalar(@ids), scalar(@texts), "$vocabulary: as many lines of ids as cases");
    return (\@texts, \@ids);
}

sub name_of
{
    my ($text) = @_;
    my $name = substr $text, 0, 30;
    $name =~ s/[^ -~]|#/?/g;
    return "'$name'";
}

my $tried = 0;
for my $vocabulary (qw(ggml-vocab-gpt-2.gguf ggml-vocab-llama-spm.gguf ggml-vocab-phi-3.gguf)) {
  SKIP: {
        my $model = shared("tokenizers/$vocabulary");
        skip "no ../shared/data/tokenizers/$vocabulary here", 1 unless $model;
        $tried++;
        my ($texts, $ids) = cases($vocabulary);
        my (@wrong, @wrong_back);
        for my $i (0 .. $#$texts) {
            my ($out) = aigc({ stdin => $texts->[$i] }, 'tokenize', '-m', $model, '--ids', '--no-special');
            push @wrong, name_of($texts->[$i]) if $out ne "$ids->[$i]\n";
            my ($back) = aigc({ stdin => $out }, 'tokenize', '-m', $model, '--decode');
            push @wrong_back, name_of($texts->[$i]) if $back ne $texts->[$i];
        }
        is_deeply(\@wrong,      [], "$vocabulary: " . @$texts . ' texts give the reference ids');
        is_deeply(\@wrong_back, [], "$vocabulary: ids give the text back");
    }
}

SKIP: {
    my $model = shared('models/stories260K.gguf');
    skip 'no ../shared/data/models/stories260K.gguf here', 12 unless $model;
    my @tokenize = ('tokenize', '-m', $model);
    my $text     = 'Tom had a red ball';
    is(scalar(aigc(@tokenize, '-p', $text, '--ids')), "1 274 287 381 261 352 266 268 388\n", 'ids with BOS');
    is(scalar(aigc(@tokenize, '-p', $text, '--ids', '--no-special')), "274 287 381 261 352 266 268 388\n",
        'ids without BOS');
    is(scalar(aigc(@tokenize, '-p', '', '--ids', '--no-special')), "\n", 'no text, no ids, a line');
    is(scalar(aigc(@tokenize, '-p', '',  '--ids')), "1\n", 'no text: BOS alone');
    my ($lines, $err, $status) = aigc(@tokenize, '-p', $text);
    my @lines = split /\n/, $lines;
    is(scalar(@lines), 9, 'a line for each token');
    like($lines[0], qr/^ +1  \S/, 'BOS has a name');
    is(join('', map { /^ *\d+  (.*)$/ ? $1 : die } @lines[ 1 .. 8 ]), " $text", 'pieces make the text');
    like(scalar(aigc(@tokenize, '-p', "a\tb\nc")), qr/\\t.*\\n/s, 'control characters are shown as in C');

    my $ids = slurp(shared('models/stories260K.greedy.ids'));
    is(scalar(aigc({ stdin => $ids }, @tokenize, '--decode')), slurp(shared('models/stories260K.greedy.txt')),
        'the reference ids decode to the reference text');
    is(scalar(aigc(@tokenize, '--decode', '-p', '1 274,287')), scalar(aigc(@tokenize, '--decode', '-p', '274 287')),
        'control tokens vanish; commas separate too');
    isnt(scalar(aigc(@tokenize, '--decode', '--show-special', '-p', '1 274 287')),
        scalar(aigc(@tokenize, '--decode', '-p', '1 274 287')), '--show-special names them');
    (undef, $err, $status) = aigc(@tokenize, '--decode', '-p', '12 3x');
    is($status, 1, 'bad id: exit status');
    like($err, qr/not a token id: '3x'/, 'bad id: message');
    my $chinese = "\xe4\xbd\xa0\xe5\xa5\xbd\xef\xbc\x8c\xe4\xb8\x96\xe7\x95\x8c";
    my ($out) = aigc({ stdin => $chinese }, @tokenize, '--ids', '--no-special');
    is(scalar(aigc({ stdin => $out }, @tokenize, '--decode')), $chinese, 'Chinese comes back');
}

plan skip_all => 'no ../shared/data here' unless $tried;
done_testing();
