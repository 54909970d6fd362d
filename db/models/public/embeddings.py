"""Embeddings of code, searched by nearness."""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import CheckConstraint, Dialect, Index
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import UserDefinedType

from db.models.base import Base, Big, Owner


class Vector(UserDefinedType[Sequence[float]]):
    """pgvector's type, which the driver knows nothing of: written and read as the text of a list."""

    cache_ok = True

    def __init__(self, dimensions: int | str) -> None:
        self.dimensions = int(dimensions)

    def get_col_spec(self, **_: Any) -> str:
        """The type as SQL writes it."""
        return f"extensions.vector({self.dimensions})"

    def bind_processor(self, dialect: Dialect) -> Callable[[Sequence[float] | None], str | None]:  # noqa: ARG002 - SQLAlchemy's signature
        """From numbers to text."""
        return lambda numbers: None if numbers is None else f"[{','.join(map(str, numbers))}]"

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[str | None], list[float] | None]:  # noqa: ARG002 - SQLAlchemy's signature
        """From text to numbers."""
        return lambda written: None if written is None else [float(number) for number in written[1:-1].split(",")]


ischema_names["extensions.vector"] = Vector  # what reflection finds, for autogenerate to compare


class CodeEmbedding(Base):
    """A piece of code, and where it lies among all others. Left out where pgvector is not to be had."""

    __tablename__ = "code_embeddings"
    __table_args__ = (
        CheckConstraint("char_length(content) >= 1", name="content"),
        Index(
            "idx_code_embeddings_embedding",
            "embedding",
            postgresql_using="hnsw",
            postgresql_ops={"embedding": "extensions.vector_cosine_ops"},
        ),
        Index("idx_code_embeddings_user_id", "user_id"),
        {"schema": "public"},
    )

    id: Mapped[Big] = mapped_column(primary_key=True)
    content: Mapped[str]
    embedding: Mapped[list[float] | None] = mapped_column(Vector(1536))
    user_id: Mapped[Owner]
