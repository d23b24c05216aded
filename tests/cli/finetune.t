#!/usr/bin/perl
# `aigc finetune` and `aigc merge`: what they learn, from which data, what is written, that runs go on where they were
# stopped, and what is refused.
use strict;
use warnings;
use lib 'tests/cli';
use File::Temp;
use JSON::PP;
use Test::More;
use Time::HiRes 'sleep';
use Tool;

my $base = stories();
my $dir  = File::Temp->newdir;
my ($out, $err, $status);

sub spew
{
    my ($name, $text) = @_;
    open my $file, '>:raw', "$dir/$name" or die "$dir/$name: $!\n";
    print $file $text;
    close $file;
    return "$dir/$name";
}

# Bits per byte that the engine finds in a text, with these options.
sub bits
{
    my ($file, @options) = @_;
    my ($json) = aigc('score', '-f', $file, '--json', '--kv', 'f32', @options);
    return decode_json($json)->{bits_per_byte};
}

# Plain text: what was held out becomes more probable, and the engine finds what the trainer says.
my $words  = 'In the deep wood the old owl sat and said that the moon was bright over the hill and the sea was calm. ';
my @names  = qw(Mara Odo Ines Karl Rosa Emil);
my $text   = join '', map { "$names[$_ % 6] went to the $_ hill. $words" } 1 .. 60;
my $held   = join '', map { "$names[$_ % 5] went to the $_ hill. $words" } 61 .. 63;
my $train  = spew('train.txt', $text);
my $valid  = spew('valid.txt', $held);
my @common = ($base, '--context', 64, '--threads', 2, '--epochs', 3);

($out, $err, $status) = aigc('finetune', @common, '--data', $train, '--valid', $valid, '-o', "$dir/lora.gguf");
is($status, 0, 'an adapter from text') or diag $err;
like($err, qr/^model .*0\.34 million parameters, 0\.046 million of them trained$/m, 'what is trained is said');
like($err, qr/^memory .*\nrun /m, 'memory is printed before the first step');
like($out, qr/^\Q$dir\E\/lora.gguf: adapter written\nheld out: loss [\d.]+, [\d.]+ bits per byte/, 'and the result');
my $before = bits($valid, '-m', $base);
my $after  = bits($valid, '-m', $base, '--lora', "$dir/lora.gguf");
cmp_ok($after, '<', 0.75 * $before, "held-out bits per byte fall ($before, $after)");
my ($inspected) = aigc('inspect', '-v', '-m', "$dir/lora.gguf");
like($inspected, qr/general\.type\s.*adapter/, 'an adapter in the form that others read');
like($inspected, qr/adapter\.type\s.*lora/,    'of its type');
like($inspected, qr/blk\.0\.attn_q\.weight\.lora_a .* 64 x 8 /, 'with thin matrices');

# Merged; as strong as asked; of another type.
($out, $err, $status) = aigc('merge', $base, "$dir/lora.gguf", '--name', 'm', '-o', "$dir/merged.gguf");
is($status, 0, 'merged') or diag $err;
cmp_ok(abs(bits($valid, '-m', "$dir/merged.gguf") - $after), '<', 1e-4, 'a merged adapter is what it was beside');
my $half = bits($valid, '-m', $base, '--lora', "$dir/lora.gguf=0.5");
ok($half > $after && $half < $before, "half of it lies between ($half)");
aigc('merge', $base, "$dir/lora.gguf", '--scale', '0.5', '--type', 'F16', '--name', 'half', '-o', "$dir/half.gguf");
cmp_ok(abs(bits($valid, '-m', "$dir/half.gguf") - $half), '<', 5e-3, 'so does half of it merged, as F16');
($inspected) = aigc('inspect', '-m', "$dir/half.gguf");
like($inspected, qr/^name\s+half$/m, 'under its name');
like($inspected, qr/\bF16\b/,        'and its type');
($out) = aigc('finetune', @common, '--data', $train, '--merged', '--name', 'm', '-o', "$dir/merged2.gguf");
ok(slurp("$dir/merged2.gguf") eq slurp("$dir/merged.gguf"), '--merged writes the same model at once');

# The same text at every level of instructions, and on any number of threads.
my ($have) = levels();
my @texts = map {
    my $level = $_;
    map {
        scalar aigc({ env => { AIGC_CPU => $level } }, 'generate', '-m', $base, '--lora', "$dir/lora.gguf", '-p',
            'In the deep', '--seed', 5, '--max-tokens', 40, '--threads', $_)
    } 1, 3
} @$have;
is($_, $texts[0], 'the same text on every level, with one thread and three') for @texts[1 .. $#texts];
isnt($texts[0], scalar aigc('generate', '-m', $base, '-p', 'In the deep', '--seed', 5, '--max-tokens', 40),
    'not that of the model alone');

# All weights.
($out, $err, $status) = aigc('finetune', @common, '--full', '--lr', '0.001', '--data', $train, '-o', "$dir/full.gguf");
is($status, 0, 'all weights') or diag $err;
like($out, qr/full.gguf: model written/, 'give a model');
cmp_ok(bits($valid, '-m', "$dir/full.gguf"), '<', 0.75 * $before, 'that has learned');

# JSON lines. Only the response is learned, so it alone becomes more probable.
sub lines { return join '', map { encode_json($_) . "\n" } @_ }
my @animals = qw(dog cat bird fish frog);
my @pairs   = map { { prompt => "$names[$_ % 6] had a little $animals[$_ % 5]. ", response => "It was blue, number $_." } }
  1 .. 60;
my $pairs = spew('pairs.jsonl', lines(@pairs));
($out, $err, $status) = aigc('finetune', @common, '--data', $pairs, '-o', "$dir/pairs.gguf");
is($status, 0, 'prompts and responses') or diag $err;
like($err, qr/^examples 60 to train on, 0 held out; 0 cut to the context$/m, 'are counted');
($out) = aigc('generate', '-m', $base, '--lora', "$dir/pairs.gguf", '-p', 'Rosa had a little cat. ', '--temperature', 0,
    '--max-tokens', 8);
like($out, qr/^It was blue/, 'and the model answers so');

my $chat = spew('chat.jsonl', lines(map {
    { messages => [
        { role => 'system', content => 'Talk of hills.' },
        { role => 'user', content => "Where is $names[$_ % 6]?" }, { role => 'assistant', content => 'On the hill.' },
        { role => 'user', content => 'And the owl?' }, { role => 'assistant', content => 'It sleeps.' } ] }
} 1 .. 30));
($out, $err, $status) = aigc('finetune', @common, '--epochs', 8, '--data', $chat, '-o', "$dir/chat.gguf");
is($status, 0, 'chats') or diag $err;
like($err, qr/^examples 60 to train on/m, 'give an example for each answer');
($out) = aigc('generate', '-m', $base, '--lora', "$dir/chat.gguf", '-p', "User: Where is Emil?\nAssistant:",
    '--temperature', 0, '--stop', "\n");
is($out, ' On the hill.', 'and the model answers in a chat');

# A base whose own template is ChatML gets its chats in that form.
my ($template) = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}";
(undef, $err, $status) = aigc('train', '--init', $base, '--steps', 0, '--chat-template', $template, '-o',
    "$dir/chatml.gguf", $train);
is($status, 0, 'a base with a template') or diag $err;
my $short = spew('short.jsonl', lines(map {
    { messages => [ { role => 'user', content => "$names[$_ % 6]?" }, { role => 'assistant', content => 'Yes.' } ] }
} 1 .. 30));
($out, $err, $status) = aigc('finetune', "$dir/chatml.gguf", '--context', 96, '--threads', 2, '--epochs', 8, '--data',
    $short, '-o', "$dir/chatml.lora.gguf");
is($status, 0, 'ChatML') or diag $err;
($out) = aigc('generate', '-m', "$dir/chatml.gguf", '--lora', "$dir/chatml.lora.gguf", '-p',
    "<|im_start|>user\nEmil?<|im_end|>\n<|im_start|>assistant\n", '--temperature', 0, '--max-tokens', 30, '--stop', '<');
like($out, qr/^Yes\./, 'and the model answers in it');

my $documents = spew('documents.jsonl', lines(map { { text => $words x 5 } } 1 .. 10));
($out, $err, $status) = aigc('finetune', @common, '--data', $documents, '--valid', $valid, '-o', "$dir/documents.gguf");
is($status, 0, 'documents') or diag $err;

my @preferences = map {
    { prompt => "$names[$_ % 6] had a little $animals[$_ % 5]. ", chosen => 'It was very kind.', rejected => 'It was big.' }
} 1 .. 40;
my $preferences = spew('preferences.jsonl', lines(@preferences));
($out, $err, $status) = aigc('finetune', @common, '--data', $preferences, '--valid', $preferences, '-o', "$dir/dpo.gguf");
is($status, 0, 'preferences') or diag $err;
my ($accuracy) = $out =~ /^held out: loss [\d.]+, accuracy ([\d.]+), 40 preferences$/m;
cmp_ok($accuracy, '>', 0.95, "are learned ($accuracy)");

# A run that was stopped goes on; on another number of threads it ends with the same bytes.
my @run = ($base, '--context', 64, '--data', $pairs, '--steps', 60, '--save-every', 3);
aigc('finetune', @run, '--threads', 1, '-o', "$dir/whole.gguf", '--name', 'x');
my $stopped = 0;
for my $try (1 .. 20) {
    my %how;
    my $pid = aigc_start(\%how, 'finetune', @run, '--threads', 2, '-o', "$dir/cut.gguf", '--name', 'x');
    sleep 0.005 until -e "$dir/cut.gguf.checkpoint" || waitpid($pid, 1) != 0;
    kill 'KILL', $pid;
    waitpid $pid, 0;
    $stopped = !-e "$dir/cut.gguf";
    last if $stopped;
    unlink "$dir/cut.gguf", "$dir/cut.gguf.checkpoint";
}
ok($stopped, 'a run was killed on its way');
($out, $err, $status) = aigc('finetune', @run, '--threads', 3, '--resume', '-o', "$dir/cut.gguf", '--name', 'x');
is($status, 0, 'it goes on') or diag $err;
unlike($err, qr/steps 1 to/, 'not from the beginning');
ok(slurp("$dir/cut.gguf") eq slurp("$dir/whole.gguf"), 'and ends with the same bytes');

# What is refused.
sub refused
{
    my ($want, $pattern, @arguments) = @_;
    my (undef, $said, $code) = aigc(@arguments);
    is($code, $want, "exit status of: $pattern");
    like($said, qr/$pattern/, 'and the message');
}
my @to = ('-o', "$dir/never.gguf");
refused(2, 'no base model given',     'finetune', '--data', $train, @to);
refused(2, 'no --data given',         'finetune', $base, @to);
refused(2, 'no --output given',       'finetune', $base, '--data', $train);
refused(2, '--merged is for',         'finetune', $base, '--data', $train, @to, '--full', '--merged');
refused(2, '--type is for',           'finetune', $base, '--data', $train, @to, '--type', 'F16');
refused(2, 'bad value for --lora-rank', 'finetune', $base, '--data', $train, @to, '--lora-rank', 0);
refused(1, 'cannot open',             'finetune', $base, '--data', "$dir/none.jsonl", @to);
refused(1, 'less than two contexts',  'finetune', $base, '--data', $valid, @to);
refused(1, 'it is an adapter',        'finetune', "$dir/lora.gguf", '--data', $train, @to);
refused(1, "can't be mixed",          'finetune', $base, '--data', $train, '--data', $pairs, @to);
my $good = lines($pairs[0]);
for my $bad (
    ['{"prompt": "x", "response": ',          'line 2, column \d+: '],
    ['[1]',                                   'line 2: is not a JSON object'],
    ['{"prompt": "x"}',                       'line 2: needs "prompt" with "response"'],
    ['{"prompt": "x", "response": 3}',        'line 2: needs'],
    ['{"prompt": "x", "response": ""}',       'line 2: the response is empty'],
    ['{"messages": []}',                      'line 2: "messages" is not a list'],
    ['{"messages": [{"role": "user"}]}',      'line 2: a message needs'],
    ['{"messages": [{"role": "cook", "content": "x"}]}', 'line 2: a message\'s role'],
    ['{"prompt": "x", "chosen": "a", "rejected": "b"}',  'line 2: plain text, pairs and preferences'],
    ["{\"prompt\": \"\xff\", \"response\": \"b\"}",      'line 2, column'],
) {
    refused(1, "bad.jsonl, $bad->[1]", 'finetune', $base, '--data', spew('bad.jsonl', "$good$bad->[0]\n"), @to);
}
refused(2, 'a base model and an adapter', 'merge', $base, @to);
refused(1, 'it is no adapter',            'merge', $base, $base, @to);
refused(1, "can.t be written as 'Q9'",    'merge', $base, "$dir/lora.gguf", '--type', 'Q9', @to);
refused(1, 'it is no adapter',            'generate', '-m', $base, '--lora', $base, '-p', 'x');
refused(1, q(can't open it),                'generate', '-m', $base, '--lora', "$dir/none.gguf", '-p', 'x');
refused(1, 'more than 8',                 'generate', '-m', $base, '-p', 'x', map { ('--lora', "$dir/lora.gguf") } 1 .. 9);
ok(!-e "$dir/never.gguf", 'and nothing is written');

done_testing;
