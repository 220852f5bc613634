-- Each domain leads to the pod in its own way: {"domains": {"<domain>": {"container_port", "tls"}}}.
create function with_ways(target jsonb) returns jsonb language sql immutable as $$
    select case jsonb_typeof(target #> '{exposure,bound,domains}')
        when 'array' then jsonb_set(target, '{exposure,bound}', jsonb_build_object('domains', (
            select jsonb_object_agg(domain, (target #> '{exposure,bound}') - 'domains')
            from jsonb_array_elements_text(target #> '{exposure,bound,domains}') domain)))
        else target
    end
$$;
update orders set target = with_ways(target), deployed = with_ways(deployed)
    where target #> '{exposure,bound}' is not null or deployed #> '{exposure,bound}' is not null;
update jobs set target = with_ways(target) where target #> '{exposure,bound}' is not null;
drop function with_ways(jsonb);
