"""What PostgreSQL can store, and what of that Python can hold."""

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, SQLColumnExpression, case

from db.errors import Unstorable

Values = TypeVar("Values")
NEVER = re.compile("[\0\ud800-\udfff]")
"""NUL, which neither text nor jsonb holds, and halves of surrogate pairs, which are no characters."""
EARLIEST, LATEST = datetime(2, 1, 1, tzinfo=UTC), datetime(9998, 12, 31, tzinfo=UTC)
"""Between them a time is the same to Python in every time zone."""


def storable(values: Values, *, where: str = "") -> Values:
    """
    The same values, texts and JSON documents among them, once it is sure that they come back as they are.

    Raises:
        Unstorable: there is a NUL, a lone surrogate, NaN or an infinity in them, or a key that is no text.
    """
    if isinstance(values, str) and (found := NEVER.search(values)):
        raise Unstorable(f"U+{ord(found[0]):04X} at {where or 'the top'}: PostgreSQL stores no such character")
    if isinstance(values, float) and not math.isfinite(values):
        raise Unstorable(f"{values} at {where or 'the top'}: JSON has no such number")
    if isinstance(values, Mapping):
        for key, value in values.items():
            _check_key(key, where)
            storable(value, where=f"{where}.{key}".removeprefix("."))
    elif isinstance(values, Sequence) and not isinstance(values, str | bytes):
        for n, value in enumerate(values):
            storable(value, where=f"{where}[{n}]")
    return values


def readable(column: SQLColumnExpression[datetime] | SQLColumnExpression[datetime | None]) -> ColumnElement[Any]:
    """The time, or NULL where its owner wrote one that Python cannot hold, such as `infinity`."""
    return case((column.between(EARLIEST, LATEST), column))


def _check_key(key: object, where: str) -> None:
    if not isinstance(key, str):
        raise Unstorable(f"the key {key!r} at {where or 'the top'}: JSON knows texts only")
    storable(key, where=f"a key of {where or 'the top'}")
