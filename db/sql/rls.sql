-- What policies and functions ask about the caller. Schema `rls` is exposed by no API: nobody but our own definer
-- functions and policies reaches it. Each function is brought to this form at the end of every `db upgrade`.

-- my_teams: the teams that the caller belongs to, or of those the ones in which they have one of `roles`. Definer, for
-- a policy on team_members that read team_members by itself would never end.
create or replace function rls.my_teams(roles text[] DEFAULT NULL::text[]) returns SETOF uuid
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select m.team_id from public.team_members m
    where m.user_id = (select auth.uid()) and (my_teams.roles is null or m.role = any (my_teams.roles))
$$;

-- is_service: whether nobody is signed in and the role is the service's, or has its rights, or is our owner. Any other
-- role is a user's, whatever it is called: one that inherits from authenticated, say, or an authenticator that has not
-- become anybody yet. Definer functions change current_user but neither the session's user nor the role it has set.
create or replace function rls.is_service() returns boolean
language sql stable set search_path = pg_catalog, pg_temp as $$
    select auth.uid() is null and (
        coalesce(pg_has_role(caller.name, to_regrole('service_role'), 'USAGE'), false)
        or pg_has_role(caller.name, (select n.nspowner from pg_namespace n where n.nspname = 'rls'), 'USAGE')
    )
    from (select case current_setting('role') when 'none' then session_user else current_setting('role')::name end)
        as caller (name)
$$;

-- may_act_for: whether the caller is this user, or the service. False for NULL unless it is the service.
create or replace function rls.may_act_for(owner uuid) returns boolean
language sql stable set search_path = pg_catalog, pg_temp as $$
    select coalesce(auth.uid() = owner, false) or rls.is_service()
$$;

-- require: refuse a caller who may not act for this user, as PostgreSQL refuses a missing right. What is not there is
-- refused in the same words, so that nobody learns what exists.
create or replace function rls.require(owner uuid) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
    if not rls.may_act_for(owner) then
        raise insufficient_privilege using message = 'This is not yours, or there is no such thing.';
    end if;
end
$$;

-- usage_type: the one name of what is counted; the singular names that the application uses besides are taken too.
create or replace function rls.usage_type(feature text) returns text
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
declare
    known text := case feature
        when 'api_call' then 'api_calls'
        when 'github_import' then 'github_imports'
        when 'fragment_execution' then 'fragment_executions'
        when 'project_created' then 'projects_created'
        when 'storage_used' then 'storage_mb'
        else feature
    end;
begin
    if known is null or known not in (
        'api_calls', 'execution_time_seconds', 'github_imports', 'storage_mb', 'fragment_executions', 'projects_created'
    ) then
        raise invalid_parameter_value using message = format('Nothing is counted as %L.', feature);
    end if;
    return known;
end
$$;

-- months_to_end: how many months after its start a period ends that is to hold at a time, in steps of a month from
-- `start`. Months are of different length, so that the last step may have to be taken twice.
create or replace function rls.months_to_end(start timestamp with time zone, at timestamp with time zone) returns integer
language sql stable set search_path = pg_catalog, pg_temp as $$
    select months + case when start + make_interval(months => months) <= at then 1 else 0 end
    from (select (extract(year from age(at, start)) * 12 + extract(month from age(at, start)))::int + 1) as past (months)
$$;

-- is_member: whether a user belongs to a team.
create or replace function rls.is_member(team uuid, member uuid) returns boolean
language sql stable set search_path = pg_catalog, pg_temp as $$
    select exists (select from public.team_members m where m.team_id = team and m.user_id = member)
$$;

-- open_account: the rows that every user has, as far as they are absent. A sign-up must not fail for them: what goes
-- wrong is a warning in the server's log, and the next `db upgrade` on which the trigger is made tries again.
create or replace function rls.open_account(owner uuid) returns void
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
begin
    insert into public.user_profiles (user_id) values (owner) on conflict do nothing;
    insert into public.user_preferences (user_id) values (owner) on conflict do nothing;
    insert into public.user_security_settings (user_id) values (owner) on conflict do nothing;
    insert into public.user_chat_analytics (user_id) values (owner) on conflict do nothing;
exception when others then
    raise warning 'codingit: no profile could be made for user %: %', owner, sqlerrm;
end
$$;

-- on_auth_user_created: the trigger's function where schema auth is Supabase's and takes no function of ours.
create or replace function rls.on_auth_user_created() returns trigger
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform rls.open_account(new.id);
    return null;
end
$$;

-- guard_processing_task: while a task is processing, its status, progress and logs are the worker's. Its owner may
-- cancel it, which is to set the status to error and leave the other two, and may delete it. Called for users alone.
create or replace function rls.guard_processing_task() returns trigger
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
begin
    if old.status::text = 'processing' and (
        new.progress is distinct from old.progress
        or new.logs is distinct from old.logs
        or new.status::text not in ('processing', 'error')
    ) then
        raise insufficient_privilege using
            message = format('Task %s is processing: its status, progress and logs are the worker''s.', old.id),
            hint = 'To cancel it, set only its status, to error, or delete the row.';
    end if;
    return new;
end
$$;
