-- What the application expects of schema auth, on a database where that schema is ours and not Supabase's.

-- cleanup_expired_sessions: remove sessions three days after their end, as GoTrue does, and tokens a month after they
-- were revoked. A session without an end never expires.
create or replace function auth.cleanup_expired_sessions() returns void
language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
    delete from auth.sessions s where s.not_after < now() - interval '72 hours';
    delete from auth.refresh_tokens t where t.revoked and t.updated_at < now() - interval '30 days'
$$;

-- revoke_user_sessions: sign a user out everywhere; their tokens go with the sessions. Users may do it to themselves.
create or replace function auth.revoke_user_sessions(user_uuid uuid) returns void
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform rls.require(user_uuid);
    delete from auth.sessions s where s.user_id = user_uuid;
    delete from auth.refresh_tokens t where t.user_id = user_uuid::text;
end
$$;

-- on_auth_user_created: see rls.open_account.
create or replace function auth.on_auth_user_created() returns trigger
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform rls.open_account(new.id);
    return null;
end
$$;
