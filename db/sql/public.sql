-- The functions that the application calls, through PostgREST as /rpc. Each is brought to this form at the end of
-- every `db upgrade`. Those that are SECURITY DEFINER do what no policy allows, and ask first who calls.

-- save_message_and_update_project: put a message at its place in a project of the caller's, anew or over the one that
-- is there, and mark the project as just used. Called by the names of the parameters; those without a default come first.
create or replace function public.save_message_and_update_project(
    project_id_param uuid, role_param text, content_param jsonb, sequence_number_param integer,
    object_data_param jsonb DEFAULT NULL::jsonb, result_data_param jsonb DEFAULT NULL::jsonb
) returns void
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform rls.require((select p.user_id from public.projects p where p.id = project_id_param));
    insert into public.messages (project_id, role, content, object_data, result_data, sequence_number)
    values (
        project_id_param, role_param::public.message_role_enum, content_param, object_data_param, result_data_param,
        sequence_number_param
    )
    on conflict (project_id, sequence_number) do update set
        role = excluded.role, content = excluded.content,
        object_data = excluded.object_data, result_data = excluded.result_data;
    update public.projects p set updated_at = now() where p.id = project_id_param;
end
$$;

-- soft_delete_project: mark a project of the caller's as deleted; it can be restored until the sweep takes it.
create or replace function public.soft_delete_project(project_id uuid) returns void
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform rls.require((select p.user_id from public.projects p where p.id = soft_delete_project.project_id));
    update public.projects p set status = 'deleted', deleted_at = coalesce(p.deleted_at, now()), updated_at = now()
    where p.id = soft_delete_project.project_id;
end
$$;

-- can_use_feature: whether the team's limit leaves room for one more. True where there is no limit; false for who is
-- not in the team. A period that is over counts as empty.
create or replace function public.can_use_feature(
    feature_name text, team_id_param uuid DEFAULT NULL::uuid, user_id_param uuid DEFAULT auth.uid()
) returns boolean
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    counted text := rls.usage_type(feature_name);
begin
    perform rls.require(user_id_param);
    if team_id_param is null then return true; end if;
    if not rls.is_member(team_id_param, user_id_param) then return false; end if;
    return not exists (
        select from public.team_usage_limits l
        where l.team_id = team_id_param and l.usage_type = counted
            and case when l.period_end <= now() then l.limit_value < 1 else l.current_usage >= l.limit_value end
    );
end
$$;

-- increment_usage: count one use, for the user and in the team's limit; false, and nothing is counted, when the limit
-- is reached. One UPDATE looks and counts, so that no two callers take the last place. A period that is over is
-- followed by the one that holds now, in steps of a month from its start.
create or replace function public.increment_usage(
    feature_name text, team_id_param uuid DEFAULT NULL::uuid, user_id_param uuid DEFAULT auth.uid()
) returns boolean
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    counted text := rls.usage_type(feature_name);
begin
    perform rls.require(user_id_param);
    if team_id_param is not null and not rls.is_member(team_id_param, user_id_param) then
        raise insufficient_privilege using message = 'This is not a team of yours, or there is no such team.';
    end if;

    update public.team_usage_limits l
    set current_usage = case when l.period_end <= now() then 1 else l.current_usage + 1 end,
        period_start = case when l.period_end <= now()
            then l.period_start + make_interval(months => rls.months_to_end(l.period_start, now()) - 1) else l.period_start end,
        period_end = case when l.period_end <= now()
            then l.period_start + make_interval(months => rls.months_to_end(l.period_start, now())) else l.period_end end,
        updated_at = now()
    where l.team_id = team_id_param and l.usage_type = counted
        and case when l.period_end <= now() then l.limit_value > 0 else l.current_usage < l.limit_value end;
    if not found and exists (
        select from public.team_usage_limits l where l.team_id = team_id_param and l.usage_type = counted
    ) then return false; end if;

    insert into public.user_usage as u (user_id, team_id, usage_type, usage_date, usage_count)
    values (user_id_param, team_id_param, counted, current_date, 1)
    on conflict (user_id, team_id, usage_type, usage_date) do update set usage_count = coalesce(u.usage_count, 0) + 1;
    return true;
end
$$;

-- initialize_team_usage_limits: a team's limits by its tier, as far as it has none; the figures are defaults, to be
-- changed in the rows. For the service alone.
create or replace function public.initialize_team_usage_limits(team_id_param uuid) returns void
language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
    insert into public.team_usage_limits (team_id, usage_type, limit_value)
    select t.id, free.usage_type, free.amount * case t.tier when 'enterprise' then 100 when 'pro' then 10 else 1 end
    from public.teams t cross join (values
        ('github_imports', 5), ('storage_mb', 100), ('execution_time_seconds', 3600), ('api_calls', 1000)
    ) as free (usage_type, amount)
    where t.id = team_id_param
    on conflict (team_id, usage_type) do nothing
$$;

-- search_user_messages: the fifty messages of a user's chats that fit best, in the words of a web search. Definer,
-- since the index is of no use under a policy: the match operator could leak what it reads.
create or replace function public.search_user_messages(query_text text, user_id_param uuid)
returns TABLE(content text, created_at timestamp with time zone, session_id text, similarity_score real, title text)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform rls.require(user_id_param);
    return query
    select c.content, c.created_at, s.session_id::text, ts_rank(c.content_vector, asked.query), s.title
    from websearch_to_tsquery('english', query_text) as asked (query),
        public.chat_message_cache c join public.chat_sessions s on s.id = c.session_id
    where s.user_id = user_id_param and c.content_vector @@ asked.query
    order by ts_rank(c.content_vector, asked.query) desc, c.created_at desc, c.id
    limit 50;
end
$$;

-- search_project_messages: the newest messages of a user's own projects, those in the bin left out, that hold what is
-- asked for in the words of a web search. Definer for the same reason. Executed, that is planned for these words and
-- this user: whether the index on words or the one on projects is the shorter way depends on both. What matches is
-- collected before it is sorted, lest everybody's newest messages are looked through for matches. The words are those of
-- idx_messages_search, to the letter. A role is text, for an application's own table may do without the enum.
create or replace function public.search_project_messages(
    query_text text, user_id_param uuid, limit_param integer DEFAULT 50
) returns TABLE(id uuid, project_id uuid, project_title text, role text, content jsonb, created_at timestamp with time zone)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform rls.require(user_id_param);
    return query execute $query$
        with matching as materialized (
            select m.id, m.created_at, p.title
            from public.messages m join public.projects p on p.id = m.project_id
            where p.user_id = $1 and p.deleted_at is null
                and CASE
                    WHEN octet_length(m.content::text) < 200000 THEN to_tsvector('english'::regconfig, m.content)
                    ELSE to_tsvector('english'::regconfig, replace("left"(m.content::text, 100000), '\n'::text, ' '::text))
                END @@ websearch_to_tsquery('english', $2)
        ), newest as materialized (
            select * from matching order by created_at desc nulls last, id limit $3
        )
        select m.id, m.project_id, n.title, m.role::text, m.content, m.created_at
        from newest n join public.messages m on m.id = n.id
        order by m.created_at desc nulls last, m.id
    $query$ using user_id_param, query_text, limit_param;
end
$$;

-- task_log: the entries of a task's logs, whichever way they are stored, NULL where they cannot be read. The protocol's
-- own reading, for whoever looks at tasks in a user's name: schema worker is out of their reach.
create or replace function public.task_log(logs jsonb) returns jsonb
language sql immutable security definer set search_path = pg_catalog, pg_temp as $$
    select worker.log_array(logs)
$$;

-- get_user_chat_summary: one row about a user's chats that are not deleted, zeros where there are none. Hours and days
-- (0 is Sunday) are UTC's. Times that a user set to infinity are left out of averages.
create or replace function public.get_user_chat_summary(user_id_param uuid)
returns TABLE(total_sessions integer, total_messages integer, total_tokens integer, total_cost numeric, avg_session_length_minutes numeric, avg_daily_sessions numeric, most_active_hour integer, most_active_day integer, favorite_models json, favorite_templates json, model_usage_breakdown json, template_usage_breakdown json)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform rls.require(user_id_param);
    return query
    with mine as (
        select s.message_count, s.total_tokens, s.estimated_cost, s.model, s.template, s.last_activity, s.created_at,
            isfinite(s.created_at) as dated, s.created_at at time zone 'UTC' as began
        from public.chat_sessions s where s.user_id = user_id_param and s.status is distinct from 'deleted'
    ), models as (
        select m.model::text as name, count(*) as n from mine m where m.model is not null group by 1
    ), templates as (
        select m.template::text as name, count(*) as n from mine m where m.template is not null group by 1
    )
    select count(*)::int,
        least(coalesce(sum(m.message_count::bigint), 0), 2147483647)::int,
        least(coalesce(sum(m.total_tokens::bigint), 0), 2147483647)::int,
        coalesce(sum(m.estimated_cost), 0),
        coalesce(round(avg(greatest(extract(epoch from m.last_activity - m.created_at), 0) / 60)
            filter (where m.dated and isfinite(m.last_activity)), 2), 0),
        coalesce(round(count(*) filter (where m.dated)::numeric
            / nullif(count(distinct m.began::date) filter (where m.dated), 0), 2), 0),
        (mode() within group (order by extract(hour from m.began)) filter (where m.dated))::int,
        (mode() within group (order by extract(dow from m.began)) filter (where m.dated))::int,
        (select coalesce(json_agg(f.name order by f.n desc, f.name), '[]')
            from (select * from models order by n desc, name limit 5) f),
        (select coalesce(json_agg(f.name order by f.n desc, f.name), '[]')
            from (select * from templates order by n desc, name limit 5) f),
        (select coalesce(json_object_agg(f.name, f.n order by f.n desc, f.name), '{}') from models f),
        (select coalesce(json_object_agg(f.name, f.n order by f.n desc, f.name), '{}') from templates f)
    from mine m;
end
$$;

-- update_updated_at_column: a changed row was changed now, whatever the statement says.
create or replace function public.update_updated_at_column() returns trigger
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
begin
    new.updated_at := now();
    return new;
end
$$;
