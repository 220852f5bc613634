-- What an order is to be in its region, apart from the pod that its revision says: {"revision", "run", "pod_job"}. Every job
-- but a delete carries it whole. An order has two: that of the newest job that may still come true (target), and that of
-- the job whose end was the last to leave something in the region (deployed).
alter table jobs
    drop constraint jobs_verb_check,
    add constraint jobs_verb_check check (verb in ('deploy', 'restart', 'stop', 'start', 'cancel', 'delete')),
    add column target jsonb;
update jobs set target = jsonb_build_object('revision', revision, 'run', 'running', 'pod_job', id)
where verb = 'deploy';

alter table jobs add check (target is not null or verb in ('cancel', 'delete'));

alter table orders
    add column target jsonb,
    add column target_sequence integer not null default 0,
    add column deployed jsonb;
update orders o set deployed =
    (select j.target from jobs j where j.order_id = o.id and j.sequence = o.deployed_sequence);
update orders o set (target, target_sequence) = (
    select j.target, j.sequence from jobs j
    where j.order_id = o.id and (j.finished_at is null or j.sequence = o.deployed_sequence)
    order by j.sequence desc limit 1)
where exists (
    select from jobs j where j.order_id = o.id and (j.finished_at is null or j.sequence = o.deployed_sequence));
alter table orders drop column deployed_revision;
alter table orders
    add column deployed_revision integer generated always as ((deployed ->> 'revision')::integer) stored;
