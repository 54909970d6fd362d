-- The application's table of embeddings, where there is pgvector.

CREATE TABLE public.code_embeddings (
    id bigserial NOT NULL,
    content text NOT NULL,
    embedding extensions.vector(1536),
    user_id uuid NOT NULL,
    CONSTRAINT code_embeddings_pkey PRIMARY KEY (id),
    CONSTRAINT code_embeddings_content_check CHECK (char_length(content) >= 1),
    CONSTRAINT code_embeddings_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users(id) ON DELETE CASCADE
);
CREATE INDEX idx_code_embeddings_embedding ON public.code_embeddings USING ivfflat (embedding extensions.vector_cosine_ops);
CREATE INDEX idx_code_embeddings_user_id ON public.code_embeddings (user_id);
ALTER TABLE public.code_embeddings ENABLE ROW LEVEL SECURITY;
GRANT ALL ON public.code_embeddings TO authenticated;
