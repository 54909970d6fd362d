-- The application's schema `public` as its own SQL makes it, faults included; on top of Supabase, or of original_platform.sql.
-- What refers to other columns in a DEFAULT is generated here, for else no server takes it at all.

CREATE FUNCTION extensions.uuid_generate_v4() RETURNS uuid LANGUAGE sql AS 'SELECT gen_random_uuid()';
GRANT EXECUTE ON FUNCTION extensions.uuid_generate_v4() TO PUBLIC;
CREATE SEQUENCE public.tasks_id_seq;
CREATE SEQUENCE public.profiles_id_seq;

CREATE FUNCTION public.update_updated_at_column() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at = now();
    RETURN NEW;
END $$;

CREATE TYPE public.message_role_enum AS ENUM ('user', 'assistant');
CREATE TYPE public.project_status_enum AS ENUM ('active', 'archived', 'deleted');
CREATE TYPE public.subscription_status_enum AS ENUM ('active', 'canceled', 'past_due', 'unpaid', 'incomplete');
CREATE TYPE public.task_status_enum AS ENUM ('pending', 'processing', 'completed', 'error');

CREATE TABLE public.teams (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    name text NOT NULL,
    tier text DEFAULT 'free',
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
    CONSTRAINT teams_tier_check CHECK (tier = ANY (ARRAY['free', 'pro', 'enterprise'])),
    CONSTRAINT teams_stripe_customer_id_key UNIQUE (stripe_customer_id),
    CONSTRAINT teams_stripe_subscription_id_key UNIQUE (stripe_subscription_id)
);
CREATE INDEX idx_teams_stripe_customer_id ON public.teams (stripe_customer_id);
ALTER TABLE public.teams ENABLE ROW LEVEL SECURITY;
CREATE TRIGGER update_teams_updated_at BEFORE UPDATE ON public.teams
    FOR EACH ROW EXECUTE FUNCTION public.update_updated_at_column();
GRANT ALL ON public.teams TO authenticated;

CREATE TABLE public.team_members (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    team_id uuid NOT NULL,
    user_id uuid NOT NULL,
    role text NOT NULL,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    CONSTRAINT team_members_pkey PRIMARY KEY (id),
    CONSTRAINT team_members_role_check CHECK (role = ANY (ARRAY['owner', 'admin', 'member'])),
    CONSTRAINT team_members_unique UNIQUE (team_id, user_id),
    CONSTRAINT team_members_team_id_fkey FOREIGN KEY (team_id) REFERENCES public.teams(id) ON DELETE CASCADE,
    CONSTRAINT team_members_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users(id) ON DELETE CASCADE
);
CREATE INDEX idx_team_members_team_id ON public.team_members (team_id);
CREATE INDEX idx_team_members_user_id ON public.team_members (user_id);
ALTER TABLE public.team_members ENABLE ROW LEVEL SECURITY;
GRANT ALL ON public.team_members TO authenticated;
CREATE POLICY "Team members can view their teams" ON public.teams FOR SELECT
    USING (EXISTS ( SELECT 1 FROM public.team_members WHERE ((team_members.team_id = teams.id) AND (team_members.user_id = auth.uid()))));

CREATE TABLE public.users_teams (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    user_id uuid NOT NULL,
    team_id uuid NOT NULL,
    is_default boolean DEFAULT false,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    CONSTRAINT users_teams_pkey PRIMARY KEY (id),
    CONSTRAINT users_teams_unique UNIQUE (user_id, team_id),
    CONSTRAINT users_teams_team_id_fkey FOREIGN KEY (team_id) REFERENCES public.teams(id) ON DELETE CASCADE,
    CONSTRAINT users_teams_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users(id) ON DELETE CASCADE
);
ALTER TABLE public.users_teams ENABLE ROW LEVEL SECURITY;
GRANT ALL ON public.users_teams TO authenticated;

CREATE TABLE public.team_usage_limits (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    team_id uuid NOT NULL,
    usage_type text NOT NULL,
    limit_value integer NOT NULL DEFAULT 0,
    current_usage integer NOT NULL DEFAULT 0,
    period_start timestamptz DEFAULT now(),
    period_end timestamptz DEFAULT (now() + '1 mon'::interval),
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    CONSTRAINT team_usage_limits_pkey PRIMARY KEY (id),
    CONSTRAINT team_usage_limits_current_check CHECK (current_usage >= 0),
    CONSTRAINT team_usage_limits_limit_check CHECK (limit_value >= 0),
    CONSTRAINT team_usage_limits_usage_type_check CHECK (usage_type = ANY (ARRAY['github_imports', 'storage_mb', 'execution_time_seconds', 'api_calls'])),
    CONSTRAINT team_usage_limits_unique UNIQUE (team_id, usage_type),
    CONSTRAINT team_usage_limits_team_id_fkey FOREIGN KEY (team_id) REFERENCES public.teams(id) ON DELETE CASCADE
);
CREATE INDEX idx_team_usage_limits_team_id ON public.team_usage_limits (team_id);
ALTER TABLE public.team_usage_limits ENABLE ROW LEVEL SECURITY;
GRANT ALL ON public.team_usage_limits TO authenticated;

CREATE TABLE public.user_usage (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    user_id uuid NOT NULL,
    team_id uuid,
    usage_type text NOT NULL,
    usage_date date DEFAULT CURRENT_DATE,
    usage_count integer DEFAULT 1,
    metadata jsonb DEFAULT '{}',
    created_at timestamptz DEFAULT now(),
    CONSTRAINT user_usage_pkey PRIMARY KEY (id),
    CONSTRAINT user_usage_count_check CHECK (usage_count >= 0),
    CONSTRAINT user_usage_usage_type_check CHECK (usage_type = ANY (ARRAY['fragment_execution', 'api_call', 'storage_used', 'project_created', 'github_import'])),
    CONSTRAINT user_usage_team_id_fkey FOREIGN KEY (team_id) REFERENCES public.teams(id) ON DELETE CASCADE,
    CONSTRAINT user_usage_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users(id) ON DELETE CASCADE
);
CREATE INDEX idx_user_usage_date ON public.user_usage (usage_date DESC);
CREATE INDEX idx_user_usage_type ON public.user_usage (usage_type);
CREATE INDEX idx_user_usage_user_id ON public.user_usage (user_id);
ALTER TABLE public.user_usage ENABLE ROW LEVEL SECURITY;
GRANT ALL ON public.user_usage TO authenticated;

CREATE TABLE public.billing_info (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    team_id uuid NOT NULL,
    company_name text NOT NULL,
    company_email text NOT NULL,
    tax_id text,
    address text NOT NULL,
    city text NOT NULL,
    state text NOT NULL,
    postal_code text NOT NULL,
    country text NOT NULL DEFAULT 'US',
    payment_method text NOT NULL DEFAULT 'card',
    billing_cycle text NOT NULL DEFAULT 'monthly',
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    CONSTRAINT billing_info_pkey PRIMARY KEY (id),
    CONSTRAINT billing_info_billing_cycle_check CHECK (billing_cycle = ANY (ARRAY['monthly', 'annual'])),
    CONSTRAINT billing_info_email_check CHECK (company_email ~* '^[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}$'),
    CONSTRAINT billing_info_payment_method_check CHECK (payment_method = ANY (ARRAY['card', 'bank_transfer', 'invoice'])),
    CONSTRAINT billing_info_team_id_key UNIQUE (team_id),
    CONSTRAINT billing_info_team_id_fkey FOREIGN KEY (team_id) REFERENCES public.teams(id) ON DELETE CASCADE
);
ALTER TABLE public.billing_info ENABLE ROW LEVEL SECURITY;
GRANT ALL ON public.billing_info TO authenticated;

CREATE TABLE public.subscription_events (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    team_id uuid NOT NULL,
    stripe_event_id text,
    event_type text NOT NULL,
    event_data jsonb NOT NULL DEFAULT '{}',
    processed_at timestamptz DEFAULT now(),
    created_at timestamptz DEFAULT now(),
    CONSTRAINT subscription_events_pkey PRIMARY KEY (id),
    CONSTRAINT subscription_events_type_check CHECK (char_length(event_type) >= 1),
    CONSTRAINT subscription_events_stripe_event_id_key UNIQUE (stripe_event_id),
    CONSTRAINT subscription_events_team_id_fkey FOREIGN KEY (team_id) REFERENCES public.teams(id) ON DELETE CASCADE
);
GRANT ALL ON public.subscription_events TO authenticated;

CREATE TABLE public.user_profiles (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
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
    CONSTRAINT user_profiles_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users(id) ON DELETE CASCADE
);
CREATE INDEX idx_user_profiles_user_id ON public.user_profiles (user_id);
ALTER TABLE public.user_profiles ENABLE ROW LEVEL SECURITY;
CREATE POLICY "Users can insert their own profile" ON public.user_profiles FOR INSERT
    WITH CHECK (auth.uid() = user_id);
CREATE POLICY "Users can update their own profile" ON public.user_profiles FOR UPDATE
    USING (auth.uid() = user_id);
CREATE POLICY "Users can view their own profile" ON public.user_profiles FOR SELECT
    USING (auth.uid() = user_id);
CREATE TRIGGER update_user_profiles_updated_at BEFORE UPDATE ON public.user_profiles
    FOR EACH ROW EXECUTE FUNCTION public.update_updated_at_column();
GRANT ALL ON public.user_profiles TO authenticated;

CREATE TABLE public.user_preferences (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    user_id uuid NOT NULL,
    ai_assistance boolean DEFAULT true,
    smart_suggestions boolean DEFAULT false,
    theme text DEFAULT 'system',
    font_family text DEFAULT 'inter',
    email_notifications boolean DEFAULT true,
    marketing_emails boolean DEFAULT false,
    security_alerts boolean DEFAULT true,
    analytics_enabled boolean DEFAULT true,
    data_sharing_enabled boolean DEFAULT false,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    CONSTRAINT user_preferences_pkey PRIMARY KEY (id),
    CONSTRAINT user_preferences_font_family_check CHECK (font_family = ANY (ARRAY['inter', 'jetbrains-mono', 'cal-sans'])),
    CONSTRAINT user_preferences_theme_check CHECK (theme = ANY (ARRAY['light', 'dark', 'system'])),
    CONSTRAINT user_preferences_user_id_key UNIQUE (user_id),
    CONSTRAINT user_preferences_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users(id) ON DELETE CASCADE
);
CREATE INDEX idx_user_preferences_user_id ON public.user_preferences (user_id);
ALTER TABLE public.user_preferences ENABLE ROW LEVEL SECURITY;
CREATE POLICY "Users can manage their own preferences" ON public.user_preferences FOR ALL
    USING (auth.uid() = user_id);
CREATE TRIGGER update_user_preferences_updated_at BEFORE UPDATE ON public.user_preferences
    FOR EACH ROW EXECUTE FUNCTION public.update_updated_at_column();
GRANT ALL ON public.user_preferences TO authenticated;

CREATE TABLE public.user_security_settings (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    user_id uuid NOT NULL,
    two_factor_enabled boolean DEFAULT false,
    backup_codes text[],
    last_password_change timestamptz,
    login_notifications boolean DEFAULT true,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    CONSTRAINT user_security_settings_pkey PRIMARY KEY (id),
    CONSTRAINT user_security_settings_user_id_key UNIQUE (user_id),
    CONSTRAINT user_security_settings_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users(id) ON DELETE CASCADE
);
ALTER TABLE public.user_security_settings ENABLE ROW LEVEL SECURITY;
GRANT ALL ON public.user_security_settings TO authenticated;

CREATE TABLE public.user_integrations (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    user_id uuid NOT NULL,
    service_name text NOT NULL,
    is_connected boolean DEFAULT false,
    connection_data jsonb,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    CONSTRAINT user_integrations_pkey PRIMARY KEY (id),
    CONSTRAINT user_integrations_service_name_check CHECK (service_name = ANY (ARRAY['github', 'google_drive', 'gmail', 'google_calendar', 'artifacts'])),
    CONSTRAINT user_integrations_unique UNIQUE (user_id, service_name),
    CONSTRAINT user_integrations_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users(id) ON DELETE CASCADE
);
ALTER TABLE public.user_integrations ENABLE ROW LEVEL SECURITY;
GRANT ALL ON public.user_integrations TO authenticated;

CREATE TABLE public.api_keys (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    user_id uuid NOT NULL,
    name text NOT NULL,
    key_hash text NOT NULL,
    key_prefix text NOT NULL,
    permissions jsonb DEFAULT '{}',
    last_used_at timestamptz,
    expires_at timestamptz,
    is_active boolean DEFAULT true,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    CONSTRAINT api_keys_pkey PRIMARY KEY (id),
    CONSTRAINT api_keys_name_check CHECK (char_length(name) >= 1),
    CONSTRAINT api_keys_prefix_check CHECK (char_length(key_prefix) >= 1),
    CONSTRAINT api_keys_key_hash_key UNIQUE (key_hash),
    CONSTRAINT api_keys_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users(id) ON DELETE CASCADE
);
CREATE INDEX idx_api_keys_active ON public.api_keys (is_active) WHERE (is_active = true);
CREATE INDEX idx_api_keys_hash ON public.api_keys (key_hash);
CREATE INDEX idx_api_keys_user_id ON public.api_keys (user_id);
ALTER TABLE public.api_keys ENABLE ROW LEVEL SECURITY;
CREATE POLICY "Users can manage their own API keys" ON public.api_keys FOR ALL
    USING (auth.uid() = user_id);
GRANT ALL ON public.api_keys TO authenticated;

CREATE TABLE public.profiles (
    id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    user_id uuid,
    first_name text,
    last_name text,
    CONSTRAINT profiles_pkey PRIMARY KEY (id),
    CONSTRAINT profiles_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users(id) ON DELETE CASCADE
);
GRANT ALL ON public.profiles TO authenticated;

CREATE TABLE public.projects (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    user_id uuid NOT NULL,
    team_id uuid,
    title text NOT NULL,
    description text,
    template_id text,
    status public.project_status_enum DEFAULT 'active'::public.project_status_enum,
    is_public boolean DEFAULT false,
    metadata jsonb DEFAULT '{}',
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    deleted_at timestamptz,
    CONSTRAINT projects_pkey PRIMARY KEY (id),
    CONSTRAINT projects_title_check CHECK (char_length(title) >= 1),
    CONSTRAINT projects_team_id_fkey FOREIGN KEY (team_id) REFERENCES public.teams(id) ON DELETE SET NULL,
    CONSTRAINT projects_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users(id) ON DELETE CASCADE
);
CREATE INDEX idx_projects_created_at ON public.projects (created_at DESC);
CREATE INDEX idx_projects_status ON public.projects (status);
CREATE INDEX idx_projects_team_id ON public.projects (team_id);
CREATE INDEX idx_projects_updated_at ON public.projects (updated_at DESC);
CREATE INDEX idx_projects_user_id ON public.projects (user_id);
ALTER TABLE public.projects ENABLE ROW LEVEL SECURITY;
CREATE POLICY "Users can delete their own projects" ON public.projects FOR DELETE
    USING (auth.uid() = user_id);
CREATE POLICY "Users can insert their own projects" ON public.projects FOR INSERT
    WITH CHECK (auth.uid() = user_id);
CREATE POLICY "Users can update their own projects" ON public.projects FOR UPDATE
    USING (auth.uid() = user_id);
CREATE POLICY "Users can view their own projects" ON public.projects FOR SELECT
    USING ((auth.uid() = user_id) OR (is_public = true));
CREATE TRIGGER update_projects_updated_at BEFORE UPDATE ON public.projects
    FOR EACH ROW EXECUTE FUNCTION public.update_updated_at_column();
GRANT ALL ON public.projects TO authenticated;

CREATE TABLE public.messages (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    project_id uuid NOT NULL,
    role public.message_role_enum NOT NULL,
    content jsonb NOT NULL,
    object_data jsonb,
    result_data jsonb,
    sequence_number integer NOT NULL,
    created_at timestamptz DEFAULT now(),
    CONSTRAINT messages_pkey PRIMARY KEY (id),
    CONSTRAINT messages_sequence_positive CHECK (sequence_number >= 0),
    CONSTRAINT messages_project_id_fkey FOREIGN KEY (project_id) REFERENCES public.projects(id) ON DELETE CASCADE
);
CREATE INDEX idx_messages_created_at ON public.messages (created_at DESC);
CREATE INDEX idx_messages_project_id ON public.messages (project_id);
CREATE INDEX idx_messages_sequence ON public.messages (project_id, sequence_number);
ALTER TABLE public.messages ENABLE ROW LEVEL SECURITY;
CREATE POLICY "Users can insert messages to their projects" ON public.messages FOR INSERT
    WITH CHECK (EXISTS ( SELECT 1 FROM public.projects WHERE ((projects.id = messages.project_id) AND (projects.user_id = auth.uid()))));
CREATE POLICY "Users can view messages from their projects" ON public.messages FOR SELECT
    USING (EXISTS ( SELECT 1 FROM public.projects WHERE ((projects.id = messages.project_id) AND ((projects.user_id = auth.uid()) OR (projects.is_public = true)))));
GRANT ALL ON public.messages TO authenticated;

CREATE TABLE public.fragments (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
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
    metadata jsonb DEFAULT '{}',
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    CONSTRAINT fragments_pkey PRIMARY KEY (id),
    CONSTRAINT fragments_port_check CHECK ((port IS NULL) OR ((port > 0) AND (port <= 65535))),
    CONSTRAINT fragments_title_check CHECK (char_length(title) >= 1),
    CONSTRAINT fragments_project_id_fkey FOREIGN KEY (project_id) REFERENCES public.projects(id) ON DELETE CASCADE,
    CONSTRAINT fragments_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users(id) ON DELETE CASCADE
);
CREATE INDEX idx_fragments_project_id ON public.fragments (project_id);
CREATE INDEX idx_fragments_public ON public.fragments (is_public) WHERE (is_public = true);
CREATE INDEX idx_fragments_template ON public.fragments (template);
CREATE INDEX idx_fragments_user_id ON public.fragments (user_id);
ALTER TABLE public.fragments ENABLE ROW LEVEL SECURITY;
CREATE POLICY "Users can manage their own fragments" ON public.fragments FOR ALL
    USING (auth.uid() = user_id);
CREATE POLICY "Users can view their own fragments or public ones" ON public.fragments FOR SELECT
    USING ((auth.uid() = user_id) OR (is_public = true));
CREATE TRIGGER update_fragments_updated_at BEFORE UPDATE ON public.fragments
    FOR EACH ROW EXECUTE FUNCTION public.update_updated_at_column();
GRANT ALL ON public.fragments TO authenticated;

CREATE TABLE public.fragment_executions (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    fragment_id uuid NOT NULL,
    user_id uuid NOT NULL,
    sandbox_id text,
    template text NOT NULL,
    status text DEFAULT 'pending',
    execution_url text,
    stdout text,
    stderr text,
    runtime_error text,
    cell_results jsonb,
    execution_time_ms integer,
    started_at timestamptz DEFAULT now(),
    completed_at timestamptz,
    metadata jsonb DEFAULT '{}',
    CONSTRAINT fragment_executions_pkey PRIMARY KEY (id),
    CONSTRAINT fragment_executions_status_check CHECK (status = ANY (ARRAY['pending', 'running', 'completed', 'failed', 'timeout'])),
    CONSTRAINT fragment_executions_time_check CHECK ((execution_time_ms IS NULL) OR (execution_time_ms >= 0)),
    CONSTRAINT fragment_executions_fragment_id_fkey FOREIGN KEY (fragment_id) REFERENCES public.fragments(id) ON DELETE CASCADE,
    CONSTRAINT fragment_executions_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users(id) ON DELETE CASCADE
);
ALTER TABLE public.fragment_executions ENABLE ROW LEVEL SECURITY;
GRANT ALL ON public.fragment_executions TO authenticated;

CREATE TABLE public.file_uploads (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    user_id uuid NOT NULL,
    project_id uuid,
    file_name text NOT NULL,
    file_path text NOT NULL,
    file_size bigint,
    mime_type text,
    bucket_name text NOT NULL,
    is_public boolean DEFAULT false,
    metadata jsonb DEFAULT '{}',
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    CONSTRAINT file_uploads_pkey PRIMARY KEY (id),
    CONSTRAINT file_uploads_name_check CHECK (char_length(file_name) >= 1),
    CONSTRAINT file_uploads_size_check CHECK ((file_size IS NULL) OR (file_size >= 0)),
    CONSTRAINT file_uploads_project_id_fkey FOREIGN KEY (project_id) REFERENCES public.projects(id) ON DELETE CASCADE,
    CONSTRAINT file_uploads_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users(id) ON DELETE CASCADE
);
CREATE INDEX idx_file_uploads_created_at ON public.file_uploads (created_at DESC);
CREATE INDEX idx_file_uploads_project_id ON public.file_uploads (project_id);
CREATE INDEX idx_file_uploads_user_id ON public.file_uploads (user_id);
ALTER TABLE public.file_uploads ENABLE ROW LEVEL SECURITY;
CREATE POLICY "Users can manage their own file uploads" ON public.file_uploads FOR ALL
    USING (auth.uid() = user_id);
GRANT ALL ON public.file_uploads TO authenticated;

CREATE TABLE public.workspace_files (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    user_id uuid NOT NULL,
    project_id uuid,
    path text NOT NULL,
    name text NOT NULL,
    content text NOT NULL DEFAULT '',
    is_directory boolean DEFAULT false,
    parent_path text,
    mime_type text,
    size_bytes bigint DEFAULT 0,
    metadata jsonb DEFAULT '{}',
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    CONSTRAINT workspace_files_pkey PRIMARY KEY (id),
    CONSTRAINT workspace_files_name_check CHECK (char_length(name) >= 1),
    CONSTRAINT workspace_files_path_check CHECK (char_length(path) >= 1),
    CONSTRAINT workspace_files_size_check CHECK (size_bytes >= 0),
    CONSTRAINT workspace_files_unique_path UNIQUE (user_id, path),
    CONSTRAINT workspace_files_project_id_fkey FOREIGN KEY (project_id) REFERENCES public.projects(id) ON DELETE CASCADE,
    CONSTRAINT workspace_files_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users(id) ON DELETE CASCADE
);
CREATE INDEX idx_workspace_files_created_at ON public.workspace_files (created_at DESC);
CREATE INDEX idx_workspace_files_parent_path ON public.workspace_files (user_id, parent_path);
CREATE INDEX idx_workspace_files_path ON public.workspace_files (user_id, path);
CREATE INDEX idx_workspace_files_project_id ON public.workspace_files (project_id);
CREATE INDEX idx_workspace_files_user_id ON public.workspace_files (user_id);
ALTER TABLE public.workspace_files ENABLE ROW LEVEL SECURITY;
CREATE POLICY "Users can delete their own workspace files" ON public.workspace_files FOR DELETE
    USING (auth.uid() = user_id);
CREATE POLICY "Users can insert their own workspace files" ON public.workspace_files FOR INSERT
    WITH CHECK (auth.uid() = user_id);
CREATE POLICY "Users can update their own workspace files" ON public.workspace_files FOR UPDATE
    USING (auth.uid() = user_id);
CREATE POLICY "Users can view their own workspace files" ON public.workspace_files FOR SELECT
    USING (auth.uid() = user_id);
CREATE TRIGGER update_workspace_files_updated_at BEFORE UPDATE ON public.workspace_files
    FOR EACH ROW EXECUTE FUNCTION public.update_updated_at_column();
GRANT ALL ON public.workspace_files TO authenticated;

CREATE TABLE public.tasks (
    id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    user_id uuid NOT NULL,
    status public.task_status_enum NOT NULL DEFAULT 'pending'::public.task_status_enum,
    progress integer NOT NULL DEFAULT 0,
    prompt text NOT NULL,
    repo_url text,
    selected_agent text DEFAULT 'claude',
    selected_model text,
    sandbox_url text,
    branch_name text,
    logs jsonb DEFAULT '[]',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT tasks_pkey PRIMARY KEY (id),
    CONSTRAINT tasks_progress_check CHECK ((progress >= 0) AND (progress <= 100)),
    CONSTRAINT tasks_prompt_check CHECK (char_length(prompt) >= 1),
    CONSTRAINT tasks_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users(id) ON DELETE CASCADE
);
CREATE INDEX idx_tasks_created_at ON public.tasks (created_at DESC);
CREATE INDEX idx_tasks_status ON public.tasks (status);
CREATE INDEX idx_tasks_user_id ON public.tasks (user_id);
ALTER TABLE public.tasks ENABLE ROW LEVEL SECURITY;
CREATE POLICY "Users can manage their own tasks" ON public.tasks FOR ALL
    USING (auth.uid() = user_id);
GRANT ALL ON public.tasks TO authenticated;

CREATE TABLE public.chat_sessions (
    id uuid NOT NULL DEFAULT extensions.uuid_generate_v4(),
    session_id varchar NOT NULL,
    user_id uuid NOT NULL,
    team_id uuid,
    title text,
    status varchar DEFAULT 'active',
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
    CONSTRAINT chat_sessions_status_check CHECK ((status)::text = ANY (ARRAY[('active'::varchar)::text, ('archived'::varchar)::text, ('deleted'::varchar)::text])),
    CONSTRAINT chat_sessions_tokens_check CHECK (total_tokens >= 0),
    CONSTRAINT chat_sessions_session_id_key UNIQUE (session_id),
    CONSTRAINT chat_sessions_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users(id) ON DELETE CASCADE,
    CONSTRAINT fk_chat_sessions_team FOREIGN KEY (team_id) REFERENCES public.teams(id) ON DELETE SET NULL
);
CREATE INDEX idx_chat_sessions_last_activity ON public.chat_sessions (last_activity DESC);
CREATE INDEX idx_chat_sessions_session_id ON public.chat_sessions (session_id);
CREATE INDEX idx_chat_sessions_status ON public.chat_sessions (status);
CREATE INDEX idx_chat_sessions_team_id ON public.chat_sessions (team_id);
CREATE INDEX idx_chat_sessions_user_id ON public.chat_sessions (user_id);
ALTER TABLE public.chat_sessions ENABLE ROW LEVEL SECURITY;
CREATE POLICY "Users can manage their own chat sessions" ON public.chat_sessions FOR ALL
    USING (auth.uid() = user_id);
CREATE TRIGGER update_chat_sessions_updated_at BEFORE UPDATE ON public.chat_sessions
    FOR EACH ROW EXECUTE FUNCTION public.update_updated_at_column();
GRANT ALL ON public.chat_sessions TO authenticated;

CREATE TABLE public.chat_message_cache (
    id uuid NOT NULL DEFAULT extensions.uuid_generate_v4(),
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
    content_vector tsvector GENERATED ALWAYS AS (to_tsvector('english', content)) STORED,
    CONSTRAINT chat_message_cache_pkey PRIMARY KEY (id),
    CONSTRAINT chat_message_cache_role_check CHECK ((role)::text = ANY (ARRAY[('user'::varchar)::text, ('assistant'::varchar)::text, ('system'::varchar)::text])),
    CONSTRAINT chat_message_cache_time_check CHECK ((execution_time_ms IS NULL) OR (execution_time_ms >= 0)),
    CONSTRAINT chat_message_cache_token_check CHECK ((token_count IS NULL) OR (token_count >= 0)),
    CONSTRAINT chat_message_cache_session_id_fkey FOREIGN KEY (session_id) REFERENCES public.chat_sessions(id) ON DELETE CASCADE
);
CREATE INDEX idx_chat_message_cache_content_vector ON public.chat_message_cache USING gin (content_vector);
CREATE INDEX idx_chat_message_cache_created_at ON public.chat_message_cache (created_at DESC);
CREATE INDEX idx_chat_message_cache_model ON public.chat_message_cache (model);
CREATE INDEX idx_chat_message_cache_session_id ON public.chat_message_cache (session_id);
ALTER TABLE public.chat_message_cache ENABLE ROW LEVEL SECURITY;
GRANT ALL ON public.chat_message_cache TO authenticated;

CREATE TABLE public.chat_session_tags (
    id uuid NOT NULL DEFAULT extensions.uuid_generate_v4(),
    session_id uuid NOT NULL,
    tag varchar NOT NULL,
    created_at timestamptz DEFAULT now(),
    CONSTRAINT chat_session_tags_pkey PRIMARY KEY (id),
    CONSTRAINT chat_session_tags_tag_check CHECK (char_length((tag)::text) >= 1),
    CONSTRAINT chat_session_tags_unique UNIQUE (session_id, tag),
    CONSTRAINT chat_session_tags_session_id_fkey FOREIGN KEY (session_id) REFERENCES public.chat_sessions(id) ON DELETE CASCADE
);
ALTER TABLE public.chat_session_tags ENABLE ROW LEVEL SECURITY;
GRANT ALL ON public.chat_session_tags TO authenticated;

CREATE TABLE public.chat_export_requests (
    id uuid NOT NULL DEFAULT extensions.uuid_generate_v4(),
    user_id uuid NOT NULL,
    export_type varchar NOT NULL,
    status varchar DEFAULT 'pending',
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
    CONSTRAINT chat_export_requests_count_check CHECK ((record_count IS NULL) OR (record_count >= 0)),
    CONSTRAINT chat_export_requests_export_type_check CHECK ((export_type)::text = ANY (ARRAY[('json'::varchar)::text, ('csv'::varchar)::text])),
    CONSTRAINT chat_export_requests_size_check CHECK ((file_size_bytes IS NULL) OR (file_size_bytes >= 0)),
    CONSTRAINT chat_export_requests_status_check CHECK ((status)::text = ANY (ARRAY[('pending'::varchar)::text, ('processing'::varchar)::text, ('completed'::varchar)::text, ('failed'::varchar)::text])),
    CONSTRAINT chat_export_requests_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users(id) ON DELETE CASCADE
);
ALTER TABLE public.chat_export_requests ENABLE ROW LEVEL SECURITY;
GRANT ALL ON public.chat_export_requests TO authenticated;

CREATE TABLE public.user_chat_analytics (
    id uuid NOT NULL DEFAULT extensions.uuid_generate_v4(),
    user_id uuid NOT NULL,
    total_sessions integer DEFAULT 0,
    total_messages integer DEFAULT 0,
    total_tokens integer DEFAULT 0,
    total_cost numeric DEFAULT 0,
    model_usage jsonb DEFAULT '{}',
    template_usage jsonb DEFAULT '{}',
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
    CONSTRAINT user_chat_analytics_day_check CHECK ((most_active_day IS NULL) OR ((most_active_day >= 0) AND (most_active_day <= 6))),
    CONSTRAINT user_chat_analytics_hour_check CHECK ((most_active_hour IS NULL) OR ((most_active_hour >= 0) AND (most_active_hour <= 23))),
    CONSTRAINT user_chat_analytics_messages_check CHECK (total_messages >= 0),
    CONSTRAINT user_chat_analytics_sessions_check CHECK (total_sessions >= 0),
    CONSTRAINT user_chat_analytics_tokens_check CHECK (total_tokens >= 0),
    CONSTRAINT user_chat_analytics_user_id_key UNIQUE (user_id),
    CONSTRAINT user_chat_analytics_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users(id) ON DELETE CASCADE
);
ALTER TABLE public.user_chat_analytics ENABLE ROW LEVEL SECURITY;
GRANT ALL ON public.user_chat_analytics TO authenticated;

CREATE TABLE public.conversation_threads (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    name text NOT NULL,
    created_by uuid NOT NULL,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    is_archived boolean DEFAULT false,
    CONSTRAINT conversation_threads_pkey PRIMARY KEY (id),
    CONSTRAINT conversation_threads_name_check CHECK (char_length(name) >= 1),
    CONSTRAINT conversation_threads_created_by_fkey FOREIGN KEY (created_by) REFERENCES auth.users(id) ON DELETE CASCADE
);
ALTER TABLE public.conversation_threads ENABLE ROW LEVEL SECURITY;
GRANT ALL ON public.conversation_threads TO authenticated;

CREATE TABLE public.thread_messages (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    thread_id uuid NOT NULL,
    sender_id uuid NOT NULL,
    content text NOT NULL,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    is_deleted boolean DEFAULT false,
    CONSTRAINT thread_messages_pkey PRIMARY KEY (id),
    CONSTRAINT thread_messages_content_check CHECK (char_length(content) >= 1),
    CONSTRAINT thread_messages_sender_id_fkey FOREIGN KEY (sender_id) REFERENCES auth.users(id) ON DELETE CASCADE,
    CONSTRAINT thread_messages_thread_id_fkey FOREIGN KEY (thread_id) REFERENCES public.conversation_threads(id) ON DELETE CASCADE
);
ALTER TABLE public.thread_messages ENABLE ROW LEVEL SECURITY;
GRANT ALL ON public.thread_messages TO authenticated;

CREATE TABLE public.thread_summaries (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    thread_id uuid NOT NULL,
    summary text NOT NULL,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    message_count integer NOT NULL,
    last_message_id uuid,
    CONSTRAINT thread_summaries_pkey PRIMARY KEY (id),
    CONSTRAINT thread_summaries_count_check CHECK (message_count >= 0),
    CONSTRAINT thread_summaries_last_message_id_fkey FOREIGN KEY (last_message_id) REFERENCES public.thread_messages(id) ON DELETE SET NULL,
    CONSTRAINT thread_summaries_thread_id_fkey FOREIGN KEY (thread_id) REFERENCES public.conversation_threads(id) ON DELETE CASCADE
);
ALTER TABLE public.thread_summaries ENABLE ROW LEVEL SECURITY;
GRANT ALL ON public.thread_summaries TO authenticated;

CREATE TABLE public.workflows (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
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
    CONSTRAINT workflows_team_id_fkey FOREIGN KEY (team_id) REFERENCES public.teams(id) ON DELETE CASCADE
);
ALTER TABLE public.workflows ENABLE ROW LEVEL SECURITY;
GRANT ALL ON public.workflows TO authenticated;

CREATE TABLE public.workflow_executions (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    workflow_id uuid NOT NULL,
    status text NOT NULL,
    input_data jsonb DEFAULT '{}',
    output_data jsonb,
    execution_log jsonb[] DEFAULT '{}',
    started_at timestamptz DEFAULT now(),
    completed_at timestamptz,
    error text,
    created_by uuid NOT NULL,
    CONSTRAINT workflow_executions_pkey PRIMARY KEY (id),
    CONSTRAINT workflow_executions_status_check CHECK (status = ANY (ARRAY['running', 'completed', 'failed', 'cancelled'])),
    CONSTRAINT workflow_executions_created_by_fkey FOREIGN KEY (created_by) REFERENCES auth.users(id) ON DELETE CASCADE,
    CONSTRAINT workflow_executions_workflow_id_fkey FOREIGN KEY (workflow_id) REFERENCES public.workflows(id) ON DELETE CASCADE
);
ALTER TABLE public.workflow_executions ENABLE ROW LEVEL SECURITY;
GRANT ALL ON public.workflow_executions TO authenticated;

CREATE TABLE public.workflow_templates (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
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
    CONSTRAINT workflow_templates_rating_check CHECK ((rating >= 0.0) AND (rating <= 5.0)),
    CONSTRAINT workflow_templates_usage_check CHECK (usage_count >= 0),
    CONSTRAINT workflow_templates_created_by_fkey FOREIGN KEY (created_by) REFERENCES auth.users(id) ON DELETE CASCADE
);
ALTER TABLE public.workflow_templates ENABLE ROW LEVEL SECURITY;
GRANT ALL ON public.workflow_templates TO authenticated;

ALTER SEQUENCE public.tasks_id_seq OWNED BY public.tasks.id;
ALTER SEQUENCE public.profiles_id_seq OWNED BY public.profiles.id;
CREATE VIEW public.sequence_status AS SELECT schemaname, sequencename, last_value FROM pg_sequences;
GRANT SELECT ON public.sequence_status TO authenticated;

CREATE FUNCTION public.save_message_and_update_project(
    project_id_param uuid, role_param text, content_param jsonb, object_data_param jsonb DEFAULT NULL,
    result_data_param jsonb DEFAULT NULL, sequence_number_param integer DEFAULT NULL
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO public.messages (project_id, role, content, object_data, result_data, sequence_number)
    VALUES (project_id_param, role_param, content_param, object_data_param, result_data_param, sequence_number_param)
    ON CONFLICT (project_id, sequence_number) DO UPDATE SET
        role = EXCLUDED.role, content = EXCLUDED.content,
        object_data = EXCLUDED.object_data, result_data = EXCLUDED.result_data;
    UPDATE public.projects SET updated_at = now() WHERE id = project_id_param;
END $$;
GRANT EXECUTE ON FUNCTION public.save_message_and_update_project TO authenticated;

CREATE FUNCTION public.can_use_feature(feature_name text, team_id_param uuid, user_id_param uuid)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE current_usage integer; allowed integer;
BEGIN
    SELECT current_usage, limit_value INTO current_usage, allowed
    FROM public.team_usage_limits WHERE team_id = team_id_param AND usage_type = feature_name;
    RETURN current_usage IS NULL OR current_usage < allowed;
END $$;

CREATE FUNCTION public.increment_usage(feature_name text, team_id_param uuid, user_id_param uuid)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO public.user_usage (user_id, team_id, usage_type) VALUES (user_id_param, team_id_param, feature_name);
    INSERT INTO public.team_usage_limits (team_id, usage_type, current_usage) VALUES (team_id_param, feature_name, 1)
    ON CONFLICT (team_id, usage_type) DO UPDATE SET current_usage = team_usage_limits.current_usage + 1;
    RETURN true;
END $$;

CREATE FUNCTION public.initialize_team_usage_limits(team_id_param uuid)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO public.team_usage_limits (team_id, usage_type, limit_value)
    VALUES (team_id_param, 'github_imports', 5), (team_id_param, 'storage_mb', 100)
    ON CONFLICT DO NOTHING;
END $$;

CREATE FUNCTION public.search_user_messages(query_text text, user_id_param uuid)
RETURNS TABLE (content text, created_at timestamptz, session_id text, similarity_score real, title text)
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    RETURN QUERY
    SELECT m.content, m.created_at, s.session_id, ts_rank(m.content_vector, plainto_tsquery(query_text)), s.title
    FROM public.chat_message_cache AS m JOIN public.chat_sessions AS s ON s.id = m.session_id
    WHERE s.user_id = user_id_param AND m.content_vector @@ plainto_tsquery(query_text);
END $$;

CREATE FUNCTION public.get_user_chat_summary(user_id_param uuid) RETURNS TABLE (
    total_sessions integer, total_messages integer, total_tokens integer, total_cost numeric,
    avg_session_length_minutes numeric, avg_daily_sessions numeric, most_active_hour integer, most_active_day integer,
    favorite_models json, favorite_templates json, model_usage_breakdown json, template_usage_breakdown json
) LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    RETURN QUERY
    SELECT a.total_sessions, a.total_messages, a.total_tokens, a.total_cost, 0::numeric, 0::numeric,
        a.most_active_hour, a.most_active_day, to_json(a.favorite_models), to_json(a.favorite_templates),
        a.model_usage::json, a.template_usage::json
    FROM public.user_chat_analytics AS a WHERE a.user_id = user_id_param;
END $$;

CREATE FUNCTION public.soft_delete_project(project_id uuid) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    UPDATE public.projects SET deleted_at = now(), status = 'deleted' WHERE id = project_id;
END $$;
