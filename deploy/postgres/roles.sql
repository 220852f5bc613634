-- The database of vkube and its two roles: vkube_owner, which owns the schema and migrates it, and vkube, which only uses it.
-- For psql as a superuser; again and again, also for a database of before:
--
--   psql --dbname=postgres --file=roles.sql
--
-- Passwords are given afterwards: \password vkube_owner, \password vkube.
\set ON_ERROR_STOP on
select format('create role %I login', role) from unnest(array['vkube_owner', 'vkube']) role
where role not in (select rolname from pg_roles) \gexec
select 'create database vkube owner vkube_owner' where not exists (select from pg_database where datname = 'vkube') \gexec
alter database vkube owner to vkube_owner;
revoke all on database vkube from public;
grant connect on database vkube to vkube;

\connect vkube
select format('alter %s %s owner to vkube_owner', case relkind when 'r' then 'table' when 'v' then 'view' end, c.oid::regclass)
from pg_class c join pg_namespace n on n.oid = relnamespace
where nspname = 'public' and relkind in ('r', 'v') and relowner <> 'vkube_owner'::regrole
    and not exists (select from pg_depend where objid = c.oid and deptype = 'e') \gexec
select format('alter function %s owner to vkube_owner', p.oid::regprocedure)
from pg_proc p join pg_namespace n on n.oid = pronamespace
where nspname = 'public' and proowner <> 'vkube_owner'::regrole
    and not exists (select from pg_depend where objid = p.oid and deptype = 'e') \gexec
