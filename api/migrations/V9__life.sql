-- Of an order: the secret before its present one, which opens it until its time is over, and where it is in its life.
-- end_sequence is the job that stopped it at its end: while no newer job has said what the order is to be, an extension
-- starts it again.
alter table orders
    add column old_secret_digest bytea unique,
    add column old_secret_until timestamptz,
    add column warned_at timestamptz,
    add column end_sequence integer,
    add column deleted_at timestamptz,
    add column delete_approved_by text,
    add column step_tries integer not null default 0,
    add column step_after timestamptz;

create index orders_to_warn on orders (ends_at)
    where aborted_at is null and deleted_at is null and warned_at is null;
create index orders_to_stop on orders (ends_at)
    where aborted_at is null and deleted_at is null and target ->> 'run' = 'running';
create index orders_to_start on orders (ends_at)
    where aborted_at is null and deleted_at is null and target ->> 'run' = 'stopped' and target_sequence = end_sequence;
create index orders_to_delete on orders (ends_at)
    where aborted_at is null and deleted_at is null and ends_at is not null;
create index orders_to_delete_again on orders (step_after)
    where (aborted_at is not null or deleted_at is not null) and target is not null;
create index orders_in_region on orders (region)
    where aborted_at is null and deleted_at is null and deployed is not null;
create index orders_deleted on orders (region, deleted_at) where deleted_at is not null;

-- Who did what to an order, and when: rows are only ever added. actor is an operator's name, or system, or customer for
-- what changes the record alone: all else that customers change is a job.
create table history (
    id              bigint generated always as identity primary key,
    order_id        text not null references orders (id),
    at              timestamptz not null default now(),
    actor           text not null,
    event           text not null check (event in ('created', 'extended', 'secret_replaced', 'aborted', 'delete_approved',
                        'warned', 'stopped', 'started', 'deleted', 'described', 'labelled')),
    detail          jsonb not null default '{}',
    job_id          uuid,
    idempotency_key text,
    request_digest  bytea
);

create index history_newest_first on history (order_id, id desc);
-- A key belongs to an order, but for the one that made it: that is looked for before there is an order.
create unique index history_keys on history (order_id, idempotency_key)
    where idempotency_key is not null and event <> 'created';
create unique index history_created_keys on history (actor, idempotency_key)
    where idempotency_key is not null and event = 'created';
create index history_old_keys on history (at) where idempotency_key is not null;
insert into history (order_id, at, actor, event) select id, created_at, made_by, 'created' from orders;

-- Operators' words that a region's orders whose time was over may all be deleted.
create table approvals (
    id              bigint generated always as identity primary key,
    region          text not null,
    at              timestamptz not null default now(),
    actor           text not null,
    orders          integer not null,
    idempotency_key text,
    request_digest  bytea
);

create unique index approvals_keys on approvals (region, idempotency_key) where idempotency_key is not null;

-- Whose turn it is to delete in a region: a turn is taken only by who has seen all that the one before it deleted.
create table delete_turns (
    region text primary key,
    turn   bigint not null default 1
);
