-- Fills the table users with :users people: names of common and rare kinds, one every 90 seconds;
-- one in twenty has accents, and another one a Chinese name. The same people each time.
SELECT setseed(0.5);

CREATE TEMP TABLE given AS
SELECT number::int, name FROM unnest(string_to_array(
    'James Mary Robert Patricia John Jennifer Michael Linda David Elizabeth William Barbara Richard'
    ' Susan Joseph Jessica Thomas Sarah Charles Karen Anna Daniel Nancy Matthew Lisa Anthony Betty'
    ' Mark Sandra Donald Ashley Steven Emily Paul Kimberly Andrew Donna Joshua Michelle Kenneth'
    ' Carol Kevin Amanda Brian Melissa George Deborah Edward Stephanie Ronald Rebecca Timothy Laura'
    ' Jason Sharon Jeffrey Cynthia Ryan Kathleen Jacob Amy Gary Angela Nicholas Shirley Eric Brenda'
    ' Jonathan Emma Stephen Pamela Larry Nicole Justin Samantha Scott Katherine Brandon Christine'
    ' Benjamin Helen Samuel Debra Gregory Rachel Frank Carolyn Alexander Janet Raymond Maria Patrick'
    ' Catherine Jack Heather Zoltan Fritz Quincy Xavier Yusuf', ' '
)) WITH ORDINALITY AS names (name, number);

CREATE TEMP TABLE family AS
SELECT (row_number() OVER (ORDER BY md5(root || suffix)))::int AS number, root || suffix AS name
FROM unnest(string_to_array(
    'Sand Berg Holm Lind Wester Nord Ander Peter John Wil Ham Kirk Wood Stein Brand Feld Gold Silber'
    ' Hart Acker Baum Czar Dor Ells Fair Grim Hol Ing Jas Kel Lam Mor Nel Os Par Quin Ros Sal Tur Ul'
    ' Van Wes Xan Yar Zim Bla Cro Dre Fle Gra', ' '
)) AS roots (root), unnest(string_to_array(
    'son man strom berg field ton ley er ford well worth ham by stad dorf mann hoff stein ova enko'
    ' ic ez es ini etti eau oux ard ell quist', ' '
)) AS suffixes (suffix);

\set surnames '王李张刘陈杨黄赵吴周徐孙马朱胡郭何林高罗'
\set characters '明国华建文平志伟东海强晓生光林小民永杰军金健一新德玉美红丽英芳燕秀兰云娟霞龙鹏飞宇浩天佳欣雨'

-- A million insertions into the trigram indexes take longer than building them.
SELECT string_agg(indexname, ', ') AS indexnames, string_agg(indexdef, ';') AS indexdefs
FROM pg_indexes WHERE tablename = 'users' AND indexdef LIKE '% USING gin %' \gset
DROP INDEX :indexnames;

INSERT INTO users (email, username, password_hash, display_name, created_at, updated_at)
SELECT
    lower(given.name || '.' || family.name || drawn.number || '@' || drawn.domain),
    lower(left(given.name, 1) || family.name || drawn.number),
    '$2b$12$0123456789012345678901uABCDEFGHIJKLMNOPQRSTUVWXYZabcde',
    CASE drawn.number % 20
        WHEN 0 THEN substr(:'surnames', 1 + drawn.family % length(:'surnames'), 1)
            || substr(:'characters', 1 + drawn.given % length(:'characters'), 1)
            || substr(:'characters', 1 + drawn.number / 20 % length(:'characters'), 1)
        WHEN 1 THEN translate(given.name || ' ' || family.name, 'aou', 'áöü')
        ELSE given.name || ' ' || family.name
    END,
    now() - (:users - drawn.number) * interval '90 seconds',
    now()
FROM (
    -- Powers of a random number: the first names of each list are the most common ones.
    SELECT
        number,
        1 + floor((SELECT count(*) FROM given) * random() ^ 2)::int AS given,
        1 + floor((SELECT count(*) FROM family) * random() ^ 2)::int AS family,
        (ARRAY['example.com', 'mail.example', 'post.example', 'autobot.local', 'corp.example'])
            [1 + floor(5 * random() ^ 1.5)::int] AS domain
    FROM generate_series(1, :users) AS number
) AS drawn
JOIN given ON given.number = drawn.given
JOIN family ON family.number = drawn.family
ORDER BY drawn.number;

:indexdefs;
VACUUM ANALYZE users;
