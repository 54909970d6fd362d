"""Messages of a project: saved by the database's own function, read in order, cleared, searched by their words."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Text, Uuid, bindparam, column, delete, func, select, text
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.orm import Session

from db.models import Message, MessageRole
from db.queries.changes import rows_changed
from db.queries.storable import readable, storable

SAVE = text("""
SELECT public.save_message_and_update_project(project_id_param => :project_id, role_param => :role,
    content_param => :content, object_data_param => :object_data, result_data_param => :result_data,
    sequence_number_param => :sequence_number)
""").bindparams(
    bindparam("content", type_=JSONB),
    bindparam("object_data", type_=JSONB(none_as_null=True)),
    bindparam("result_data", type_=JSONB(none_as_null=True)),
)
"""By the names of its parameters, as the web app calls it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A message; `created_at` is None where its writer gave none that Python can hold."""

    id: UUID
    project_id: UUID
    role: MessageRole
    content: Any
    object_data: Any
    result_data: Any
    sequence_number: int
    created_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A message that a search found, and the title of its project."""

    id: UUID
    project_id: UUID
    project_title: str
    role: MessageRole
    content: Any
    created_at: datetime | None


def save(
    session: Session,
    project_id: UUID,
    *,
    role: MessageRole,
    content: Any,
    sequence_number: int,
    object_data: Any = None,
    result_data: Any = None,
) -> None:
    """
    Write the message at this place of the project, in place of one that is there; the project counts as updated.

    The database refuses whoever does not own the project. Of several messages saved to one place at once one stays,
    whole.
    """
    values = {"content": content, "object_data": object_data, "result_data": result_data}
    where = {"project_id": project_id, "role": role.value, "sequence_number": sequence_number}
    session.execute(SAVE, {**where, **storable(values)})


def of_project(session: Session, project_id: UUID, *, limit: int, after: int | None = None) -> list[Seen]:
    """The project's messages in order; the next page is `after` the last sequence number of this one."""
    wanted = select(
        *(Message.id, Message.project_id, Message.role, Message.content, Message.object_data, Message.result_data),
        *(Message.sequence_number, readable(Message.created_at).label("created_at")),
    ).where(Message.project_id == project_id)
    if after is not None:
        wanted = wanted.where(Message.sequence_number > after)
    found = session.execute(wanted.order_by(Message.sequence_number).limit(limit))
    return [Seen(**row) for row in found.mappings()]


def clear(session: Session, project_id: UUID) -> int:
    """Delete the project's messages; answers how many."""
    return rows_changed(session, delete(Message).where(Message.project_id == project_id))


def search(session: Session, words: str, *, user_id: UUID, limit: int = 50) -> list[Found]:
    """
    The messages in the user's own projects, those in the bin left out, that hold these words; the newest first.

    `words` are as in a search engine: all must be there, `or` between two, "quoted" ones in a row, a minus before
    what must not be there. A word is found in any of its English forms.
    """
    matching = func.public.search_project_messages(words, user_id, limit).table_valued(
        *(column("id", Uuid), column("project_id", Uuid), column("project_title", Text)),
        *(column("role", Message.role.type), column("content", JSONB), column("created_at", TIMESTAMP(timezone=True))),
        name="matching",
    )
    each = (column_ for column_ in matching.c if column_.key != "created_at")
    found = session.execute(select(*each, readable(matching.c.created_at).label("created_at")))
    return [Found(**row) for row in found.mappings()]
