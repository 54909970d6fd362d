"""One address of a PostgreSQL server, in the forms that libpq and SQLAlchemy want, never printed with its password."""

import re
from dataclasses import dataclass, replace
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

TRANSACTION_POOLER_PORT = 6543
"""Where Supavisor listens in transaction mode: no session state, so no LISTEN and no prepared statements."""
ENCODE = "write special characters of its password percent-encoded, as %23 for #"


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
        parts = split(text.strip())
        if parts.scheme not in {"postgres", "postgresql", "postgresql+psycopg"}:
            raise DatabaseUrlInvalid("it must begin with postgresql:// or postgres://")
        options = [option for option in parts.query.split("&") if option]
        ours = [option for option in options if option.partition("=")[0] == "pgbouncer"]
        if any(option.partition("=")[0] == "password" for option in options):
            raise DatabaseUrlInvalid("its password must stand before the @, as in user:password@host")
        # libpq takes a plus sign for itself, SQLAlchemy for a space; escaped it is the same to both.
        query = "&".join(option.replace("+", "%2B") for option in options if option not in ours)
        plain = urlunsplit(("postgresql", escaped(parts), parts.path, query, ""))
        asked = any(option.lower() in {"pgbouncer=true", "pgbouncer=1"} for option in ours)
        return cls(libpq=plain, pooled=asked or parts.port == TRANSACTION_POOLER_PORT)

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

    @property
    def project(self) -> str | None:
        """The project of Supabase's whose database it names, directly or through a pooler; None for another server."""
        host = urlsplit(self.libpq).hostname or ""
        if host.endswith(".pooler.supabase.com"):
            return (self.user or "").partition(".")[2] or None
        direct = re.fullmatch(r"db\.(\w+)\.supabase\.co", host)
        return direct[1] if direct else None

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


def split(text: str) -> SplitResult:
    """
    The parts of an address. A password that was not percent-encoded is told from its leftovers.

    Raises:
        DatabaseUrlInvalid: the text is no address; the message holds nothing of it, as urllib's own would.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise DatabaseUrlInvalid(f"it cannot be read; check its port, and {ENCODE}") from None
    if parts.fragment or port == 0 or ("@" in parts.path + parts.query and "@" not in parts.netloc):
        raise DatabaseUrlInvalid(f"it cannot be read; {ENCODE}")
    return parts


def escaped(parts: SplitResult) -> str:
    """User, password, host and port, the first two percent-encoded throughout: libpq and SQLAlchemy then agree."""
    user, at, place = parts.netloc.rpartition("@")
    return ":".join(quote(unquote(part), safe="") for part in user.split(":", 1)) + at + place
