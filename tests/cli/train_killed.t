#!/usr/bin/perl
# `aigc train` killed at random moments, and a full disk: what is on the disk is always a whole checkpoint, and the run
# ends with the weights of an undisturbed one.
use strict;
use warnings;
use lib 'tests/cli';
use File::Temp;
use Test::More;
use Time::HiRes qw(sleep time);
use Tool;

use constant { KILLS => 20, STEPS => 2000 };

my $seed = $ENV{AIGC_SEED} // time % 1_000_000;
$seed = int $seed;
srand $seed;
diag "AIGC_SEED=$seed";

my $dir  = File::Temp->newdir;
my $text = 'tests/reference/bpe_corpus.txt';
my $tok  = "$dir/tok.gguf";
my ($out, $err, $status) = aigc('train-tokenizer', '--vocab', 400, '-o', $tok, $text);
is($status, 0, 'a vocabulary to train with') or diag $err;

my @run = ('-t', $tok, '--layers', 1, '--width', 32, '--heads', 2, '--context', 32, '--batch', 4, '--name', 'tiny',
    '--lr', '0.01', '--threads', 1);
my @whole = (@run, '--steps', STEPS, '--save-every', 7);

sub seconds_of
{
    my $began = time;
    my (undef, $said, $code) = aigc('train', @whole, @_, $text);
    is($code, 0, "@_[0, 1]") or diag $said;
    return time - $began;
}

for my $optimizer ('adamw', 'muon') {
    my @options = ('--optimizer', $optimizer);
    my $alone   = seconds_of(@options, '-o', "$dir/alone.gguf");
    my $file    = "$dir/$optimizer.gguf";
    my ($kills, $starts, $state) = (0, 0, "$file.checkpoint");
    while ($kills < KILLS && $starts++ < 20 * KILLS) {
        my %how;
        my $pid = aigc_start(\%how, 'train', @whole, @options, -e $state ? '--resume' : (), '-o', $file, $text);
        # Twenty sittings are to make most of the run, but not all of it.
        sleep rand($alone / 13);
        kill 'KILL', $pid;
        waitpid $pid, 0;
        if ($? == 9) {
            $kills++;
        } elsif ($? == 0) {
            unlink $file, $state;    # over before it could be killed: once more
        } else {
            fail("sitting $starts") or diag slurp($how{err});
            last;
        }
    }
    is($kills, KILLS, "$optimizer: killed $kills times in $starts sittings");
    ok(!-e $file, 'no model yet');
    ($out, $err, $status) = aigc('train', @whole, @options, -e $state ? '--resume' : (), '-o', $file, $text);
    is($status, 0, 'the last sitting ends the run') or diag $err;
    my ($from) = $err =~ /^run .*steps (\d+) to ${\ STEPS} /m;
    cmp_ok($from, '>', 1, "it began with step $from");
    ok(slurp($file) eq slurp("$dir/alone.gguf"), 'the weights are those of an undisturbed run');
}

# No room: as if the disk were full, a file can't grow beyond what the limit says.
my @flat = (@run, '--schedule', 'stable', '--decay', 0, '--warmup', 2, '--save-every', 5,
    '-o', "$dir/full.gguf");
my $state = "$dir/full.gguf.checkpoint";
aigc('train', @flat, '--steps', 10, $text);
my $before = slurp($state);
unlink "$dir/full.gguf";
my $blocks = int(length($before) / 1024 / 2);
my $tool   = $ENV{AIGC_TOOL} // 'build/aigc';
($out, $err, $status) = do {
    my $said = qx{bash -c 'trap "" XFSZ; ulimit -f $blocks; exec "\$@"' - $tool train @flat --steps 20 --resume $text 2>&1};
    ('', $said, $? >> 8);
};
is($status, 1, 'a checkpoint that does not fit is an error');
like($err, qr/^aigc: \Q$state\E: can't write it: File too large$/m, 'which names the file and the reason');
ok(slurp($state) eq $before, 'the old checkpoint is as it was');
is_deeply([glob "$dir/full*.tmp"], [], 'nothing is left beside it');
($out, $err, $status) = aigc('train', @flat, '--steps', 20, '--resume', $text);
is($status, 0, 'with room again it goes on') or diag $err;
($out, $err, $status) = aigc('train', @flat, '--steps', 20, '-o', "$dir/roomy.gguf", $text);
ok(slurp("$dir/full.gguf") eq slurp("$dir/roomy.gguf"), 'to the same weights');

done_testing;
