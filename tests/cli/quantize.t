#!/usr/bin/perl
# `aigc quantize`: what it writes is what training from the same weights writes, says nearly the same, keeps the rest of the
# file.
use strict;
use warnings;
use lib 'tests/cli';
use File::Temp;
use JSON::PP;
use Test::More;
use Tool;

my $base = stories();
my $dir  = File::Temp->newdir;
my ($out, $err, $status);

open my $text, '>', "$dir/text.txt" or die;
print $text "Once upon a time there was a little girl named Lily. She liked to play outside in the park.\n" x 60;
close $text;

sub bits
{
    my ($model) = @_;
    my ($json) = aigc('score', '-m', $model, '-p', 'Once upon a time there was a little girl named Lily. She liked to play'
          . ' outside. One day, she saw a big red ball in the park.', '--json', '--kv', 'f32');
    return decode_json($json)->{bits_per_byte};
}

# Rows of this model are 64 and 172 numbers: the latter are no whole blocks, the former none of 256.
my %written = (Q8_0 => 'Q8_0', Q4_0 => 'Q4_0', Q4_K => 'Q8_0', F16 => 'F16');
my %bits    = ('' => bits($base));
for my $type (sort keys %written) {
    ($out, $err, $status) = aigc('quantize', $base, "$dir/$type.gguf", '--type', $type);
    is($status, 0, "as $type") or diag $err;
    like($out, qr/^\Q$dir\E\/$type\.gguf: $type, [\d.]+ \w+ instead of [\d.]+ \w+\n\z/, 'says the sizes');
    my ($inspected) = aigc('inspect', '-m', "$dir/$type.gguf");
    like($inspected, qr/^blk\.0\.attn_q\.weight\s+$written{$type}\s/m, "rows of 64 are $written{$type}");
    like($inspected, qr/^blk\.0\.ffn_down\.weight\s+F16\s/m,           'rows that fit no block F16');
    like($inspected, qr/^blk\.0\.attn_norm\.weight\s+F32\s/m,          'norms F32');
    $bits{$type} = bits("$dir/$type.gguf");
}
cmp_ok(abs($bits{F16} - $bits{''}),  '<', 1e-3, "F16 says the same ($bits{''}, $bits{F16})");
cmp_ok(abs($bits{Q8_0} - $bits{''}), '<', 1e-2, "Q8_0 nearly ($bits{Q8_0})");
cmp_ok(abs($bits{Q4_0} - $bits{''}), '<', 0.3,  "Q4_0 not far from it ($bits{Q4_0})");
cmp_ok(abs($bits{Q4_0} - $bits{''}), '>', abs($bits{Q8_0} - $bits{''}), 'but farther');

# The trainer writes the same weights in the same type; the order of the metadata may differ.
aigc('train', '--init', $base, '--steps', 0, '--type', 'Q8_0', '-o', "$dir/trained.gguf", "$dir/text.txt");
my ($described) = aigc('inspect', '-m', $base);
my ($n_weights) = $described =~ /^parameters\s+(\d+)/m;
my @ends = map { substr slurp($_), -$n_weights } "$dir/Q8_0.gguf", "$dir/trained.gguf";
ok($ends[0] eq $ends[1], 'the trainer writes the same weights');

# Nothing is lost but what was rounded.
($out, $err, $status) = aigc('quantize', "$dir/Q8_0.gguf", '--type', 'F32', '--name', 'back', '-o', "$dir/back.gguf");
is($status, 0, 'and back to F32, by --output') or diag $err;
cmp_ok(abs(bits("$dir/back.gguf") - $bits{Q8_0}), '<', 1e-2, 'which says nearly the same');
aigc('quantize', "$dir/back.gguf", "$dir/again.gguf", '--name', 'x');
aigc('quantize', "$dir/Q8_0.gguf", "$dir/same.gguf",  '--name', 'x');
ok(slurp("$dir/again.gguf") eq slurp("$dir/same.gguf"), 'and becomes the same Q8_0 again');
my @metadata = map { (aigc('inspect', '-v', '-m', $_))[0] =~ /^(tokenizer\..*)$/mg } $base, "$dir/Q8_0.gguf";
cmp_ok(scalar @metadata, '>', 4, 'there is a vocabulary');
is_deeply([ @metadata[ 0 .. $#metadata / 2 ] ], [ @metadata[ @metadata / 2 .. $#metadata ] ], 'which is kept');

# ---- what is refused ----

for (
    [ 1, qr/can't be written as 'Q9'/,              $base, "$dir/no.gguf", '--type', 'Q9' ],
    [ 1, qr/No such file/,                          "$dir/none.gguf", "$dir/no.gguf" ],
    [ 1, qr/text\.txt/,                             "$dir/text.txt", "$dir/no.gguf" ],
    [ 1, qr/no\/such/,                              $base, "$dir/no/such.gguf" ],
    [ 2, qr/a model and a file to write are needed/, $base ],
    [ 2, qr/a model and a file to write are needed/, $base, "$dir/no.gguf", '-o', "$dir/no.gguf" ],
) {
    my ($want, $why, @arguments) = @$_;
    ($out, $err, $status) = aigc('quantize', @arguments);
    is($status, $want, "@arguments: refused") or diag $err;
    like($err, $why, 'with the reason');
    ok(!-e "$dir/no.gguf", 'and nothing is written');
}

done_testing();
