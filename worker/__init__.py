"""The background worker of CodingIT: runs the rows of `public.tasks` on Celery and keeps the database clean."""
