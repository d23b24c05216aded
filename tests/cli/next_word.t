#!/usr/bin/perl
# next-word, against the same question asked by generate for each place.
use strict;
use warnings;
use lib 'tests/cli';
use JSON::PP;
use Test::More;
use Tool;

my $model = stories();
my $text  = slurp(shared('models/stories260K.greedy.txt'));
my @ask   = ('next-word', '-m', $model, '--json', '--words', 12);

# Words in the tool's sense: between white space, compared without punctuation at their ends.
sub core { my ($word) = @_; $word =~ s/^[[:punct:]]+|[[:punct:]]+$//g; return $word }

my (@starts, @words);
while ($text =~ /(\S+)/g) {
    push @words,  $1;
    push @starts, $-[0];
}
my $places = 10;
my ($asked, $first, $possible) = (0, 0, 0);
for my $k (0 .. $places - 1) {
    my $i    = 12 + int($k * (@words - 12) / $places);
    my $from = $starts[ $i - 12 ];
    my $prompt = substr $text, $from, $starts[ $i - 1 ] + length($words[ $i - 1 ]) - $from;
    my @greedy = ('generate', '-m', $model, '--temperature', 0, '--max-tokens');
    my ($out, $err) = aigc(@greedy, 12, '--logprobs', 5, '-p', $prompt);
    my ($line) = split /\n/, $err;
    $asked++;
    my $right = core((split ' ', $out)[0]) eq core($words[$i]);
    $first += $right;
    # One of five can only be right if its token begins the word, or the word the token.
    my $word = core($words[$i]);
    my @tokens = map { s/ -\d+\.\d+$//r } split /, (?=.+? -\d)/, $line =~ s/.*?  \|  //r;
    my @begun = map { core($_ =~ s/^ +//r) } @tokens;
    $right ||= !!grep { index($word, $_) == 0 || index($_, $word) == 0 } @begun;
    $possible += $right;
}
my $got = decode_json(scalar aigc({ stdin => $text }, @ask, '--places', $places));
is($got->{places}, $asked, 'places');
is($got->{context_words}, 12, 'words before');
cmp_ok(abs($got->{top1} - $first / $asked), '<', 1e-4, "first answer: $first of $asked");
cmp_ok($got->{top5}, '<=', $possible / $asked, "five answers: at most $possible of $asked");
cmp_ok($got->{top5}, '>', $got->{top1}, 'five answers know more than one');

is(decode_json(scalar aigc({ stdin => "$text\n<|endoftext|>\none two three" }, @ask, '--places', 100000))->{places},
    @words - 12, 'words before a place are of its own document');
is(decode_json(scalar aigc({ stdin => 'too short' }, @ask))->{places}, 0, 'a text that is too short');
like(scalar(aigc({ stdin => $text }, 'next-word', '-m', $model, '--words', 20, '--places', 5)),
    qr/^places +5, each with 20 words before\nfirst answer +\d+\.\d+ %\nfive answers +\d+\.\d+ %$/m, 'as text');
my (undef, $err, $status) = aigc('next-word', '-m', $model, '-p', 'x', '--context', 10);
is($status, 1, 'a context that is too short: exit status');
like($err, qr/a context of 10 tokens is too short/, 'and a message');
is(scalar(aigc({ stdin => $text }, @ask, '--threads', 1)), scalar(aigc({ stdin => $text }, @ask, '--threads', 3)),
    'the same on any number of threads');

done_testing();
