"""What runs when, besides tasks: a table that beat reads. Times are UTC."""

from datetime import timedelta

from celery.schedules import crontab

SCHEDULE = {
    # A run removes its own workspace; what is left is of workers that were killed. Expires before the next is due,
    # so that a maintenance worker that was away does not do the same thing many times.
    "workspaces": {
        "task": "maintenance.workspaces",
        "schedule": crontab(minute="*/10"),
        "options": {"expires": timedelta(minutes=9).total_seconds()},
    },
    "mirrors": {
        "task": "maintenance.mirrors",
        "schedule": crontab(minute="35"),
        "options": {"expires": timedelta(minutes=50).total_seconds()},
    },
}
