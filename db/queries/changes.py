"""What statements that change rows share."""

from collections.abc import Mapping
from typing import Any, cast

from sqlalchemy import Delete, Update
from sqlalchemy.orm import Session

from db.queries.storable import storable

RENAMED = {"metadata": "metadata_"}


def only(fields: type, changes: Mapping[str, Any]) -> dict[str, Any]:
    """
    What is to be written, by attribute of the model: `metadata` is `metadata_` there, its own name being SQLAlchemy's.

    Raises:
        TypeError: a column is named that `fields` does not hold: the types were not heeded.
        Unstorable: see `storable`.
    """
    if unknown := changes.keys() - fields.__annotations__.keys():
        raise TypeError(f"not to be changed: {', '.join(sorted(unknown))}")
    return {RENAMED.get(name, name): value for name, value in storable(dict(changes)).items()}


def rows_changed(session: Session, statement: Update | Delete) -> int:
    """Carry it out; answers how many rows it concerned. The session holds no objects to be brought up to date."""
    done = session.execute(statement, execution_options={"synchronize_session": False})
    return cast("int", cast("Any", done).rowcount)


def was_done(session: Session, statement: Update | Delete) -> bool:
    """Carry it out; answers whether it concerned any row."""
    return rows_changed(session, statement) > 0
