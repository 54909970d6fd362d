"""Pieces of code by what they mean: stored with their embedding, found by the nearest one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Float, insert, literal, select
from sqlalchemy.orm import Session

from db.models import CodeEmbedding
from db.queries.storable import storable

COSINE = "OPERATOR(extensions.<=>)"
"""With its schema, which is on nobody's search path but Supabase's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Near:
    """A piece of code, and its cosine distance: 0 for the same direction, 1 for a right angle, 2 for the opposite."""

    id: int
    content: str
    distance: float


def add(session: Session, content: str, *, user_id: UUID, embedding: Sequence[float]) -> int:
    """Store a piece of code with its embedding of 1536 numbers; answers its id."""
    values = {"content": content, "user_id": user_id, "embedding": list(embedding)}
    return session.execute(insert(CodeEmbedding).values(storable(values)).returning(CodeEmbedding.id)).scalar_one()


def nearest(session: Session, embedding: Sequence[float], *, user_id: UUID, limit: int = 10) -> list[Near]:
    """
    The user's pieces of code that are nearest, the nearest first. Exact: every row of the user is looked at.

    The index is approximate, and looks at all users' rows before it asks whose they are: a user with few among many
    would find none. Cost grows with the user's rows instead. Rows without an embedding, or with one that has no
    direction, are nowhere.
    """
    it = CodeEmbedding
    mine = select(it.id, it.embedding).where(it.user_id == user_id, it.embedding.is_not(None))
    each = mine.cte("mine").prefix_with("MATERIALIZED", dialect="postgresql")
    distance = each.c.embedding.op(COSINE, return_type=Float())(literal(list(storable(embedding)), it.embedding.type))
    ranked = select(each.c.id, distance.label("distance")).where(distance < math.inf)
    closest = ranked.order_by(distance, each.c.id).limit(limit).subquery("closest")
    found = select(it.id, it.content, closest.c.distance).join(closest, closest.c.id == it.id)
    return [Near(**row) for row in session.execute(found.order_by(closest.c.distance, it.id)).mappings()]
