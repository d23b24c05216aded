#!/usr/bin/perl
# memory: a personal layer is learned, taken back, forgotten; score, generate and next-word use it.
use strict;
use warnings;
use lib 'tests/cli';
use File::Temp;
use JSON::PP;
use Test::More;
use Tool;

my $model  = stories();
my $dir    = File::Temp->newdir;
my $file   = "$dir/personal.aigc";
my $phrase = 'The gardener of Zwolle, Marigold Quillfeather, sold blue tulips to the harbour master.';
my $text   = "$phrase She was proud of it.\n" x 3;

sub memory
{
    my ($stdin, @options) = @_;
    my ($out, $err, $status) =
      aigc({ stdin => $stdin }, 'memory', '-m', $model, '--personal', $file, '--json', @options);
    is($status, 0, "memory @options") or diag $err;
    return decode_json($out);
}

sub bits
{
    my (@options) = @_;
    return decode_json(scalar aigc('score', '-m', $model, '--json', '-p', $phrase, @options))->{bits_per_byte};
}

my $before = bits();
is(bits('--personal', $file), $before, 'a file that is not there yet changes nothing');
ok(!-e $file, 'and is not made by that');

my $info = memory($text, '--learn');
cmp_ok($info->{tokens}, '>', 60, 'tokens are learned');
is($info->{phrases}[0]{count}, 3, 'phrases are counted');
is((stat $file)[2] & 0777, 0600, 'the file is its owner\'s alone');
my $after = bits('--personal', $file);
cmp_ok($after, '<', $before / 2, "what was learned is expected: $after bits per byte, before $before");
is(bits(), $before, 'without --personal nothing changes');

my $prompt = 'The gardener of Zwolle,';
my @generate = ('generate', '-m', $model, '-p', $prompt, '--temperature', 0, '--max-tokens', 16);
like(scalar(aigc(@generate, '--personal', $file)), qr/^ Marigold Quillfeather/, 'generate knows the name');
unlike(scalar(aigc(@generate)), qr/Quill/, 'and does not without it');
my $words = decode_json(
    scalar aigc({ stdin => $text }, 'next-word', '-m', $model, '--json', '--words', 5, '--personal', $file));
cmp_ok($words->{top1}, '>', 0.8, 'next-word knows it too');

my $learned = memory($text x 2, '--learn');
cmp_ok($learned->{tokens}, '>', 2.5 * $info->{tokens}, 'more is learned');
my $unlearned = memory($text x 2, '--unlearn');
is_deeply({ %$unlearned, bytes => 0 }, { %$info, bytes => 0 }, 'and taken back without a trace');
my $n = memory('Quillfeather', '--forget')->{ngrams};
cmp_ok($n, '<', $info->{ngrams}, 'a word is forgotten');
unlike(scalar(aigc(@generate, '--personal', $file)), qr/Quillfeather/, 'and not said any more');
is(memory('', '--clear')->{ngrams}, 0, 'everything is');

my $learning = decode_json(
    scalar aigc({ stdin => $text }, 'score', '-m', $model, '--json', '--personal', $file, '--learn', '--context', 64));
my $static = decode_json(scalar aigc({ stdin => $text }, 'score', '-m', $model, '--json', '--context', 64));
cmp_ok($learning->{bits_per_byte}, '<', $static->{bits_per_byte}, 'score --learn learns as it goes');
is(memory('')->{tokens}, $learning->{tokens}, 'each token once');

my ($out, $err, $status) = aigc('score', '-m', $model, '-p', 'x', '--learn');
is($status, 1, '--learn without a file');
like($err, qr/--learn needs a file/, 'and says so');
($out, $err, $status) = aigc('memory', '-m', $model);
like($err, qr/name its file with --personal/, 'memory without a file');
open my $damage, '>', $file or die;
print $damage 'no such thing';
close $damage;
($out, $err, $status) = aigc(@generate, '--personal', $file);
is($status, 1, 'a file of another kind');
like($err, qr/not a personal file/, 'and says so');

done_testing();
