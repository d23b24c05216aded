-- The model that comes with aigc, used where none is named. Greedy text and text from a seed are the same bytes on every
-- processor and any number of threads.
SET aigc.model = 'aigc-base';
SELECT generate('It was a dark night, and', temperature => 0, max_tokens => 24);
SELECT generate('It was a dark night, and', max_tokens => 40, seed => 1);
SELECT generate(E'User: I want to book a table for two.\nAssistant:', stop => '{User:}', max_tokens => 60, seed => 1);
SELECT architecture, quantisation, context FROM aigc_models() WHERE name = 'aigc-base';
