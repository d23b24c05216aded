#!/usr/bin/perl
# tools/pretrain.py and `aigc train` make the same first 20 steps from the same weights, text and options, and models that
# the engine finds alike. Needs Python with torch, gguf and numpy (AIGC_PYTHON names another than python3).
use strict;
use warnings;
use lib 'tests/cli';
use File::Temp;
use Test::More;
use Tool;

my $python = $ENV{AIGC_PYTHON} // 'python3';
plan skip_all => "no $python with torch, gguf and numpy here (AIGC_PYTHON names another)"
  if system("$python -c 'import torch, gguf, numpy' > /dev/null 2>&1") != 0;

my $dir  = File::Temp->newdir;
my $text = 'tests/reference/bpe_corpus.txt';
my ($out, $err, $status) = aigc('train-tokenizer', '--vocab', 400, '-o', "$dir/tok.gguf", $text);
is($status, 0, 'a vocabulary') or diag $err;
open my $valid, '>:raw', "$dir/valid.txt" or die;
print $valid "The rain had stopped, and she went out into the garden to look at the roses.\n<|endoftext|>\nThey were red.";
close $valid;

# Columns of a log: step => [loss, valid].
sub read_log
{
    my %rows = map { my @row = split /,/, $_, -1; $row[0] => [@row[1, 5]] } split /\n/, slurp($_[0]);
    delete $rows{step};
    return \%rows;
}

sub python
{
    local $ENV{OMP_WAIT_POLICY} = 'PASSIVE';
    my $said = qx{$python tools/pretrain.py --device cpu --threads 1 @_ 2>&1};
    is($?, 0, 'pretrain.py') or diag $said;
    return $said;
}

# Two texts of different weight, in more steps than an epoch has.
my @texts = ($text, "$dir/valid.txt");
for my $case (['llama', 'adamw', 'cosine'], ['llama', 'muon', 'stable'], ['qwen2', 'adamw', 'stable'], ['gpt2', 'muon', 'cosine']) {
    my ($arch, $optimizer, $schedule) = @$case;
    my @shape = ('-t', "$dir/tok.gguf", '--arch', $arch, '--layers', 2, '--width', 48, '--heads', 4, '--context', 32,
        '--weights', '0.9,3', '--valid', "$dir/valid.txt", '--seed', 7, '--threads', 1);
    push @shape, '--kv-heads', 2 if $arch ne 'gpt2';
    push @shape, '--untied' if $arch eq 'qwen2';
    my @run = ('--steps', 20, '--lr', '0.005', '--warmup', 3, '--optimizer', $optimizer, '--schedule', $schedule, '--batch', 8,
        '--accumulate', 2, '--valid-every', 5);
    my $name = "$dir/$arch-$optimizer";
    aigc('train', @shape, '--steps', 0, '--tokens-to', "$name.tokens", '-o', "$name.first", @texts);
    (undef, $err, $status) = aigc('train', @shape, @run, '--log', "$name.csv", '-o', "$name.gguf", @texts);
    is($status, 0, "@$case") or diag $err;
    python('--init', "$name.first", '--tokens', "$name.tokens", '--seed', 7, @run, '--log', "$name.torch.csv", '-o',
        "$name.torch.gguf");
    my ($ours, $theirs) = (read_log("$name.csv"), read_log("$name.torch.csv"));
    is(scalar keys %$theirs, 20, 'twenty steps');
    my ($loss, $bits) = (0, 0);
    for my $step (1 .. 20) {
        my $difference = abs($ours->{$step}[0] - $theirs->{$step}[0]);
        $loss = $difference if $difference > $loss;
        next if $step % 5 != 0;
        $difference = abs($ours->{$step}[1] - $theirs->{$step}[1]);
        $bits = $difference if $difference > $bits;
    }
    cmp_ok($ours->{1}[0] - $ours->{20}[0], '>', 1, 'there was something to follow');
    cmp_ok($loss, '<', 1e-3, "largest difference of the losses: $loss");
    cmp_ok($bits, '<', 1e-2, "of held-out bits per byte: $bits");
    my @score = map {
        my ($json) = aigc('score', '-m', $_, '-f', "$dir/valid.txt", '--json');
        $json =~ /"logprob": ?(-[\d.]+)/ ? $1 : 0
    } "$name.gguf", "$name.torch.gguf";
    cmp_ok(abs($score[0] / $score[1] - 1), '<', 1e-2, "and the engine scores both models alike: @score");
}

# In two sittings.
my @half = ('--init', "$dir/llama-adamw.first", '--tokens', "$dir/llama-adamw.tokens", '--steps', 20, '--batch', 8,
    '--save-every', 10);
python(@half, '-o', "$dir/whole.gguf", '--log', "$dir/whole.csv", '--checkpoint', "$dir/state");
like(python(@half, '-o', "$dir/again.gguf", '--checkpoint', "$dir/state", '--resume'), qr/\A\s*\z/, 'a run that is over has no steps left');
ok(slurp("$dir/whole.gguf") eq slurp("$dir/again.gguf"), 'and gives the same model');
like(qx{$python tools/pretrain.py --device cpu @half -o $dir/x.gguf --checkpoint $dir/state --resume --lr 0.1 2>&1},
    qr/is of a run with lr 0.003, not 0.1/, 'other options are refused');
done_testing;
