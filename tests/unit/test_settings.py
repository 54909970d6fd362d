"""The settings: read from the environment and `.env`, all faults at once, no secret in any of it."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

import beat_schedule
from worker.errors import WrongUse
from worker.settings import Settings, read, required, required_redis, variables

SECRET = "s3cret-word"
CHECKOUT = Path(__file__).parents[2]
PROGRAMS = {"worker/sandbox/supervisor.py", "worker/agents/rehearsal_program.py"}
"""Run inside a sandbox, in an environment that was made for them; none of our settings is in it."""

Set = Callable[..., Settings]


@pytest.fixture
def with_env(monkeypatch: pytest.MonkeyPatch) -> Set:
    """Reads the settings of an environment in which only these variables are ours."""

    def with_variables(env_file: Path | None = None, **values: str) -> Settings:
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        return read(env_file=env_file)

    return with_variables


@pytest.fixture
def faults(with_env: Set) -> Callable[..., list[str]]:
    """The faults of such an environment, without the line above them."""

    def of(env_file: Path | None = None, **values: str) -> list[str]:
        with pytest.raises(WrongUse) as refused:
            with_env(env_file, **values)
        first, *lines = str(refused.value).splitlines()
        assert first == "The settings need a change:"
        return [line.removeprefix("  ") for line in lines]

    return of


Faults = Callable[..., list[str]]


def test_nothing_has_to_be_set_to_read_the_settings(with_env: Set) -> None:
    found = with_env()

    assert found.database_url is None
    assert found.lease_ttl == timedelta(seconds=30)


def test_all_faults_are_told_at_once_each_by_the_name_of_its_variable(faults: Faults) -> None:
    lines = faults(
        DATABASE_URL="mysql://app@db.example.com/app",
        REDIS_URL="amqp://broker",
        CODINGIT_LEASE_TTL="soon",
        CODINGIT_DISK_LIMIT="much",
        CODINGIT_WINDOW="0",
        CODINGIT_SANDBOX="docker",
        CODINGIT_COMMITTER="somebody",
        CODINGIT_FLOWER_AUTH="admin",
        CODINGIT_HEALTH_ADDRESS="8787",
        CODINGIT_LEASE_TTLS="30s",
    )

    assert {line.partition(":")[0] for line in lines} == {
        "DATABASE_URL",
        "REDIS_URL",
        "CODINGIT_LEASE_TTL",
        "CODINGIT_DISK_LIMIT",
        "CODINGIT_WINDOW",
        "CODINGIT_SANDBOX",
        "CODINGIT_COMMITTER",
        "CODINGIT_FLOWER_AUTH",
        "CODINGIT_HEALTH_ADDRESS",
        "CODINGIT_LEASE_TTLS",
    }
    assert len(lines) == 10


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("CODINGIT_LEASE_TLL", "CODINGIT_LEASE_TTL"),
        ("CODINGIT_MAX_CRASHS", "CODINGIT_MAX_CRASHES"),
        ("CODINGIT_DATABASE_URL", "DATABASE_URL"),
        ("CODINGIT_REDIS_URL", "REDIS_URL"),
        ("CODINGIT_LISTEN_DATABASE_URL", "LISTEN_DATABASE_URL"),
        ("codingit_graces", "CODINGIT_GRACE"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest_known_one(faults: Faults, wrong: str, right: str) -> None:
    assert faults(**{wrong: "1"}) == [f"{wrong}: there is no such setting; did you mean {right}?"]


def test_an_unknown_name_like_no_other_is_told_without_a_guess(faults: Faults) -> None:
    assert faults(CODINGIT_XYZ="1") == ["CODINGIT_XYZ: there is no such setting"]


def test_names_of_other_programs_are_none_of_our_business(with_env: Set) -> None:
    with_env(CODING="1", MY_CODINGIT_THING="1", DATABASE_URLS="1")


def test_names_may_be_written_in_lower_case(with_env: Set) -> None:
    assert with_env(codingit_window="7").window == 7


# Values --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("90", timedelta(seconds=90)),
        ("90s", timedelta(seconds=90)),
        (" 90 s ", timedelta(seconds=90)),
        ("3500ms", timedelta(seconds=3.5)),
        ("1.5m", timedelta(seconds=90)),
        ("2h", timedelta(hours=2)),
        ("7d", timedelta(days=7)),
    ],
)
def test_a_duration_is_a_number_and_a_unit(with_env: Set, written: str, meant: timedelta) -> None:
    assert with_env(CODINGIT_LEASE_TTL=written).lease_ttl == meant


@pytest.mark.parametrize("written", ["soon", "-5s", "5 parsecs", "1h30m", "P1D", "1e3", "nan", "999999999999d"])
def test_anything_else_is_no_duration(faults: Faults, written: str) -> None:
    (line,) = faults(CODINGIT_OFFER_TIMEOUT=written)

    assert line.startswith("CODINGIT_OFFER_TIMEOUT: a duration is a number with a unit, such as 500ms")


def test_a_duration_of_nothing_is_refused(faults: Faults) -> None:
    (line,) = faults(CODINGIT_OFFER_TIMEOUT="0s")

    assert line.startswith("CODINGIT_OFFER_TIMEOUT: ")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("1000", 1000),
        ("900b", 900),
        ("900kB", 900_000),
        ("100 MB", 100_000_000),
        ("0.5gb", 500_000_000),
        ("5GB", 5_000_000_000),
        ("5G", 5_000_000_000),
        ("1MiB", 1_048_576),
    ],
)
def test_a_size_is_a_number_and_a_unit(with_env: Set, written: str, meant: int) -> None:
    assert with_env(CODINGIT_OUTPUT_LIMIT=written).output_limit == meant


@pytest.mark.parametrize("written", ["much", "-5", "5 apples", "1TB!", "0x10"])
def test_anything_else_is_no_size(faults: Faults, written: str) -> None:
    (line,) = faults(CODINGIT_OUTPUT_LIMIT=written)

    assert line.startswith("CODINGIT_OUTPUT_LIMIT: a size is a number of bytes with a unit")


def test_a_list_is_separated_by_commas(with_env: Set) -> None:
    assert with_env(CODINGIT_ALLOWED_HOSTS="git.lan, 127.0.0.1:3000,,").allowed_hosts == ("git.lan", "127.0.0.1:3000")


@pytest.mark.parametrize("address", ["8787", ":8787", "localhost:", "localhost:http", "localhost:70000", "::1:8787"])
def test_an_address_to_listen_on_is_host_and_port(faults: Faults, address: str) -> None:
    lines = faults(CODINGIT_HEALTH_ADDRESS=address, CODINGIT_FLOWER_ADDRESS=address)

    assert [line.partition(":")[0] for line in lines] == ["CODINGIT_HEALTH_ADDRESS", "CODINGIT_FLOWER_ADDRESS"]


@pytest.mark.parametrize("address", ["127.0.0.1:0", "localhost:8787", "0.0.0.0:80", "[::1]:8787", "my-host.lan:65535"])
def test_a_name_an_ipv4_and_a_bracketed_ipv6_address_are_hosts(with_env: Set, address: str) -> None:
    assert with_env(CODINGIT_HEALTH_ADDRESS=address).health_address == address


def test_an_empty_value_is_the_default(with_env: Set, tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("CODINGIT_WINDOW=\nLISTEN_DATABASE_URL=\n")

    found = with_env(file, DATABASE_URL="", CODINGIT_LEASE_TTL="", CODINGIT_ALLOWED_HOSTS="", CODINGIT_SANDBOX="")

    assert found == Settings(_env_file=None)


@pytest.mark.parametrize("variable", ["CODINGIT_TICK", "CODINGIT_LEASE_TTL"])
def test_a_lease_outlasts_three_ticks_whichever_of_the_two_is_set(faults: Faults, variable: str) -> None:
    (line,) = faults(**{variable: {"CODINGIT_TICK": "11s", "CODINGIT_LEASE_TTL": "2s"}[variable]})

    assert line == "CODINGIT_TICK: it must be at most a third of CODINGIT_LEASE_TTL, or one slow tick loses the lease"


def test_a_fault_between_two_settings_is_told_beside_the_others(faults: Faults) -> None:
    lines = faults(CODINGIT_TICK="11s", CODINGIT_WINDOW="none", CODINGIT_COMMITTER="me")

    assert [line.partition(":")[0] for line in lines] == ["CODINGIT_TICK", "CODINGIT_WINDOW", "CODINGIT_COMMITTER"]


def test_a_listener_behind_a_transaction_pooler_is_refused(faults: Faults) -> None:
    (line,) = faults(LISTEN_DATABASE_URL="postgresql://app@db.example.com:6543/app")

    assert line.startswith("LISTEN_DATABASE_URL: LISTEN does not work through a transaction pooler")


# Redis ---------------------------------------------------------------------------------------------------------------


def test_tls_to_redis_verifies_the_certificate(with_env: Set) -> None:
    assert required_redis(with_env(REDIS_URL="rediss://:x@redis.example.com:6380/0")) == (
        "rediss://:x@redis.example.com:6380/0?ssl_cert_reqs=required"
    )


@pytest.mark.parametrize(
    "address",
    ["redis://:x@127.0.0.1:6379/0", "rediss://h/0?ssl_cert_reqs=none", "rediss://h/0?ssl_cert_reqs=required&x=1"],
)
def test_any_other_address_of_redis_is_passed_on_as_it_is(with_env: Set, address: str) -> None:
    assert required_redis(with_env(REDIS_URL=address)) == address


def test_what_is_missing_is_named_when_it_is_needed(with_env: Set) -> None:
    found = with_env()

    with pytest.raises(WrongUse, match=r"REDIS_URL is not set"):
        required_redis(found)
    with pytest.raises(WrongUse, match=r"DATABASE_URL is not set"):
        required(found.database_url, "DATABASE_URL")


# Secrets -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DATABASE_URL", f"postgresql://app:{SECRET}@db.example.com:port/app"),
        ("DATABASE_URL", f"postgresql://app:x[{SECRET}]@db.example.com/app"),
        ("DATABASE_URL", f"mysql://app:{SECRET}@db.example.com/app"),
        ("ADMIN_DATABASE_URL", f"{SECRET}"),
        ("LISTEN_DATABASE_URL", f"postgresql://app:{SECRET}@db.example.com:6543/app"),
        ("REDIS_URL", f"redis://:x[{SECRET}]@redis.example.com"),
        ("REDIS_URL", f"redis://:{SECRET}#1@redis.example.com"),
        ("REDIS_URL", f"http://:{SECRET}@redis.example.com"),
        ("CODINGIT_FLOWER_AUTH", SECRET),
        ("CODINGIT_LEASE_TTL", SECRET),
        ("CODINGIT_WINDOW", SECRET),
        ("CODINGIT_LOG_LEVEL", SECRET),
        ("CODINGIT_COMMITTER", SECRET),
    ],
)
def test_no_fault_shows_the_value_it_is_about(faults: Faults, variable: str, value: str) -> None:
    (line,) = faults(**{variable: value})

    assert line.startswith(f"{variable}: ")
    assert SECRET not in line


def test_settings_can_be_printed_without_a_secret_in_them(with_env: Set) -> None:
    found = with_env(
        DATABASE_URL=f"postgresql://app:{SECRET}1@db.example.com/app",
        ADMIN_DATABASE_URL=f"postgresql://app:{SECRET}2@db.example.com/app",
        REDIS_URL=f"rediss://:{SECRET}3@redis.example.com/0",
        CODINGIT_FLOWER_AUTH=f"admin:{SECRET}4",
    )

    assert SECRET not in f"{found!r} {found} {found.model_dump()} {found.model_dump_json()}"
    assert set(found.secrets()) == {f"{SECRET}{number}" for number in range(1, 5)}


def test_a_percent_encoded_password_is_a_secret_in_both_its_forms(with_env: Set) -> None:
    found = with_env(REDIS_URL="redis://:p%40ssword@redis.example.com/0")

    assert set(found.secrets()) == {"p%40ssword", "p@ssword"}


# .env ----------------------------------------------------------------------------------------------------------------


def test_the_environment_goes_before_the_env_file(with_env: Set, tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("# ours\nexport CODINGIT_WINDOW=7\nCODINGIT_MAX_CRASHES = '2'\nDATABASE_URL=postgres://db/app\n")

    found = with_env(file, CODINGIT_WINDOW="8")

    assert (found.window, found.max_crashes, str(found.database_url)) == (8, 2, "postgresql://db/app")


def test_unknown_names_in_the_env_file_are_told_too(faults: Faults, tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("export CODINGIT_WINDOWS=7\n# CODINGIT_COMMENT=1\nOTHER=1\nCODINGIT_GRACE=never\n")

    assert {line.partition(":")[0] for line in faults(file)} == {"CODINGIT_WINDOWS", "CODINGIT_GRACE"}


def test_no_env_file_and_a_folder_of_its_name_are_no_faults(with_env: Set, tmp_path: Path) -> None:
    assert with_env(tmp_path / "none") == with_env(tmp_path)


# The house -----------------------------------------------------------------------------------------------------------


def environment_readers(source: str) -> set[str]:
    """The names in this module by which Python reads the process's environment."""
    names = {"environ", "environb", "getenv", "getenvb", "putenv"}
    tree = ast.parse(source)
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for name in node.names}
    return names & (attributes | imported)


def test_only_the_settings_read_the_environment() -> None:
    readers = {
        str(path.relative_to(CHECKOUT))
        for package in ("worker", "db")
        for path in (CHECKOUT / package).rglob("*.py")
        if environment_readers(path.read_text())
    }

    assert readers - PROGRAMS == {"worker/settings.py"}


def test_the_schedule_is_data_and_imports_celerys_schedules_alone() -> None:
    tree = ast.parse(Path(beat_schedule.__file__).read_text())
    imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}

    ours = {name for name in imported if name.partition(".")[0] not in sys.stdlib_module_names}
    assert ours == {"celery.schedules"}


def test_the_page_of_settings_and_the_example_are_what_the_settings_say() -> None:
    checked = subprocess.run(
        (sys.executable, "tools/settings_page.py", "--check"),
        cwd=CHECKOUT,
        env={"PATH": os.defpath},
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stderr


def test_the_example_names_every_variable() -> None:
    example = (CHECKOUT / ".env.example").read_text()

    assert tuple(re.findall(r"^#(\w+)=", example, re.MULTILINE)) == variables()


def test_the_example_is_a_valid_file_of_settings(with_env: Set, tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text(re.sub(r"^#(?=\w+=)", "", (CHECKOUT / ".env.example").read_text(), flags=re.MULTILINE))

    assert with_env(file) == Settings(_env_file=None)


def test_machines_of_e2b_need_a_key(faults: Faults, with_env: Set) -> None:
    assert faults(CODINGIT_SANDBOX="e2b") == ["CODINGIT_SANDBOX: e2b needs CODINGIT_E2B_API_KEY"]
    chosen = with_env(CODINGIT_SANDBOX="e2b", CODINGIT_E2B_API_KEY=SECRET)
    assert SECRET in chosen.secrets()
