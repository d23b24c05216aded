-- Each bad value is named.
SELECT generate('x', max_tokens => -1);
SELECT generate('x', temperature => -0.5);
SELECT generate('x', temperature => 'NaN');
SELECT generate('x', temperature => 'Infinity');
SELECT generate('x', top_p => 2);
SELECT generate('x', top_p => -0.1);
SELECT generate('x', top_p => 'NaN');
SELECT generate('x', top_k => -1);
SELECT generate('x', min_p => 1.5);
SELECT generate('x', min_p => -0.1);
SELECT generate('x', frequency_penalty => 3);
SELECT generate('x', presence_penalty => -2.5);
SELECT generate('x', repetition_penalty => 0);
SELECT generate('x', repetition_penalty => 'NaN');
SELECT generate('x', stop => '{""}');
SELECT generate('x', stop => '{a,NULL}');
SELECT generate('x', stop => '{{a,b},{c,d}}');
SELECT generate('x', seed => 99999999999999999999);
SELECT generate_stream('x', max_tokens => -1);
SELECT * FROM generate_alternatives('x', 0);
SELECT * FROM generate_alternatives('x', -3);
SELECT * FROM generate_alternatives('x', 33);
SELECT * FROM generate_alternatives('x', 2, top_p => 2);

-- Models that are not there, or cannot be named. (The hint lists what is in the directory.)
\set VERBOSITY terse
SELECT generate('x', 'absent');
SELECT generate('x', '../x');
SELECT generate('x', '/etc/passwd');
SELECT generate('x', '.gguf');
SELECT generate('x', '');
SELECT generate('x', E'a\nb');
SELECT tokenize('x', 'absent');
SELECT count_tokens('x', '../x');
SELECT detokenize('{1}', 'absent');
SELECT score_text('x', 'absent');

-- Bytes that are no text: PostgreSQL refuses them before we see them (tests/tap/encodings.t has those that it lets by).
\set VERBOSITY default
SELECT generate('a' || chr(0));
SELECT generate(E'a\000b');
SELECT generate(convert_from('\x610062', 'UTF8'));
SELECT generate(convert_from('\x61ff62', 'UTF8'));
SELECT generate('x', stop => ARRAY[convert_from('\xc3', 'UTF8')]);

-- Longer than the context.
SELECT generate(repeat('Once upon a time ', 200));
SELECT score_text(repeat('Once upon a time ', 200));

-- More than the memory for keys and values.
SET aigc.kv_memory = '1MB';
SELECT * FROM generate_alternatives('Once upon a time', 32, max_tokens => 400);
SET aigc.context_size = 2000;
SELECT generate('Once upon a time', max_tokens => 2);
RESET ALL;

-- Tokens that are none.
SELECT detokenize('{1,512}');
SELECT detokenize('{-1}');
SELECT detokenize('{1,NULL}');
SELECT detokenize('{{1,2},{3,4}}');

-- The kinds of error that programs tell apart.
\set VERBOSITY sqlstate
SELECT generate('x', top_p => 2);
SELECT generate('x', stop => '{NULL}');
SELECT generate('x', '../x');
SELECT generate('x', 'absent');
SELECT generate(repeat('Once upon a time ', 200));
SELECT detokenize('{512}');
\set VERBOSITY default

-- The session goes on.
SELECT generate('Once upon a time', temperature => 0, max_tokens => 4);
