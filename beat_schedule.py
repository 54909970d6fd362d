"""What runs when, besides tasks: each is named by the retention policy that it carries out. Times are UTC."""

from celery.schedules import crontab

MINUTE, HOUR = 60, 3600

# name: (when, after how many seconds a message that nobody took is dropped, why then).
# Each expires shortly before the next is due: a worker that was away does each once, and none twice. What is on a disk
# is asked of every host that listens then; one that was away waits for the next time, so it is hourly or more often.
JOBS = {
    "workspaces": (
        crontab(minute="*/10"),
        9 * MINUTE,
        "A killed worker's workspace may be large, and the next run needs the room.",
    ),
    "stray_sandboxes": (
        crontab(minute="*/5"),
        4 * MINUTE,
        "A killed worker's machine at E2B is paid for until it is ended; E2B itself ends it after half an hour.",
    ),
    "mirrors": (crontab(minute="35"), 55 * MINUTE, "A disk fills within hours, not minutes."),
    "transcripts": (
        crontab(minute="50"),
        55 * MINUTE,
        "Often, for what is kept for days: a host that was away is asked again within the hour.",
    ),
    "expired_sessions": (crontab(minute="7"), 55 * MINUTE, "Little by little, as they expire."),
    "overlong_sessions": (crontab(minute="0", hour="3"), 23 * HOUR, "Looks at every session: once a day, if it is on."),
    "inactive_sessions": (crontab(minute="10", hour="3"), 23 * HOUR, "The same."),
    "revoked_refresh_tokens": (
        crontab(minute="2"),
        55 * MINUTE,
        "Before the sessions: what goes here, their deletion need not cascade to.",
    ),
    "soft_deleted_projects": (crontab(minute="37"), 55 * MINUTE, "Little by little, as their time is over."),
    "orphaned_files": (crontab(minute="47"), 55 * MINUTE, "After the projects, whose files they are."),
    "stale_multipart_uploads": (crontab(minute="57"), 55 * MINUTE, "Each is aborted by itself, which takes its time."),
    "finished_tasks": (crontab(minute="20", hour="3"), 23 * HOUR, "At night in most of the world; off unless set."),
    "runs": (crontab(minute="30", hour="3"), 23 * HOUR, "Once a day is enough for what is kept for months."),
    "schedule_slots": (crontab(minute="40", hour="3"), 23 * HOUR, "The same."),
}
