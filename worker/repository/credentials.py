"""Who may use which token for which repository: an allow-list in a file, or a hook in its place."""

import difflib
import stat
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from worker import hook
from worker.errors import TaskFailed, WrongUse
from worker.repository.address import Place, Repository, parse
from worker.settings import Settings

USERNAME = "x-access-token"
KEYS = ("user", "repository", "username", "token", "token_file")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """What a git host is told when it asks who we are."""

    username: str = USERNAME
    token: str = field(repr=False)

    def __post_init__(self) -> None:
        if not (self.username.isprintable() and self.token.isprintable() and self.username and self.token):
            raise ValueError("a user name and a token are each one line, and not empty")


Credentials = Callable[[str, str, str], Credential | None]
"""
Asked with user_id, host and path; no answer means an anonymous clone.

The host is bare only for https on port 443, else `host:port`; the path begins with a slash and has no `.git`.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the allow-list."""

    user: str
    place: Place
    everything_under: bool
    credential: Credential

    def allows(self, user_id: str, repository: Place) -> bool:
        """Whether this user may use this entry's token for this repository."""
        if user_id != self.user or (repository.scheme, repository.authority) != (self.place.scheme, self.authority):
            return False
        if self.everything_under:
            return repository.name.startswith(f"{self.place.name}/".replace("//", "/"))
        return repository.name == self.place.name

    @property
    def authority(self) -> str:
        """The host that the token is for."""
        return self.place.authority


def credential_for(settings: Settings, user_id: str, repository: Repository) -> Credential | None:
    """
    The credential that this user may use for this repository, or None for an anonymous clone.

    The file is read for each call, so that a change holds from the next run on.

    Raises:
        WrongUse: the file or the hook has faults.
    """
    if settings.credentials_hook:
        return hooked(settings.credentials_hook)(user_id, repository.authority, repository.name)
    entries = credentials(settings.credentials_file) if settings.credentials_file else ()
    fitting = [entry for entry in entries if entry.allows(user_id.lower(), repository)]
    fitting.sort(key=lambda entry: (not entry.everything_under, len(entry.place.name)))
    return fitting[-1].credential if fitting else None


def hooked(name: str) -> Credentials:
    """The hook `module:function`, whose answer is checked; whatever it raises is passed on."""
    found = hook.named(name, setting="CODINGIT_CREDENTIALS_HOOK")

    def ask(user_id: str, host: str, path: str) -> Credential | None:
        answer = found(user_id, host, path)
        if answer is None or isinstance(answer, Credential):
            return answer
        raise WrongUse(f"CODINGIT_CREDENTIALS_HOOK: {name} must return a worker.repository.Credential or None.")

    return ask


def credentials(path: Path) -> Sequence[Entry]:
    """
    The allow-list in a TOML file.

    Raises:
        WrongUse: with every fault at once, one a line; no token is shown.
    """
    listed = tables(path.expanduser())
    found, faults = [], []
    for number, table in enumerate(listed, start=1):
        wrong = list(faults_of(table))
        faults += [f"  [[allow]] {number}: {fault}" for fault in wrong]
        if not wrong:
            found.append(entry_of(table))
    faults += [f"  {fault}" for fault in doubles(found)]
    if faults:
        raise WrongUse(f"The credentials in {path} need a change:\n" + "\n".join(faults))
    return found


def tables(path: Path) -> list[dict[str, Any]]:
    """The `[[allow]]` tables of a file that nobody else can read."""
    try:
        open_to_others = is_open_to_others(path)
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as unread:
        raise WrongUse(f"The credentials in {path} cannot be read: {unread.strerror}.") from None
    except ValueError as invalid:
        raise WrongUse(f"The credentials in {path} are not valid TOML: {invalid}.") from None
    if open_to_others:
        raise WrongUse(f"The credentials in {path} can be read by others: run chmod 600 {path}")
    listed = content.pop("allow", [])
    if content or not isinstance(listed, list) or not all(isinstance(table, dict) for table in listed):
        raise WrongUse(f"The credentials in {path} must be [[allow]] tables and nothing else.")
    return listed


def is_open_to_others(path: Path) -> bool:
    """Whether anybody but its owner may do anything to the file."""
    return bool(stat.S_IMODE(path.stat().st_mode) & 0o077)


def faults_of(table: dict[str, Any]) -> Iterator[str]:
    """What is wrong with one table; no value of a token is in any of it."""
    for key, value in table.items():
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, n=1)
            yield f"{key}: there is no such key" + (f"; did you mean {near[0]}?" if near else "")
        elif not (isinstance(value, str) and value.strip() and value.strip().isprintable()):
            yield f"{key}: must be one line of text, and not empty"
    yield from user_faults(table.get("user"))
    yield from place_faults(table.get("repository"))
    yield from token_faults(table)


def user_faults(user: object) -> Iterator[str]:
    """What is wrong with `user`."""
    try:
        UUID(str(user))
    except ValueError:
        yield "user: must be the id of a user, such as 6f9c2c6e-0a52-4a5e-9d0f-6d1d2f1c7b1a"


def place_faults(repository: object) -> Iterator[str]:
    """What is wrong with `repository`."""
    try:
        if "*" in place_of(str(repository)).path:
            yield "repository: a * stands only at the end, as /*"
    except TaskFailed as refused:
        yield f"repository: {refused}"


def token_faults(table: dict[str, Any]) -> Iterator[str]:
    """What is wrong with `token` and `token_file`."""
    if ("token" in table) == ("token_file" in table):
        yield "give either token or token_file"
        return
    try:
        if "token_file" in table and is_open_to_others(token_file(table)):
            yield f"token_file: can be read by others: run chmod 600 {token_file(table)}"
        Credential(token=token_of(table))
    except OSError as unread:
        yield f"token_file: cannot be read: {unread.strerror}"
    except ValueError:
        yield "token: must be one line, and not empty"


def doubles(entries: Sequence[Entry]) -> Iterator[str]:
    """The repositories that a user has twice, of which one would be ignored."""
    seen = set()
    for entry in entries:
        key = (entry.user, entry.place.scheme, entry.place.authority, entry.place.name, entry.everything_under)
        if key in seen:
            yield f"{entry.place.url} is there twice for user {entry.user}"
        seen.add(key)


def entry_of(table: dict[str, Any]) -> Entry:
    """The entry of a table without faults."""
    return Entry(
        user=str(UUID(table["user"])),
        place=place_of(table["repository"]),
        everything_under=table["repository"].endswith("/*"),
        credential=Credential(username=table.get("username", USERNAME), token=token_of(table)),
    )


def place_of(repository: str) -> Place:
    """The place that an entry names; `https://host/*` is everything on that host, at the path `/`."""
    start = repository.removesuffix("/*")
    if start == repository or start.count("/") > 2:
        return parse(start)
    whole = parse(f"{start}/x")
    return Place(scheme=whole.scheme, host=whole.host, port=whole.port, path="/")


def token_of(table: dict[str, Any]) -> str:
    """The token, read from its file where it stands in one."""
    if "token_file" in table:
        return token_file(table).read_text(encoding="utf-8").strip()
    return str(table["token"]).strip()


def token_file(table: dict[str, Any]) -> Path:
    """Where the token stands."""
    return Path(str(table["token_file"])).expanduser()
