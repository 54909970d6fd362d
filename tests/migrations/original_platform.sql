-- The application's own `auth` and `storage`, as its SQL makes them on a plain server.

DO $$
DECLARE role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['anon', 'authenticated', 'service_role'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I', role);
        END IF;
    END LOOP;
END $$;

CREATE SCHEMA auth;
CREATE SCHEMA storage;
CREATE SCHEMA extensions;
GRANT USAGE ON SCHEMA auth, storage, extensions TO anon, authenticated, service_role;

CREATE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql STABLE AS $$
    SELECT nullif(current_setting('request.jwt.claims', true)::jsonb ->> 'sub', '')::uuid
$$;

CREATE TABLE auth.users (
    instance_id uuid,
    id uuid NOT NULL,
    aud varchar,
    role varchar,
    email varchar,
    encrypted_password varchar,
    email_confirmed_at timestamptz,
    invited_at timestamptz,
    confirmation_token varchar,
    confirmation_sent_at timestamptz,
    recovery_token varchar,
    recovery_sent_at timestamptz,
    email_change_token_new varchar,
    email_change varchar,
    email_change_sent_at timestamptz,
    last_sign_in_at timestamptz,
    raw_app_meta_data jsonb,
    raw_user_meta_data jsonb,
    is_super_admin boolean,
    created_at timestamptz,
    updated_at timestamptz,
    phone text DEFAULT NULL::varchar,
    phone_confirmed_at timestamptz,
    phone_change text DEFAULT '',
    phone_change_token varchar DEFAULT '',
    phone_change_sent_at timestamptz,
    confirmed_at timestamptz GENERATED ALWAYS AS (LEAST(email_confirmed_at, phone_confirmed_at)) STORED,
    email_change_token_current varchar DEFAULT '',
    email_change_confirm_status smallint DEFAULT 0,
    banned_until timestamptz,
    reauthentication_token varchar DEFAULT '',
    reauthentication_sent_at timestamptz,
    is_sso_user boolean NOT NULL DEFAULT false,
    deleted_at timestamptz,
    is_anonymous boolean NOT NULL DEFAULT false,
    CONSTRAINT users_pkey PRIMARY KEY (id),
    CONSTRAINT users_email_change_confirm_status_check CHECK ((email_change_confirm_status >= 0) AND (email_change_confirm_status <= 2)),
    CONSTRAINT users_email_check CHECK ((email IS NULL) OR ((email)::text ~* '^[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}$')),
    CONSTRAINT users_phone_check CHECK ((phone IS NULL) OR (phone ~ '^\+[1-9]\d{1,14}$')),
    CONSTRAINT users_phone_key UNIQUE (phone)
);
CREATE INDEX idx_users_confirmed_at ON auth.users (confirmed_at DESC);
CREATE INDEX idx_users_created_at ON auth.users (created_at DESC);
CREATE INDEX idx_users_email ON auth.users (email);
CREATE INDEX idx_users_instance_id ON auth.users (instance_id);
CREATE INDEX idx_users_is_anonymous ON auth.users (is_anonymous);
CREATE INDEX idx_users_phone ON auth.users (phone);
ALTER TABLE auth.users ENABLE ROW LEVEL SECURITY;
CREATE POLICY "Users can update own user data" ON auth.users FOR UPDATE
    USING (auth.uid() = id);
CREATE POLICY "Users can view own user data" ON auth.users FOR SELECT
    USING (auth.uid() = id);

CREATE TABLE auth.identities (
    provider_id text NOT NULL,
    user_id uuid NOT NULL,
    identity_data jsonb NOT NULL,
    provider text NOT NULL,
    last_sign_in_at timestamptz,
    created_at timestamptz,
    updated_at timestamptz,
    email text GENERATED ALWAYS AS (lower(identity_data ->> 'email')) STORED,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    CONSTRAINT identities_pkey PRIMARY KEY (id),
    CONSTRAINT identities_email_check CHECK ((email IS NULL) OR (email ~* '^[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}$')),
    CONSTRAINT identities_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users(id) ON DELETE CASCADE
);
CREATE INDEX idx_identities_email ON auth.identities (email);
CREATE INDEX idx_identities_provider ON auth.identities (provider);
CREATE INDEX idx_identities_user_id ON auth.identities (user_id);
ALTER TABLE auth.identities ENABLE ROW LEVEL SECURITY;
CREATE POLICY "Users can view own identities" ON auth.identities FOR SELECT
    USING (auth.uid() = user_id);

CREATE TABLE auth.sessions (
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    created_at timestamptz,
    updated_at timestamptz,
    factor_id uuid,
    aal text,
    not_after timestamptz,
    refreshed_at timestamp,
    user_agent text,
    ip inet,
    tag text,
    CONSTRAINT sessions_pkey PRIMARY KEY (id),
    CONSTRAINT sessions_aal_check CHECK (aal = ANY (ARRAY['aal1', 'aal2'])),
    CONSTRAINT sessions_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users(id) ON DELETE CASCADE
);
CREATE INDEX idx_sessions_not_after ON auth.sessions (not_after DESC);
CREATE INDEX idx_sessions_updated_at ON auth.sessions (updated_at DESC);
CREATE INDEX idx_sessions_user_id ON auth.sessions (user_id);
ALTER TABLE auth.sessions ENABLE ROW LEVEL SECURITY;
CREATE POLICY "Users can view own sessions" ON auth.sessions FOR SELECT
    USING (auth.uid() = user_id);

CREATE TABLE auth.refresh_tokens (
    instance_id uuid,
    id bigserial NOT NULL,
    token varchar,
    user_id varchar,
    revoked boolean,
    created_at timestamptz,
    updated_at timestamptz,
    parent varchar,
    session_id uuid,
    CONSTRAINT refresh_tokens_pkey PRIMARY KEY (id),
    CONSTRAINT refresh_tokens_token_key UNIQUE (token),
    CONSTRAINT refresh_tokens_session_id_fkey FOREIGN KEY (session_id) REFERENCES auth.sessions(id) ON DELETE CASCADE
);
CREATE INDEX idx_refresh_tokens_instance_id ON auth.refresh_tokens (instance_id);
CREATE INDEX idx_refresh_tokens_session_id ON auth.refresh_tokens (session_id);
CREATE INDEX idx_refresh_tokens_updated_at ON auth.refresh_tokens (updated_at DESC);
CREATE INDEX idx_refresh_tokens_user_id ON auth.refresh_tokens (user_id);

CREATE TABLE auth.mfa_factors (
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    friendly_name text,
    factor_type text NOT NULL,
    status text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    secret text,
    phone text,
    last_challenged_at timestamptz,
    web_authn_credential jsonb,
    web_authn_aaguid uuid,
    CONSTRAINT mfa_factors_pkey PRIMARY KEY (id),
    CONSTRAINT mfa_factors_status_check CHECK (status = ANY (ARRAY['unverified', 'verified'])),
    CONSTRAINT mfa_factors_type_check CHECK (factor_type = ANY (ARRAY['totp', 'webauthn', 'phone'])),
    CONSTRAINT mfa_factors_last_challenged_at_key UNIQUE (last_challenged_at),
    CONSTRAINT mfa_factors_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users(id) ON DELETE CASCADE
);
CREATE INDEX idx_mfa_factors_user_id ON auth.mfa_factors (user_id);
CREATE INDEX idx_mfa_factors_user_id_created_at ON auth.mfa_factors (user_id, created_at);
ALTER TABLE auth.mfa_factors ENABLE ROW LEVEL SECURITY;
CREATE POLICY "Users can manage own MFA factors" ON auth.mfa_factors FOR ALL
    USING (auth.uid() = user_id);

CREATE TABLE auth.mfa_challenges (
    id uuid NOT NULL,
    factor_id uuid NOT NULL,
    created_at timestamptz NOT NULL,
    verified_at timestamptz,
    ip_address inet NOT NULL,
    otp_code text,
    web_authn_session_data jsonb,
    CONSTRAINT mfa_challenges_pkey PRIMARY KEY (id),
    CONSTRAINT mfa_challenges_auth_factor_id_fkey FOREIGN KEY (factor_id) REFERENCES auth.mfa_factors(id) ON DELETE CASCADE
);
ALTER TABLE auth.mfa_challenges ENABLE ROW LEVEL SECURITY;
CREATE POLICY "Users can view own MFA challenges" ON auth.mfa_challenges FOR SELECT
    USING (EXISTS ( SELECT 1 FROM auth.mfa_factors WHERE ((mfa_factors.id = mfa_challenges.factor_id) AND (mfa_factors.user_id = auth.uid()))));

CREATE TABLE auth.mfa_amr_claims (
    session_id uuid NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    authentication_method text NOT NULL,
    id uuid NOT NULL,
    CONSTRAINT mfa_amr_claims_pkey PRIMARY KEY (id),
    CONSTRAINT mfa_amr_claims_session_id_fkey FOREIGN KEY (session_id) REFERENCES auth.sessions(id) ON DELETE CASCADE
);

CREATE TABLE auth.one_time_tokens (
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    token_type text NOT NULL,
    token_hash text NOT NULL,
    relates_to text NOT NULL,
    created_at timestamp NOT NULL DEFAULT now(),
    updated_at timestamp NOT NULL DEFAULT now(),
    CONSTRAINT one_time_tokens_pkey PRIMARY KEY (id),
    CONSTRAINT one_time_tokens_token_hash_check CHECK (char_length(token_hash) > 0),
    CONSTRAINT one_time_tokens_type_check CHECK (token_type = ANY (ARRAY['confirmation_token', 'reauthentication_token', 'recovery_token', 'email_change_token_new', 'email_change_token_current', 'phone_change_token'])),
    CONSTRAINT one_time_tokens_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users(id) ON DELETE CASCADE
);
CREATE INDEX idx_one_time_tokens_relates_to ON auth.one_time_tokens (relates_to);
CREATE INDEX idx_one_time_tokens_token_hash ON auth.one_time_tokens (token_hash);
CREATE INDEX idx_one_time_tokens_user_id ON auth.one_time_tokens (user_id);
ALTER TABLE auth.one_time_tokens ENABLE ROW LEVEL SECURITY;
CREATE POLICY "Users can view own tokens" ON auth.one_time_tokens FOR SELECT
    USING (auth.uid() = user_id);

CREATE TYPE storage.buckettype AS ENUM ('STANDARD', 'ANALYTICS');

CREATE TABLE storage.buckets (
    id text NOT NULL,
    name text NOT NULL,
    owner uuid,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    public boolean DEFAULT false,
    avif_autodetection boolean DEFAULT false,
    file_size_limit bigint,
    allowed_mime_types text[],
    owner_id text,
    type storage.buckettype NOT NULL DEFAULT 'STANDARD'::storage.buckettype,
    CONSTRAINT buckets_pkey PRIMARY KEY (id),
    CONSTRAINT buckets_file_size_limit_check CHECK ((file_size_limit IS NULL) OR (file_size_limit > 0)),
    CONSTRAINT buckets_id_check CHECK (char_length(id) >= 1),
    CONSTRAINT buckets_name_check CHECK (char_length(name) >= 1)
);
CREATE INDEX idx_buckets_created_at ON storage.buckets (created_at DESC);
CREATE INDEX idx_buckets_owner ON storage.buckets (owner);
CREATE INDEX idx_buckets_public ON storage.buckets (public) WHERE (public = true);
ALTER TABLE storage.buckets ENABLE ROW LEVEL SECURITY;
CREATE POLICY "Users can create their own buckets" ON storage.buckets FOR INSERT
    WITH CHECK (auth.uid() = owner);
CREATE POLICY "Users can delete their own buckets" ON storage.buckets FOR DELETE
    USING (auth.uid() = owner);
CREATE POLICY "Users can update their own buckets" ON storage.buckets FOR UPDATE
    USING (auth.uid() = owner);
CREATE POLICY "Users can view their own buckets" ON storage.buckets FOR SELECT
    USING ((auth.uid() = owner) OR (public = true));

CREATE TABLE storage.objects (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    bucket_id text,
    name text,
    owner uuid,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    last_accessed_at timestamptz DEFAULT now(),
    metadata jsonb,
    path_tokens text[] GENERATED ALWAYS AS (string_to_array(name, '/')) STORED,
    version text,
    owner_id text,
    user_metadata jsonb,
    level integer,
    CONSTRAINT objects_pkey PRIMARY KEY (id),
    CONSTRAINT objects_level_check CHECK ((level IS NULL) OR (level >= 0)),
    CONSTRAINT objects_name_check CHECK ((name IS NULL) OR (char_length(name) >= 1)),
    CONSTRAINT objects_bucketid_fkey FOREIGN KEY (bucket_id) REFERENCES storage.buckets(id) ON DELETE CASCADE
);
CREATE INDEX idx_objects_bucket_id ON storage.objects (bucket_id);
CREATE INDEX idx_objects_created_at ON storage.objects (created_at DESC);
CREATE INDEX idx_objects_last_accessed_at ON storage.objects (last_accessed_at DESC);
CREATE INDEX idx_objects_metadata ON storage.objects USING gin (metadata);
CREATE INDEX idx_objects_name ON storage.objects (name);
CREATE INDEX idx_objects_owner ON storage.objects (owner);
CREATE INDEX idx_objects_path_tokens ON storage.objects USING gin (path_tokens);
CREATE INDEX idx_objects_updated_at ON storage.objects (updated_at DESC);
ALTER TABLE storage.objects ENABLE ROW LEVEL SECURITY;
CREATE POLICY "Users can delete their own objects" ON storage.objects FOR DELETE
    USING (auth.uid() = owner);
CREATE POLICY "Users can insert objects in their buckets" ON storage.objects FOR INSERT
    WITH CHECK ((auth.uid() = owner) OR (EXISTS ( SELECT 1 FROM storage.buckets WHERE ((buckets.id = objects.bucket_id) AND (buckets.owner = auth.uid())))));
CREATE POLICY "Users can update their own objects" ON storage.objects FOR UPDATE
    USING (auth.uid() = owner);
CREATE POLICY "Users can view objects in accessible buckets" ON storage.objects FOR SELECT
    USING ((auth.uid() = owner) OR (EXISTS ( SELECT 1 FROM storage.buckets WHERE ((buckets.id = objects.bucket_id) AND ((buckets.owner = auth.uid()) OR (buckets.public = true))))));

CREATE TABLE storage.s3_multipart_uploads (
    id text NOT NULL,
    in_progress_size bigint NOT NULL DEFAULT 0,
    upload_signature text NOT NULL,
    bucket_id text NOT NULL,
    key text NOT NULL,
    version text NOT NULL,
    owner_id text,
    created_at timestamptz NOT NULL DEFAULT now(),
    user_metadata jsonb,
    CONSTRAINT s3_multipart_uploads_pkey PRIMARY KEY (id),
    CONSTRAINT s3_multipart_uploads_id_check CHECK (char_length(id) >= 1),
    CONSTRAINT s3_multipart_uploads_key_check CHECK (char_length(key) >= 1),
    CONSTRAINT s3_multipart_uploads_size_check CHECK (in_progress_size >= 0),
    CONSTRAINT s3_multipart_uploads_bucket_id_fkey FOREIGN KEY (bucket_id) REFERENCES storage.buckets(id) ON DELETE CASCADE
);
CREATE INDEX idx_s3_multipart_uploads_bucket_id ON storage.s3_multipart_uploads (bucket_id);
CREATE INDEX idx_s3_multipart_uploads_created_at ON storage.s3_multipart_uploads (created_at DESC);
CREATE INDEX idx_s3_multipart_uploads_owner_id ON storage.s3_multipart_uploads (owner_id);

CREATE TABLE storage.s3_multipart_uploads_parts (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    upload_id text NOT NULL,
    size bigint NOT NULL DEFAULT 0,
    part_number integer NOT NULL,
    bucket_id text NOT NULL,
    key text NOT NULL,
    etag text NOT NULL,
    owner_id text,
    version text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT s3_multipart_uploads_parts_pkey PRIMARY KEY (id),
    CONSTRAINT s3_multipart_uploads_parts_etag_check CHECK (char_length(etag) >= 1),
    CONSTRAINT s3_multipart_uploads_parts_part_number_check CHECK (part_number >= 1),
    CONSTRAINT s3_multipart_uploads_parts_size_check CHECK (size >= 0),
    CONSTRAINT s3_multipart_uploads_parts_bucket_id_fkey FOREIGN KEY (bucket_id) REFERENCES storage.buckets(id) ON DELETE CASCADE,
    CONSTRAINT s3_multipart_uploads_parts_upload_id_fkey FOREIGN KEY (upload_id) REFERENCES storage.s3_multipart_uploads(id) ON DELETE CASCADE
);
CREATE INDEX idx_s3_multipart_uploads_parts_bucket_id ON storage.s3_multipart_uploads_parts (bucket_id);
CREATE INDEX idx_s3_multipart_uploads_parts_upload_id ON storage.s3_multipart_uploads_parts (upload_id);

CREATE FUNCTION auth.on_auth_user_created() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO public.user_profiles (user_id, created_at, updated_at) VALUES (NEW.id, now(), now());
    INSERT INTO public.user_preferences (user_id, created_at, updated_at) VALUES (NEW.id, now(), now());
    INSERT INTO public.user_security_settings (user_id, created_at, updated_at) VALUES (NEW.id, now(), now());
    INSERT INTO public.user_chat_analytics (user_id, created_at, updated_at) VALUES (NEW.id, now(), now());
    RETURN NEW;
END $$;
CREATE TRIGGER on_auth_user_created AFTER INSERT ON auth.users
    FOR EACH ROW EXECUTE FUNCTION auth.on_auth_user_created();

CREATE FUNCTION auth.cleanup_expired_sessions() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    DELETE FROM auth.sessions WHERE not_after < now();
    DELETE FROM auth.refresh_tokens WHERE created_at < now() - interval '30 days' AND revoked = true;
END $$;

CREATE FUNCTION storage.get_level(file_path text) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN array_length(string_to_array(file_path, '/'), 1) - 1;
END $$;

CREATE FUNCTION storage.update_object_path_tokens() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.level = storage.get_level(NEW.name);
    RETURN NEW;
END $$;
CREATE TRIGGER update_objects_path_tokens BEFORE UPDATE ON storage.objects
    FOR EACH ROW EXECUTE FUNCTION storage.update_object_path_tokens();

CREATE FUNCTION storage.cleanup_old_multipart_uploads() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    DELETE FROM storage.s3_multipart_uploads WHERE created_at < now() - interval '7 days';
END $$;
