-- public.user_profiles
CREATE TABLE public.user_profiles (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    user_id uuid NOT NULL,
    full_name text,
    display_name text,
    first_name text,
    last_name text,
    work_description text,
    avatar_url text,
    onboarding_completed boolean DEFAULT false,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    CONSTRAINT user_profiles_pkey PRIMARY KEY (id),
    CONSTRAINT user_profiles_user_id_key UNIQUE (user_id),
    CONSTRAINT user_profiles_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users (id) ON DELETE CASCADE
);

-- public.user_preferences
CREATE TABLE public.user_preferences (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    user_id uuid NOT NULL,
    ai_assistance boolean DEFAULT true,
    smart_suggestions boolean DEFAULT false,
    theme text DEFAULT 'system'::text,
    font_family text DEFAULT 'inter'::text,
    email_notifications boolean DEFAULT true,
    marketing_emails boolean DEFAULT false,
    security_alerts boolean DEFAULT true,
    analytics_enabled boolean DEFAULT true,
    data_sharing_enabled boolean DEFAULT false,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    CONSTRAINT user_preferences_pkey PRIMARY KEY (id),
    CONSTRAINT user_preferences_font_family_check CHECK (font_family IN ('inter', 'jetbrains-mono', 'cal-sans')),
    CONSTRAINT user_preferences_theme_check CHECK (theme IN ('light', 'dark', 'system')),
    CONSTRAINT user_preferences_user_id_key UNIQUE (user_id),
    CONSTRAINT user_preferences_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users (id) ON DELETE CASCADE
);

-- public.user_security_settings
CREATE TABLE public.user_security_settings (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    user_id uuid NOT NULL,
    two_factor_enabled boolean DEFAULT false,
    backup_codes text[],
    last_password_change timestamptz,
    login_notifications boolean DEFAULT true,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    CONSTRAINT user_security_settings_pkey PRIMARY KEY (id),
    CONSTRAINT user_security_settings_user_id_key UNIQUE (user_id),
    CONSTRAINT user_security_settings_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users (id) ON DELETE CASCADE
);

-- public.user_integrations
CREATE TABLE public.user_integrations (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    user_id uuid NOT NULL,
    service_name text NOT NULL,
    is_connected boolean DEFAULT false,
    connection_data jsonb,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    CONSTRAINT user_integrations_pkey PRIMARY KEY (id),
    CONSTRAINT user_integrations_service_name_check CHECK (service_name IN ('github', 'google_drive', 'gmail', 'google_calendar', 'artifacts')),
    CONSTRAINT user_integrations_unique UNIQUE (user_id, service_name),
    CONSTRAINT user_integrations_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users (id) ON DELETE CASCADE
);

-- public.api_keys
CREATE TABLE public.api_keys (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    user_id uuid NOT NULL,
    name text NOT NULL,
    key_hash text NOT NULL,
    key_prefix text NOT NULL,
    permissions jsonb DEFAULT '{}'::jsonb,
    last_used_at timestamptz,
    expires_at timestamptz,
    is_active boolean DEFAULT true,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    CONSTRAINT api_keys_pkey PRIMARY KEY (id),
    CONSTRAINT api_keys_name_check CHECK (char_length(name) >= 1),
    CONSTRAINT api_keys_prefix_check CHECK (char_length(key_prefix) >= 1),
    CONSTRAINT api_keys_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users (id) ON DELETE CASCADE,
    CONSTRAINT api_keys_key_hash_key UNIQUE (key_hash)
);
CREATE INDEX idx_api_keys_active ON public.api_keys (is_active) WHERE is_active = true;
CREATE INDEX idx_api_keys_user_id ON public.api_keys (user_id);

-- public.profiles
CREATE TABLE public.profiles (
    id bigint GENERATED ALWAYS AS IDENTITY,
    user_id uuid,
    first_name text,
    last_name text,
    CONSTRAINT profiles_pkey PRIMARY KEY (id),
    CONSTRAINT profiles_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users (id) ON DELETE CASCADE
);
CREATE INDEX idx_profiles_user_id ON public.profiles (user_id);
REVOKE ALL ON SEQUENCE public.profiles_id_seq FROM PUBLIC, anon, authenticated;

-- public.teams
CREATE TABLE public.teams (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    name text NOT NULL,
    tier text DEFAULT 'free'::text,
    email text,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    stripe_customer_id text,
    stripe_subscription_id text,
    subscription_status public.subscription_status_enum DEFAULT 'active'::public.subscription_status_enum,
    current_period_start timestamptz,
    current_period_end timestamptz,
    cancel_at_period_end boolean DEFAULT false,
    CONSTRAINT teams_pkey PRIMARY KEY (id),
    CONSTRAINT teams_name_check CHECK (char_length(name) >= 1),
    CONSTRAINT teams_tier_check CHECK (tier IN ('free', 'pro', 'enterprise')),
    CONSTRAINT teams_stripe_customer_id_key UNIQUE (stripe_customer_id),
    CONSTRAINT teams_stripe_subscription_id_key UNIQUE (stripe_subscription_id)
);

-- public.team_members
CREATE TABLE public.team_members (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    team_id uuid NOT NULL,
    user_id uuid NOT NULL,
    role text NOT NULL,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    CONSTRAINT team_members_pkey PRIMARY KEY (id),
    CONSTRAINT team_members_role_check CHECK (role IN ('owner', 'admin', 'member')),
    CONSTRAINT team_members_unique UNIQUE (team_id, user_id),
    CONSTRAINT team_members_team_id_fkey FOREIGN KEY (team_id) REFERENCES public.teams (id) ON DELETE CASCADE,
    CONSTRAINT team_members_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users (id) ON DELETE CASCADE
);
CREATE INDEX idx_team_members_user_id ON public.team_members (user_id);

-- public.users_teams
CREATE TABLE public.users_teams (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    user_id uuid NOT NULL,
    team_id uuid NOT NULL,
    is_default boolean DEFAULT false,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    CONSTRAINT users_teams_pkey PRIMARY KEY (id),
    CONSTRAINT users_teams_unique UNIQUE (user_id, team_id),
    CONSTRAINT users_teams_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users (id) ON DELETE CASCADE,
    CONSTRAINT users_teams_team_id_fkey FOREIGN KEY (team_id) REFERENCES public.teams (id) ON DELETE CASCADE
);
CREATE INDEX idx_users_teams_team_id ON public.users_teams (team_id);

-- public.team_usage_limits
CREATE TABLE public.team_usage_limits (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    team_id uuid NOT NULL,
    usage_type text NOT NULL,
    limit_value integer DEFAULT 0 NOT NULL,
    current_usage integer DEFAULT 0 NOT NULL,
    period_start timestamptz DEFAULT now(),
    period_end timestamptz DEFAULT (now() + '1 mon'::interval),
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    CONSTRAINT team_usage_limits_pkey PRIMARY KEY (id),
    CONSTRAINT team_usage_limits_current_check CHECK (current_usage >= 0),
    CONSTRAINT team_usage_limits_limit_check CHECK (limit_value >= 0),
    CONSTRAINT team_usage_limits_usage_type_check CHECK (usage_type IN ('api_calls', 'execution_time_seconds', 'fragment_executions', 'github_imports', 'projects_created', 'storage_mb')),
    CONSTRAINT team_usage_limits_unique UNIQUE (team_id, usage_type),
    CONSTRAINT team_usage_limits_team_id_fkey FOREIGN KEY (team_id) REFERENCES public.teams (id) ON DELETE CASCADE
);

-- public.user_usage
CREATE TABLE public.user_usage (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    user_id uuid NOT NULL,
    team_id uuid,
    usage_type text NOT NULL,
    usage_date date DEFAULT CURRENT_DATE,
    usage_count integer DEFAULT 1,
    metadata jsonb DEFAULT '{}'::jsonb,
    created_at timestamptz DEFAULT now(),
    CONSTRAINT user_usage_pkey PRIMARY KEY (id),
    CONSTRAINT user_usage_count_check CHECK (usage_count >= 0),
    CONSTRAINT user_usage_usage_type_check CHECK (usage_type IN ('api_calls', 'execution_time_seconds', 'fragment_executions', 'github_imports', 'projects_created', 'storage_mb')),
    CONSTRAINT user_usage_unique UNIQUE NULLS NOT DISTINCT (user_id, team_id, usage_type, usage_date),
    CONSTRAINT user_usage_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users (id) ON DELETE CASCADE,
    CONSTRAINT user_usage_team_id_fkey FOREIGN KEY (team_id) REFERENCES public.teams (id) ON DELETE CASCADE
);
CREATE INDEX idx_user_usage_date ON public.user_usage (usage_date DESC);
CREATE INDEX idx_user_usage_team_id ON public.user_usage (team_id);
CREATE INDEX idx_user_usage_type ON public.user_usage (usage_type);

-- public.billing_info
CREATE TABLE public.billing_info (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    team_id uuid NOT NULL,
    company_name text NOT NULL,
    company_email text NOT NULL,
    tax_id text,
    address text NOT NULL,
    city text NOT NULL,
    state text NOT NULL,
    postal_code text NOT NULL,
    country text DEFAULT 'US'::text NOT NULL,
    payment_method text DEFAULT 'card'::text NOT NULL,
    billing_cycle text DEFAULT 'monthly'::text NOT NULL,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    CONSTRAINT billing_info_pkey PRIMARY KEY (id),
    CONSTRAINT billing_info_billing_cycle_check CHECK (billing_cycle IN ('monthly', 'annual')),
    CONSTRAINT billing_info_email_check CHECK (company_email ~* '^[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}$'),
    CONSTRAINT billing_info_payment_method_check CHECK (payment_method IN ('card', 'bank_transfer', 'invoice')),
    CONSTRAINT billing_info_team_id_key UNIQUE (team_id),
    CONSTRAINT billing_info_team_id_fkey FOREIGN KEY (team_id) REFERENCES public.teams (id) ON DELETE CASCADE
);

-- public.subscription_events
CREATE TABLE public.subscription_events (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    team_id uuid NOT NULL,
    stripe_event_id text,
    event_type text NOT NULL,
    event_data jsonb DEFAULT '{}'::jsonb NOT NULL,
    processed_at timestamptz DEFAULT now(),
    created_at timestamptz DEFAULT now(),
    CONSTRAINT subscription_events_pkey PRIMARY KEY (id),
    CONSTRAINT subscription_events_type_check CHECK (char_length(event_type) >= 1),
    CONSTRAINT subscription_events_team_id_fkey FOREIGN KEY (team_id) REFERENCES public.teams (id) ON DELETE CASCADE,
    CONSTRAINT subscription_events_stripe_event_id_key UNIQUE (stripe_event_id)
);
CREATE INDEX idx_subscription_events_team_id ON public.subscription_events (team_id);

-- public.projects
CREATE TABLE public.projects (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    user_id uuid NOT NULL,
    team_id uuid,
    title text NOT NULL,
    description text,
    template_id text,
    status public.project_status_enum DEFAULT 'active'::public.project_status_enum,
    is_public boolean DEFAULT false,
    metadata jsonb DEFAULT '{}'::jsonb,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    deleted_at timestamptz,
    CONSTRAINT projects_pkey PRIMARY KEY (id),
    CONSTRAINT projects_title_check CHECK (char_length(title) >= 1),
    CONSTRAINT projects_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users (id) ON DELETE CASCADE,
    CONSTRAINT projects_team_id_fkey FOREIGN KEY (team_id) REFERENCES public.teams (id) ON DELETE SET NULL
);
CREATE INDEX idx_projects_created_at ON public.projects (created_at DESC);
CREATE INDEX idx_projects_deleted_at ON public.projects (deleted_at) WHERE deleted_at IS NOT NULL;
CREATE INDEX idx_projects_status ON public.projects (status);
CREATE INDEX idx_projects_team_id ON public.projects (team_id);
CREATE INDEX idx_projects_updated_at ON public.projects (updated_at DESC);
CREATE INDEX idx_projects_user_id ON public.projects (user_id);

-- public.messages
CREATE TABLE public.messages (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    project_id uuid NOT NULL,
    role public.message_role_enum NOT NULL,
    content jsonb NOT NULL,
    object_data jsonb,
    result_data jsonb,
    sequence_number integer NOT NULL,
    created_at timestamptz DEFAULT now(),
    CONSTRAINT messages_pkey PRIMARY KEY (id),
    CONSTRAINT messages_sequence_positive CHECK (sequence_number >= 0),
    CONSTRAINT messages_project_id_sequence_number_key UNIQUE (project_id, sequence_number),
    CONSTRAINT messages_project_id_fkey FOREIGN KEY (project_id) REFERENCES public.projects (id) ON DELETE CASCADE
);
CREATE INDEX idx_messages_created_at ON public.messages (created_at DESC);
CREATE INDEX idx_messages_search ON public.messages USING gin ((CASE
    WHEN octet_length(content::text) < 200000 THEN to_tsvector('english'::regconfig, content)
    ELSE to_tsvector('english'::regconfig, replace("left"(content::text, 100000), '\n'::text, ' '::text))
END));

-- public.fragments
CREATE TABLE public.fragments (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    user_id uuid NOT NULL,
    project_id uuid,
    title text NOT NULL,
    description text,
    template text NOT NULL,
    code text NOT NULL,
    file_path text NOT NULL,
    additional_dependencies text[],
    has_additional_dependencies boolean DEFAULT false,
    install_dependencies_command text,
    port integer,
    is_public boolean DEFAULT false,
    metadata jsonb DEFAULT '{}'::jsonb,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    CONSTRAINT fragments_pkey PRIMARY KEY (id),
    CONSTRAINT fragments_port_check CHECK (port IS NULL OR (port > 0 AND port <= 65535)),
    CONSTRAINT fragments_title_check CHECK (char_length(title) >= 1),
    CONSTRAINT fragments_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users (id) ON DELETE CASCADE,
    CONSTRAINT fragments_project_id_fkey FOREIGN KEY (project_id) REFERENCES public.projects (id) ON DELETE CASCADE
);
CREATE INDEX idx_fragments_project_id ON public.fragments (project_id);
CREATE INDEX idx_fragments_public ON public.fragments (is_public) WHERE is_public = true;
CREATE INDEX idx_fragments_template ON public.fragments (template);
CREATE INDEX idx_fragments_user_id ON public.fragments (user_id);

-- public.fragment_executions
CREATE TABLE public.fragment_executions (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    fragment_id uuid NOT NULL,
    user_id uuid NOT NULL,
    sandbox_id text,
    template text NOT NULL,
    status text DEFAULT 'pending'::text,
    execution_url text,
    stdout text,
    stderr text,
    runtime_error text,
    cell_results jsonb,
    execution_time_ms integer,
    started_at timestamptz DEFAULT now(),
    completed_at timestamptz,
    metadata jsonb DEFAULT '{}'::jsonb,
    CONSTRAINT fragment_executions_pkey PRIMARY KEY (id),
    CONSTRAINT fragment_executions_status_check CHECK (status IN ('pending', 'running', 'completed', 'failed', 'timeout')),
    CONSTRAINT fragment_executions_time_check CHECK (execution_time_ms IS NULL OR execution_time_ms >= 0),
    CONSTRAINT fragment_executions_fragment_id_fkey FOREIGN KEY (fragment_id) REFERENCES public.fragments (id) ON DELETE CASCADE,
    CONSTRAINT fragment_executions_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users (id) ON DELETE CASCADE
);
CREATE INDEX idx_fragment_executions_fragment_id ON public.fragment_executions (fragment_id);
CREATE INDEX idx_fragment_executions_user_id ON public.fragment_executions (user_id);

-- public.file_uploads
CREATE TABLE public.file_uploads (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    user_id uuid NOT NULL,
    project_id uuid,
    file_name text NOT NULL,
    file_path text NOT NULL,
    file_size bigint,
    mime_type text,
    bucket_name text NOT NULL,
    is_public boolean DEFAULT false,
    metadata jsonb DEFAULT '{}'::jsonb,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    CONSTRAINT file_uploads_pkey PRIMARY KEY (id),
    CONSTRAINT file_uploads_name_check CHECK (char_length(file_name) >= 1),
    CONSTRAINT file_uploads_size_check CHECK (file_size IS NULL OR file_size >= 0),
    CONSTRAINT file_uploads_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users (id) ON DELETE CASCADE,
    CONSTRAINT file_uploads_project_id_fkey FOREIGN KEY (project_id) REFERENCES public.projects (id) ON DELETE CASCADE
);
CREATE INDEX idx_file_uploads_created_at ON public.file_uploads (created_at DESC);
CREATE INDEX idx_file_uploads_project_id ON public.file_uploads (project_id);
CREATE INDEX idx_file_uploads_user_id ON public.file_uploads (user_id);

-- public.workspace_files
CREATE TABLE public.workspace_files (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    user_id uuid NOT NULL,
    project_id uuid,
    path text NOT NULL,
    name text NOT NULL,
    content text DEFAULT ''::text NOT NULL,
    is_directory boolean DEFAULT false,
    parent_path text,
    mime_type text,
    size_bytes bigint DEFAULT 0,
    metadata jsonb DEFAULT '{}'::jsonb,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    CONSTRAINT workspace_files_pkey PRIMARY KEY (id),
    CONSTRAINT workspace_files_name_check CHECK (char_length(name) >= 1),
    CONSTRAINT workspace_files_path_check CHECK (char_length(path) >= 1),
    CONSTRAINT workspace_files_size_check CHECK (size_bytes >= 0),
    CONSTRAINT workspace_files_unique_path UNIQUE (user_id, path),
    CONSTRAINT workspace_files_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users (id) ON DELETE CASCADE,
    CONSTRAINT workspace_files_project_id_fkey FOREIGN KEY (project_id) REFERENCES public.projects (id) ON DELETE CASCADE
);
CREATE INDEX idx_workspace_files_created_at ON public.workspace_files (created_at DESC);
CREATE INDEX idx_workspace_files_parent_path ON public.workspace_files (user_id, parent_path);
CREATE INDEX idx_workspace_files_project_id ON public.workspace_files (project_id);

-- public.chat_sessions
CREATE TABLE public.chat_sessions (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    session_id varchar NOT NULL,
    user_id uuid NOT NULL,
    team_id uuid,
    title text,
    status varchar DEFAULT 'active'::character varying,
    message_count integer DEFAULT 0,
    model varchar,
    template varchar,
    s3_metadata_key text,
    s3_messages_key text,
    total_tokens integer DEFAULT 0,
    estimated_cost numeric DEFAULT 0,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    last_activity timestamptz DEFAULT now(),
    CONSTRAINT chat_sessions_pkey PRIMARY KEY (id),
    CONSTRAINT chat_sessions_cost_check CHECK (estimated_cost >= 0),
    CONSTRAINT chat_sessions_count_check CHECK (message_count >= 0),
    CONSTRAINT chat_sessions_status_check CHECK (status IN ('active', 'archived', 'deleted')),
    CONSTRAINT chat_sessions_tokens_check CHECK (total_tokens >= 0),
    CONSTRAINT chat_sessions_session_id_key UNIQUE (session_id),
    CONSTRAINT chat_sessions_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users (id) ON DELETE CASCADE,
    CONSTRAINT fk_chat_sessions_team FOREIGN KEY (team_id) REFERENCES public.teams (id) ON DELETE SET NULL
);
CREATE INDEX idx_chat_sessions_last_activity ON public.chat_sessions (last_activity DESC);
CREATE INDEX idx_chat_sessions_status ON public.chat_sessions (status);
CREATE INDEX idx_chat_sessions_team_id ON public.chat_sessions (team_id);
CREATE INDEX idx_chat_sessions_user_id ON public.chat_sessions (user_id);

-- public.chat_message_cache
CREATE TABLE public.chat_message_cache (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    session_id uuid NOT NULL,
    message_id varchar NOT NULL,
    role varchar NOT NULL,
    content text NOT NULL,
    content_hash varchar,
    model varchar,
    template varchar,
    token_count integer,
    execution_time_ms integer,
    created_at timestamptz DEFAULT now(),
    content_vector tsvector GENERATED ALWAYS AS (to_tsvector('english'::regconfig, content)) STORED,
    CONSTRAINT chat_message_cache_pkey PRIMARY KEY (id),
    CONSTRAINT chat_message_cache_role_check CHECK (role IN ('user', 'assistant', 'system')),
    CONSTRAINT chat_message_cache_time_check CHECK (execution_time_ms IS NULL OR execution_time_ms >= 0),
    CONSTRAINT chat_message_cache_token_check CHECK (token_count IS NULL OR token_count >= 0),
    CONSTRAINT chat_message_cache_session_id_fkey FOREIGN KEY (session_id) REFERENCES public.chat_sessions (id) ON DELETE CASCADE
);
CREATE INDEX idx_chat_message_cache_content_vector ON public.chat_message_cache USING gin (content_vector);
CREATE INDEX idx_chat_message_cache_created_at ON public.chat_message_cache (created_at DESC);
CREATE INDEX idx_chat_message_cache_model ON public.chat_message_cache (model);
CREATE INDEX idx_chat_message_cache_session_id ON public.chat_message_cache (session_id);

-- public.chat_session_tags
CREATE TABLE public.chat_session_tags (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    session_id uuid NOT NULL,
    tag varchar NOT NULL,
    created_at timestamptz DEFAULT now(),
    CONSTRAINT chat_session_tags_pkey PRIMARY KEY (id),
    CONSTRAINT chat_session_tags_tag_check CHECK (char_length(tag) >= 1),
    CONSTRAINT chat_session_tags_unique UNIQUE (session_id, tag),
    CONSTRAINT chat_session_tags_session_id_fkey FOREIGN KEY (session_id) REFERENCES public.chat_sessions (id) ON DELETE CASCADE
);

-- public.chat_export_requests
CREATE TABLE public.chat_export_requests (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    user_id uuid NOT NULL,
    export_type varchar NOT NULL,
    status varchar DEFAULT 'pending'::character varying,
    date_from timestamptz,
    date_to timestamptz,
    session_ids uuid[],
    s3_export_key text,
    file_size_bytes bigint,
    record_count integer,
    error_message text,
    created_at timestamptz DEFAULT now(),
    completed_at timestamptz,
    CONSTRAINT chat_export_requests_pkey PRIMARY KEY (id),
    CONSTRAINT chat_export_requests_count_check CHECK (record_count IS NULL OR record_count >= 0),
    CONSTRAINT chat_export_requests_export_type_check CHECK (export_type IN ('json', 'csv')),
    CONSTRAINT chat_export_requests_size_check CHECK (file_size_bytes IS NULL OR file_size_bytes >= 0),
    CONSTRAINT chat_export_requests_status_check CHECK (status IN ('pending', 'processing', 'completed', 'failed')),
    CONSTRAINT chat_export_requests_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users (id) ON DELETE CASCADE
);
CREATE INDEX idx_chat_export_requests_user_id ON public.chat_export_requests (user_id);

-- public.user_chat_analytics
CREATE TABLE public.user_chat_analytics (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    user_id uuid NOT NULL,
    total_sessions integer DEFAULT 0,
    total_messages integer DEFAULT 0,
    total_tokens integer DEFAULT 0,
    total_cost numeric DEFAULT 0,
    model_usage jsonb DEFAULT '{}'::jsonb,
    template_usage jsonb DEFAULT '{}'::jsonb,
    last_activity timestamptz,
    most_active_hour integer,
    most_active_day integer,
    favorite_models text[],
    favorite_templates text[],
    s3_objects_count integer DEFAULT 0,
    estimated_storage_size_bytes bigint DEFAULT 0,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    CONSTRAINT user_chat_analytics_pkey PRIMARY KEY (id),
    CONSTRAINT user_chat_analytics_cost_check CHECK (total_cost >= 0),
    CONSTRAINT user_chat_analytics_day_check CHECK (most_active_day IS NULL OR (most_active_day >= 0 AND most_active_day <= 6)),
    CONSTRAINT user_chat_analytics_hour_check CHECK (most_active_hour IS NULL OR (most_active_hour >= 0 AND most_active_hour <= 23)),
    CONSTRAINT user_chat_analytics_messages_check CHECK (total_messages >= 0),
    CONSTRAINT user_chat_analytics_sessions_check CHECK (total_sessions >= 0),
    CONSTRAINT user_chat_analytics_tokens_check CHECK (total_tokens >= 0),
    CONSTRAINT user_chat_analytics_user_id_key UNIQUE (user_id),
    CONSTRAINT user_chat_analytics_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users (id) ON DELETE CASCADE
);

-- public.conversation_threads
CREATE TABLE public.conversation_threads (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    name text NOT NULL,
    created_by uuid NOT NULL,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    is_archived boolean DEFAULT false,
    CONSTRAINT conversation_threads_pkey PRIMARY KEY (id),
    CONSTRAINT conversation_threads_name_check CHECK (char_length(name) >= 1),
    CONSTRAINT conversation_threads_created_by_fkey FOREIGN KEY (created_by) REFERENCES auth.users (id) ON DELETE CASCADE
);
CREATE INDEX idx_conversation_threads_created_by ON public.conversation_threads (created_by);

-- public.thread_messages
CREATE TABLE public.thread_messages (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    thread_id uuid NOT NULL,
    sender_id uuid NOT NULL,
    content text NOT NULL,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    is_deleted boolean DEFAULT false,
    CONSTRAINT thread_messages_pkey PRIMARY KEY (id),
    CONSTRAINT thread_messages_content_check CHECK (char_length(content) >= 1),
    CONSTRAINT thread_messages_thread_id_fkey FOREIGN KEY (thread_id) REFERENCES public.conversation_threads (id) ON DELETE CASCADE,
    CONSTRAINT thread_messages_sender_id_fkey FOREIGN KEY (sender_id) REFERENCES auth.users (id) ON DELETE CASCADE
);
CREATE INDEX idx_thread_messages_sender_id ON public.thread_messages (sender_id);
CREATE INDEX idx_thread_messages_thread_id ON public.thread_messages (thread_id);

-- public.thread_summaries
CREATE TABLE public.thread_summaries (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    thread_id uuid NOT NULL,
    summary text NOT NULL,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    message_count integer NOT NULL,
    last_message_id uuid,
    CONSTRAINT thread_summaries_pkey PRIMARY KEY (id),
    CONSTRAINT thread_summaries_count_check CHECK (message_count >= 0),
    CONSTRAINT thread_summaries_thread_id_fkey FOREIGN KEY (thread_id) REFERENCES public.conversation_threads (id) ON DELETE CASCADE,
    CONSTRAINT thread_summaries_last_message_id_fkey FOREIGN KEY (last_message_id) REFERENCES public.thread_messages (id) ON DELETE SET NULL
);
CREATE INDEX idx_thread_summaries_last_message_id ON public.thread_summaries (last_message_id);
CREATE INDEX idx_thread_summaries_thread_id ON public.thread_summaries (thread_id);

-- public.workflows
CREATE TABLE public.workflows (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    team_id uuid NOT NULL,
    name text NOT NULL,
    description text,
    schema jsonb NOT NULL,
    is_active boolean DEFAULT true,
    version integer DEFAULT 1,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    CONSTRAINT workflows_pkey PRIMARY KEY (id),
    CONSTRAINT workflows_name_check CHECK (char_length(name) >= 1),
    CONSTRAINT workflows_version_check CHECK (version >= 1),
    CONSTRAINT workflows_team_id_fkey FOREIGN KEY (team_id) REFERENCES public.teams (id) ON DELETE CASCADE
);
CREATE INDEX idx_workflows_team_id ON public.workflows (team_id);

-- public.workflow_executions
CREATE TABLE public.workflow_executions (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    workflow_id uuid NOT NULL,
    status text NOT NULL,
    input_data jsonb DEFAULT '{}'::jsonb,
    output_data jsonb,
    execution_log jsonb[] DEFAULT '{}'::jsonb[],
    started_at timestamptz DEFAULT now(),
    completed_at timestamptz,
    error text,
    created_by uuid NOT NULL,
    CONSTRAINT workflow_executions_pkey PRIMARY KEY (id),
    CONSTRAINT workflow_executions_status_check CHECK (status IN ('running', 'completed', 'failed', 'cancelled')),
    CONSTRAINT workflow_executions_workflow_id_fkey FOREIGN KEY (workflow_id) REFERENCES public.workflows (id) ON DELETE CASCADE,
    CONSTRAINT workflow_executions_created_by_fkey FOREIGN KEY (created_by) REFERENCES auth.users (id) ON DELETE CASCADE
);
CREATE INDEX idx_workflow_executions_created_by ON public.workflow_executions (created_by);
CREATE INDEX idx_workflow_executions_workflow_id ON public.workflow_executions (workflow_id);

-- public.workflow_templates
CREATE TABLE public.workflow_templates (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    name text NOT NULL,
    description text,
    category text NOT NULL,
    schema jsonb NOT NULL,
    is_public boolean DEFAULT false,
    created_by uuid NOT NULL,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    usage_count integer DEFAULT 0,
    rating numeric DEFAULT 0.0,
    CONSTRAINT workflow_templates_pkey PRIMARY KEY (id),
    CONSTRAINT workflow_templates_category_check CHECK (char_length(category) >= 1),
    CONSTRAINT workflow_templates_name_check CHECK (char_length(name) >= 1),
    CONSTRAINT workflow_templates_rating_check CHECK (rating >= 0.0 AND rating <= 5.0),
    CONSTRAINT workflow_templates_usage_check CHECK (usage_count >= 0),
    CONSTRAINT workflow_templates_created_by_fkey FOREIGN KEY (created_by) REFERENCES auth.users (id) ON DELETE CASCADE
);
CREATE INDEX idx_workflow_templates_created_by ON public.workflow_templates (created_by);
