-- What customers have paid for. Secrets are here only as HMAC-SHA-256 under a key that PostgreSQL never sees.
create table orders (
    id                  text primary key,
    secret_digest       bytea not null unique,
    request_digest      bytea not null,
    made_by             text not null,
    units               integer not null check (units between 1 and 1024),
    port_specification  text not null check (port_specification in ('user', 'random')),
    storage             boolean not null,
    region              text,
    duration_hours      integer not null check (duration_hours > 0),
    amount              bigint not null,
    email               text not null,
    address             text not null,
    recipient           text not null,
    provider            text not null,
    service             text not null,
    service_id          text not null,
    service_category_id text not null,
    public_key          text not null,
    created_at          timestamptz not null default now(),
    updated_at          timestamptz not null default now(),
    activated_at        timestamptz,
    ends_at             timestamptz,
    aborted_at          timestamptz,
    last_sequence       integer not null default 0,
    last_revision       integer not null default 0,
    deployed_sequence   integer,
    deployed_revision   integer
);

create index orders_newest_first on orders (created_at desc, id desc);
