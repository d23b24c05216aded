#!/usr/bin/perl
# Databases in other encodings than UTF-8, and bytes that are not UTF-8.
use FindBin;
use lib $FindBin::RealBin;
use AigcTest;

my $node = new_node('encodings');
$node->safe_psql('postgres', "CREATE DATABASE $_->[0] TEMPLATE template0 ENCODING '$_->[1]'")
  for [ latin1 => 'LATIN1' ], [ ascii => 'SQL_ASCII' ], [ euc => 'EUC_JP' ];
my $greedy = q{SELECT generate('Once upon a time', temperature => 0, max_tokens => 30)};
my $expected = $node->safe_psql('postgres', $greedy);

my %session;
for my $database (qw(latin1 ascii euc)) {
    $session{$database} = session($node, $database);
    ask($session{$database}, 'CREATE EXTENSION aigc');
    is(ask($session{$database}, $greedy), $expected, "the same text in database $database");
}

# The same characters are the same tokens, whatever their bytes.
my $utf8_tokens = $node->safe_psql('postgres', q{SELECT tokenize(U&'caf\00e9 \00a7')});
is(ask($session{latin1}, q{SELECT tokenize(convert_from('\x636166e920a7', 'LATIN1'))}), $utf8_tokens,
    'tokens from LATIN1');
is(ask($session{ascii}, q{SELECT tokenize(encode('\x636166c3a920c2a7', 'escape')::bytea::text)}) ne '', 1,
    'an escaped text is a text');
is(ask($session{ascii}, q{SELECT tokenize(convert_from('\x636166c3a920c2a7', 'SQL_ASCII'))}), $utf8_tokens,
    'tokens of UTF-8 in SQL_ASCII');
is(ask($session{latin1}, qq{SELECT detokenize('$utf8_tokens') = convert_from('\\x636166e920a7', 'LATIN1')}), 't',
    'and back to LATIN1');
is($node->safe_psql('postgres', q{SELECT tokenize(U&'\65e5\672c')}),
    ask($session{euc}, q{SELECT tokenize(convert_from('\xc6fccbdc', 'EUC_JP'))}), 'tokens from EUC_JP');

# Characters that the database cannot hold, and bytes that are no characters.
my $quote_tokens = $node->safe_psql('postgres', q{SELECT tokenize(U&'\201c')});
fails_like($session{latin1}, "SELECT detokenize('$quote_tokens')",
    qr/character with byte sequence 0xe2 0x80 0x9c in encoding "UTF8" has no equivalent in encoding "LATIN1"/);
for my $call ('tokenize(%s)', 'count_tokens(%s)', 'generate(%s)', 'score_text(%s)', q{generate('x', stop => ARRAY[%s])},
    q{generate('x', %s)}) {
    my $sql = 'SELECT ' . sprintf $call, q{convert_from('\x61ff62', 'SQL_ASCII')};
    fails_like($session{ascii}, $sql, qr/invalid byte sequence for encoding "UTF8": 0xff/);
}

# Half a character, and the replacement character where a database has it.
is($node->safe_psql('postgres', q{SELECT detokenize(ARRAY[3 + 195]) = U&'\fffd'}), 't',
    'half a character becomes U+FFFD');
is($node->safe_psql('postgres', q{SELECT detokenize(ARRAY[3 + 97, 3, 3 + 98]) = U&'a\fffdb'}), 't',
    'U+0000, which text cannot hold, too');

# Messages in a database of another encoding carry what a name holds, or a question mark.
like((ask($session{latin1}, q{SELECT generate('x', convert_from('\x636166e9', 'LATIN1'))}))[1],
    qr/there is no model "caf\?\?"/, 'a name outside ASCII in a message');

$_->quit for values %session;
$node->stop('fast');
done_testing();
