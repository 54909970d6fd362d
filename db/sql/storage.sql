-- What the application expects of schema storage, on a database where that schema is ours and not Supabase's.

-- get_level: how deep a file lies: 0 for `a`, 2 for `a/b/c`, NULL for NULL.
create or replace function storage.get_level(file_path text) returns integer
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select length(file_path) - length(replace(file_path, '/', ''))
$$;

-- get_bucket_size: the bytes of those files of a bucket that the caller may see. Sizes are written by whoever owns the
-- file: what is no number counts as nothing.
create or replace function storage.get_bucket_size(bucket_name text) returns bigint
language sql stable set search_path = pg_catalog, pg_temp as $$
    select coalesce(sum(case when o.metadata ->> 'size' ~ '^[0-9]{1,15}$' then (o.metadata ->> 'size')::bigint end), 0)::bigint
    from storage.objects o where o.bucket_id = get_bucket_size.bucket_name
$$;

-- create_user_buckets: a private and a public bucket of a user's own, unless they are there. One that somebody else
-- made by that name is refused: its owner would read what is stored in it.
create or replace function storage.create_user_buckets(user_id uuid) returns void
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    private_bucket text := 'user-' || user_id;
    public_bucket text := 'user-' || user_id || '-public';
begin
    perform rls.require(create_user_buckets.user_id);
    insert into storage.buckets (id, name, owner, owner_id, public) values
        (private_bucket, private_bucket, create_user_buckets.user_id, create_user_buckets.user_id::text, false),
        (public_bucket, public_bucket, create_user_buckets.user_id, create_user_buckets.user_id::text, true)
    on conflict do nothing;
    if exists (
        select from storage.buckets b
        where b.id in (private_bucket, public_bucket) and b.owner is distinct from create_user_buckets.user_id
    ) then
        raise unique_violation using message = 'Somebody else has a bucket of this user''s name.';
    end if;
end
$$;

-- cleanup_old_multipart_uploads: remove uploads that were begun a week ago and never ended; their parts go with them.
create or replace function storage.cleanup_old_multipart_uploads() returns void
language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
    delete from storage.s3_multipart_uploads u where u.created_at < now() - interval '7 days'
$$;

-- update_bucket_updated_at: a changed bucket was changed now.
create or replace function storage.update_bucket_updated_at() returns trigger
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
begin
    new.updated_at := now();
    return new;
end
$$;

-- update_object_updated_at: a changed file was changed now.
create or replace function storage.update_object_updated_at() returns trigger
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
begin
    new.updated_at := now();
    return new;
end
$$;
