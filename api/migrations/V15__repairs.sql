-- An order that somebody changed by hand in its cluster is repaired by a job of its own, or only told of.
alter table jobs
    drop constraint jobs_verb_check,
    add constraint jobs_verb_check
        check (verb in ('deploy', 'restart', 'stop', 'start', 'expose', 'cancel', 'repair', 'delete'));
alter table history
    drop constraint history_event_check,
    add constraint history_event_check
        check (event in ('created', 'extended', 'secret_replaced', 'aborted', 'delete_approved', 'warned', 'stopped', 'started',
            'deleted', 'described', 'labelled', 'drifted', 'repaired'));
-- What is left as it is, is told once after each job.
create unique index history_drifted on history (order_id, job_id) where event = 'drifted';
