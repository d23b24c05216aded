#!/usr/bin/perl
# What inspect, score and bench report.
use strict;
use warnings;
use lib 'tests/cli';
use JSON::PP;
use Test::More;
use Tool;

my $model = stories();
my ($out, $err, $status);

# inspect, against what the data's README says of the model.
($out, $err, $status) = aigc('inspect', $model);
is($status, 0, 'inspect: exit status');
like($out, qr/^architecture +llama$/m, 'inspect: architecture');
like($out, qr/^shape +5 layers, 64 wide, 8 heads, 4 key-value heads/m, 'inspect: shape');
like($out, qr/^context +128 tokens \(as the file says\)$/m, 'inspect: context');
like($out, qr/^vocabulary +512 tokens \(llama\), BOS 1, EOS 2$/m, 'inspect: vocabulary');
like($out, qr/^memory +\S+ \wiB of keys and values \(f16, context 512/m, 'inspect: memory');
like($out, qr/^token_embd\.weight +F32 +64 x 512 +131072$/m, 'inspect: a tensor');
like(scalar(aigc('inspect', $model, '-v')), qr/^general\.architecture = "?llama"?$/m, 'inspect -v: metadata');
is(scalar(aigc('inspect', '-m', $model)), $out, 'inspect -m FILE');

my $j = decode_json(scalar aigc('inspect', $model, '--json', '-v'));
is($j->{layers}, 5, 'inspect --json: layers');
is($j->{file_bytes}, -s $model, 'inspect --json: size of the file');
my $elements = 0;
for my $tensor (@{ $j->{tensors} }) {
    my $n = 1;
    $n *= $_ for @{ $tensor->{dims} };
    $elements += $n;
}
is($j->{parameters}, $elements, 'inspect --json: parameters are the elements of all tensors');
ok($j->{runs}, 'inspect --json: it runs');
is($j->{metadata}{'llama.block_count'}, 5, 'inspect --json -v: metadata');
my $f32   = decode_json(scalar aigc('inspect', $model, '--json', '--kv', 'f32'));
my $short = decode_json(scalar aigc('inspect', $model, '--json', '--context', 128, '--sequences', 1));
my $whole = decode_json(scalar aigc('inspect', $model, '--json', '--context', 512, '--sequences', 1));
cmp_ok($f32->{memory}{kv_bytes}, '>=', $j->{memory}{kv_bytes}, 'inspect: f32 keys and values take no less');
cmp_ok($short->{memory}{kv_bytes}, '<', $whole->{memory}{kv_bytes}, 'inspect: a shorter context takes less');

SKIP: {
    my $vocabulary = shared('tokenizers/ggml-vocab-gpt-2.gguf');
    skip 'no vocabulary file here', 2 unless $vocabulary;
    ($out, $err, $status) = aigc('inspect', $vocabulary);
    is($status, 0, 'inspect: a file without weights');
    like($out, qr/^runs +no: \S/m, 'inspect: says why it does not run');
}

# score, against logits that another implementation computed for the first 64 positions of its own text.
my @ids    = split ' ', slurp(shared('models/stories260K.greedy.ids'));
my @logits = unpack 'f<*', slurp(shared('models/stories260K.logits.f32'));
my @expected;
for my $t (0 .. 62) {
    my @row = @logits[ 512 * $t .. 512 * $t + 511 ];
    my $max = (sort { $b <=> $a } @row)[0];
    my $sum = 0;
    $sum += exp($_ - $max) for @row;
    $expected[ $t + 1 ] = $row[ $ids[ $t + 1 ] ] - $max - log $sum;
}
my $text  = scalar aigc({ stdin => "@ids[0 .. 63]" }, 'tokenize', '-m', $model, '--decode');
my $score = decode_json(scalar aigc({ stdin => $text }, 'score', '-m', $model, '--json', '--tokens', '--kv', 'f32'));
my @scored = @{ $score->{detail} };
my $same   = 0;
$same++ while $same < @scored && $same < 63 && $scored[$same]{id} == $ids[ $same + 1 ];
cmp_ok($same, '>=', 20, "score: the text has the reference's tokens, the first $same of them");
my $worst = 0;
for my $i (0 .. $same - 1) {
    my $difference = abs($scored[$i]{logprob} - $expected[ $i + 1 ]);
    $worst = $difference if $difference > $worst;
}
cmp_ok($worst, '<', 2e-3, 'score: log-probabilities are those of the reference logits');
my $sum = 0;
$sum += $_->{logprob} for @scored;
cmp_ok(abs($sum - $score->{logprob}), '<', 1e-3, 'score: the total is the sum');
is($score->{tokens}, scalar @scored, 'score: tokens');
is($score->{bytes}, length $text, 'score: bytes');
cmp_ok(abs($score->{perplexity} - exp(-$sum / @scored)), '<', 1e-3, 'score: perplexity');
cmp_ok(abs($score->{bits_per_byte} + $sum / log(2) / length $text), '<', 1e-4, 'score: bits per byte');

($out, $err, $status) = aigc({ stdin => $text }, 'score', '-m', $model, '--tokens');
is(scalar(my @lines = $out =~ /^ *\d+ +-\d+\.\d{4}  /mg), scalar @scored, 'score --tokens: a line for each');
like($out, qr/^perplexity +\d+\.\d+$/m, 'score: perplexity as text');
like(scalar(aigc('score', '-m', $model, '-p', '')), qr/^tokens +0$/m, 'score: no text');

# A text of several contexts: its first window is scored as that text alone would be.
my $long = "$text " x 12;
my $all  = decode_json(scalar aigc({ stdin => $long }, 'score', '-m', $model, '--json', '--tokens'));
cmp_ok($all->{tokens}, '>', 600, 'score: a text longer than the context');
is(scalar(grep { !($_->{logprob} <= 0) } @{ $all->{detail} }), 0, 'score: all its log-probabilities are there');
my $narrow = decode_json(scalar aigc({ stdin => $text }, 'score', '-m', $model, '--json', '--context', 40));
is($narrow->{tokens}, $score->{tokens}, 'score: windows of a short context cover the text once');
cmp_ok(abs($narrow->{logprob} - $score->{logprob}), '<', 0.5 * abs $score->{logprob}, 'score: and agree roughly');

# bench: the shape of its report. Speed is not judged.
my $bench = decode_json(
    scalar aigc('bench', '-m', $model, '--json', '--threads', '1,2', '--sequences', '1,3', '--repeat', 2,
        '--prompt-tokens', 64, '--decode-tokens', 16));
is_deeply([ map { $_->{threads} } @{ $bench->{threads} } ],     [ 1, 2 ], 'bench: threads');
is_deeply([ map { $_->{sequences} } @{ $bench->{sequences} } ], [ 1, 3 ], 'bench: sequences');
my @speeds = map { @$_{ grep { /per_second/ } keys %$_ } } @{ $bench->{threads} }, @{ $bench->{sequences} };
is(scalar(@speeds), 6, 'bench: six speeds');
is(scalar(grep { !($_ > 0) } @speeds), 0, 'bench: all above 0');
like(scalar(aigc('bench', '-m', $model, '--threads', 1, '--sequences', 2, '--repeat', 1, '--decode-tokens', 8)),
    qr/^threads .*^ +1 +[\d.]+ +[\d.]+\n.*^sequences .*^ +2 +[\d.]+ +[\d.]+\n/ms, 'bench: the table');

done_testing();
