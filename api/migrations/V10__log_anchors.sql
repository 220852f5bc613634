-- With which line a stream with `tailLines` began, for as long as its container's run: later streams with the same query
-- begin there too. No time = with the first line of the log.
create table log_anchors (
    order_id   text not null references orders (id),
    container  text not null,
    run        text not null,
    tail_lines bigint not null,
    start_at   bigint not null,
    time_ns    bigint,
    nth        bigint,
    used_at    timestamptz not null default now(),
    primary key (order_id, container, run, tail_lines, start_at)
);

create index log_anchors_unused on log_anchors (used_at);
