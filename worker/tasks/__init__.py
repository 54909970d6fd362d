"""The entry points of Celery: what a message may ask for."""
