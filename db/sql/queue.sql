-- The queue's protocol, from a pending row to its end. Each function is called as one statement in autocommit.
--
-- Locks, always in this order: the task's row, then its lease, then the user's advisory lock (its own statement;
-- only then count). Scans skip what is locked. A function that finds the fence or the status changed writes nothing
-- to the task and says why: 'gone' (the row was deleted), 'lost' (another attempt has the lease), 'taken' (the
-- owner changed the status). Status is compared with plain literals, for it may be the enum or text with a CHECK.
--
-- Runs at every `db upgrade` that finds it changed, in one transaction: first goes what another release had left.

do $$
declare
    it regprocedure;
begin
    for it in select p.oid from pg_proc p
        where p.pronamespace = 'worker'::regnamespace and p.prorettype <> 'trigger'::regtype
    loop
        execute 'drop function ' || it;
    end loop;
end
$$;


-- Log entries ---------------------------------------------------------------------------------------------------------

-- entry: one log entry as the web app writes them.
create or replace function worker.entry(kind text, message text) returns jsonb
language sql volatile set search_path = pg_catalog, pg_temp as $$
    select jsonb_build_object(
        'id', left(replace(gen_random_uuid()::text, '-', ''), 21),
        'timestamp', to_char(now() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
        'type', kind,
        'message', message)
$$;

-- log_array: the entries of a `logs` value, whichever way it is stored: the web app also writes the array as a JSON
-- string. NULL when it cannot be read or is no log by its size, for an owner may write anything there.
create or replace function worker.log_array(logs jsonb) returns jsonb
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
declare
    found_entries jsonb := coalesce(nullif(logs, 'null'), '[]');
begin
    if jsonb_typeof(found_entries) = 'string' then
        if octet_length(found_entries #>> '{}') > 4000000 then return null; end if;
        begin
            found_entries := (found_entries #>> '{}')::jsonb;
        exception when data_exception or program_limit_exceeded then
            return null;  -- no JSON, \u0000 in it, or nested too deep: all the same to us
        end;
    end if;
    if jsonb_typeof(found_entries) <> 'array' or jsonb_array_length(found_entries) > 50000
        -- a number such as 1e131071 takes ten bytes, and as text a hundred thousand
        or found_entries @? '$.** ? (@.type() == "number" && (@ > 1e20 || @ < -1e20 || (@ < 1e-20 && @ > -1e-20 && @ != 0)))'
    then return null; end if;
    return found_entries;
end
$$;

-- elided: the same entries with the middle left out, and one entry in its place that says how many are missing.
-- That entry carries the count in its id ('elided-' and 14 digits, as long as any other id), so that what was left
-- out before is counted in. Keeps about 100 kB of the beginning and 300 kB of the end.
create or replace function worker.elided(entries jsonb) returns jsonb
language sql volatile set search_path = pg_catalog, pg_temp as $$
    with numbered as (
        select x.entry, x.n, octet_length(x.entry::text) + 2 as bytes,
            substring(x.entry ->> 'id' from '^elided-([0-9]{14})$')::bigint as already
        from jsonb_array_elements(entries) with ordinality as x(entry, n)
    ), placed as (
        select entry, n, already,
            already is null and sum(bytes) over (order by n) <= 100000 as head,
            already is null and sum(bytes) over (order by n desc) <= 300000 as tail
        from numbered
    ), missing as (
        select least(coalesce(sum(coalesce(already, 1)), 0), 99999999999999)::bigint as n
        from placed where not head and not tail
    )
    select coalesce(jsonb_agg(entry order by n) filter (where head), '[]')
        || (select worker.entry('info', missing.n || ' entries left out here; the whole transcript is kept by the worker.')
                || jsonb_build_object('id', 'elided-' || lpad(missing.n::text, 14, '0')) from missing)
        || coalesce(jsonb_agg(entry order by n) filter (where tail and not head), '[]')
    from placed
$$;

-- extended: readable `logs` with `entries` added, in the kind it was found in. Past 900 kB the middle goes: Realtime
-- carries no row above 1 MB.
create or replace function worker.extended(logs jsonb, found_entries jsonb, entries jsonb) returns jsonb
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    as_text boolean := jsonb_typeof(logs) = 'string';
    whole jsonb := found_entries || entries;
    stored jsonb := case when as_text then to_jsonb(whole::text) else whole end;
begin
    if octet_length(stored::text) > 900000 then
        whole := worker.elided(whole);
        stored := case when as_text then to_jsonb(whole::text) else whole end;
    end if;
    return stored;
end
$$;

-- appended: `logs` with `entries` added. Unreadable logs are replaced, and the first entry says so. No content of a row
-- may fail this: it would stop the run, its recovery, and every dispatcher with it.
create or replace function worker.appended(logs jsonb, entries jsonb) returns jsonb
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    found_entries jsonb := worker.log_array(logs);
begin
    if found_entries is not null then
        begin
            return worker.extended(logs, found_entries, entries);
        exception when data_exception or program_limit_exceeded or internal_error then
            null;  -- such as a text of more than a gigabyte
        end;
    end if;
    return jsonb_build_array(worker.entry('error', 'The earlier log could not be read and was replaced.')) || entries;
end
$$;


-- The fence ----------------------------------------------------------------------------------------------------------

-- lock_run: lock the task's row and then its lease, and say whether this attempt may still write: 'mine', or why not.
create or replace function worker.lock_run(task bigint, my_fence bigint) returns text
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    task_status text;
    current_fence bigint;
begin
    select t.status::text into task_status from public.tasks t where t.id = task for no key update;
    select l.fence into current_fence from worker.leases l where l.task_id = task for update;
    return case
        when task_status is null then 'gone'
        when current_fence is distinct from my_fence then 'lost'
        when task_status <> 'processing' then 'taken'
        else 'mine'
    end;
end
$$;

-- close_run: end this attempt in the history, once, and answer how it ended. The first to close it is right: a repeat,
-- or a run that comes back after recovery ended it, learns what was decided.
create or replace function worker.close_run(my_fence bigint, how text, why text default null) returns text
language sql volatile set search_path = pg_catalog, pg_temp as $$
    update worker.runs r set finished_at = now(), outcome = how, error = why
    where r.fence = my_fence and r.finished_at is null;
    select coalesce((select r.outcome from worker.runs r where r.fence = my_fence), how)
$$;

-- ring: wake the dispatchers. The payload is empty, so that many rings in one transaction are one.
create or replace function worker.ring() returns void
language sql volatile set search_path = pg_catalog, pg_temp as $$
    select pg_catalog.pg_notify('codingit_worker', '')
$$;


-- Offer and claim -----------------------------------------------------------------------------------------------------

-- offer_to: offer one user's lowest due task, if a slot is free, and answer its id. Takes the lease alone: a row that
-- changes meanwhile is found out by claim. The lease is looked up row by row along the index, and sequential scans are
-- off: a plan made while there were no leases would be kept, and read all of them when there are many.
create or replace function worker.offer_to(someone uuid, per_user int, offer_timeout interval) returns bigint
language plpgsql volatile set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
declare
    slots_used int;
    offered bigint;
begin
    select count(*) into slots_used from worker.leases l
    where l.user_id = someone and (l.holder is not null or l.offered_at is not null)
        and (l.holder is not null or l.offered_at > now() - offer_timeout);
    if slots_used >= per_user then return null; end if;

    with due as materialized (
        select t.id from public.tasks t
        where t.user_id = someone and t.status = 'pending' and coalesce((
            select l.holder is null and coalesce(l.offered_at <= now() - offer_timeout, true)
                and coalesce(l.not_before <= now(), true)
            from worker.leases l where l.task_id = t.id), true)
        order by t.user_id, t.id limit 1
    )
    insert into worker.leases as l (task_id, user_id, fence, offered_at)
    select due.id, someone, nextval('worker.fences'), now() from due
    on conflict (task_id) do update set offered_at = now(), user_id = someone
        where l.holder is null  -- claimed since the snapshot: not ours to offer
    returning l.task_id into offered;
    return offered;
end
$$;

-- offer: up to `room` tasks to ring for. Users take turns in the order of their ids, from where the last call stopped;
-- a circle in which nobody could be offered anything ends it. Looks at 1,000 users at most, so that a crowd whose
-- tasks all wait for `not_before` costs no more than that a call. Another dispatcher that is offering: nothing.
-- `waiting` are the tasks whose messages still wait in the broker: their offers have not run out.
create or replace function worker.offer(room int, per_user int, offer_timeout interval, waiting bigint[])
returns setof bigint
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    started uuid;       -- where the last call stopped
    at_turn uuid;       -- whose turn it is
    next_user uuid;
    circle_from uuid;   -- the first user in vain since the last offer
    offered bigint;
    visits int := 0;
begin
    -- ordered, so that no statistics can make the planner read the whole table to find that nothing is pending
    perform from public.tasks t where t.status = 'pending' order by t.user_id, t.id limit 1;
    if not found then return; end if;
    select t.user_id into started from worker.turn t for update skip locked;
    if not found then return; end if;

    update worker.leases l set offered_at = now()
    where l.task_id = any (waiting) and l.holder is null and l.offered_at < now() - offer_timeout / 2;

    at_turn := started;
    while room > 0 and visits < 1000 loop
        -- the next user along the partial index (user_id, id), then around again
        select t.user_id into next_user from public.tasks t
        where t.status = 'pending' and t.user_id > at_turn order by t.user_id, t.id limit 1;
        if not found then
            select t.user_id into next_user from public.tasks t
            where t.status = 'pending' order by t.user_id, t.id limit 1;
        end if;
        exit when next_user is null or next_user = circle_from;

        visits := visits + 1;
        at_turn := next_user;
        offered := worker.offer_to(next_user, per_user, offer_timeout);
        if offered is null then
            circle_from := coalesce(circle_from, next_user);
        else
            circle_from := null;
            room := room - 1;
            return next offered;
        end if;
    end loop;

    if at_turn <> started then update worker.turn set user_id = at_turn; end if;
end
$$;

-- claim: make a pending task ours, with a new fence, if its user has a slot free; no row when it is not to be had.
-- A refusal takes the offer back, so that the task is offered again at once when it may be.
create or replace function worker.claim(
    task bigint, claimed_by text, celery text, ttl interval, per_user int, prompt_limit int
) returns table (
    task_id bigint, fence bigint, attempt int, user_id uuid, prompt text, repo_url text, agent text, model text,
    branch text, backoffs int, pushes jsonb
)
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    owner uuid;
    lease worker.leases;
    slots_used int;
    new_fence bigint := nextval('worker.fences');
begin
    select t.user_id into owner from public.tasks t
    where t.id = task and t.status = 'pending' for no key update skip locked;
    if not found then  -- ended, deleted, or in somebody's hands this moment
        update worker.leases l set offered_at = null where l.task_id = task and l.holder is null;
        return;
    end if;

    insert into worker.leases (task_id, user_id, fence) values (task, owner, new_fence) on conflict (task_id) do nothing;
    select l.* into lease from worker.leases l where l.task_id = task for update;
    if lease.holder is not null or lease.not_before > now() then return; end if;

    -- the limit is exact: whoever claims for this user waits here, and counts with a snapshot taken after the wait
    perform pg_advisory_xact_lock(hashtextextended('codingit_worker.claim ' || owner, 0));
    select count(*) into slots_used from worker.leases l where l.user_id = owner and l.holder is not null;
    if slots_used >= per_user then
        update worker.leases l set offered_at = null where l.task_id = task;
        return;
    end if;

    update worker.leases l
    set fence = new_fence, user_id = owner, holder = claimed_by, expires_at = now() + ttl, attempt = l.attempt + 1,
        offered_at = null, not_before = null, flushes = 0
    where l.task_id = task;
    update public.tasks t set status = 'processing', progress = 10, updated_at = now() where t.id = task;
    insert into worker.runs (fence, task_id, user_id, attempt, holder, celery_id, agent, model)
    select new_fence, task, owner, lease.attempt + 1, claimed_by, celery,
        left(t.selected_agent, 100), left(t.selected_model, 200)
    from public.tasks t where t.id = task;
    return query
    select t.id, new_fence, lease.attempt + 1, t.user_id, left(t.prompt, prompt_limit + 1), left(t.repo_url, 4001),
        left(t.selected_agent, 201), left(t.selected_model, 201), left(t.branch_name, 401), lease.backoffs,
        coalesce((
            select jsonb_agg(jsonb_build_object('branch', p.pushed_branch, 'head', p.pushed_head, 'base', p.pushed_base))
            from (select * from worker.runs r where r.task_id = task and r.pushed_head is not null
                  order by r.fence desc limit 50) p), '[]')
    from public.tasks t where t.id = task;
end
$$;

-- fence_of: the fence under which a Celery message runs a task, for the parent of a child that died.
create or replace function worker.fence_of(task bigint, celery text) returns bigint
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select l.fence from worker.leases l join worker.runs r on r.fence = l.fence
    where l.task_id = task and r.celery_id = celery and l.holder is not null
$$;


-- While it runs -------------------------------------------------------------------------------------------------------

-- tick: keep a lease that is still ours, and learn whether the task still wants us. Renews by fence alone, however
-- late: nobody took it, so it is ours. Answers the task's status, NULL when its row is gone, 'lost' when another
-- attempt has the fence.
create or replace function worker.tick(task bigint, my_fence bigint, ttl interval) returns text
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    renewed boolean;
begin
    update worker.leases l set expires_at = now() + ttl where l.task_id = task and l.fence = my_fence;
    renewed := found;
    return (select case when renewed then t.status::text else 'lost' end from public.tasks t where t.id = task);
end
$$;

-- append: add entries to the log and raise the progress. Flushes are numbered: one whose answer was lost is repeated
-- with its number and refused as 'repeated' if it had been done. Answers the size of the log in bytes besides, roughly
-- where it was repeated.
create or replace function worker.append(
    task bigint, my_fence bigint, flush int, entries jsonb, new_progress int, out verdict text, out stored int
)
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
begin
    verdict := worker.lock_run(task, my_fence);
    if verdict <> 'mine' then return; end if;

    update worker.leases l set flushes = flush where l.task_id = task and l.flushes < flush;
    if not found then
        select 'repeated', pg_column_size(t.logs) into verdict, stored from public.tasks t where t.id = task;
        return;
    end if;

    update public.tasks t
    set logs = case when entries = '[]' then t.logs else worker.appended(t.logs, entries) end,
        progress = greatest(t.progress, new_progress), updated_at = now()
    where t.id = task
    returning case when entries <> '[]' then octet_length(t.logs::text) end into stored;
    update worker.runs r set entries = r.entries + jsonb_array_length(append.entries) where r.fence = my_fence;
end
$$;

-- name_branch: write the branch's name to the row, for the owner to see and for later attempts to keep.
create or replace function worker.name_branch(task bigint, my_fence bigint, branch text) returns text
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    verdict text := worker.lock_run(task, my_fence);
begin
    if verdict = 'mine' then
        update public.tasks t set branch_name = branch, updated_at = now() where t.id = task;
    end if;
    return verdict;
end
$$;

-- record_sandbox: note the machine that was made for this attempt, and write its address to the row. The id stays until
-- the machine is gone: by it alone, and never by the row, a machine is ended whose attempt nobody has any more.
create or replace function worker.record_sandbox(task bigint, my_fence bigint, sandbox text, url text) returns text
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    verdict text := worker.lock_run(task, my_fence);
begin
    insert into worker.sandboxes (id, task_id, fence) values (sandbox, task, my_fence) on conflict do nothing;
    if verdict = 'mine' then
        update public.tasks t set sandbox_url = url, updated_at = now() where t.id = task;
    end if;
    return verdict;
end
$$;

-- forget_sandbox: the machine is gone.
create or replace function worker.forget_sandbox(sandbox text, my_fence bigint) returns void
language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
    delete from worker.sandboxes s where s.id = sandbox and s.fence = my_fence
$$;

-- record_push: note the head that is about to be pushed, before it is: a later attempt may replace a head that is
-- noted here, and no other.
create or replace function worker.record_push(task bigint, my_fence bigint, branch text, head text, base text)
returns text
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    verdict text := worker.lock_run(task, my_fence);
begin
    if verdict = 'mine' then
        update worker.runs r set pushed_branch = branch, pushed_head = head, pushed_base = base where r.fence = my_fence;
    end if;
    return verdict;
end
$$;


-- Its end -------------------------------------------------------------------------------------------------------------

-- let_go: end the lease of an attempt whose task is not to be run again, and wake whoever waits for its slot.
create or replace function worker.let_go(task bigint, my_fence bigint) returns void
language sql volatile set search_path = pg_catalog, pg_temp as $$
    delete from worker.leases l where l.task_id = task and l.fence = my_fence;
    select worker.ring()
$$;

-- finish: the task ends as 'completed' or 'error', with its last entries. Whatever the verdict, the attempt is closed
-- and its lease gone; answers how it ended. Repeated by the same fence, it answers what it did.
create or replace function worker.finish(
    task bigint, my_fence bigint, how text, entries jsonb, why text, usage jsonb
) returns text
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    verdict text := worker.lock_run(task, my_fence);
begin
    if how not in ('completed', 'error') then raise exception 'a task cannot finish as %', how; end if;
    if verdict = 'mine' then
        perform worker.end_task(task, how, entries);
        -- What was recorded goes over what the agent says of itself.
        update worker.runs r
        set usage = finish.usage || coalesce(r.usage, '{}'), entries = r.entries + jsonb_array_length(finish.entries)
        where r.fence = my_fence;
    end if;
    perform worker.let_go(task, my_fence);
    return worker.close_run(my_fence, case verdict when 'mine' then how else verdict end, why);
end
$$;

-- end_task: the task's last write, with its last entries. Two statements, for a literal fits the enum and the text.
create or replace function worker.end_task(task bigint, how text, entries jsonb) returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
begin
    if how = 'completed' then
        update public.tasks t
        set status = 'completed', progress = 100, logs = worker.appended(t.logs, entries), updated_at = now()
        where t.id = task;
    else
        update public.tasks t
        set status = 'error', logs = worker.appended(t.logs, entries), updated_at = now()
        where t.id = task;
    end if;
end
$$;

-- record_usage: note what an attempt has used of a model until now. By the fence alone, and also once the attempt is
-- closed: what was used was used, whoever has the task by now, and however the attempt ended.
create or replace function worker.record_usage(my_fence bigint, found jsonb) returns void
language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
    update worker.runs r set usage = coalesce(r.usage, '{}') || found where r.fence = my_fence
$$;

-- spent: what the runs have used that a user began today, from midnight in UTC. A figure below nought is no gateway's.
create or replace function worker.spent(someone uuid) returns table (tokens bigint, cost double precision)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select
        coalesce(sum(greatest((r.usage ->> 'gateway_tokens')::numeric, 0)), 0)::bigint,
        coalesce(sum(greatest((r.usage ->> 'gateway_cost')::double precision, 0)), 0)
    from worker.runs r
    where r.user_id = someone and r.started_at >= date_trunc('day', now(), 'UTC')
$$;

-- abandon: close an attempt that may not write any more, and free its lease. Where the task turns out to be ours after
-- all, as when its owner changed the status and changed it back, nothing is done: nobody renews the lease, so it lapses.
create or replace function worker.abandon(task bigint, my_fence bigint) returns text
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    verdict text := worker.lock_run(task, my_fence);
begin
    if verdict = 'mine' then return verdict; end if;
    perform worker.let_go(task, my_fence);
    return worker.close_run(my_fence, verdict);
end
$$;

-- requeue: count one end by its cause, and put the task back to pending, or to error at the cause's bound. Called
-- under the locks of the task and its lease. A shutdown is nobody's fault and has no bound.
create or replace function worker.requeue(task bigint, cause text, bound int, delay interval, entries jsonb)
returns text
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    lease worker.leases;
begin
    update worker.leases l
    set crashes = l.crashes + (cause = 'crash')::int,
        interruptions = l.interruptions + (cause = 'shutdown')::int,
        backoffs = l.backoffs + (cause = 'overloaded')::int,
        holder = null, offered_at = null, expires_at = null, not_before = now() + delay, flushes = 0,
        fence = nextval('worker.fences')
    where l.task_id = task
    returning l.* into lease;

    if (cause = 'crash' and lease.crashes >= bound) or (cause = 'overloaded' and lease.backoffs > bound) then
        perform worker.end_task(task, 'error', entries || worker.entry('error', case cause
            when 'crash' then 'The worker that ran this task died ' || lease.crashes || ' times, so it is not tried again. '
                || 'Set its status to pending to try once more.'
            else 'Something that this task needs stayed out of reach or overloaded, so it is not tried again. Retry it later.' end));
        delete from worker.leases l where l.task_id = task;
        perform worker.ring();
        return 'error';
    end if;
    update public.tasks t
    set status = 'pending', updated_at = now(), logs = worker.appended(t.logs, entries || worker.entry('info', case cause
        when 'crash' then 'The worker that ran this task died (' || lease.crashes || ' of ' || bound || '); it will run again.'
        when 'overloaded' then 'Something that this task needs is out of reach or overloaded; it will run again later.'
        else 'The worker is shutting down; this task will run again.' end))
    where t.id = task;
    return 'pending';
end
$$;

-- give_back: this attempt ends through no fault of the task's, which runs again after `delay`, within the bound of
-- the cause ('shutdown', 'crash' or 'overloaded'). Answers the task's new status, or why nothing was written.
create or replace function worker.give_back(
    task bigint, my_fence bigint, cause text, bound int, delay interval, entries jsonb
) returns text
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    verdict text := worker.lock_run(task, my_fence);
begin
    if cause not in ('shutdown', 'crash', 'overloaded') then raise exception 'unknown cause %', cause; end if;
    if verdict <> 'mine' then
        perform worker.let_go(task, my_fence);
        return worker.close_run(my_fence, verdict);
    end if;
    verdict := worker.requeue(task, cause, bound, delay, entries);
    perform worker.close_run(my_fence, cause);
    return verdict;
end
$$;

-- settle: end one lease that ran out, or whose task is gone or ended; NULL when there is nothing to settle, or when
-- somebody works on it this moment. The task first, then its lease.
create or replace function worker.settle(task bigint, crash_bound int) returns text
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    task_status text;
    lease worker.leases;
begin
    select t.status::text into task_status from public.tasks t where t.id = task for no key update skip locked;
    if not found and exists (select from public.tasks t where t.id = task) then return null; end if;
    select l.* into lease from worker.leases l where l.task_id = task for update skip locked;
    if not found
        or (lease.holder is not null and lease.expires_at >= now())
        or (lease.holder is null and task_status = 'pending')
    then return null; end if;

    if lease.holder is not null and task_status = 'processing' then
        perform worker.close_run(lease.fence, 'lapsed');
        return worker.requeue(task, 'crash', crash_bound, interval '0', '[]');
    end if;
    perform worker.close_run(lease.fence, case when task_status is null then 'gone' else 'taken' end);
    perform worker.let_go(task, lease.fence);
    return coalesce(task_status, 'gone');
end
$$;

-- recover: what nobody renewed goes back to pending with a new fence, or to error at the bound of crashes; leases of
-- tasks that are gone or ended are removed, also those that were only offered.
--
-- `seen` is the time of this dispatcher's last answer, by this server's clock. If that is longer ago than `quiet`,
-- there was an outage, in which nobody could renew: nothing is settled. A statement that waited in a frozen server is
-- known by it, too. The first row answers the time, for the next call, and 'quiet' or 'awake'; the others say what
-- became of which task. One that cannot be settled does not hold up the others.
create or replace function worker.recover(crash_bound int, seen timestamptz, quiet interval)
returns table (at timestamptz, task_id bigint, became text)
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    suspect bigint;
    awake boolean := coalesce(now() - seen <= quiet, false);
begin
    return query select now(), null::bigint, case when awake then 'awake' else 'quiet' end;
    if not awake then return; end if;
    for suspect in
        (select l.task_id from worker.leases l where l.holder is not null and l.expires_at < now() limit 100)
        union all
        (select l.task_id from worker.leases l
         where l.holder is null and not exists (select from public.tasks t where t.id = l.task_id and t.status = 'pending')
         limit 100)
    loop
        at := now();
        task_id := suspect;
        begin
            became := worker.settle(suspect, crash_bound);
        exception when others then
            became := 'failed: ' || sqlerrm;
        end;
        if became is not null then return next; end if;
    end loop;
end
$$;


-- For operators -------------------------------------------------------------------------------------------------------

-- cancel: end a pending or processing task as an error that says so; its run learns of it at its next tick. Answers
-- the status it had, NULL when there is no such task.
create or replace function worker.cancel(task bigint, why text) returns text
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    task_status text;
begin
    select t.status::text into task_status from public.tasks t where t.id = task for no key update;
    if task_status in ('pending', 'processing') then
        perform worker.end_task(task, 'error', jsonb_build_array(worker.entry('error', why)));
        delete from worker.leases l where l.task_id = task and l.holder is null;
    end if;
    return task_status;
end
$$;

-- retry: put an ended task, or a processing one that nobody holds, back to pending with its counters at nought. Answers
-- the status it had, NULL when there is no such task, 'running' when a worker holds it.
create or replace function worker.retry(task bigint) returns text
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    task_status text;
    held boolean;
begin
    select t.status::text into task_status from public.tasks t where t.id = task for no key update;
    select l.holder is not null into held from worker.leases l where l.task_id = task for update;
    if task_status = 'processing' and held then return 'running'; end if;
    if task_status in ('completed', 'error', 'processing') then
        delete from worker.leases l where l.task_id = task and l.holder is null;
        update public.tasks t set status = 'pending', progress = 0, updated_at = now() where t.id = task;
    end if;
    return task_status;
end
$$;


-- Who may call it -----------------------------------------------------------------------------------------------------

revoke execute on all functions in schema worker from public;
grant execute on function
    worker.offer(int, int, interval, bigint[]),
    worker.claim(bigint, text, text, interval, int, int),
    worker.fence_of(bigint, text),
    worker.tick(bigint, bigint, interval),
    worker.append(bigint, bigint, int, jsonb, int),
    worker.name_branch(bigint, bigint, text),
    worker.record_sandbox(bigint, bigint, text, text),
    worker.forget_sandbox(text, bigint),
    worker.record_push(bigint, bigint, text, text, text),
    worker.finish(bigint, bigint, text, jsonb, text, jsonb),
    worker.give_back(bigint, bigint, text, int, interval, jsonb),
    worker.abandon(bigint, bigint),
    worker.record_usage(bigint, jsonb),
    worker.spent(uuid),
    worker.recover(int, timestamptz, interval),
    worker.cancel(bigint, text),
    worker.retry(bigint)
to task_worker;
