"""Removing what is expired: rows of one table in batches, what would be removed, and the rights that it takes."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import (
    CTE,
    Column,
    ColumnElement,
    Delete,
    Table,
    Text,
    and_,
    any_,
    cast,
    delete,
    func,
    literal,
    literal_column,
    select,
    text,
    tuple_,
)
from sqlalchemy.dialects.postgresql import ARRAY, array
from sqlalchemy.orm import InstrumentedAttribute, Session

from db.models import Base

SAMPLE = 5
"""How many of what is expired a preview names."""
LOCKED = "held or changed by somebody else"
LACKING = text("""
SELECT quote_ident(current_user) AS role, pg_get_userbyid(relowner) AS owner,
    has_schema_privilege(relnamespace, 'USAGE') AS entered,
    ARRAY(SELECT name FROM unnest(CAST(:privileges AS text[])) AS name
        WHERE NOT has_table_privilege(pg_class.oid, name)) AS privileges,
    row_security_active(pg_class.oid) AND NOT EXISTS (
        SELECT FROM pg_policy WHERE polrelid = pg_class.oid AND polpermissive AND polcmd = '*'
        AND pg_get_expr(polqual, polrelid) = 'true'
        AND EXISTS (SELECT FROM unnest(polroles) AS role WHERE role = 0 OR pg_has_role(role, 'USAGE'))) AS hidden
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE nspname = :schema AND relname = :name
""")
"""From the catalog alone, which everybody may read; a role of which row security hides rows would find nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """What one batch did."""

    count: int
    last: Any
    """The cursor that the next batch goes on from; None when nothing is left beyond it."""
    skipped: Mapping[str, int] = field(default_factory=dict)
    """What was expired and is still there, counted by the reason."""


def past(place: Any) -> Removed:
    """What is answered by whoever went past the thing at this place, without removing it; None where there is none."""
    return Removed(count=0, last=place, skipped={LOCKED: 1} if place else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Expired:
    """What there is to remove."""

    count: int
    oldest: str | None
    """Since when the oldest was there to be removed, as ISO 8601; None when there is none, or it has no date."""
    sample: tuple[str, ...] = ()
    """The first few by name, fit for a terminal."""
    staying: Mapping[str, int] = field(default_factory=dict)
    """What of it a sweep would leave there as things are, counted by the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """What a role must be allowed to do to one table."""

    table: str
    """Qualified, as `auth.sessions`."""
    privileges: tuple[str, ...] = ("SELECT", "UPDATE", "DELETE")
    """UPDATE too, since FOR UPDATE asks for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsOf:
    """
    The rows of one table whose `since` is older than `kept`, and that are `also` so. A `since` of NULL never is.

    Each batch looks at the next `size` rows along an index, expired or not, so that it takes the same time wherever in
    the table it is: the index of `since`, or where it has none the primary key's, which is a walk over all rows.
    """

    model: type[Base]
    since: InstrumentedAttribute[Any]
    kept: timedelta
    also: tuple[ColumnElement[bool], ...] = ()
    indexed: bool = True
    """Whether `since` has an index."""
    asks: tuple[type[Base], ...] = ()
    """Other tables that `also` asks."""

    def remove(self, session: Session, size: int, after: Sequence[str] | None) -> Removed:
        """
        Remove what is expired among the next `size` rows, oldest first; rows that somebody holds are left to them.

        The condition is checked when a row is chosen, again once it is locked, and again when it is deleted.
        """
        looked = self._looked(size, after)
        removed = self._removed(self._chosen(looked))
        counted = select(
            select(func.count()).select_from(looked).scalar_subquery().label("looked"),
            select(func.count()).select_from(looked).where(looked.c.expired).scalar_subquery().label("expired"),
            select(func.count()).select_from(removed).scalar_subquery().label("removed"),
            self._last(looked).label("last"),
        )
        row = session.execute(counted).one()
        locked = row.expired - row.removed
        return Removed(
            count=row.removed,
            last=tuple(row.last) if row.looked == size else None,
            skipped={LOCKED: locked} if locked else {},
        )

    def pass_over(self, session: Session, after: Sequence[str] | None) -> Removed:
        """Go past the next row, which cannot be removed because somebody holds what hangs on it."""
        last = session.execute(select(self._last(self._looked(1, after)))).scalar()
        return past(tuple(last) if last else None)

    def expired(self, session: Session) -> Expired:
        """All that is expired now, and the oldest of it."""
        # As text: some keys are their owners' to write, and Python knows no infinity.
        found = select(func.count(), cast(func.min(self._since), Text)).where(self._is_expired())
        count, oldest = session.execute(found).one()
        texts = [cast(column, Text) for column in (*self._identity, self._since)]
        first = select(*texts).where(self._is_expired()).order_by(self._since).limit(SAMPLE)
        return Expired(count=count, oldest=oldest, sample=tuple(" ".join(row) for row in session.execute(first)))

    @property
    def rights(self) -> tuple[Right, ...]:
        """What it takes."""
        asked = (Right(table=table_of(model).fullname, privileges=("SELECT",)) for model in self.asks)
        return (Right(table=self._table.fullname), *asked)

    @property
    def _table(self) -> Table:
        return table_of(self.model)

    @property
    def _since(self) -> Column[Any]:
        return self._table.c[self.since.key]

    @property
    def _identity(self) -> tuple[Column[Any], ...]:
        return tuple(self._table.primary_key.columns)

    @property
    def _order(self) -> tuple[Column[Any], ...]:
        return (self._since, *self._identity) if self.indexed else self._identity

    def _is_old(self) -> ColumnElement[bool]:
        return self._since < func.now() - self.kept

    def _is_expired(self) -> ColumnElement[bool]:
        return and_(self._is_old(), *self.also)

    def _looked(self, size: int, after: Sequence[str] | None) -> CTE:
        window = select(*self._order, self._is_expired().label("expired"), place().label("place"))
        if self.indexed:
            window = window.where(self._is_old())
        if after is not None:
            begin = [cast(literal(each, Text), column.type) for each, column in zip(after, self._order, strict=True)]
            window = window.where(tuple_(*self._order) > tuple_(*begin))
        return materialized(window.order_by(*self._order).limit(size).cte("looked"))

    def _chosen(self, looked: CTE) -> CTE:
        there = place() == any_(func.array(select(looked.c.place).where(looked.c.expired).scalar_subquery()))
        held = select(place().label("place")).select_from(self._table).where(there, self._is_expired())
        return materialized(held.with_for_update(skip_locked=True).cte("chosen"))

    def _removed(self, chosen: CTE) -> CTE:
        there = place() == any_(func.array(select(chosen.c.place).scalar_subquery()))
        return delete(self._table).where(there, self._is_expired()).returning(self._identity[0]).cte("removed")

    def _last(self, looked: CTE) -> ColumnElement[Any]:
        columns = [looked.c[column.name] for column in self._order]
        texts = array([cast(column, Text) for column in columns])
        return select(texts).order_by(*(column.desc() for column in columns)).limit(1).scalar_subquery()


def table_of(model: type[Base]) -> Table:
    """The table of a model."""
    table = model.__table__
    assert isinstance(table, Table)  # noqa: S101 - for the type checker
    return table


def place() -> ColumnElement[Any]:
    """Where a row lies. One that is changed meanwhile lies elsewhere, and is passed over; no plan finds it slowly."""
    return literal_column("ctid")


def materialized(chosen: CTE) -> CTE:
    """A common table expression that is computed once, before what uses it: a LIMIT in it is kept by any plan."""
    return chosen.prefix_with("MATERIALIZED", dialect="postgresql")


def among(column: Any, values: Collection[Any]) -> ColumnElement[bool]:
    """Whether the column has one of these values, which are one parameter."""
    return within(column, func.unnest(literal(list(values), ARRAY(column.type))))


def within(column: Any, chosen: Any) -> ColumnElement[bool]:
    """
    Whether the column has a value of this one, of few rows.

    As IN, for which a plan may read the whole table; how many an array has that is put together so, no plan knows
    beforehand, and each is looked up by an index.
    """
    found: ColumnElement[bool] = column == any_(func.array(select(chosen).scalar_subquery()))
    return found


def some(model: type[Base], which: ColumnElement[bool], *, most: int) -> Delete:
    """
    The deletion of up to `most` such rows, in no order, by the places where they lie.

    The places are one array, computed before anything is deleted, so that any plan keeps to the LIMIT.
    """
    place = literal_column("ctid", Text)
    chosen = select(place).select_from(model).where(which).limit(most).scalar_subquery()
    return delete(model).where(place == any_(func.array(chosen)))


def lacking(session: Session, rights: Sequence[Right]) -> list[str]:
    """The statements that would give the session's role what it lacks of these rights, each with who may run it."""
    return [statement for right in rights for statement in _lacking(session, right)]


def _lacking(session: Session, right: Right) -> list[str]:
    schema, _, name = right.table.partition(".")
    wanted = {"schema": schema, "name": name, "privileges": list(right.privileges)}
    found = session.execute(LACKING, wanted).one_or_none()
    if found is None:
        return [f"-- there is no table {right.table}; was codingit-worker db upgrade run?"]
    statements = []
    if not found.entered:
        statements.append(f"GRANT USAGE ON SCHEMA {schema} TO {found.role};")
    if found.privileges:
        statements.append(f"GRANT {', '.join(found.privileges)} ON {right.table} TO {found.role};")
    if found.hidden:
        statements.append(f"CREATE POLICY maintenance ON {right.table} TO {found.role} USING (true);")
    return [f"{statement} -- as {found.owner}" for statement in statements]
