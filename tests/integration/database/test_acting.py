"""Acting as a user: the role and the claims hold for one transaction, and nobody who comes after finds them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, TextClause, create_engine, select, text
from sqlalchemy.exc import DBAPIError, InvalidRequestError
from sqlalchemy.orm import Session

from db.engine import engine
from db.errors import TransactionUnfit
from db.models import Task
from db.rls import acting_as, as_service
from db.url import DatabaseUrl
from tests.support.pooler import pooled
from tests.support.rows import Rows

WHO = text("""
SELECT current_user::text AS role, auth.uid() AS uid, auth.jwt() AS claims,
    nullif(current_setting('request.jwt.claims', true), '') AS setting
""")


@pytest.fixture(params=["directly", "through a transaction pooler"])
def one_session(owner_url: DatabaseUrl, request: pytest.FixtureRequest) -> Iterator[Engine]:
    """All that it runs, runs in one session of the server, whoever had it before."""
    with ExitStack() as stack:
        url = owner_url if request.param == "directly" else stack.enter_context(pooled(owner_url))
        yield stack.enter_context(alone(url))


@contextmanager
def alone(url: DatabaseUrl) -> Iterator[Engine]:
    opened = create_engine(url.sqlalchemy, connect_args={"prepare_threshold": None}, pool_size=1, max_overflow=0)
    yield opened
    opened.dispose()


def who(database: Engine) -> dict[str, Any]:
    with Session(database) as session:
        return dict(session.execute(WHO).mappings().one())


def nobody(database: Engine) -> bool:
    """Whether the next user of the session is who logged in, with no claims at all."""
    found = who(database)
    return found["role"] == database.url.username and (found["uid"], found["claims"], found["setting"]) == (None,) * 3


def test_within_the_block_one_is_the_user(one_session: Engine, me: UUID) -> None:
    with acting_as(one_session, me, claims={"aal": "aal2"}) as session:
        found = session.execute(WHO).mappings().one()

    assert (found["role"], found["uid"]) == ("authenticated", me)
    assert found["claims"] == {"sub": str(me), "role": "authenticated", "aal": "aal2"}


def test_the_same_query_answers_each_their_own(connected: Engine, rows: Rows, me: UUID, stranger: UUID) -> None:
    mine, theirs = rows.task(user=me), rows.task(user=stranger)

    def seen(user: UUID) -> list[int]:
        with acting_as(connected, user) as session:
            return list(session.execute(select(Task.id)).scalars())

    assert (seen(me), seen(stranger), seen(uuid4())) == ([mine], [theirs], [])


def test_the_service_sees_every_row(connected: Engine, rows: Rows, me: UUID, stranger: UUID) -> None:
    both = {rows.task(user=me), rows.task(user=stranger)}
    with as_service(connected) as session:
        assert set(session.execute(select(Task.id)).scalars()) == both
        assert session.execute(WHO).mappings().one()["role"] == "service_role"


def fail_after(session: Session, statement: TextClause) -> None:
    session.execute(statement)
    raise ZeroDivisionError


def committed(database: Engine, user: UUID) -> None:
    with acting_as(database, user) as session:
        session.execute(WHO)


def raised(database: Engine, user: UUID) -> None:
    with pytest.raises(ZeroDivisionError), acting_as(database, user) as session:
        fail_after(session, WHO)


def aborted(database: Engine, user: UUID) -> None:
    with pytest.raises(DBAPIError), acting_as(database, user) as session:
        session.execute(text("SELECT 1 / 0"))


def nested_and_rolled_back(database: Engine, user: UUID) -> None:
    with acting_as(database, user) as session:
        with pytest.raises(DBAPIError), session.begin_nested():
            session.execute(text("SELECT 1 / 0"))
        assert session.execute(WHO).mappings().one()["uid"] == user


def killed(database: Engine, user: UUID) -> None:
    """As at a failover: the session ends within the transaction."""
    end = text("SET LOCAL ROLE NONE; SELECT pg_terminate_backend(pg_backend_pid())")
    with pytest.raises(DBAPIError), acting_as(database, user) as session:
        session.execute(end)


@pytest.mark.parametrize("transaction", [committed, raised, aborted, nested_and_rolled_back, killed])
def test_nothing_stays_on_the_connection(
    one_session: Engine, me: UUID, transaction: Callable[[Engine, UUID], None]
) -> None:
    transaction(one_session, me)

    assert nobody(one_session)


def test_users_of_one_pooled_session_never_meet(owner_url: DatabaseUrl, rows: Rows, me: UUID, stranger: UUID) -> None:
    with pooled(owner_url) as url, alone(url) as mine, alone(url) as theirs:
        for database, user in ((mine, me), (theirs, stranger)) * 20:
            with acting_as(database, user) as session:
                assert session.execute(WHO).mappings().one()["uid"] == user
            assert nobody(database)


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_after_the_end_of_the_transaction_nothing_runs_in_anybodys_name(
    one_session: Engine, me: UUID, end: str
) -> None:
    with acting_as(one_session, me) as session:
        getattr(session, end)()
        with pytest.raises(InvalidRequestError):
            session.execute(WHO)

    assert nobody(one_session)


def test_what_the_block_did_is_committed_when_it_ends_and_gone_when_it_raises(
    connected: Engine, rows: Rows, me: UUID
) -> None:
    task = rows.task(user=me)
    rename = text("UPDATE public.tasks SET prompt = :prompt").bindparams(prompt="kept")
    with acting_as(connected, me) as session:
        session.execute(rename)
    with pytest.raises(ZeroDivisionError), acting_as(connected, me) as session:
        fail_after(session, rename.bindparams(prompt="lost"))

    assert rows.execute("SELECT prompt FROM public.tasks WHERE id = %s", task) == [{"prompt": "kept"}]


@pytest.mark.parametrize(
    "role", ["postgres", "authenticated'; RESET ROLE --", "", "none", "task_worker", "supabase_admin"]
)
def test_no_other_role_is_taken_on(connected: Engine, me: UUID, role: str) -> None:
    with pytest.raises(ValueError, match="is none of"), acting_as(connected, me, role=role):  # type: ignore[arg-type]  # on purpose
        pass


def test_further_claims_cannot_say_who_one_is(connected: Engine, me: UUID, stranger: UUID) -> None:
    smuggled = {"sub": str(stranger), "role": "service_role", 'x", "sub": "': str(stranger), "é\n'\"\\": ["'; --"]}
    with acting_as(connected, me, claims=smuggled) as session:
        found = session.execute(WHO).mappings().one()

    assert (found["role"], found["uid"]) == ("authenticated", me)
    assert found["claims"] == {**smuggled, "sub": str(me), "role": "authenticated"}


def test_a_user_id_that_is_none_changes_nothing_but_itself(connected: Engine, stranger: UUID) -> None:
    hostile = f'x", "sub": "{stranger}'
    with pytest.raises(DBAPIError, match="invalid input syntax"), acting_as(connected, hostile) as session:  # type: ignore[arg-type]  # on purpose
        session.execute(WHO)


def test_claims_that_a_session_was_left_with_do_not_count(connected: Engine, me: UUID, stranger: UUID) -> None:
    left = text("SELECT set_config(name, :user, false) FROM unnest(ARRAY['request.jwt.claim.sub']) name")
    with connected.connect() as connection:
        connection.execute(left, {"user": str(stranger)})
        connection.commit()
        with acting_as(connection, me) as session:
            assert session.execute(WHO).mappings().one()["uid"] == me


def test_a_connection_serves_one_user_after_another(connected: Engine, me: UUID, stranger: UUID) -> None:
    with connected.connect() as connection:
        for user in (me, stranger):
            with acting_as(connection, user) as session:
                assert session.execute(WHO).mappings().one()["uid"] == user


def test_a_connection_in_a_transaction_is_refused(connected: Engine, me: UUID) -> None:
    with connected.connect() as connection:
        connection.execute(WHO)
        with pytest.raises(TransactionUnfit), acting_as(connection, me):
            pass


def test_autocommit_is_refused_for_a_query_would_run_as_whoever_logged_in(owner_url: DatabaseUrl, me: UUID) -> None:
    database = engine(owner_url).execution_options(isolation_level="AUTOCOMMIT")
    with pytest.raises(TransactionUnfit), acting_as(database, me):
        pass
    database.dispose()


def test_who_may_not_take_on_the_role_is_refused(worker_url: DatabaseUrl, me: UUID) -> None:
    database = engine(worker_url)
    with pytest.raises(DBAPIError, match="permission denied to set role"), acting_as(database, me):
        pass
    database.dispose()
