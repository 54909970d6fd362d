"""Nearest pieces of code: exact, and of one user alone, however many others there are."""

import random
from math import sqrt
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from db.engine import engine
from db.errors import Unstorable
from db.queries import embeddings
from db.rls import acting_as
from db.url import DatabaseUrl
from tests.integration.database.conftest import As
from tests.support.databases import copied
from tests.support.rows import Rows
from worker.local.servers import Addresses

DIMENSIONS = 1536
OTHERS, FEW = 2_000, 30


@pytest.fixture(autouse=True)
def _needs_pgvector(rows: Rows) -> None:
    if rows.execute("SELECT to_regclass('public.code_embeddings') IS NULL AS absent")[0]["absent"]:
        pytest.skip("this PostgreSQL has no pgvector, so there is no table of embeddings")


def direction(*numbers: float) -> list[float]:
    return [*numbers, *(0.0 for _ in range(DIMENSIONS - len(numbers)))]


def anywhere(chance: random.Random) -> list[float]:
    return [chance.gauss(0, 1) for _ in range(DIMENSIONS)]


def cosine_distance(one: list[float], other: list[float]) -> float:
    across = sum(a * b for a, b in zip(one, other, strict=True))
    return 1 - across / sqrt(sum(a * a for a in one) * sum(b * b for b in other))


def test_the_nearest_comes_first_by_the_angle_and_not_by_the_length(session: Session, me: UUID) -> None:
    for content, embedding in (
        ("far", direction(-1)),
        ("right angle", direction(0, 1)),
        ("near", direction(1000, 1)),
        ("same", direction(0.001)),
    ):
        embeddings.add(session, content, user_id=me, embedding=embedding)
    near = embeddings.nearest(session, direction(5), user_id=me)

    assert [each.content for each in near] == ["same", "near", "right angle", "far"]
    assert [round(each.distance, 3) for each in near] == [0, 0, 1, 2]
    assert len(embeddings.nearest(session, direction(5), user_id=me, limit=2)) == 2


def test_what_has_no_direction_is_nowhere(session: Session, rows: Rows, me: UUID) -> None:
    embeddings.add(session, "nothing", user_id=me, embedding=direction(0))
    rows.execute("INSERT INTO public.code_embeddings (content, user_id) VALUES ('none', %s)", me)

    assert embeddings.nearest(session, direction(1), user_id=me) == []


def test_a_user_with_few_pieces_among_many_finds_exactly_the_nearest(stack: Addresses, template: str) -> None:
    """The index looks at the nearest of all users first, which here are none of this user's."""
    chance = random.Random(7)
    with copied(stack.database_url, template) as url:
        mine, me = crowd(url, chance), UUID(int=1)
        asked = [1.0] * DIMENSIONS
        database = engine(url)
        with acting_as(database, me) as session:
            near = embeddings.nearest(session, asked, user_id=me, limit=5)
        database.dispose()

    expected = sorted((cosine_distance(asked, embedding), content) for content, embedding in mine.items())[:5]
    assert [each.content for each in near] == [content for _, content in expected]
    assert [each.distance for each in near] == pytest.approx([distance for distance, _ in expected], abs=1e-5)


def crowd(url: DatabaseUrl, chance: random.Random) -> dict[str, list[float]]:
    """Many pieces of another user that lie close to where is asked, and few of the first user's, anywhere."""
    mine = {f"mine {n}": anywhere(chance) for n in range(FEW)}
    close = [[1 + chance.gauss(0, 0.01) for _ in range(DIMENSIONS)] for _ in range(20)]
    with psycopg.connect(url.libpq, autocommit=True) as connection:
        connection.execute("INSERT INTO auth.users (id) VALUES (%s), (%s)", [UUID(int=1), UUID(int=2)])
        insert = "COPY public.code_embeddings (content, user_id, embedding) FROM STDIN"
        with connection.cursor().copy(insert) as copy:
            for n in range(OTHERS):
                copy.write_row((f"other {n}", UUID(int=2), str(close[n % len(close)])))
            for content, embedding in mine.items():
                copy.write_row((content, UUID(int=1), str(embedding)))
        connection.execute("ANALYZE public.code_embeddings")
    return mine


def test_nobody_finds_or_adds_the_code_of_others(as_: As, me: UUID, stranger: UUID) -> None:
    with as_(me) as session:
        embeddings.add(session, "mine", user_id=me, embedding=direction(1))
    with as_(stranger) as session:
        assert embeddings.nearest(session, direction(1), user_id=me) == []
    with as_(stranger) as session, pytest.raises(DBAPIError, match="row-level security"):
        embeddings.add(session, "slipped in", user_id=me, embedding=direction(1))


@pytest.mark.parametrize("embedding", [[], [1.0], [1.0] * 1537])
def test_an_embedding_of_another_length_is_refused(connected: Engine, me: UUID, embedding: list[float]) -> None:
    with acting_as(connected, me) as session, pytest.raises(DBAPIError):
        embeddings.add(session, "x", user_id=me, embedding=embedding)


@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
def test_an_embedding_of_no_numbers_is_refused(session: Session, me: UUID, odd: float) -> None:
    with pytest.raises(Unstorable):
        embeddings.add(session, "x", user_id=me, embedding=direction(odd))
    with pytest.raises(Unstorable):
        embeddings.nearest(session, direction(odd), user_id=me)
