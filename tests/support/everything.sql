-- SPDX-License-Identifier: GPL-3.0-or-later

-- A database with one of each kind of thing that PostgreSQL 15 can hold. Its roles are those of everything.py.

-- Schemas, and the owner and grants of one that every database has.
create schema "Straße ""1"" – 世界" authorization "o'owner";
create schema shop;
comment on schema shop is 'it''s; a \ comment -- with
a line break';
alter schema public owner to "o'owner";
grant create, usage on schema public to reader;
grant usage on schema shop to reader with grant option;
alter default privileges in schema shop grant select on tables to reader;
alter default privileges for role "o'owner" revoke execute on functions from public;

-- Types.
create domain shop.positive as int default 7 constraint more_than_nothing check (value > 0);
create type shop.mood as enum ('glad', 'it''s "so"', 'trüb');
alter type shop.mood add value 'between' before 'trüb';
create type shop.point3 as (x numeric, y numeric, label text);
create type shop.ages as range (subtype = int, multirange_type_name = shop.age_groups);
create collation shop.bytewise (provider = libc, locale = 'C');
create domain shop.tags as text[] check (array_length(value, 1) < 9);
comment on type shop.mood is 'how one is';
alter type shop.point3 owner to "o'owner";

-- Functions, procedures, aggregates, operators, casts.
create function shop.half(n int) returns int language sql immutable strict parallel safe as $$ select n / 2 -- $1 \ ' $$;
create function shop.touch() returns trigger language plpgsql as $body$ begin new.note := coalesce(new.note, '$$'); return new; end $body$;
create procedure shop.nothing(inout n int default 3) language plpgsql as $$ begin null; end $$;
create aggregate shop.total(int) (sfunc = int4pl, stype = int, initcond = '0');
create operator shop.<<>> (leftarg = int, rightarg = int, function = int4eq, commutator = operator(shop.<<>>));
create function shop.to_mood(n int) returns shop.mood language sql immutable begin atomic select 'glad'::shop.mood; end;
create cast (int as shop.mood) with function shop.to_mood(int) as assignment;
create text search configuration shop.words (copy = pg_catalog.english);
alter function shop.half(int) owner to "o'owner";
grant execute on function shop.half(int) to reader;
comment on function shop.half(int) is 'half of it';

-- Every type of value, at its edges.
create table shop.value (
    id int generated always as identity (start with 10 increment by 5) primary key,
    flag bool, small int2, large int8, exact numeric, rounded float4, precise float8, price money,
    fixed char(5), limited varchar(80), "one" "char", raw bytea, few bit(3), more bit varying,
    day date, moment time, moment_there timetz, at timestamp, at_there timestamptz, span interval,
    host inet, net cidr, card macaddr, card8 macaddr8, place point, shape polygon, ring circle,
    document json, record jsonb, path jsonpath, key uuid, words tsvector, query tsquery, lsn pg_lsn,
    years shop.ages, many_years shop.age_groups, during tstzrange,
    how shop.mood, spot shop.point3, spots shop.point3[], moods shop.mood[], amount shop.positive, tags shop.tags,
    grid int[][], shifted int[], texts text[] collate shop.bytewise, matrix numeric[],
    doubled int8 generated always as (large * 2) stored
);
insert into shop.value overriding system value values (
    -1, true, -32768, 4611686018427387903, 'NaN', '-Infinity', 1.7976931348623157e308, -12.34,
    'ab', E'tab\t line\n return\r back\\ slash \\. \\N quote '' "', 'x', '\x00ff5c0a27', b'101', b'',
    '4713-01-01 BC', '24:00', '23:59:59.999999-15:59', 'infinity', '-infinity', '-1 year 2 mons -3 days 04:05:06.789',
    '::ffff:1.2.3.4/96', '10/8', '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05', '(1e-300,-0)', '((0,0),(1,1),(1,0))', '<(1,2),3>',
    '{"b": 1,  "a": [null, "\u00e9"], "a": 2}', '{"b": 1, "a": [1e400, "\u4e16"]}', '$.a[*] ? (@ > 1)',
    'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'a:1A fat:2B,4C ''it''''s'':3', 'fat & !(cat <-> rat:*)', '16/B374D848',
    '[1,5)', '{[1,3),[5,)}', '(,2026-01-01 00:00+00]',
    'it''s "so"', row(1.50, null, 'a,b"c\d'), array[row(1, 2, '')::shop.point3, null], '{glad,NULL,between}', 1, '{"a b",",","NULL",NULL}',
    '{{1,2},{3,4}}', '[5:6]={1,2}', array['', 'null', null, E'\\', '{}', '"'], '{1.10,NaN,Infinity}'
);
insert into shop.value (large, rounded, precise, raw) values (0, 'NaN', 5e-324, ''), (null, 1e-45, '-0', null);
insert into shop.value (large, limited, record, raw)
select n, repeat(chr(19968 + n % 20000), 40), jsonb_build_object('n', n, 'text', md5(n::text)), decode(md5(n::text), 'hex')
from generate_series(1, 500) n;
delete from shop.value where large between 100 and 120;
update shop.value set flag = false where large % 7 = 0;
alter table shop.value owner to "o'owner";
grant select (id, flag), update (flag) on shop.value to reader;
comment on column shop.value.raw is E'bytes \\x';

-- Tables that are odd.
create table "Straße ""1"" – 世界"."Tabelle; drop --" ("select" int, "ä ö" text default E'\'\\', "%s $1 {}" text);
insert into "Straße ""1"" – 世界"."Tabelle; drop --" values (1, '🐘', E'\x01\x7f'), (2, default, '');
create table shop.empty (id int primary key, body text);
create table shop.no_columns ();
insert into shop.no_columns default values;
insert into shop.no_columns default values;
create table shop.changed (a int, b text, c int);
insert into shop.changed select n, n::text, n from generate_series(1, 50) n;
alter table shop.changed drop column b, add column d text default 'new', alter column c type text;
create unlogged table shop.unlogged as select 1 as n;
create table shop.stored (body text compression pglz, noted text) with (fillfactor = 70, autovacuum_enabled = false);
alter table shop.stored alter column body set storage external, alter column body set statistics 500, replica identity full;
insert into shop.stored select string_agg(md5(n::text), ''), null from generate_series(1, 20000) n;
select format('create table shop.wide (%s)', string_agg(format('column_%s text', n), ', ')) from generate_series(1, 300) n \gexec
select format('insert into shop.wide select %s from generate_series(1, 20) r', string_agg(format('r || ''-%s''', n), ', ')) from generate_series(1, 300) n \gexec

-- Constraints, indexes, statistics, triggers, rules.
create table shop.customer (id serial primary key, email text, note text, boss int references shop.customer deferrable initially deferred,
    stay int4range, unique nulls not distinct (email), exclude using gist (stay with &&));
create table shop.purchase (id bigint generated by default as identity (cache 5), customer int not null references shop.customer on delete cascade,
    state text check (state <> 'lost'), primary key (id) include (state));
insert into shop.customer (email, boss, stay) select case when n > 1 then 'c' || n end, (n + 1) % 3 + 1, int4range(n, n + 1) from generate_series(1, 3) n;
insert into shop.purchase (customer, state) select n % 3 + 1, 'paid' from generate_series(1, 30) n;
alter table shop.customer add favourite bigint references shop.purchase;
update shop.customer set favourite = 2 where id = 1;
alter table shop.purchase add constraint old_ones check (id > 10) not valid;
create index "lower, some" on shop.customer (lower(email) text_pattern_ops desc nulls last) include (note) where id > 1;
create index on shop.value using gin (record jsonb_path_ops);
create index on shop.value using brin (at_there) with (pages_per_range = 16);
alter table shop.customer cluster on customer_pkey;
create statistics shop.together (ndistinct, dependencies) on customer, state from shop.purchase;
create trigger touched before insert or update of note on shop.customer for each row when (new.id > 0) execute function shop.touch();
create constraint trigger checked after insert on shop.purchase deferrable for each row execute function shop.touch();
alter table shop.customer disable trigger touched;
create rule no_delete as on delete to shop.empty do instead nothing;
comment on trigger touched on shop.customer is 'a trigger';
comment on constraint old_ones on shop.purchase is 'not looked at yet';
comment on index shop."lower, some" is 'an index';

-- Sequences: one used, one set, one untouched, one that counts down.
create sequence shop.used start 41 increment 3;
select nextval('shop.used'), nextval('shop.used');
create sequence shop.set;
select setval('shop.set', 99, false);
create sequence shop.untouched as smallint;
create sequence shop.down increment -1 minvalue -5 maxvalue 5 start 5 cycle owned by shop.empty.id;
select nextval('shop.down');
grant usage on sequence shop.used to reader;

-- Partitions, one of them partitioned itself, and inheritance.
create table shop.event (id bigint, at date not null, kind text) partition by range (at);
create table shop.event_2025 partition of shop.event for values from (minvalue) to ('2026-01-01');
create table shop.event_2026 partition of shop.event for values from ('2026-01-01') to ('2027-01-01') partition by list (kind);
create table shop.event_2026_a partition of shop.event_2026 for values in ('a', null);
create table shop.event_2026_other partition of shop.event_2026 default;
create table shop.hashed (id int) partition by hash (id);
create table shop.hashed_0 partition of shop.hashed for values with (modulus 2, remainder 0);
create table shop.hashed_1 partition of shop.hashed for values with (modulus 2, remainder 1);
create index on shop.event (kind);
alter table shop.event_2025 add primary key (id, at);
insert into shop.event select n, date '2025-12-01' + n, case n % 3 when 0 then 'a' when 1 then 'b' end from generate_series(1, 90) n;
insert into shop.hashed select generate_series(1, 40);
create table shop.animal (name text not null, legs int default 4);
create table shop.bird (wings int, check (wings = 2)) inherits (shop.animal);
alter table shop.bird alter legs set default 2;
insert into shop.animal values ('dog', default);
insert into shop.bird values ('tit', default, 2);

-- Views that need each other, materialized ones with and without data, one that is a row's security.
create view shop.paid with (security_barrier) as select id, customer from shop.purchase where state = 'paid' with local check option;
create materialized view shop.per_customer as select customer, count(*) as n from shop.paid group by customer;
create materialized view shop.most as select max(n) from shop.per_customer;
create materialized view shop.later as select * from shop.paid with no data;
create unique index on shop.per_customer (customer);
create recursive view shop.numbers (n) as select 1 union all select n + 1 from numbers where n < 5;
grant select on shop.paid to public;
alter view shop.numbers owner to "o'owner";
alter table shop.purchase enable row level security, force row level security;
create policy own on shop.purchase as restrictive for select to reader using (customer = 1);
create policy "write, too" on shop.purchase to public using (true) with check (state is not null);

-- Large objects: empty, small with a name, an owner and a grant, and larger than its pages are.
select lo_create(4242), lo_from_bytea(4243, '\x00ff10'), lo_from_bytea(4244, decode(repeat(md5('x'), 40000), 'hex'));
alter large object 4243 owner to "o'owner";
grant select on large object 4243 to reader;
comment on large object 4243 is 'three bytes';

-- What belongs to the database as a whole.
create function shop.notice() returns event_trigger language plpgsql as $$ begin null; end $$;
create event trigger watch on ddl_command_end when tag in ('CREATE TABLE') execute function shop.notice();
create event trigger asleep on sql_drop execute function shop.notice();
alter event trigger asleep disable;
create publication everything for all tables with (publish = 'insert, update');
create publication "some" for table shop.customer (id, email) where (id > 1), shop.hashed with (publish_via_partition_root);
create publication "schema" for tables in schema public;
create foreign data wrapper nobody;
create server elsewhere foreign data wrapper nobody options (host 'it''s far');
create user mapping for reader server elsewhere options (password 'not "so" secret');
create foreign table shop.far (id int options (name 'ID')) server elsewhere;
comment on publication "some" is 'a publication';
