"""One address of a PostgreSQL server, in the forms that libpq and SQLAlchemy want, never printed with its password."""

from dataclasses import dataclass, replace
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

TRANSACTION_POOLER_PORT = 6543
"""Where Supavisor listens in transaction mode: no session state, so no LISTEN and no prepared statements."""


class DatabaseUrlInvalid(ValueError):
    """The text is no address of a PostgreSQL database; the message says what is wrong, without the password."""


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """
    A `postgres://` or `postgresql://` address. Its `str` and `repr` leave the password out.

    A transaction pooler is recognised by port 6543 or `?pgbouncer=true`; that one parameter is
    ours and is taken out, every other (sslmode above all) is passed on untouched.
    """

    libpq: str
    """The address as libpq reads it, with the password."""
    pooled: bool = False
    """Whether a transaction pooler answers there."""

    @classmethod
    def parse(cls, text: str) -> "DatabaseUrl":
        """Raises DatabaseUrlInvalid."""
        parts = urlsplit(text.strip())
        if parts.scheme not in {"postgres", "postgresql", "postgresql+psycopg"}:
            raise DatabaseUrlInvalid("it must begin with postgresql:// or postgres://")
        try:
            port = parts.port
        except ValueError:
            raise DatabaseUrlInvalid("its port is not a number between 0 and 65535") from None
        options = parse_qsl(parts.query, keep_blank_values=True)
        asked = any(name == "pgbouncer" and value.lower() in {"true", "1"} for name, value in options)
        kept = urlencode([(name, value) for name, value in options if name != "pgbouncer"], quote_via=quote, safe="/")
        plain = urlunsplit(("postgresql", parts.netloc, parts.path, kept, ""))
        return cls(libpq=plain, pooled=asked or port == TRANSACTION_POOLER_PORT)

    @property
    def sqlalchemy(self) -> str:
        """The address as SQLAlchemy reads it, with the password; psycopg 3 is named outright."""
        return self.libpq.replace("postgresql://", "postgresql+psycopg://", 1)

    @property
    def password(self) -> str | None:
        """The password, for whoever has to keep it out of logs."""
        password = urlsplit(self.libpq).password
        return None if password is None else unquote(password)

    @property
    def user(self) -> str | None:
        """The role that logs in; Supavisor's form is `role.project`."""
        user = urlsplit(self.libpq).username
        return None if user is None else unquote(user)

    def as_role(self, role: str, password: str) -> "DatabaseUrl":
        """The same database for another role."""
        parts = urlsplit(self.libpq)
        netloc = f"{quote(role, safe='')}:{quote(password, safe='')}@{parts.netloc.rpartition('@')[2]}"
        return replace(self, libpq=urlunsplit(parts._replace(netloc=netloc)))

    def with_database(self, name: str) -> "DatabaseUrl":
        """Another database of the same server."""
        return replace(self, libpq=urlunsplit(urlsplit(self.libpq)._replace(path=f"/{quote(name, safe='')}")))

    def __str__(self) -> str:
        parts = urlsplit(self.libpq)
        user, at, host = parts.netloc.rpartition("@")
        return urlunsplit(("postgresql", f"{user.partition(':')[0]}{at}{host}", parts.path, "", ""))

    def __repr__(self) -> str:
        return f"DatabaseUrl({str(self)!r})"
