#!/usr/bin/perl
# The model directory: what is listed, which names are refused, files that are broken, replaced or gone, and who may
# change the settings.
use FindBin;
use lib $FindBin::RealBin;
use AigcTest;
use File::Copy;
use PostgreSQL::Test::Utils;

my $directory = "$ENV{AIGC_STAGE}/work/directory";
mkdir $directory or die;
copy("$ENV{AIGC_MODELS}/stories260K.gguf", "$directory/stories.gguf") or die;
my $good = slurp_file("$directory/stories.gguf");

my $node = new_node('models', conf => "aigc.model_directory = '$directory'\naigc.model = 'stories'\n");
my $main = session($node);
my $greedy = q{SELECT generate('Once upon a time', temperature => 0, max_tokens => 20)};
my $expected = ask($main, $greedy);
like($expected, qr/^, there was a/, 'the model of the directory generates');
is(ask($main, q{SELECT generate('Once upon a time', 'stories.gguf', temperature => 0, max_tokens => 20)}), $expected,
    'its name may end in .gguf');

# Files that are no models are listed with what is wrong with them, and refused.
write_file('empty.gguf',     '');
write_file('random.gguf',    join '', map { chr int rand 256 } 1 .. 5000);
write_file('truncated.gguf', substr $good, 0, 300_000);
write_file('text.txt',       'not listed');
write_file('.hidden.gguf',   $good);
write_file("line\nfeed.gguf", $good);
mkdir "$directory/folder.gguf" or die;
symlink '/nonexistent', "$directory/dangling.gguf" or die;
system('mkfifo', "$directory/fifo.gguf") == 0 or die;
my $listing = ask($main, 'SELECT name, architecture, loaded, error IS NULL FROM aigc_models()');
is($listing, <<'END' =~ s/\n$//r, 'aigc_models() lists every file, the broken ones too');
dangling||f|f
empty||f|f
fifo||f|f
folder||f|f
random||f|f
stories|llama|t|t
truncated||f|f
END
for my $name (qw(empty random truncated folder fifo dangling)) {
    fails_like($main, "SELECT generate('Once', '$name')", qr/ERROR: .*"$name"/, "model $name is refused");
}
is(ask($main, 'SELECT parameters, quantisation, context, bytes, error FROM aigc_models() WHERE loaded'),
    '292800|F32|128|' . length($good) . '|', 'a model is described');

# Names reach no other file.
write_file('../outside.gguf', $good);
for my $name ('../outside', '/etc/passwd', "$directory/stories", '..', '.hidden', 'folder.gguf/x', '', '.gguf',
    "a\tb", 'x' x 300, '..\\outside') {
    my $quoted = $name =~ s/'/''/gr;
    fails_like($main, "SELECT generate('Once', '$quoted')", qr/ERROR:  invalid model name "/,
        "name '$name' is refused");
}
fails_like($main, q{SET aigc.model = '../outside'}, qr/invalid value for parameter "aigc.model"/, 'also as a setting');
like(fails_like($main, q{SELECT generate('Once', 'absent')}, qr/there is no model "absent"/, 'an unknown model'),
    qr/HINT:.*"stories"/, 'its error names the models that there are');

# A file that is cut short or overwritten in place ends what reads it with an error, and no session.
my $backend = ask($main, 'SELECT pg_backend_pid()');
for my $damage ('', substr($good, 0, 200_000), 'x' x 100_000) {
    ask($main, q{BEGIN; DECLARE c CURSOR FOR SELECT generate_stream('Once upon a time', temperature => 0,
        max_tokens => 100); FETCH 1 FROM c});
    write_file('stories.gguf', $damage);
    like((ask($main, 'FETCH ALL FROM c'))[1], qr/ERROR: .*stories.*was overwritten/,
        'a file cut down to ' . length($damage) . ' bytes is an error');
    ask($main, 'ROLLBACK');
    write_file('stories.gguf', $good);
    is(ask($main, $greedy), $expected, 'which is over with the next call');
}
is(ask($main, 'SELECT pg_backend_pid()'), $backend, 'in the same session');

# A file that is replaced is opened anew; what a cursor has begun it ends with the old one.
ask($main, q{BEGIN; DECLARE c CURSOR FOR SELECT generate_stream('Once upon a time', temperature => 0,
    max_tokens => 20)});
my $c = ask($main, 'FETCH 1 FROM c');
write_file('next', $good . "\0" x 4096);
rename "$directory/next", "$directory/stories.gguf" or die;
is(ask($main, q{SELECT loaded FROM aigc_models() WHERE name = 'stories'}), 'f', 'a replaced model is not loaded');
is(ask($main, $greedy), $expected, 'it is opened anew by the next call');
is(ask($main, q{SELECT loaded FROM aigc_models() WHERE name = 'stories'}), 't', 'then it is loaded');
$c .= join '', split /\n/, ask($main, 'FETCH ALL FROM c');
is($c, join('', split /\n/, $expected), 'a cursor goes on with the old file');
ask($main, 'COMMIT');
unlink "$directory/stories.gguf" or die;
fails_like($main, $greedy, qr/there is no model "stories"/, 'a model that is gone');
write_file('stories.gguf', $good);
is(ask($main, $greedy), $expected, 'and back');

# More models than a session keeps open, again and again.
write_file("m$_.gguf", $good) for 1 .. 6;
my $pid = ask($main, 'SELECT pg_backend_pid()');
my @rss;
for (1 .. 6) {
    ask($main, "SELECT generate('Once', 'm' || i, max_tokens => 2) FROM generate_series(1, 6) AS i");
    push @rss, backend_status($pid)->{VmRSS};
}
is(ask($main, 'SELECT count(*) FROM aigc_models() WHERE loaded'), 4, 'a session keeps four models open');
cmp_ok($rss[-1] - $rss[1], '<', 2048, 'and its memory is flat (' . join(', ', @rss) . ' kB)');
is(ask($main, q{SELECT generate('Once upon a time', 'm1', temperature => 0, max_tokens => 20) =
    generate('Once upon a time', 'm2', temperature => 0, max_tokens => 20)}), 't', 'two models in one query');
ask($main, 'BEGIN');
ask($main, "DECLARE c$_ CURSOR FOR SELECT generate_stream('Once', 'm$_'); FETCH 1 FROM c$_") for 1 .. 4;
like((ask($main, q{SELECT generate('Once', 'm5')}))[1], qr/already generates with 4 models/, 'four models are in use');
ask($main, 'ROLLBACK');
is(ask($main, q{SELECT generate('Once upon a time', 'm5', temperature => 0, max_tokens => 20)}), $expected,
    'when their cursors are closed there is room');

is((ask($main, q{DO $$ DECLARE p text; BEGIN
    FOR i IN 1 .. 6 LOOP
        BEGIN
            FOR p IN SELECT generate_stream('Once', 'm' || i) LOOP RAISE division_by_zero; END LOOP;
        EXCEPTION WHEN division_by_zero THEN
        END;
    END LOOP;
END $$}))[1], "", "exceptions end streams");
is(ask($main, q{SELECT generate('Once upon a time', 'm6', temperature => 0, max_tokens => 20)}), $expected,
    'so there is after exceptions that a function catches');

# A vocabulary tokenizes although it cannot generate.
SKIP: {
    my ($vocabulary) = glob "'$ENV{AIGC_MODELS}'/ggml-vocab-gpt-2.gguf";
    skip 'no ../shared/data/tokenizers', 2 if !$vocabulary;
    copy($vocabulary, "$directory/vocabulary.gguf") or die;
    is(ask($main, q{SELECT tokenize('Hello world', 'vocabulary')}), '{15496,995}', 'a vocabulary file tokenizes');
    fails_like($main, q{SELECT generate('Hello world', 'vocabulary')}, qr/ERROR:  cannot use model "vocabulary"/,
        'but does not generate');
}

# The directory itself.
ask($main, "SET aigc.model_directory = '/nonexistent/models'");
fails_like($main, 'SELECT * FROM aigc_models()', qr/could not open the model directory: No such file/, 'no directory');
like(fails_like($main, $greedy, qr/there is no model "stories"/, 'no model without one'),
    qr/HINT:  The directory holds no/);
fails_like($main, q{SET aigc.model_directory = 'models'}, qr/must be an absolute path/, 'a relative directory');
ask($main, "SET aigc.model_directory = '$directory/../directory//'");
is(ask($main, 'SHOW aigc.model_directory'), $directory, 'the directory is kept in canonical form');

# Who may set what.
ask($main, 'CREATE ROLE somebody');
my $user = session($node);
ask($user, 'SET SESSION AUTHORIZATION somebody');
is(ask($user, $greedy), $expected, 'anybody may generate');
for my $setting ("aigc.model_directory = '/tmp'", 'aigc.kv_memory = 64') {
    fails_like($user, "SET $setting", qr/permission denied to set parameter/, "only a superuser may SET $setting");
}
fails_like($user, 'SHOW aigc.model_directory', qr/must be superuser|permission denied/, 'or see the directory');
unlike((ask($user, "SELECT generate('x', '$_')"))[1], qr/\Q$directory\E/, "the error of $_ does not tell it")
  for qw(absent truncated random folder);
unlike(ask($user, 'SELECT * FROM aigc_models()'), qr/\Q$directory\E/, 'nor does the list');
write_file("bad\xffname.gguf", 'no model');
is(ask($user, q{SELECT name, error FROM aigc_models() WHERE name LIKE 'bad%'}),
    'bad?name|not a GGUF file: it begins with the bytes 6e 6f 20 6d', 'nor where a name cannot be shown');
my $deep = join '/', $directory, map { $_ x 150 } qw(a b c);
system('mkdir', '-p', $deep) == 0 or die;
for my $name ('short', 'n' x 200) {
    rename "$directory/random.gguf", "$deep/$name.gguf" or die;
    ask($main, "SET aigc.model_directory = '$deep'");
    my $why = ask($main, 'SELECT error FROM aigc_models()');
    like($why, qr/^not a GGUF file: it begins with the bytes [0-9a-f ]+$/, 'nor a path too long for a message');
    like((ask($main, "SELECT generate('x', '$name')"))[1], qr/ERROR:  cannot use model "$name": \Q$why\E$/m,
        'which leaves the reason');
    rename "$deep/$name.gguf", "$directory/random.gguf" or die;
}
ask($main, 'RESET aigc.model_directory');
is(ask($user, 'SET aigc.threads = 1; SET aigc.context_size = 128; SET aigc.max_tokens = 5; SET aigc.seed = 3;
    SELECT 1'), '1', 'anybody may set the others');
ask($main, 'REVOKE EXECUTE ON FUNCTION generate, generate_alternatives, generate_stream, score_text FROM PUBLIC');
fails_like($user, "SELECT generate('Once')", qr/permission denied for function generate/,
    'generation kept to some roles');
is(ask($user, "SELECT count_tokens('Once')"), 2, 'which leaves the rest');

$_->quit for $main, $user;
$node->stop('fast');
done_testing();

sub write_file
{
    my ($name, $bytes) = @_;
    open my $out, '>:raw', "$directory/$name" or die "$name: $!\n";
    print $out $bytes;
    close $out or die "$name: $!\n";
}
