#!/usr/bin/perl
# `aigc train-tokenizer`: a vocabulary from text, its use, and what is refused.
use strict;
use warnings;
use lib 'tests/cli';
use File::Temp;
use Test::More;
use Tool;

my $dir  = File::Temp->newdir;
my $text = 'tests/reference/bpe_corpus.txt';

my ($out, $err, $status) = aigc('train-tokenizer', '--vocab', 500, '-o', "$dir/a.gguf", $text);
is($status, 0, 'a vocabulary is learned');
like($out, qr{^\Q$dir/a.gguf\E: 500 tokens from \d+ different words, [\d.]+ s\n$}, 'and described');
is($err, '', 'without a word on standard error');

aigc({ stdin => slurp($text) }, 'train-tokenizer', '--vocab', 500, '-o', "$dir/b.gguf", '-');
(my $a = slurp("$dir/a.gguf")) =~ s/a\.gguf/x.gguf/;
(my $b = slurp("$dir/b.gguf")) =~ s/b\.gguf/x.gguf/;
ok($a eq $b && length $a, 'standard input gives the same file');

my ($ids)  = aigc({ stdin => slurp($text) }, 'tokenize', '-m', "$dir/a.gguf", '--ids');
my ($back) = aigc({ stdin => $ids },         'tokenize', '-m', "$dir/a.gguf", '--decode', '--show-special');
is($back, '<|endoftext|>' . slurp($text), 'its own text comes back');

($out, $err, $status) = aigc('train-tokenizer', '-o', "$dir/c.gguf");
is("$status $err", "2 aigc: no text files given (try 'aigc train-tokenizer --help')\n", 'no files is bad usage');
($out, $err, $status) = aigc('train-tokenizer', $text);
is("$status $err", "2 aigc: no --output given (try 'aigc train-tokenizer --help')\n", 'no output is bad usage');
($out, $err, $status) = aigc('train-tokenizer', '--pre', 'x', '-o', "$dir/c.gguf", $text);
is("$status $err", "1 aigc: there is no pre-tokenizer 'x'\n", 'an unknown pre-tokenizer is named');
($out, $err, $status) = aigc('train-tokenizer', '-o', "$dir/none/c.gguf", $text);
is($status, 1, 'a file that cannot be written is an error');
like($err, qr/none/, 'which names it');
($out, $err, $status) = aigc({ stdin => "ab\xff" }, 'train-tokenizer', '-o', "$dir/c.gguf", '-');
is("$status $err", "1 aigc: -: the text is not valid UTF-8 at byte 2 (0xff)\n", 'bad text is refused');
ok(!-e "$dir/c.gguf", 'and nothing is written');

done_testing;
