-- catalogue.sql: the tables of bench/serve/run, filled by bench-catalogue (:program), and a recommender of them.
CREATE TABLE articles (id bigint PRIMARY KEY, title text, tags text[], city text, published timestamptz);
CREATE TABLE people (id bigint PRIMARY KEY, age int, city text);
CREATE TABLE reads (user_id bigint, article_id bigint, seconds real, at timestamptz);
\set copy 'COPY articles FROM PROGRAM ''' :program ' articles ' :items ' ' :people ''''
:copy;
\set copy 'COPY people FROM PROGRAM ''' :program ' people ' :items ' ' :people ''''
:copy;
\set copy 'COPY reads FROM PROGRAM ''' :program ' reads ' :items ' ' :people ''''
:copy;
CREATE INDEX ON reads (user_id);
CREATE INDEX ON reads (article_id);
VACUUM ANALYZE;

CREATE EXTENSION aigc;
SELECT create_recommender('articles', items => 'articles', item_id => 'id', item_text => '{title}', item_tags => '{tags}',
    item_attributes => '{city}', item_time => 'published', events => 'reads', event_user => 'user_id',
    event_item => 'article_id', event_weight => 'seconds', event_time => 'at', users => 'people', user_id => 'id',
    user_attributes => '{age,city}', options => :'options');
