-- auth.identities
CREATE TABLE auth.identities (
    provider_id text NOT NULL,
    user_id uuid NOT NULL,
    identity_data jsonb NOT NULL,
    provider text NOT NULL,
    last_sign_in_at timestamptz,
    created_at timestamptz,
    updated_at timestamptz,
    email text GENERATED ALWAYS AS (lower(identity_data ->> 'email')) STORED,
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    CONSTRAINT identities_pkey PRIMARY KEY (id),
    CONSTRAINT identities_email_check CHECK (email IS NULL OR email ~* '^[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}$'),
    CONSTRAINT identities_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users (id) ON DELETE CASCADE
);
CREATE INDEX idx_identities_email ON auth.identities (email);
CREATE INDEX idx_identities_provider ON auth.identities (provider);
CREATE INDEX idx_identities_user_id ON auth.identities (user_id);

-- auth.sessions
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
    CONSTRAINT sessions_aal_check CHECK (aal IN ('aal1', 'aal2')),
    CONSTRAINT sessions_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users (id) ON DELETE CASCADE
);
CREATE INDEX idx_sessions_not_after ON auth.sessions (not_after DESC);
CREATE INDEX idx_sessions_updated_at ON auth.sessions (updated_at DESC);
CREATE INDEX idx_sessions_user_id ON auth.sessions (user_id);

-- auth.refresh_tokens
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
    CONSTRAINT refresh_tokens_session_id_fkey FOREIGN KEY (session_id) REFERENCES auth.sessions (id) ON DELETE CASCADE
);
CREATE INDEX idx_refresh_tokens_instance_id ON auth.refresh_tokens (instance_id);
CREATE INDEX idx_refresh_tokens_session_id ON auth.refresh_tokens (session_id);
CREATE INDEX idx_refresh_tokens_updated_at ON auth.refresh_tokens (updated_at DESC);
CREATE INDEX idx_refresh_tokens_user_id ON auth.refresh_tokens (user_id);
REVOKE ALL ON SEQUENCE auth.refresh_tokens_id_seq FROM PUBLIC, anon, authenticated;

-- auth.mfa_factors
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
    CONSTRAINT mfa_factors_status_check CHECK (status IN ('unverified', 'verified')),
    CONSTRAINT mfa_factors_type_check CHECK (factor_type IN ('totp', 'webauthn', 'phone')),
    CONSTRAINT mfa_factors_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users (id) ON DELETE CASCADE,
    CONSTRAINT mfa_factors_last_challenged_at_key UNIQUE (last_challenged_at)
);
CREATE INDEX idx_mfa_factors_user_id_created_at ON auth.mfa_factors (user_id, created_at);

-- auth.mfa_challenges
CREATE TABLE auth.mfa_challenges (
    id uuid NOT NULL,
    factor_id uuid NOT NULL,
    created_at timestamptz NOT NULL,
    verified_at timestamptz,
    ip_address inet NOT NULL,
    otp_code text,
    web_authn_session_data jsonb,
    CONSTRAINT mfa_challenges_pkey PRIMARY KEY (id),
    CONSTRAINT mfa_challenges_auth_factor_id_fkey FOREIGN KEY (factor_id) REFERENCES auth.mfa_factors (id) ON DELETE CASCADE
);
CREATE INDEX idx_mfa_challenges_factor_id ON auth.mfa_challenges (factor_id);

-- auth.mfa_amr_claims
CREATE TABLE auth.mfa_amr_claims (
    session_id uuid NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    authentication_method text NOT NULL,
    id uuid NOT NULL,
    CONSTRAINT mfa_amr_claims_pkey PRIMARY KEY (id),
    CONSTRAINT mfa_amr_claims_session_id_fkey FOREIGN KEY (session_id) REFERENCES auth.sessions (id) ON DELETE CASCADE
);
CREATE INDEX idx_mfa_amr_claims_session_id ON auth.mfa_amr_claims (session_id);

-- auth.one_time_tokens
CREATE TABLE auth.one_time_tokens (
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    token_type text NOT NULL,
    token_hash text NOT NULL,
    relates_to text NOT NULL,
    created_at timestamp DEFAULT now() NOT NULL,
    updated_at timestamp DEFAULT now() NOT NULL,
    CONSTRAINT one_time_tokens_pkey PRIMARY KEY (id),
    CONSTRAINT one_time_tokens_token_hash_check CHECK (char_length(token_hash) > 0),
    CONSTRAINT one_time_tokens_type_check CHECK (token_type IN ('confirmation_token', 'reauthentication_token', 'recovery_token', 'email_change_token_new', 'email_change_token_current', 'phone_change_token')),
    CONSTRAINT one_time_tokens_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users (id) ON DELETE CASCADE
);
CREATE INDEX idx_one_time_tokens_relates_to ON auth.one_time_tokens (relates_to);
CREATE INDEX idx_one_time_tokens_token_hash ON auth.one_time_tokens (token_hash);
CREATE INDEX idx_one_time_tokens_user_id ON auth.one_time_tokens (user_id);
