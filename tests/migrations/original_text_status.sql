-- As some databases have it: the status is text with a CHECK, and the logs are JSON strings that hold JSON.

ALTER TABLE public.tasks ALTER COLUMN status DROP DEFAULT;
ALTER TABLE public.tasks ALTER COLUMN status TYPE text;
ALTER TABLE public.tasks ALTER COLUMN status SET DEFAULT 'pending';
ALTER TABLE public.tasks ADD CONSTRAINT tasks_status_check
    CHECK (status IN ('pending', 'processing', 'completed', 'error'));
ALTER TABLE public.tasks ALTER COLUMN logs SET DEFAULT '"[]"';
DROP TYPE public.task_status_enum;
