-- Every pod that was ever accepted for an order, whole. Environment values and registry passwords are sealed to the
-- region's key before they come here.
create table revisions (
    order_id   text not null references orders (id),
    revision   integer not null,
    pod        jsonb not null,
    created_at timestamptz not null default now(),
    primary key (order_id, revision)
);
