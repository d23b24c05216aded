LOAD 'aigc';

-- The settings and their ranges.
SELECT name, unit, context, vartype, min_val, max_val, boot_val
FROM pg_settings WHERE name LIKE 'aigc.%' AND name <> 'aigc.model_directory' ORDER BY name;
SELECT name, context, boot_val LIKE '/%/aigc' AS installed_models, short_desc IS NOT NULL AS described
FROM pg_settings WHERE name = 'aigc.model_directory';

-- Values out of range, units, names that cannot be, and the reserved prefix.
SET aigc.threads = -1;
SET aigc.threads = 65;
SET aigc.context_size = -5;
SET aigc.max_tokens = -1;
SET aigc.seed = -2;
SET aigc.kv_memory = 0;
SET aigc.kv_memory = '10 tokens';
SET aigc.kv_type = 'f64';
SET aigc.model = '../other';
SET aigc.model = '/etc/passwd';
SET aigc.model = '.hidden';
SET aigc.model = '';
SET aigc.model_directory = 'here';
SET aigc.model_directory = '';
SET aigc.temprature = 1;

-- They do what they say.
SET aigc.max_tokens = 4;
SELECT generate('Once upon a time', temperature => 0);
SELECT generate('Once upon a time', temperature => 0, max_tokens => 5);
RESET aigc.max_tokens;
SET aigc.seed = 42;
SELECT generate('Tom had', max_tokens => 30) = generate('Tom had', max_tokens => 30, seed => 42) AS seed;
RESET aigc.seed;
SET aigc.context_size = 16;
SELECT generate('Once upon a time', temperature => 0);
RESET aigc.context_size;
SET aigc.kv_memory = '1GB';
SHOW aigc.kv_memory;
SET aigc.threads = 3;
SELECT generate('Once upon a time', temperature => 0, max_tokens => 4);
SET aigc.model = 'absent';
SELECT generate('Once upon a time', 'stories260K', temperature => 0, max_tokens => 4);
RESET ALL;
CREATE FUNCTION briefly(prompt text) RETURNS text LANGUAGE sql SET aigc.max_tokens = 2
AS 'SELECT generate(prompt, temperature => 0)';
SELECT briefly('Once upon a time');
DROP FUNCTION briefly;
