-- When a job was cancelled. Its end is told by whoever cancels it, and else by the relay.
alter table jobs add column cancelled_at timestamptz;
create index jobs_cancelled on jobs (cancelled_at) where finished_at is null and cancelled_at is not null;
update jobs j set cancelled_at = c.created_at from jobs c
where c.order_id = j.order_id and c.sequence = j.sequence + 1 and c.verb = 'cancel' and j.finished_at is null;
