-- Operators look up the orders of one customer, newest first.
create index orders_by_email on orders (email, created_at desc, id desc);
