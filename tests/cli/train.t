#!/usr/bin/perl
# `aigc train`: a run is the same on any number of threads and when it is stopped or killed and resumed; the model is
# what the engine scores; what is refused.
use strict;
use warnings;
use lib 'tests/cli';
use File::Temp;
use JSON::PP;
use Test::More;
use Time::HiRes 'sleep';
use Tool;

my $dir  = File::Temp->newdir;
my $text = 'tests/reference/bpe_corpus.txt';
my $tok  = "$dir/tok.gguf";
my ($out, $err, $status) = aigc('train-tokenizer', '--vocab', 400, '-o', $tok, $text);
is($status, 0, 'a vocabulary to train with') or diag $err;
open my $valid, '>:raw', "$dir/valid.txt" or die;
print $valid "The rain had stopped, and she went out into the garden to look at the roses.";
close $valid;

my @shape = ('-t', $tok, '--layers', 2, '--width', 32, '--heads', 4, '--kv-heads', 2, '--context', 64, '--batch', 4,
    '--name', 'tiny', '--seed', 3);
my @run = (@shape, '--optimizer', 'adamw', '--steps', 60, '--lr', '0.01', '--save-every', 5, '--valid', "$dir/valid.txt", '--valid-every', 30);

# A type that there is not is refused before anything is computed.
($out, $err, $status) = aigc('train', @run, '-o', "$dir/q9.gguf", '--type', 'Q9', $text);
is($status, 1, 'an unknown type');
like($err, qr/^aigc: weights can't be written as 'Q9' \(F32, .*\)$/, 'is named, and nothing else is said');
ok(!-e "$dir/q9.gguf.checkpoint", 'and nothing was trained');

# An undisturbed run.
($out, $err, $status) = aigc('train', @run, '--threads', 1, '--log', "$dir/a.csv", '-o', "$dir/a.gguf", $text);
is($status, 0, 'a run') or diag $err;
like($err, qr/^memory .*weights and gradients .*\nrun .*steps 1 to 60/ms, 'memory is printed before the first step');
like($err, qr{^step 60 of 60  loss [\d.]+  \d+ tokens/s  0:00:00 left  lr 0.001  held out [\d.]+ bits/byte$}m,
    'progress');
my @log = split /\n/, slurp("$dir/a.csv");
is(scalar @log, 61, 'a line of CSV for each step, and the heading');
my ($first, $last) = map { (split /,/)[1] } @log[1, -1];
cmp_ok($last, '<', $first - 1, "the loss falls ($first, $last)");
my $model = slurp("$dir/a.gguf");

# The engine finds the same loss. Its window is the text and the tokens around it, as the trainer's is.
my ($loss) = $out =~ /^held out: loss ([\d.]+), [\d.]+ bits per byte, \d+ tokens of 76 bytes$/m;
my ($json) = aigc({ stdin => slurp("$dir/valid.txt") . '<|endoftext|>' },
    'score', '-m', "$dir/a.gguf", '--json', '--tokens', '--kv', 'f32');
my $score = decode_json($json);
cmp_ok(abs($loss + $score->{logprob} / $score->{tokens}), '<', 1e-4, 'held-out loss is the score of the engine')
  or diag "$loss, $json";
my ($plan) = $err =~ /, (\d+) held out$/m;
is($score->{tokens}, $plan - 1, 'of the same tokens');

# Other numbers of threads; stopped by a signal, killed.
aigc('train', @run, '--threads', 3, '-o', "$dir/b.gguf", $text);
ok($model eq slurp("$dir/b.gguf"), 'three threads give the same bytes as one');

# The same with products of bfloat16, also in two parts.
my @bf16 = (@run, '--precision', 'bf16');
aigc('train', @bf16, '--threads', 1, '-o', "$dir/bf16.gguf", $text);
my $rounded = slurp("$dir/bf16.gguf");
ok($rounded ne $model, '--precision bf16 gives other weights');
aigc('train', @bf16, '--threads', 3, '-o', "$dir/bf16-3.gguf", $text);
ok($rounded eq slurp("$dir/bf16-3.gguf"), 'three threads give the same bytes as one, in bf16 too');
my @curve = ([], []);
for my $i (0, 1) {
    aigc('train', @shape, '--steps', 100, '--lr', '0.003', '--precision', ('f32', 'bf16')[$i], '--log', "$dir/p$i.csv",
        '-o', "$dir/p.gguf", $text);
    my @lines = split /\n/, slurp("$dir/p$i.csv");
    $curve[$i][ ($_ - 1) / 10 ] += (split /,/, $lines[$_])[1] / 10 for 1 .. 100;
}
my ($worst) = sort { $b <=> $a } map { abs($curve[0][$_] - $curve[1][$_]) } 0 .. 9;
cmp_ok($worst, '<', 1e-2, 'losses of ten steps each agree to a hundredth');
cmp_ok($worst, '>', 0,    'but are not the same');
my @halves = (@shape, '--lr', '0.01', '--precision', 'bf16', '--schedule', 'stable', '--decay', 0,
    '--warmup', 3);
aigc('train', @halves, '--steps', 60, '-o', "$dir/whole.gguf", $text);
aigc('train', @halves, '--steps', 30, '-o', "$dir/half.gguf", $text);
($out, $err, $status) = aigc('train', @halves, '--steps', 60, '--resume', '-o', "$dir/half.gguf", $text);
is($status, 0, 'a bf16 run goes on') or diag $err;
ok(slurp("$dir/whole.gguf") eq slurp("$dir/half.gguf"), 'to the bytes of a run that was not stopped');
($out, $err, $status) =
  aigc('train', @halves, '--precision', 'f32', '--steps', 90, '--resume', '-o', "$dir/half.gguf", $text);
like($err, qr/it has precision=bf16, this one none/, 'but not in float32');

# Ends a run by a signal after its first checkpoint; tries again if the run was over before the signal came.
sub disturb
{
    my ($signal, $file) = @_;
    for (1 .. 20) {
        my %how;
        unlink $file, "$file.checkpoint";
        my $pid = aigc_start(\%how, 'train', @run, '--threads', 2, '-o', $file, $text);
        my $over = 0;
        sleep 0.005 until -e "$file.checkpoint" || ($over = waitpid($pid, 1) != 0);
        next if $over;
        kill $signal, $pid;
        waitpid $pid, 0;
        my $code = $? & 127 ? 128 + ($? & 127) : $? >> 8;
        return ($code, slurp($how{err})) unless -e $file;
    }
    die "no run could be stopped before its end\n";
}

for my $signal ('TERM', 'KILL') {
    my $file = "$dir/$signal.gguf";
    my ($code, $said) = disturb($signal, $file);
    is($code, $signal eq 'TERM' ? 130 : 137, "$signal: exit status");
    like($said, qr/stopped after step \d+; --resume goes on from/, 'and what is left') if $signal eq 'TERM';
    ($out, $err, $status) = aigc('train', @run, '--resume', '-o', $file, $text);
    is($status, 0, "$signal: resumed") or diag $err;
    unlike($err, qr/steps 1 to/, 'not from the beginning');
    ok($model eq slurp($file), 'and it ends with the same bytes');
}

# Muon: the same holds.
my @muon = (@run, '--optimizer', 'muon', '-o', "$dir/muon.gguf");
aigc('train', @muon, '--threads', 1, $text);
my $by_muon = slurp("$dir/muon.gguf");
ok($by_muon ne $model, 'Muon gives another model');
aigc('train', @muon, '--threads', 3, $text);
ok($by_muon eq slurp("$dir/muon.gguf"), 'the same on three threads');
aigc('train', @muon, '--schedule', 'stable', '--decay', 0, '--steps', 20, $text);
aigc('train', @muon, '--schedule', 'stable', '--decay', 0, '--resume', '--steps', 40, $text);
my $resumed = slurp("$dir/muon.gguf");
aigc('train', @muon, '--schedule', 'stable', '--decay', 0, '--warmup', 1, '--steps', 40, $text);
ok($resumed eq slurp("$dir/muon.gguf"), 'and in two sittings');
($out, $err, $status) = aigc('train', @run, '--schedule', 'stable', '--decay', 0, '--resume', '-o', "$dir/muon.gguf", $text);
is($status, 1, 'AdamW does not go on with its checkpoint');
like($err, qr/it has optimizer=muon, this one none/, 'and says so');

# Minutes, other rows and types.
for my $row (['gpt2', 'Q8_0'], ['qwen2', 'F16']) {
    my ($row_arch, $type) = @$row;
    ($out, $err, $status) = aigc('train', '-t', $tok, '--arch', $row_arch, '--layers', 1, '--width', 32, '--heads', 2,
        '--context', 32, '--batch', 2, '--minutes', '0.01', '--type', $type, '--untied', '--schedule', 'stable', '-o',
        "$dir/$row_arch.gguf", $text);
    is($status, 0, "$row_arch as $type for a moment") or diag $err;
    my ($inspected) = aigc('inspect', '-m', "$dir/$row_arch.gguf");
    like($inspected, qr/\b$row_arch\b.*\b$type\b/s, 'is what was asked for');
    (undef, $err, $status) = aigc('generate', '-m', "$dir/$row_arch.gguf", '-p', 'The', '--max-tokens', 5);
    is($status, 0, 'and generates') or diag $err;
}

# From a model's weights.
my @init = ('--init', "$dir/a.gguf", '--context', 32, '--batch', 4, '--lr', '0.003', '--valid', "$dir/valid.txt");
($out, $err, $status) = aigc('train', @init, '--steps', 0, '--context', 64, '-o', "$dir/same.gguf", '--name', 'tiny', $text);
is($status, 0, '--init and no step') or diag $err;
my ($described) = aigc('inspect', '-m', "$dir/a.gguf");
my ($n_weights) = $described =~ /parameters\s+([\d,]+)/;
$n_weights =~ tr/,//d;
ok(substr($model, -4 * $n_weights) eq substr(slurp("$dir/same.gguf"), -4 * $n_weights), "gives its $n_weights weights back");
($out, $err, $status) = aigc('train', @init, '--steps', 3, '--log', "$dir/init.csv", '-o', "$dir/init.gguf", $text);
is($status, 0, '--init and some steps, of another context') or diag $err;
my (undef, $begin) = split /\n/, slurp("$dir/init.csv");
cmp_ok((split /,/, $begin)[1], '<', $first - 1, 'begin where that model was');
for my $type ('F16', 'BF16', 'Q8_0') {
    my $from = "$dir/$type.gguf";
    aigc('train', @init, '--steps', 0, '--context', 64, '--type', $type, '-o', $from, $text);
    ($out, $err, $status) = aigc('train', '--init', $from, '--steps', 0, '--type', $type, '-o', "$dir/again.gguf", '--name',
        "$type.gguf", $text);
    is($status, 0, "from $type") or diag $err;
    ok(slurp($from) eq slurp("$dir/again.gguf"), "and back to $type: the same bytes");
}
($out, $err, $status) = aigc('train', '--init', "$dir/gpt2.gguf", '--steps', 2, '-o', "$dir/init2.gguf", $text);
is($status, 0, 'from a gpt2 in Q8_0') or diag $err;

# The picture of the loss. That of a run in two sittings, from its log, has the same steps as that of one.
my @drawn = (@shape, '--lr', '0.01', '--schedule', 'stable', '--warmup', 2, '--valid', "$dir/valid.txt", '--valid-every', 10);
my %draw = map { $_ => ["--log", "$dir/$_.csv", '--plot', "$dir/$_.svg", '-o', "$dir/$_.gguf"] } 'one', 'two';
aigc('train', @drawn, @{ $draw{one} }, '--steps', 40, $text);
($out, $err, $status) = aigc('train', @drawn, '--decay', 0, @{ $draw{two} }, '--steps', 20, $text);
is($status, 0, '--plot') or diag $err;
open my $late, '>>', "$dir/two.csv" or die;
print $late "21,99.5,1,1,1,\n22,99.5,1,1,1,99\n";    # what a run that was killed after its checkpoint leaves
close $late;
aigc('train', @drawn, @{ $draw{two} }, '--steps', 40, '--decay', 8, '--resume', $text);
my %svg = map { $_ => slurp("$dir/$_.svg") } 'one', 'two';
for my $sittings ('one', 'two') {
    my $picture = $svg{$sittings};
    my ($losses) = $picture =~ /class='loss' points='([^']*)'/;
    my ($valids) = $picture =~ /class='valid' points='([^']*)'/;
    is(scalar split(' ', $losses), 40, "$sittings: 40 points of the loss");
    is(scalar split(' ', $valids), 4,  'and 4 of what was held out');
    my ($bits) = $picture =~ /held-out bits per byte: ([\d.]+)</;
    my ($row) = grep { /^40,/ } split /\n/, slurp("$dir/$sittings.csv");
    cmp_ok(abs($bits - (split /,/, $row)[5]), '<', 1e-4, 'the last of which is written beside it');
    unlike($picture, qr/NaN|nan|inf|99\.5/, 'all numbers are');
}
is_deeply([$svg{one} =~ /([\d.]+),[\d.]+ /g], [$svg{two} =~ /([\d.]+),[\d.]+ /g], 'at the same places');

# Dropout.
my @drop = (@run, '--dropout', '0.2', '-o', "$dir/drop.gguf");
aigc('train', @drop, '--threads', 1, '--accumulate', 2, $text);
my $dropped = slurp("$dir/drop.gguf");
aigc('train', @drop, '--threads', 3, '--accumulate', 2, $text);
ok($dropped eq slurp("$dir/drop.gguf"), 'dropout is the same on three threads');
my @long = (@drop, '--schedule', 'stable', '--decay', 0, '--warmup', 1);
aigc('train', @long, '--steps', 20, $text);
($out, $err, $status) = aigc('train', @long, '--steps', 40, '--resume', $text);
is($status, 0, 'dropout goes on') or diag $err;
$dropped = slurp("$dir/drop.gguf");
aigc('train', @long, '--steps', 40, $text);
ok($dropped eq slurp("$dir/drop.gguf"), 'in two sittings as in one');
($out, $err, $status) = aigc('train', @long, '--dropout', 0, '--steps', 50, '--resume', $text);
like($err, qr/it has dropout=0x\S+, this one none/, 'and not without it');

# Texts of different weight.
my @mix = (@shape, '--steps', 20, '-o', "$dir/mix.gguf", '--seed', 9);
aigc('train', @mix, '--weights', '1,2', $text, $text);
my $double = slurp("$dir/mix.gguf");
($out, $err, $status) = aigc('train', @mix, '--weights', '2,1', '--resume', $text, $text);
is($status, 1, 'other weights are another run');
like($err, qr/belongs to another run: it has text=/, 'and that is said');
aigc('train', @mix, '--weights', '1,0', $text, $text);
my $first_alone = slurp("$dir/mix.gguf");
ok($double ne $first_alone, 'weights matter');

# What the file says of the model.
open my $jinja, '>', "$dir/chat.jinja" or die;
print $jinja "{% for m in messages %}{{ m.content }}\n{% endfor %}\n";
close $jinja;
aigc('train', @init, '--steps', 0, '--chat-template', "$dir/chat.jinja", '--description', 'a small one', '--license', 'MIT',
    '-o', "$dir/chat.gguf", $text);
my ($says) = aigc('inspect', '-v', '-m', "$dir/chat.gguf");
like($says, qr/^general\.description = a small one$/m, 'description');
like($says, qr/^general\.license = MIT$/m,             'license');
like($says, qr/^tokenizer\.chat_template = \{% for m in messages %\}\{\{ m\.content \}\}\\n\{% endfor %\}$/m,
    'chat template, without the last newline of its file');
aigc('train', '--init', "$dir/chat.gguf", '--steps', 0, '--chat-template', '{{ 1 }}', '-o', "$dir/chat2.gguf", $text);
($says) = aigc('inspect', '-v', '-m', "$dir/chat2.gguf");
like($says, qr/^tokenizer\.chat_template = \{\{ 1 \}\}$/m, 'another one goes before that of the model begun from');

# A stable schedule whose end is not known: a branch falls, the trunk goes on, and neither sees the other.
my @trunk = (@shape, '--lr', '0.01', '--warmup', 3, '--schedule', 'stable', '--valid', "$dir/valid.txt");
my @flat = (@trunk, '--decay', 0, '-o', "$dir/trunk.gguf");
($out, $err, $status) = aigc('train', @flat, '--steps', 20, $text);
is($status, 0, 'a trunk without end') or diag $err;
my $state = slurp("$dir/trunk.gguf.checkpoint");
my @fall = (@trunk, '--decay', 10, '-o', "$dir/branch.gguf");
($out, $err, $status) = aigc('train', @fall, '--more', 10, '--resume-from', "$dir/trunk.gguf.checkpoint", $text);
is($status, 0, 'a branch of ten steps') or diag $err;
like($err, qr/steps 21 to 30 .*^step 30 of 30 .* lr 0.001 /ms, 'whose rate falls');
ok($state eq slurp("$dir/trunk.gguf.checkpoint"), "and the trunk's checkpoint is untouched");
aigc('train', @trunk, '--decay', 10, '--steps', 30, '-o', "$dir/whole.gguf", $text);
ok(slurp("$dir/whole.gguf") eq slurp("$dir/branch.gguf"), 'it is the run that knew its end from the beginning');
($out, $err, $status) = aigc('train', @flat, '--steps', 40, '--resume', $text);
is($status, 0, 'the trunk goes on') or diag $err;
aigc('train', @trunk, '--decay', 0, '--steps', 40, '-o', "$dir/long.gguf", $text);
ok(slurp("$dir/long.gguf") eq slurp("$dir/trunk.gguf"), 'as if it had not stopped');

# What is refused.
sub refused
{
    my ($want, $pattern, @arguments) = @_;
    my (undef, $said, $code) = aigc('train', @arguments);
    is($code, $want, "exit status of: $pattern");
    like($said, qr/$pattern/, 'and the message');
}
refused(2, 'no --output given',            '-t', $tok, '--steps', 1, $text);
refused(2, 'no --tokenizer given',         '-o', "$dir/x.gguf", '--steps', 1, $text);
refused(2, 'no text files given',          '-t', $tok, '-o', "$dir/x.gguf", '--steps', 1);
refused(2, 'either --steps or --minutes',  '-t', $tok, '-o', "$dir/x.gguf", $text);
refused(2, 'bad value for --schedule',     '--schedule', 'x');
refused(1, "'bert' is not known",          '-t', $tok, '-o', "$dir/x.gguf", '--arch', 'bert', '--steps', 1, $text);
refused(1, '33 can.t be shared by 4',      @shape, '--width', 33, '--steps', 1, '-o', "$dir/x.gguf", $text);
refused(1, 'less than two contexts',       @shape, '--steps', 1, '-o', "$dir/x.gguf", "$dir/valid.txt");
refused(1, 'another run: it has seed=3, this one seed=4',
    @run, '--seed', 4, '--resume', '-o', "$dir/a.gguf", $text);
refused(1, 'of 60 steps to 0.1 of the learning rate, not 61',
    @run, '--steps', 61, '--resume', '-o', "$dir/a.gguf", $text);
refused(1, 'has 2 layers, not 3', @init, '--layers', 3, '--steps', 1, '-o', "$dir/x.gguf", $text);
refused(1, 'is a llama, not a gpt2', @init, '--arch', 'gpt2', '--steps', 1, '-o', "$dir/x.gguf", $text);
refused(1, 'no output matrix of its own', @init, '--untied', '--steps', 1, '-o', "$dir/x.gguf", $text);
refused(1, 'has 32 learned positions', '--init', "$dir/gpt2.gguf", '--context', 16, '--steps', 1, '-o', "$dir/x.gguf", $text);
refused(2, 'either --tokenizer or --init', @init, '-t', $tok, '--steps', 1, '-o', "$dir/x.gguf", $text);
refused(1, 'at step 30, its learning rate has fallen since step 20', @fall, '--steps', 40, '--resume', $text);
refused(1, 'at step 40, but the learning rate should have fallen since step 31',
    @trunk, '--decay', 10, '--steps', 41, '--resume-from', "$dir/trunk.gguf.checkpoint", '-o', "$dir/x.gguf", $text);
refused(1, 'has made 40 steps, more than 39', @flat, '--steps', 39, '--resume', $text);
refused(1, 'would be overwritten', @flat, '--more', 9, '--resume-from', "$dir/trunk.gguf.checkpoint", $text);
refused(1, 'cannot open nowhere', @init, '--chat-template', 'nowhere', '--steps', 1, '-o', "$dir/x.gguf", $text);
refused(1, 'must be text in UTF-8', @init, '--license', "\xff", '--steps', 1, '-o', "$dir/x.gguf", $text);
refused(2, 'as many as the text files', @run, '--weights', '1,2', '-o', "$dir/x.gguf", $text);
refused(2, 'bad value for --weights: .1,x.: not a list of numbers from 0 to 1000', '--weights', '1,x');
refused(1, 'no text has a weight above 0', @run, '--weights', '0', '-o', "$dir/x.gguf", $text);
refused(2, 'either --resume or --resume-from', @flat, '--more', 9, '--resume', '--resume-from', 'x', $text);
refused(2, '--more says how long', @flat, '--more', 9, '--resume', $text);
refused(1, 'the metadata lack train.step', @run, '--checkpoint', $tok, '--resume', '-o', "$dir/x.gguf", $text);
(undef, $err, $status) =
  aigc({ env => { AIGC_OPENBLAS => '/nonexistent.so', AIGC_CPU => 'generic' } },
    'train', @run, '-o', "$dir/x.gguf", $text);
is($status, 1, 'without OpenBLAS it fails, on a processor without AVX-512');
like($err, qr/libopenblas0-pthread/, 'and says what to install');
ok(!-e "$dir/x.gguf", 'and nothing is written');

done_testing;
