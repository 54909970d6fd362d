"""GoTrue's rows, as it leaves them; and the policies that clean up after it, with a test's settings."""

from typing import Any
from uuid import UUID, uuid4

from tests.support.rows import Rows
from worker.maintenance import policies
from worker.maintenance.retention import RetentionPolicy
from worker.settings import Settings


def policy(name: str, **values: Any) -> RetentionPolicy:
    """The policy of the default settings, with these in place of some."""
    return policies.named(Settings(_env_file=None, **values), name)


class Auth:
    """GoTrue's side of the same database. Ages are in hours."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.user = rows.user()

    def session(self, *, expired: float | None = None, **ages: float) -> UUID:
        """A session that expired so many hours ago, or never does; `created`, `updated`, `refreshed` so long ago."""
        made = uuid4()
        self.rows.execute(
            """INSERT INTO auth.sessions (id, user_id, not_after, created_at, updated_at, refreshed_at)
            VALUES (%s, %s, now() - make_interval(secs => %s), now() - make_interval(secs => %s),
                now() - make_interval(secs => %s), timezone('UTC', now() - make_interval(secs => %s)))""",
            made,
            self.user,
            *(None if age is None else age * 3600 for age in (expired, ages.get("created", 0))),
            *(None if age is None else age * 3600 for age in (ages.get("updated", 0), ages.get("refreshed"))),
        )
        return made

    def token(self, session: UUID, *, updated: float, revoked: bool | None) -> int:
        made = self.rows.execute(
            """INSERT INTO auth.refresh_tokens (token, user_id, session_id, revoked, created_at, updated_at)
            VALUES (gen_random_uuid()::text, %s, %s, %s, now() - interval '1 year',
                now() - make_interval(secs => %s)) RETURNING id""",
            str(self.user),
            session,
            revoked,
            updated * 3600,
        )
        return int(made[0]["id"])

    def many(self, count: int, *, expired: bool = True) -> None:
        """So many sessions with a token each, a second apart."""
        self.rows.execute(
            """WITH made AS (INSERT INTO auth.sessions (id, user_id, not_after, created_at, updated_at)
                SELECT gen_random_uuid(), %s, now() - make_interval(days => %s, secs => n), now(), now()
                FROM generate_series(1, %s) AS n RETURNING id)
            INSERT INTO auth.refresh_tokens (token, session_id, revoked, updated_at)
            SELECT gen_random_uuid()::text, id, false, now() FROM made""",
            self.user,
            30 if expired else -30,
            count,
        )

    def sessions(self) -> set[UUID]:
        return {row["id"] for row in self.rows.execute("SELECT id FROM auth.sessions")}

    def tokens(self) -> set[int]:
        return {row["id"] for row in self.rows.execute("SELECT id FROM auth.refresh_tokens")}
