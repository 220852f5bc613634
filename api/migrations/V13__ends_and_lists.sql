-- When a job was cancelled. Its end is told by whoever cancels it, and else by the relay.
alter table jobs add column cancelled_at timestamptz;
create index jobs_cancelled on jobs (cancelled_at) where finished_at is null and cancelled_at is not null;
update jobs j set cancelled_at = c.created_at from jobs c
where c.order_id = j.order_id and c.sequence = j.sequence + 1 and c.verb = 'cancel' and j.finished_at is null;

-- A target says who stopped the order: what changes all else of it leaves that word, and so an extension starts the order
-- again, where it took the newest job's number for it before.
update orders set target = target || '{"stopped_by": "end"}'
where target ->> 'run' = 'stopped' and target_sequence = end_sequence;
update orders set deployed = deployed || '{"stopped_by": "end"}'
where deployed ->> 'run' = 'stopped' and deployed_sequence = end_sequence;
update jobs j set target = j.target || '{"stopped_by": "end"}' from orders o
where o.id = j.order_id and o.end_sequence = j.sequence and j.target ->> 'run' = 'stopped' and j.finished_at is null;
drop index orders_to_start;
alter table orders drop column end_sequence;
create index orders_to_start on orders (ends_at)
    where aborted_at is null and deleted_at is null and target ->> 'stopped_by' = 'end';

-- Operators list orders by region and by where they stand in their lives, newest first. What comes after the id only spares the
-- table a look at orders that are skipped.
create index orders_by_region on orders (region, created_at desc, id desc);
create index orders_aborted on orders (created_at desc, id desc, region) where aborted_at is not null;
create index orders_gone on orders (created_at desc, id desc, region) where aborted_at is null and deleted_at is not null;
create index orders_pending on orders (created_at desc, id desc, region)
    where aborted_at is null and deleted_at is null and ends_at is null;
create index orders_stopped on orders (created_at desc, id desc, ends_at, region)
    where aborted_at is null and deleted_at is null and deployed ->> 'run' = 'stopped';
create index orders_running on orders (created_at desc, id desc, ends_at, region)
    where aborted_at is null and deleted_at is null and deployed ->> 'run' is distinct from 'stopped';
