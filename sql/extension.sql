-- What CREATE EXTENSION makes, and what it says of itself.
SELECT extversion, nspname AS schema FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace
WHERE extname = 'aigc';

SELECT aigc_version() ~ '^\d+\.\d+\.\d+$' AS version;

\pset format unaligned
\pset tuples_only on
SELECT p.proname || E'\n    (' || pg_get_function_arguments(p.oid) || E')\n    ' || pg_get_function_result(p.oid)
FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
WHERE d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'aigc')
ORDER BY p.proname;
\pset format aligned
\pset tuples_only off

-- None is leak-proof; what is random is volatile; what holds an engine stays in the session's own process.
SELECT p.proname, p.provolatile AS volatile, p.proparallel AS parallel, p.proleakproof AS leakproof,
    p.proisstrict AS strict, p.procost > 1 AS costly
FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
WHERE d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'aigc')
ORDER BY p.proname;

-- Every object has a comment: none is listed here.
SELECT pg_describe_object(classid, objid, objsubid) AS without_comment
FROM pg_depend
WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
    AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'aigc')
    AND obj_description(objid, classid::regclass::name) IS NULL;
SELECT obj_description(oid, 'pg_extension') FROM pg_extension WHERE extname = 'aigc';

-- Nothing that the search path can turn: the functions are C, and no operator or cast is made.
SELECT classid::regclass, count(*) FROM pg_depend
WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
    AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'aigc')
GROUP BY 1 ORDER BY 1::text;
SELECT DISTINCT lanname FROM pg_proc p JOIN pg_language l ON l.oid = prolang
JOIN pg_depend d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
WHERE d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'aigc');
