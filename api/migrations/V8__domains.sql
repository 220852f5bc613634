-- Whose domain it is. A domain that no target names any more is another order's as soon as that asks for it.
create table domains (
    domain   text primary key,
    order_id text not null references orders (id),
    since    timestamptz not null default now()
);
create index domains_by_order on domains (order_id);
alter table jobs
    drop constraint jobs_verb_check,
    add constraint jobs_verb_check
        check (verb in ('deploy', 'restart', 'stop', 'start', 'expose', 'cancel', 'delete'));
