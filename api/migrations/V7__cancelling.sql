-- Where a published job is in its region's queue, so that one that is cancelled can be taken out of it; and the queue as
-- PostgreSQL sees it.
alter table jobs add column stream_sequence bigint;
create index jobs_queue on jobs (region, created_at, id) where finished_at is null;
