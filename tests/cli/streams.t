#!/usr/bin/perl
# Where text comes from and goes to: -p, -f, standard input, pipes that close, full disks, interrupts.
use strict;
use warnings;
use lib 'tests/cli';
use File::Temp;
use Test::More;
use Time::HiRes qw(sleep time);
use Tool;

my $model  = stories();
my $prompt = "Lily and Tom\nwent to the park";
my @args   = ('generate', '-m', $model, '--temperature', 0, '--max-tokens', 30);
my $text   = aigc(@args, '-p', $prompt);
my $file   = File::Temp->new;
print $file $prompt;
close $file;

cmp_ok(length $text, '>', 20, 'a text');
is(scalar(aigc({ stdin => $prompt }, @args)), $text, 'prompt from standard input');
is(scalar(aigc({ stdin => $prompt }, @args, '-f', '-')), $text, 'prompt from -f -');
is(scalar(aigc({ stdin => 'not this' }, @args, '-f', "$file")), $text, 'prompt from a file');
is(scalar(aigc(@args, '--prompt', $prompt)), $text, '--prompt');
isnt(scalar(aigc({ stdin => "$prompt\n" }, @args)), $text, 'a newline at the end is part of the prompt');
is(scalar(aigc({ stdin => '' }, @args)), scalar(aigc(@args, '-p', '')), 'empty standard input is an empty prompt');

my ($out, $err, $status) = aigc(@args, '-p', $prompt, '--stats');
is($out, $text, '--stats leaves standard output alone');
like($err, qr/^$_/m, "--stats: $_")
  for 'load: +[\d.]+ ms', 'prompt: +\d+ tokens .* tokens/s', 'decode: +30 tokens, .* tokens/s',
  'memory: .* keys and values', 'threads: \d+';

SKIP: {
    skip 'no /dev/full here', 2 unless -c '/dev/full';
    (undef, $err, $status) = aigc({ stdout => '/dev/full' }, @args, '-p', $prompt);
    is($status, 1, 'full disk: exit status');
    like($err, qr/cannot write to standard output: No space/, 'full disk: message');
    (undef, $err, $status) = aigc({ stdout => '/dev/full' }, 'inspect', $model);
    is($status, 1, 'full disk under inspect: exit status');
    (undef, $err, $status) = aigc({ stdout => '/dev/full' }, 'generate', '--help');
    is($status, 1, 'full disk under --help: exit status');
}

# A reader that goes away. Its end of the pipe is closed before the tool starts.
{
    pipe my $read, my $write or die;
    close $read;
    my $flags = fcntl $write, 1, 0;
    fcntl $write, 2, $flags & ~1;    # keep it over exec
    my $pid = fork() // die;
    if ($pid == 0) {
        open STDOUT, '>&', $write or die;
        open STDERR, '>', "$file.err" or die;
        exec $ENV{AIGC_TOOL} // 'build/aigc', @args, '-p', $prompt, '--max-tokens', 400, '--ignore-eos' or die;
    }
    waitpid $pid, 0;
    is($? >> 8,  1, 'closed pipe: exit status 1');
    is($? & 127, 0, 'closed pipe: no death by signal');
    like(slurp("$file.err"), qr/cannot write to standard output: Broken pipe/, 'closed pipe: message');
    unlink "$file.err";
}

# Interrupts: while generating (a new request for the whole context again and again would be too quick to hit, so the
# tool reads its prompt from a pipe that nobody writes to), and while it waits for input.
{
    pipe my $read, my $write or die;
    my $pid = fork() // die;
    if ($pid == 0) {
        close $write;
        open STDIN,  '<&', $read or die;
        open STDOUT, '>', '/dev/null' or die;
        exec $ENV{AIGC_TOOL} // 'build/aigc', @args or die;
    }
    close $read;
    sleep 0.3;
    kill 'INT', $pid;

    waitpid $pid, 0;
    is($? >> 8, 130, 'interrupted while reading: exit status 130');
}
{
    my %how;
    my $pid = aigc_start(\%how, 'bench', '-m', $model, '--repeat', 1000, '--threads', 1, '--sequences', 1);
    sleep 0.5;
    kill 'INT', $pid;
    waitpid $pid, 0;
    is($? >> 8, 130, 'interrupted while computing: exit status 130');
    is(slurp($how{err}), '', 'interrupted: nothing on standard error');
}

done_testing();
