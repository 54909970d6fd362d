"""The kinds of values that settings have: each read from a text, checked, and named as a type."""

import difflib
import json
import re
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated
from urllib.parse import urlsplit

from celery.schedules import BaseSchedule, ParseException, crontab, schedule
from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, SecretStr
from pydantic_settings import NoDecode

import beat_schedule
from db.url import DatabaseUrl, split

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
LAST_PORT = 65535
SOFT_DELETE_FINDING = "function:public.soft_delete_project"
LONGEST = 366 * 86400.0
CRON_FIELDS = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
SIZES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}


def duration(value: object) -> object:
    """`90`, `90s`, `500ms`, `15m`, `1h`, `7d` as a timedelta; a bare number is in seconds."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d)?", value.strip()) if isinstance(value, str) else None
    seconds = float(match[1]) * UNITS[match[2] or "s"] if match else None
    if seconds is not None and seconds <= LONGEST:
        return timedelta(seconds=seconds)
    if isinstance(value, str):  # a timedelta passes
        raise ValueError("a duration is a number with a unit, such as 500ms, 30s, 15m or 2h, and at most a year")
    return value


def size(value: object) -> object:
    """`1000`, `10kB`, `5GB`, `1GiB` as a number of bytes."""
    text = value.strip().lower().removesuffix("b") if isinstance(value, str) else ""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([kmg]i?|)", text)
    if match:
        return int(float(match[1]) * SIZES[match[2]])
    if isinstance(value, str):
        raise ValueError("a size is a number of bytes with a unit, such as 900kB, 100MB or 5GB")
    return value


def listed(value: object) -> object:
    """A comma-separated list as a tuple; empty parts are dropped."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def database_url(value: object) -> object:
    """An address of PostgreSQL; the value itself never appears in a message."""
    return DatabaseUrl.parse(value) if isinstance(value, str) else value


def redis_url(value: object) -> object:
    """An address of Redis or Valkey, with TLS by rediss://."""
    text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    if split(text).scheme not in {"redis", "rediss"}:
        raise ValueError("it must begin with redis:// or rediss://")
    return value


def session(value: DatabaseUrl) -> DatabaseUrl:
    """An address that LISTEN works at."""
    if value.pooled:
        raise ValueError("LISTEN does not work through a transaction pooler; name the session port, as 5432")
    return value


def host_and_port(value: str) -> str:
    """An address to listen on, `host:port`; an IPv6 address stands in brackets."""
    host, _, port = value.rpartition(":")
    if not re.fullmatch(r"[^\s:/@\[\]]+|\[[0-9A-Fa-f:.]+\]", host) or not re.fullmatch(r"[0-9]{1,5}", port):
        raise ValueError("it must look like 127.0.0.1:8787")
    if int(port) > LAST_PORT:
        raise ValueError(f"its port must not be above {LAST_PORT}")
    return value


def scheduled(names: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the schedule."""
    for name in names:
        if name not in beat_schedule.JOBS:
            near = difflib.get_close_matches(name, beat_schedule.JOBS, n=1)
            raise ValueError(f"nothing is called {name!r}" + (f"; did you mean {near[0]}?" if near else ""))
    return names


def times(value: object) -> object:
    """`name=crontab; name=interval` as each name's schedule."""
    if not isinstance(value, str):
        return value
    pairs = [part.partition("=") for part in value.split(";") if part.strip()]
    scheduled(tuple(name.strip() for name, _, _ in pairs))
    return {name.strip(): when(words.strip()) for name, _, words in pairs}


def when(words: str) -> BaseSchedule:
    """`15 3 * * *`, five fields as cron has them, or an interval such as `5m`."""
    if len(words.split()) != len(CRON_FIELDS):
        interval = duration(words)
        if not isinstance(interval, timedelta) or interval < timedelta(minutes=1):
            raise ValueError("an interval must be a minute or more")
        return schedule(interval)
    try:
        return crontab(**dict(zip(CRON_FIELDS, words.split(), strict=True)))
    except (ParseException, ValueError) as fault:
        raise ValueError(f"{words!r} is no crontab: {fault}") from fault


def committer(value: str) -> str:
    """`Name <address>`, as git takes it."""
    if not re.fullmatch(r"[^<>\n]+ <[^<>\s]+>", value):
        raise ValueError("it must look like: Name <address@example.com>")
    return value


def web_address(value: str) -> str:
    """An address of a web service, without what its paths begin with."""
    parts = split(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ValueError("it must look like https://abcdefghijkl.supabase.co")
    return value.rstrip("/")


def secret_key(value: SecretStr) -> SecretStr:
    """A key with which the server lets us delete: not the one that browsers have."""
    if value.get_secret_value().startswith("sb_publishable_") or role_of(value.get_secret_value()) == "anon":
        raise ValueError("it is the public key; name a secret one (sb_secret_…) or the legacy service_role key")
    return value


def role_of(key: str) -> object:
    """The role that a JWT speaks for, None where it is no JWT; nothing is verified."""
    try:
        claims = json.loads(urlsafe_b64decode(key.split(".")[1] + "=="))
    except (IndexError, ValueError):
        return None
    return claims.get("role") if isinstance(claims, dict) else None


def known_findings(values: tuple[str, ...]) -> tuple[str, ...]:
    """Findings of `db check` that keep something from being done until they are overridden."""
    if unknown := set(values) - {SOFT_DELETE_FINDING}:
        raise ValueError(f"{', '.join(sorted(unknown))} keeps nothing from being purged; {SOFT_DELETE_FINDING} does")
    return values


def login(value: SecretStr) -> SecretStr:
    """`user:password`, neither empty."""
    user, _, password = value.get_secret_value().partition(":")
    if not (user and password):
        raise ValueError("it must look like: user:password")
    return value


def key(value: SecretStr) -> SecretStr:
    """A key as a header can carry it."""
    text = value.get_secret_value()
    if not re.fullmatch(r"[!-~]{8,}", text):
        raise ValueError("it must be one word of at least 8 characters")
    return value


def upstream(value: str) -> str:
    """The address of an API, without a slash at its end."""
    parts = urlsplit(value)
    plain = parts.scheme == "http" and parts.hostname in {"127.0.0.1", "::1", "localhost"}
    if not (parts.scheme == "https" or plain) or not parts.hostname:
        raise ValueError("it must begin with https://; http:// is for this machine alone")
    if parts.query or parts.fragment or "@" in parts.netloc or re.search(r"[^!-~]", value):
        raise ValueError("it must hold nothing but a host, a port and a path")
    if re.search(r"/v1(beta)?/*$", parts.path):
        raise ValueError("leave out the version that the API's paths begin with, as /v1")
    return value.rstrip("/")


def prices(values: tuple[str, ...]) -> tuple[str, ...]:
    """Each `model=input/output[/cache read[/cache write]]`, in US dollars for a million tokens."""
    number = r"[0-9]+(\.[0-9]+)?"
    wrong = next((value for value in values if not re.fullmatch(rf"[^\s=]+={number}(/{number}){{1,3}}", value)), None)
    if wrong:
        raise ValueError(f"{wrong!r} must look like claude-example-*=3/15 or claude-example-*=3/15/0.3/3.75")
    return values


def egress_hosts(values: tuple[str, ...]) -> tuple[str, ...]:
    """Each a host, or `*.` and a domain, perhaps with a port."""
    label = r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?"
    form = re.compile(rf"(\*\.{label}\.)?{label}(\.{label})*(:[0-9]{{1,5}})?", re.IGNORECASE)
    wrong = next((value for value in values if not form.fullmatch(value)), None)
    if wrong:
        raise ValueError(f"{wrong!r} must look like pypi.org, *.npmjs.org or example.com:8443")
    return values


Duration = Annotated[timedelta, BeforeValidator(duration), Field(gt=timedelta())]
Size = Annotated[int, BeforeValidator(size), Field(gt=0)]
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(listed)]
Postgres = Annotated[DatabaseUrl, NoDecode, BeforeValidator(database_url), PlainSerializer(str)]
Session = Annotated[Postgres, AfterValidator(session)]
Redis = Annotated[SecretStr, BeforeValidator(redis_url)]
Web = Annotated[str, AfterValidator(web_address)]
Findings = Annotated[Names, AfterValidator(known_findings)]
Listening = Annotated[str, AfterValidator(host_and_port)]
Login = Annotated[SecretStr, AfterValidator(login)]
Scheduled = Annotated[Names, AfterValidator(scheduled)]
Times = Annotated[Mapping[str, BaseSchedule], NoDecode, BeforeValidator(times)]
Committer = Annotated[str, AfterValidator(committer)]
Key = Annotated[SecretStr, AfterValidator(key)]
SecretKey = Annotated[Key, AfterValidator(secret_key)]
Upstream = Annotated[str, AfterValidator(upstream)]
Dollars = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Prices = Annotated[Names, AfterValidator(prices), Field(validate_default=True)]
EgressHosts = Annotated[Names, AfterValidator(egress_hosts)]
