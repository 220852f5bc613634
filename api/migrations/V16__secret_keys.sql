-- Which key an order's secret is kept under, so that one can tell when an older key opens nothing any more.
alter table orders add column secret_key text;
