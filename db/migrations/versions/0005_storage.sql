-- storage.buckets
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
    type storage.buckettype DEFAULT 'STANDARD'::storage.buckettype NOT NULL,
    CONSTRAINT buckets_pkey PRIMARY KEY (id),
    CONSTRAINT buckets_file_size_limit_check CHECK (file_size_limit IS NULL OR file_size_limit > 0),
    CONSTRAINT buckets_id_check CHECK (char_length(id) >= 1),
    CONSTRAINT buckets_name_check CHECK (char_length(name) >= 1)
);
CREATE INDEX idx_buckets_created_at ON storage.buckets (created_at DESC);
CREATE INDEX idx_buckets_owner ON storage.buckets (owner);
CREATE INDEX idx_buckets_public ON storage.buckets (public) WHERE public = true;
INSERT INTO storage.buckets (id, name, public, file_size_limit, allowed_mime_types) VALUES
    ('avatars', 'User Avatars', true, 5242880, '{image/jpeg,image/png,image/webp}'),
    ('exports', 'Data Exports', false, 524288000, '{application/json,text/csv,application/zip}'),
    ('fragments', 'Code Fragments', false, 52428800, NULL),
    ('project-files', 'Project Files', false, 104857600, NULL);

-- storage.objects
CREATE TABLE storage.objects (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
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
    level integer GENERATED ALWAYS AS (array_length(string_to_array(name, '/'), 1) - 1) STORED,
    CONSTRAINT objects_pkey PRIMARY KEY (id),
    CONSTRAINT objects_level_check CHECK (level IS NULL OR level >= 0),
    CONSTRAINT objects_name_check CHECK (name IS NULL OR char_length(name) >= 1),
    CONSTRAINT objects_bucketid_fkey FOREIGN KEY (bucket_id) REFERENCES storage.buckets (id) ON DELETE CASCADE
);
CREATE INDEX idx_objects_bucket_id ON storage.objects (bucket_id);
CREATE INDEX idx_objects_created_at ON storage.objects (created_at DESC);
CREATE INDEX idx_objects_last_accessed_at ON storage.objects (last_accessed_at DESC);
CREATE INDEX idx_objects_metadata ON storage.objects USING gin (metadata);
CREATE INDEX idx_objects_name ON storage.objects (name);
CREATE INDEX idx_objects_owner ON storage.objects (owner);
CREATE INDEX idx_objects_path_tokens ON storage.objects USING gin (path_tokens);
CREATE INDEX idx_objects_updated_at ON storage.objects (updated_at DESC);

-- storage.s3_multipart_uploads
CREATE TABLE storage.s3_multipart_uploads (
    id text NOT NULL,
    in_progress_size bigint DEFAULT 0 NOT NULL,
    upload_signature text NOT NULL,
    bucket_id text NOT NULL,
    key text NOT NULL,
    version text NOT NULL,
    owner_id text,
    created_at timestamptz DEFAULT now() NOT NULL,
    user_metadata jsonb,
    CONSTRAINT s3_multipart_uploads_pkey PRIMARY KEY (id),
    CONSTRAINT s3_multipart_uploads_id_check CHECK (char_length(id) >= 1),
    CONSTRAINT s3_multipart_uploads_key_check CHECK (char_length(key) >= 1),
    CONSTRAINT s3_multipart_uploads_size_check CHECK (in_progress_size >= 0),
    CONSTRAINT s3_multipart_uploads_bucket_id_fkey FOREIGN KEY (bucket_id) REFERENCES storage.buckets (id) ON DELETE CASCADE
);
CREATE INDEX idx_s3_multipart_uploads_bucket_id ON storage.s3_multipart_uploads (bucket_id);
CREATE INDEX idx_s3_multipart_uploads_created_at ON storage.s3_multipart_uploads (created_at DESC);
CREATE INDEX idx_s3_multipart_uploads_owner_id ON storage.s3_multipart_uploads (owner_id);

-- storage.s3_multipart_uploads_parts
CREATE TABLE storage.s3_multipart_uploads_parts (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    upload_id text NOT NULL,
    size bigint DEFAULT 0 NOT NULL,
    part_number integer NOT NULL,
    bucket_id text NOT NULL,
    key text NOT NULL,
    etag text NOT NULL,
    owner_id text,
    version text NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT s3_multipart_uploads_parts_pkey PRIMARY KEY (id),
    CONSTRAINT s3_multipart_uploads_parts_etag_check CHECK (char_length(etag) >= 1),
    CONSTRAINT s3_multipart_uploads_parts_part_number_check CHECK (part_number >= 1),
    CONSTRAINT s3_multipart_uploads_parts_size_check CHECK (size >= 0),
    CONSTRAINT s3_multipart_uploads_parts_upload_id_fkey FOREIGN KEY (upload_id) REFERENCES storage.s3_multipart_uploads (id) ON DELETE CASCADE,
    CONSTRAINT s3_multipart_uploads_parts_bucket_id_fkey FOREIGN KEY (bucket_id) REFERENCES storage.buckets (id) ON DELETE CASCADE
);
CREATE INDEX idx_s3_multipart_uploads_parts_bucket_id ON storage.s3_multipart_uploads_parts (bucket_id);
CREATE INDEX idx_s3_multipart_uploads_parts_upload_id ON storage.s3_multipart_uploads_parts (upload_id);
