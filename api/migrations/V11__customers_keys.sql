-- The idempotency keys of an order's customer are none of its operators'.
drop index history_keys;
create unique index history_keys on history (order_id, idempotency_key, (actor = 'customer'))
    where idempotency_key is not null and event <> 'created';
