"""What `up` keeps to itself: the passwords and the port that stay the same from run to run."""

import json
import secrets
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Self

import psycopg
from psycopg import sql

from db.url import DatabaseUrl
from worker.errors import CommandFailed
from worker.local import state

ROLE = "task_worker"
FLOWER_USER = "demo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Generated once for a folder; the file is readable by us alone."""

    worker_password: str = field(repr=False)
    flower_password: str = field(repr=False)
    git_token: str = field(repr=False)
    git_port: int = 0
    """Where the demo's repository was served last, so that its address stays good; 0 before."""

    @classmethod
    def of(cls, folder: Path) -> Self:
        """What was kept in the folder, or new."""
        path = folder / "access.json"
        try:
            return cls(**json.loads(path.read_bytes()))
        except FileNotFoundError:
            worker, flower, token = secrets.token_hex(24), secrets.token_urlsafe(9), secrets.token_hex(24)
            return cls(worker_password=worker, flower_password=flower, git_token=token)
        except (ValueError, TypeError) as fault:
            raise CommandFailed(f"{path} cannot be read ({fault}). Remove it and try again.") from fault

    def keep(self, folder: Path, *, git_port: int | None = None) -> None:
        """For the next run."""
        state.write(folder / "access.json", asdict(replace(self, git_port=git_port or self.git_port)))

    def worker_url(self, owner: DatabaseUrl) -> DatabaseUrl:
        """The same database, as the role of workers."""
        return owner.as_role(ROLE, self.worker_password)


def let_in(owner: DatabaseUrl, password: str) -> None:
    """Give the workers' role its password; the server, and so its log, is only told the hash."""
    with psycopg.connect(owner.libpq, autocommit=True) as connection:
        hashed = connection.pgconn.encrypt_password(password.encode(), ROLE.encode(), b"scram-sha-256").decode()
        connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(ROLE), sql.Literal(hashed)))
