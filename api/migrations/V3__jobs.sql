-- Every change that was ever accepted. A job without published_at is published by the relay; a job without finished_at
-- has not ended.
create table jobs (
    id              uuid primary key,
    order_id        text not null references orders (id),
    region          text not null,
    sequence        integer not null,
    verb            text not null check (verb in ('deploy', 'delete')),
    revision        integer,
    until           text,
    state           text not null default 'queued'
                    check (state in ('queued', 'running', 'succeeded', 'failed', 'superseded')),
    attempts        integer not null default 0,
    outcome         jsonb,
    idempotency_key text,
    request_digest  bytea,
    created_at      timestamptz not null default now(),
    published_at    timestamptz,
    started_at      timestamptz,
    finished_at     timestamptz,
    unique (order_id, sequence),
    foreign key (order_id, revision) references revisions (order_id, revision)
);

create unique index jobs_idempotency on jobs (order_id, idempotency_key) where idempotency_key is not null;
create index jobs_unfinished on jobs (order_id) where finished_at is null;
create index jobs_unpublished on jobs (created_at) where finished_at is null and published_at is null;
create index jobs_keys on jobs (created_at) where idempotency_key is not null;
