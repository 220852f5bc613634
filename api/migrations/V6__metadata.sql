-- What customers say of their orders.
alter table orders
    add column description text not null default '',
    add column customized_label text not null default '';
