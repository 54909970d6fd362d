"""Addresses of PostgreSQL: every form that people paste, poolers recognised, the password kept for libpq alone."""

import pickle
from urllib.parse import quote

import psycopg.conninfo
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import make_url

from db.url import DatabaseUrl, DatabaseUrlInvalid

PASSWORD = "p@ss:w/o?r#d%20 [é]&=+"
SECRET = "s3cret-word"


def address(text: str = f"postgresql://app:{SECRET}@db.example.com:5432/app") -> DatabaseUrl:
    return DatabaseUrl.parse(text)


def as_libpq_reads(url: DatabaseUrl) -> dict[str, object]:
    return dict(psycopg.conninfo.conninfo_to_dict(url.libpq))


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg", "POSTGRESQL"])
def test_every_usual_scheme_is_one_address(scheme: str) -> None:
    url = address(f"{scheme}://app:{SECRET}@db.example.com:5432/app")

    assert url == address()
    assert url.libpq.startswith("postgresql://")
    assert make_url(url.sqlalchemy).drivername == "postgresql+psycopg"


@pytest.mark.parametrize("scheme", ["mysql", "postgresql+asyncpg", "http", "redis", "db"])
def test_any_other_scheme_is_refused(scheme: str) -> None:
    with pytest.raises(DatabaseUrlInvalid, match="must begin with postgresql://"):
        address(f"{scheme}://app@db.example.com/app")


def test_parameters_are_passed_on_untouched() -> None:
    query = "sslmode=verify-full&sslrootcert=/etc/ssl/my%20ca.crt&options=-csearch_path%3Dapp"

    url = address(f"postgresql://app@db.example.com/app?{query}")

    assert url.libpq.endswith(f"?{query}")
    assert as_libpq_reads(url)["sslrootcert"] == "/etc/ssl/my ca.crt"


def test_a_plus_sign_in_a_parameter_means_the_same_to_libpq_and_sqlalchemy() -> None:
    url = address("postgresql://app@db.example.com/app?sslrootcert=/etc/a+b.crt")

    assert as_libpq_reads(url)["sslrootcert"] == "/etc/a+b.crt"
    assert make_url(url.sqlalchemy).query["sslrootcert"] == "/etc/a+b.crt"


@pytest.mark.parametrize(
    ("place", "pooled"),
    [
        ("db.example.com:6543/app", True),
        ("db.example.com:5432/app", False),
        ("db.example.com/app", False),
        ("db.example.com:5432/app?pgbouncer=true", True),
        ("db.example.com:5432/app?sslmode=require&pgbouncer=TRUE", True),
        ("db.example.com:5432/app?pgbouncer=false", False),
    ],
)
def test_a_transaction_pooler_is_known_by_its_port_or_by_pgbouncer(place: str, pooled: bool) -> None:
    url = address(f"postgresql://app@{place}")

    assert url.pooled is pooled
    assert "pgbouncer" not in url.libpq


def test_pgbouncer_alone_is_taken_out_of_the_parameters() -> None:
    url = address("postgresql://app@db.example.com/app?sslmode=require&pgbouncer=true&application_name=x")

    assert url.libpq.endswith("?sslmode=require&application_name=x")


def test_another_role_or_database_is_still_behind_the_pooler() -> None:
    url = address("postgresql://app@db.example.com:6543/app").as_role("other", "x").with_database("more")

    assert url.pooled


def test_a_password_with_special_characters_survives_every_turn() -> None:
    url = address("postgresql://a@db.example.com:5432/app?sslmode=require")

    turned = url.as_role("task_worker.project", PASSWORD).with_database("my db/1")

    seen = as_libpq_reads(turned)
    assert (seen["user"], seen["password"]) == ("task_worker.project", PASSWORD)
    assert (seen["host"], seen["port"], seen["dbname"]) == ("db.example.com", "5432", "my db/1")
    assert seen["sslmode"] == "require"
    assert make_url(turned.sqlalchemy).password == PASSWORD
    assert (turned.user, turned.password) == ("task_worker.project", PASSWORD)


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_any_password_is_the_same_to_libpq_to_sqlalchemy_and_to_us(password: str) -> None:
    url = address(f"postgres://app:{quote(password, safe='')}@db.example.com/app")

    assert as_libpq_reads(url)["password"] == password
    assert make_url(url.sqlalchemy).password == password
    assert url.password == password


@pytest.mark.parametrize("password", ["p@ss@word", "100%", "50%zz", "a:b"])
def test_a_password_that_is_clear_without_encoding_is_taken_as_it_is(password: str) -> None:
    url = address(f"postgresql://app:{password}@db.example.com/app")

    assert as_libpq_reads(url)["password"] == password
    assert as_libpq_reads(url)["host"] == "db.example.com"


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://app:{SECRET}@db.example.com:port/app",
        f"postgresql://app:{SECRET}@db.example.com:70000/app",
        f"postgresql://app:x[{SECRET}]@db.example.com/app",
        f"postgresql://app:\u2100{SECRET}@db.example.com/app",
        f"postgresql://app:{SECRET}#x@db.example.com/app",
        f"postgresql://app:12#{SECRET}@db.example.com/app",
        f"postgresql://app:12?{SECRET}@db.example.com/app",
        f"postgresql://app:12/{SECRET}@db.example.com/app",
        f"postgresql://db.example.com/app?user=app&password={SECRET}",
        f"{SECRET}",
        f"app:{SECRET}@db.example.com/app",
    ],
)
def test_a_malformed_address_is_refused_without_a_word_of_it(text: str) -> None:
    with pytest.raises(DatabaseUrlInvalid) as refused:
        address(text)

    assert SECRET not in str(refused.value)
    assert "db.example.com" not in str(refused.value)
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


def test_neither_str_nor_repr_nor_format_shows_the_password() -> None:
    url = address(f"postgresql://app:{SECRET}@db.example.com:5432/app?sslpassword={SECRET}")

    assert str(url) == "postgresql://app@db.example.com:5432/app"
    assert SECRET not in f"{url!r} {url} {[url]}"


def test_an_address_without_a_password_has_none() -> None:
    url = address("postgresql://db.example.com/app")

    assert (url.user, url.password) == (None, None)
    assert str(url) == "postgresql://db.example.com/app"


def test_an_address_reaches_another_process_whole() -> None:
    assert pickle.loads(pickle.dumps(address())) == address()  # noqa: S301 - our own bytes
