-- The relay looks for jobs that the broker had and of whose end nothing is heard, those first that were longest not looked for.
create index jobs_unheard on jobs (published_at) where finished_at is null and cancelled_at is null;
