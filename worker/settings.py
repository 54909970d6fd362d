"""Every setting of the worker, with its unit and default; the only module that reads the environment."""

import difflib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import (
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from db.url import DatabaseUrl
from worker.errors import WrongUse
from worker.values import (
    Committer,
    Dollars,
    Duration,
    EgressHosts,
    Findings,
    Key,
    Listening,
    Login,
    Names,
    Postgres,
    Prices,
    Redis,
    Scheduled,
    SecretKey,
    Session,
    Size,
    Times,
    Upstream,
    Web,
)

PREFIX = "CODINGIT_"
UNPREFIXED = ("DATABASE_URL", "ADMIN_DATABASE_URL", "MAINTENANCE_DATABASE_URL", "LISTEN_DATABASE_URL", "REDIS_URL")
NETWORK = (
    *("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH"),
)
ProviderName = Literal["anthropic", "openai", "google"]
"""Whose models agents ask."""
USUAL_KEYS: Mapping[ProviderName, str] = {
    "anthropic": "ANTHROPIC_API_KEY",
    "openai": "OPENAI_API_KEY",
    "google": "GEMINI_API_KEY",
}
"""What people's own tools call their keys. Only the demo takes them: a worker spends no key that it was not given."""
ENDS = frozenset({"completed", "error"})


class Settings(BaseSettings):
    """
    The settings, read once from the environment and from `.env` in the working directory.

    Durations are a number and a unit (`500ms`, `30s`, `15m`, `2h`), sizes likewise (`900kB`, `5GB`).
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        arbitrary_types_allowed=True,
        validate_default=False,
        hide_input_in_errors=True,
    )

    # Where things are. These five go by their usual names, without the prefix.
    database_url: Postgres | None = Field(None, validation_alias="DATABASE_URL")
    """PostgreSQL as role `task_worker`; serves worker and dispatcher, and all others where it stands alone."""
    admin_database_url: Postgres | None = Field(None, validation_alias="ADMIN_DATABASE_URL")
    """PostgreSQL as the owner of the tables: for `db` and `tasks` commands. Default: DATABASE_URL."""
    maintenance_database_url: Postgres | None = Field(None, validation_alias="MAINTENANCE_DATABASE_URL")
    """PostgreSQL as the role that may delete what is expired. Default: DATABASE_URL."""
    listen_database_url: Session | None = Field(None, validation_alias="LISTEN_DATABASE_URL")
    """A direct address for LISTEN where DATABASE_URL is a transaction pooler. Without it, polling alone serves."""
    redis_url: Redis | None = Field(None, validation_alias="REDIS_URL")
    """Redis or Valkey, the broker of Celery; `rediss://` is TLS with a verified certificate."""

    # The queue.
    lease_ttl: Duration = timedelta(seconds=30)
    """How long a lease lasts without being renewed; a dead worker's task runs again after it."""
    tick: Annotated[Duration, Field(validate_default=True)] = timedelta(seconds=1)
    """How often a run renews its lease and learns of cancellation."""
    poll_interval: Annotated[Duration, Field(le=timedelta(seconds=10))] = timedelta(seconds=1)
    """How often the dispatcher looks for pending rows besides being notified, and for lapsed leases; at most 10 s."""
    offer_timeout: Duration = timedelta(seconds=60)
    """After how long an offer that nobody claimed is made again."""
    window: int = Field(100, ge=1)
    """How many offers may wait in the broker at once."""
    max_running_per_user: int = Field(5, ge=1)
    """How many tasks of one user run at once."""
    max_crashes: int = Field(3, ge=1)
    """At which crash a task ends in error rather than run again."""
    max_backoffs: int = Field(8, ge=0)
    """How often a task is put off because its provider is overloaded."""

    # A run.
    concurrency: int = Field(4, ge=1)
    """How many tasks one worker runs at once."""
    grace: Duration = timedelta(seconds=8)
    """How long running tasks may go on after SIGTERM before they are given back; Docker kills at 10 s."""
    unrenewed_limit: Duration = timedelta(minutes=15)
    """How long a run goes on while the database cannot be reached."""
    wall_limit: Duration = timedelta(minutes=60)
    """How long a run may take in all."""
    idle_limit: Duration = timedelta(minutes=10)
    """How long an agent may print nothing."""
    output_limit: Size = 100 * 10**6
    """How much an agent may print, in bytes."""
    disk_limit: Size = 5 * 10**9
    """How large a workspace may grow, in bytes."""
    prompt_limit: int = Field(100_000, ge=1)
    """How long a prompt may be, in characters."""
    state_dir: Path = Path("~/.local/state/codingit-worker")
    """Where this host keeps what the worker writes: the workspaces of runs, their transcripts, and mirrors."""
    mirrors_limit: Size = 10 * 10**9
    """How much of repositories is kept for the next run, in bytes; what was not used for longest goes first."""
    mirrors_age: Duration = timedelta(days=14)
    """After how long without a run a kept repository goes."""

    # Agents and repositories.
    e2b_api_key: Key | None = None
    """E2B's key, for the sandbox `e2b`; it reaches no sandbox."""
    e2b_template: str = Field("base", pattern=r"^[A-Za-z0-9][A-Za-z0-9_./:-]{0,127}$")
    """What E2B's machines are made of: at least bash, coreutils, git, tar and Python 3."""
    e2b_api_url: Upstream | None = None
    """Where E2B's API answers, if it is not E2B's own."""
    e2b_sandbox_url: Upstream | None = None
    """Where its machines answer, if they are not E2B's own."""
    sandbox: Literal["bubblewrap", "process", "e2b"] | None = None
    """`bubblewrap` or `e2b` insist on isolation; unset, only `rehearsal` runs without. `process`: all is trusted."""
    process_limit: int = Field(512, ge=16)
    """How many processes and threads an agent and all that it starts may be at once."""
    memory_limit: Size = 8 * 10**9
    """How much memory they may use together, in bytes; it holds where the worker may make control groups."""
    allowed_hosts: Names = ()
    """Hosts, each `host` or `host:port`, that may be cloned from although they are loopback, private or plain http."""
    credentials_file: Path | None = None
    """A TOML file that says which user may use which token for which repository."""
    credentials_hook: str | None = None
    """`module:function` of (user_id, host, path) in place of the file; answers a Credential or None, within seconds."""
    committer: Committer = "CodingIT <worker@codingit.invalid>"
    """Who commits, as `Name <address>`."""
    pull_requests: Literal["draft", "ready"] | None = None
    """Open a pull request for each pushed branch, as a draft or `ready` for review; on GitHub, with the same token."""

    # Models.
    anthropic_api_key: Key | None = None
    """The key for Anthropic's models. No agent sees it: a gateway beside each run adds it to what is passed on."""
    openai_api_key: Key | None = None
    """The key for OpenAI's models."""
    google_api_key: Key | None = None
    """The key for Google's models."""
    provider_keys_hook: str | None = None
    """`module:function` of (user_id, provider) in place of these; answers a user's key or None, within seconds."""
    anthropic_base_url: Upstream = "https://api.anthropic.com"
    """Where Anthropic's API answers, or a gateway of your own that speaks it."""
    openai_base_url: Upstream = "https://api.openai.com"
    """Where OpenAI's API answers, without the /v1."""
    google_base_url: Upstream = "https://generativelanguage.googleapis.com"
    """Where Google's Gemini API answers, without the /v1beta."""
    run_requests: int = Field(2_000, ge=1)
    """How many requests one run may make to its model."""
    run_tokens: int = Field(50_000_000, ge=1)
    """How many tokens one run may use: input, output, and what is read from or written to a cache."""
    run_cost: Dollars | None = None
    """How many US dollars one run may cost by CODINGIT_PRICES; without a limit by itself."""
    user_daily_tokens: int | None = Field(None, ge=1)
    """How many tokens a user's runs of one day (UTC) may use together; without a limit by itself."""
    user_daily_cost: Dollars | None = None
    """How many US dollars a user's runs of one day (UTC) may cost together; without a limit by itself."""
    prices: Prices = ()
    """US dollars a million tokens, each `model=input/output[/cache read[/cache write]]`; `*` fits any characters."""

    # The network of a run.
    egress_hosts: EgressHosts = ()
    """Hosts that a run may reach over TLS besides its model, as `pypi.org` or `*.npmjs.org`; private ones never."""
    egress_limit: Size = 2 * 10**9
    """How many bytes a run may send to and receive from those hosts in all."""

    # Stored files.
    supabase_url: Web | None = None
    """Where Supabase answers, as https://abcdefghijkl.supabase.co: the files of purged projects are deleted there."""
    supabase_key: SecretKey | None = None
    """A secret key of it, `sb_secret_…` or the legacy service_role key."""
    s3_access_key_id: str | None = None
    """Storage's S3 access key, for aborting uploads that nobody finished. Without it only their rows are removed."""
    s3_secret_access_key: SecretStr | None = None
    """The secret of that key."""
    s3_region: str = "us-east-1"
    """The region that Storage tells for its S3 protocol."""
    s3_endpoint_url: Web | None = None
    """Where Storage speaks S3. Default: below CODINGIT_SUPABASE_URL."""

    # Keeping clean. What is removed when is listed by `codingit-worker maintenance list`.
    session_grace: Duration = timedelta(hours=72)
    """How long a session stays after it expired; the same as Supabase's own."""
    session_timebox: Duration | None = None
    """How long a session may last in all, as your project's Auth settings say; unset, for ever."""
    session_inactivity: Duration | None = None
    """How long a session may go without a refresh, as your project's Auth settings say; unset, for ever."""
    revoked_token_retention: Duration = timedelta(days=30)
    """How long a revoked refresh token stays."""
    project_retention: Duration = timedelta(days=30)
    """How long a deleted project can be restored, before it is purged with its files."""
    finished_task_retention: Duration | None = None
    """How long a finished task stays after its last change; unset, for ever."""
    finished_task_statuses: Names = ("completed", "error")
    """Which tasks are finished, for the setting above."""
    upload_retention: Duration = timedelta(days=7)
    """How long an upload in parts may go on."""
    purge_despite: Findings = ()
    """`function:public.soft_delete_project`: projects are purged although that function lets anybody delete any."""
    run_retention: Duration = timedelta(days=90)
    """How long the history of attempts stays."""
    slot_retention: Annotated[Duration, Field(ge=timedelta(days=1))] = timedelta(days=30)
    """How long the history of the schedule stays, at least 1d."""
    transcript_retention: Duration = timedelta(days=30)
    """How long a transcript stays on this host's disk."""
    maintenance_off: Scheduled = ()
    """Policies that the schedule leaves out."""
    maintenance_times: Times = {}
    """Other times than the schedule's, in UTC: `expired_sessions=15 3 * * *; workspaces=5m`."""
    sweep_budget: Annotated[Duration, Field(le=timedelta(minutes=30))] = timedelta(minutes=10)
    """How long one sweep goes on, at most 30m; the next one goes on from there."""

    # Watching.
    health_address: Listening = "127.0.0.1:8787"
    """Where the dispatcher answers /healthz and /readyz, as host:port; port 0 takes a free one."""
    flower_auth: Login | None = None
    """`user:password` for Flower; it does not start without."""
    flower_address: Listening = "127.0.0.1:5555"
    """Where Flower answers, as host:port. Its /metrics and /healthcheck ask for no password: keep it private."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe level that is logged."""
    log_format: Literal["console", "json"] = "console"
    """`json` prints one object a line."""

    @field_validator("finished_task_statuses")
    @classmethod
    def _are_ends(cls, statuses: tuple[str, ...]) -> tuple[str, ...]:
        if not set(statuses) <= ENDS:
            raise ValueError(f"each must be one of {', '.join(sorted(ENDS))}")
        return statuses

    @field_validator("tick")
    @classmethod
    def _renews_in_time(cls, tick: timedelta, info: ValidationInfo) -> timedelta:
        lease_ttl = info.data.get("lease_ttl")  # absent when it has a fault of its own
        if lease_ttl and tick * 3 > lease_ttl:
            raise ValueError(f"it must be at most a third of {PREFIX}LEASE_TTL, or one slow tick loses the lease")
        return tick

    @field_validator("sandbox")
    @classmethod
    def _has_an_account(cls, sandbox: str | None, info: ValidationInfo) -> str | None:
        if sandbox == "e2b" and not info.data.get("e2b_api_key"):
            raise ValueError(f"e2b needs {PREFIX}E2B_API_KEY")
        return sandbox

    @field_validator("prices")
    @classmethod
    def _prices_for_costs(cls, prices: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        limited = next((name for name in ("run_cost", "user_daily_cost") if info.data.get(name)), None)
        if limited and not prices:
            raise ValueError(f"set it too, or {PREFIX}{limited.upper()} limits nothing")
        return prices

    @model_validator(mode="after")
    def _keys_are_whole(self) -> Self:
        if self.supabase_key and not self.supabase_url:
            raise ValueError(f"{PREFIX}SUPABASE_KEY needs {PREFIX}SUPABASE_URL: the address that takes it")
        if bool(self.s3_access_key_id) != bool(self.s3_secret_access_key):
            raise ValueError(f"{PREFIX}S3_ACCESS_KEY_ID and {PREFIX}S3_SECRET_ACCESS_KEY go together")
        if self.s3_access_key_id and not (self.supabase_url or self.s3_endpoint_url):
            raise ValueError(f"{PREFIX}S3_ACCESS_KEY_ID needs {PREFIX}SUPABASE_URL or {PREFIX}S3_ENDPOINT_URL")
        return self

    @model_validator(mode="after")
    def _storage_is_the_databases_own(self) -> Self:
        url = self.maintenance_database_url or self.database_url
        host = urlsplit(self.supabase_url or "").hostname or ""
        told, found = host.removesuffix(".supabase.co"), url.project if url else None
        if self.supabase_key and found and told not in {host, found}:
            # A copy of production's database would have production's files deleted.
            raise ValueError(f"{PREFIX}SUPABASE_URL is of project {told}, and the database of project {found}")
        return self

    @property
    def workspaces_dir(self) -> Path:
        """Where runs have their working folders; each is removed after its run."""
        return self.state_dir.expanduser() / "workspaces"

    @property
    def mirrors_dir(self) -> Path:
        """Where repositories are kept between runs."""
        return self.state_dir.expanduser() / "mirrors"

    @property
    def transcripts_dir(self) -> Path:
        """Where the whole output of each run is kept, gzipped."""
        return self.state_dir.expanduser() / "transcripts"

    def secrets(self) -> tuple[str, ...]:
        """Every secret value among the settings, for redaction; none is to be stored or printed."""
        urls = (self.database_url, self.admin_database_url, self.maintenance_database_url, self.listen_database_url)
        found = [url.password for url in urls if url]
        if self.redis_url:
            found.append(urlsplit(self.redis_url.get_secret_value()).password)
        if self.flower_auth:
            found.append(self.flower_auth.get_secret_value().partition(":")[2])
        keys = (self.anthropic_api_key, self.openai_api_key, self.google_api_key, self.e2b_api_key)
        stored = (self.supabase_key, self.s3_secret_access_key)
        found += [key.get_secret_value() for key in (*keys, *stored) if key]
        return tuple({form for secret in found if secret for form in (secret, unquote(secret))})


def read(*, env_file: Path | None = Path(".env")) -> Settings:
    """
    The settings of this process's environment and `env_file`.

    Raises:
        WrongUse: with every fault at once, one a line; no value is shown.
    """
    faults = list(unknown_names([*os.environ, *file_names(env_file)]))
    try:
        found = Settings(_env_file=env_file)
    except ValidationError as invalid:
        faults += [fault(error) for error in invalid.errors(include_url=False, include_input=False)]
    if faults:
        raise WrongUse("The settings need a change:\n" + "\n".join(f"  {line}" for line in faults))
    return found


@cache
def settings() -> Settings:
    """The settings of this process, read once."""
    return read()


def inherited(values: Mapping[str, str], *, without: Iterable[str] = ()) -> dict[str, str]:
    """The environment for a process of ours: this one's, with these values over it and those names out of it."""
    return {name: value for name, value in os.environ.items() if name not in set(without)} | dict(values)


def variables() -> tuple[str, ...]:
    """The name of every environment variable that is a setting."""
    prefixed = (f"{PREFIX}{name.upper()}" for name in Settings.model_fields if name.upper() not in UNPREFIXED)
    return (*UNPREFIXED, *prefixed)


def required(value: DatabaseUrl | None, name: str) -> DatabaseUrl:
    """The address, or WrongUse that names the variable to set."""
    if value is None:
        raise WrongUse(f"{name} is not set. Set it to the address of your database, or try everything with: make run")
    return value


def required_redis(chosen: Settings) -> str:
    """
    The address of the broker with its password, or WrongUse that names the variable to set.

    With rediss:// its certificate is verified, unless the address says ?ssl_cert_reqs=none.
    """
    if chosen.redis_url is None:
        raise WrongUse(
            "REDIS_URL is not set. Set it to the address of Redis or Valkey, or try everything with: make run"
        )
    address = chosen.redis_url.get_secret_value()
    if address.startswith("rediss://") and "ssl_cert_reqs" not in address:  # kombu would take any certificate
        return f"{address}{'&' if '?' in address else '?'}ssl_cert_reqs=required"
    return address


def network_environment() -> dict[str, str]:
    """What programs of the host need to reach the network, by its usual names: proxies and certificate authorities."""
    return {name: os.environ[name] for name in NETWORK if name in os.environ}


def usual_key(provider: ProviderName) -> str | None:
    """The key for a provider that this process's environment has for people's own tools."""
    return os.environ.get(USUAL_KEYS[provider]) or None


def unknown_names(names: Iterable[str]) -> Iterator[str]:
    """A line for each name that looks like ours and is none, with the nearest that is."""
    known = variables()
    for name in sorted(set(names)):
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            near = nearest(name.upper().removeprefix(PREFIX))
            yield f"{name}: there is no such setting" + (f"; did you mean {near}?" if near else "")


def nearest(word: str) -> str | None:
    """The setting whose name, without the prefix, is most like `word`; None when none is."""
    known = {name.removeprefix(PREFIX): name for name in variables()}
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.7)
    return known[near[0]] if near else None


def file_names(env_file: Path | None) -> list[str]:
    """The names that an env file sets."""
    if env_file is None or not env_file.is_file():
        return []
    try:
        lines = env_file.read_text(errors="replace").splitlines()
    except OSError as fault:
        raise WrongUse(f"{env_file} cannot be read: {fault.strerror}.") from fault
    return [match[1] for line in lines if (match := re.match(r"\s*(?:export\s+)?([A-Za-z_]\w*)\s*=", line))]


def fault(error: Any) -> str:
    """One fault as a line: the variable's name and what is wrong, without the value."""
    if not error["loc"]:
        return str(error["msg"]).removeprefix("Value error, ")
    name = str(error["loc"][0]).upper()
    shown = name if name in UNPREFIXED else f"{PREFIX}{name.removeprefix(PREFIX)}"
    return f"{shown}: {str(error['msg']).removeprefix('Value error, ')}"
