#!/usr/bin/perl
# Options that choose the next token, stop strings, alternatives and log-probabilities.
use strict;
use warnings;
use lib 'tests/cli';
use List::Util qw(max);
use Test::More;
use Tool;

my $model = stories();
my @base  = ('generate', '-m', $model, '-p', 'Once upon a time');
my @short = (@base, '--max-tokens', 40);
my $plain = aigc(@short, '--temperature', 0);

# Seeds.
my %texts = map { $_ => scalar aigc(@short, '--seed', $_) } 1 .. 5;
is(scalar(aigc(@short, '--seed', 3)), $texts{3}, 'a seed gives the same text again');
my %different = reverse %texts;
cmp_ok(scalar(keys %different), '>=', 4, 'seeds give different texts');
is(scalar(aigc(@short)), scalar(aigc(@short, '--seed', 0)), 'the default seed is 0');
is(scalar(aigc(@short, '--temperature', 0, '--seed', $_)), $plain, "greedy text does not depend on seed $_") for 1, 2;
like(scalar(aigc(@short, '--seed', 18446744073709551615)), qr/\w/, 'the largest seed');

# Each of these leaves one token to choose from.
is(scalar(aigc(@short, '--top-k', 1, '--seed', 5)), $plain, 'top-k 1 is greedy');
is(scalar(aigc(@short, '--top-p', $_, '--seed', 5)), $plain, "top-p $_ is greedy") for 0, 1e-6;
is(scalar(aigc(@short, '--min-p', 1, '--seed', 5)), $plain, 'min-p 1 is greedy');
isnt(scalar(aigc(@short, '--temperature', 1.5, '--seed', 5)), $plain, 'a high temperature is not greedy');

# Penalties and bias change a greedy text.
my @long = (@base, '--temperature', 0, '--max-tokens', 120);
my $long = aigc(@long);
for my $option (qw(repetition-penalty frequency-penalty presence-penalty)) {
    isnt(scalar(aigc(@long, "--$option", 1.8)), $long, "--$option changes the text");
}
my ($ids) = aigc('tokenize', '-m', $model, '-p', 'Tom', '--ids', '--no-special');
my ($tom) = split ' ', $ids;
my $tom_text = aigc({ stdin => $tom }, 'tokenize', '-m', $model, '--decode');
like(scalar(aigc(@short, '--temperature', 0, '--logit-bias', "$tom:100", '--max-tokens', 3)), qr/\Q$tom_text\E/,
    'a large logit bias forces a token');
my ($first) = aigc({ stdin => $plain }, 'tokenize', '-m', $model, '--ids', '--no-special') =~ /^(\d+)/;
isnt(scalar(aigc(@short, '--temperature', 0, '--logit-bias', "$first:-100")), $plain, 'a negative one forbids it');

# Stop strings end the text and are not part of it, wherever the borders of tokens are.
for my $stop ('.', 'was', 'as', ' a little', "time, there was") {
    my $text = aigc(@long, '--stop', $stop);
    my $at   = index $long, $stop;
    my $want = $at < 0 ? $long : substr $long, 0, $at;
    is($text, $want, "--stop '$stop'");
}
my $at = (sort { $a <=> $b } grep { $_ >= 0 } map { index $long, $_ } 'little', 'was', '.')[0];
is(scalar(aigc(@long, '--stop', 'little', '--stop', 'was', '--stop', '.')), substr($long, 0, $at),
    'the first of several stop strings');

# Lengths.
is(scalar(aigc(@base, '--max-tokens', 0)), '', 'no tokens, no text');
my ($out, $err) = aigc(@base, '--max-tokens', 7, '--ignore-eos', '--logprobs', 0);
is(scalar(my @lines = split /\n/, $err), 7, 'seven tokens, seven lines of log-probabilities');
my ($all, undef, $status) = aigc(@base, '--max-tokens', 100000, '--ignore-eos', '--temperature', 0);
is($status, 0, 'the end of the context ends the text');

# Log-probabilities: sorted, negative, the chosen token of greedy text is the best one.
(undef, $err) = aigc(@short, '--temperature', 0, '--logprobs', 3);
my ($sorted, $best) = (1, 1);
for my $line (split /\n/, $err) {
    my ($chosen, $top) = $line =~ /^\s*\d+\s+(-?[\d.]+)\s.*?  \|  (.*)$/ or next;
    my @values = $top =~ /(-?\d+\.\d{4})(?=, |$)/g;
    $sorted = 0 if join(',', @values) ne join(',', sort { $b <=> $a } @values) || max(@values) > 0;
    $best   = 0 if $chosen != $values[0];
}
ok($sorted, 'top log-probabilities are sorted and not above 0');
ok($best,   'greedy text chooses the best one');
my @with_top = grep { /  \|  / } split /\n/, $err;
cmp_ok(scalar(@with_top), '>=', 30, 'each token has its best ones');

# Alternatives: most probable first, each what it would be alone.
($out, $err, $status) = aigc(@short, '-n', 4, '--seed', 9);
is($status, 0, 'alternatives: exit status');
my @heads = $out =~ /^--- (\d+ of \d+): log-probability -?[\d.]+, (?:-?[\d.]+) a token/mg;
is_deeply(\@heads, [ map { "$_ of 4" } 1 .. 4 ], 'four alternatives');
my @means = $out =~ /log-probability -?[\d.]+, (-?[\d.]+) a token/g;
is_deeply(\@means, [ sort { $b <=> $a } @means ], 'the most probable comes first');
is(scalar(aigc(@short, '-n', 4, '--seed', 9, '--threads', 1)), $out, 'the same on one thread');
like($out, qr/\Q@{[ scalar aigc(@short, '--seed', 9) ]}\E/, 'the first alternative is what the seed gives alone');

done_testing();
