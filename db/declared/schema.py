"""How tables, columns, constraints and indexes of a database differ from the models, and what would mend it."""

import re
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from io import StringIO
from typing import Any

from alembic.autogenerate import produce_migrations
from alembic.migration import MigrationContext
from alembic.operations import Operations, ops
from sqlalchemy import CheckConstraint, Connection, Index, Table, select, text
from sqlalchemy.dialects import postgresql

from db import vector
from db.declared.finding import Finding
from db.models import Base, CreatedObject

DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy's own
TABLES = {table.fullname: table for table in Base.metadata.tables.values()}
MAY_BE_TEXT = "column:public.tasks.status"
"""Text with a CHECK is as good as the enum here: the protocol serves both."""
CHECKS = text("""
    SELECT conrelid::regclass::text || '.' || conname AS name,
        CASE WHEN convalidated THEN pg_get_constraintdef(oid) END AS definition
    FROM pg_constraint WHERE contype = 'c'
""")
INDEXES = text("""
    SELECT i.indexrelid::regclass::text AS name, a.amname AS method, i.indisvalid AS valid
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
""")
TWINS = text("""
    SELECT i.indexrelid::regclass::text AS name, min(twin.indexrelid::regclass::text) AS twin
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    JOIN pg_index twin ON twin.indrelid = i.indrelid AND twin.indexrelid <> i.indexrelid AND twin.indkey = i.indkey
        AND twin.indclass = i.indclass AND twin.indcollation = i.indcollation AND twin.indoption = i.indoption
        AND pg_get_expr(twin.indpred, twin.indrelid) IS NOT DISTINCT FROM pg_get_expr(i.indpred, i.indrelid)
        AND pg_get_expr(twin.indexprs, twin.indrelid) IS NOT DISTINCT FROM pg_get_expr(i.indexprs, i.indrelid)
    JOIN pg_class t ON t.oid = twin.indexrelid AND t.relam = c.relam
    WHERE i.indrelid::regclass::text = ANY (:tables)
        AND NOT i.indisunique AND NOT i.indexrelid::regclass::text = ANY (:meant)
        AND (twin.indisunique OR twin.indexrelid::regclass::text = ANY (:meant) OR t.relname < c.relname)
    GROUP BY 1 ORDER BY 1
""")
USAGE = ("public.user_usage", "public.team_usage_limits")
"""Tables whose older rows may have other names of what is counted."""
RENAMED = ("api_call", "github_import", "fragment_execution", "project_created", "storage_used")


def scope(connection: Connection) -> dict[str, Any]:
    """What Alembic compares: the tables in `public` and `worker`, and those of Supabase's schemas that we made."""
    compared = compared_tables(connection)

    def ours(thing: Any, name: str | None, kind: str, reflected: bool, counterpart: Any) -> bool:  # noqa: ARG001, FBT001 - Alembic's signature
        table = thing if kind == "table" else getattr(thing, "table", None)
        return table is None or f"{table.schema}.{table.name}" in compared

    return {"target_metadata": Base.metadata, "include_schemas": True, "include_object": ours}


def compared_tables(connection: Connection) -> AbstractSet[str]:
    """The tables that are to be as the models say."""
    made = set(connection.scalars(select(CreatedObject.name).where(CreatedObject.kind == "table")))
    compared = {table for table in TABLES if table in made or not table.startswith(("auth.", "storage."))}
    return compared - {vector.TABLE} if vector.left_out(connection) else compared


def differences(connection: Connection) -> Iterator[Finding]:
    """All of them; nothing is to be on the search path, so that names are reflected with their schema."""
    tables = compared_tables(connection)
    yield from changes(connection)
    yield from wrong_checks(connection, tables)
    yield from wrong_indexes(connection, tables)
    yield from needless_indexes(connection, tables)


def changes(connection: Connection) -> Iterator[Finding]:
    """What Alembic finds. What is there besides is its owner's; what replaces something else takes its name."""
    connection.dialect.default_schema_name = "pg_catalog"
    context = MigrationContext.configure(connection, opts=scope(connection))
    operations = list(flat(produce_migrations(context, Base.metadata).upgrade_ops))
    dropped = {named(each) for each in operations if isinstance(each, ops.DropIndexOp | ops.DropConstraintOp)}
    for operation in operations:
        name = named(operation)
        if not isinstance(operation, ops.DropIndexOp | ops.DropConstraintOp | ops.DropColumnOp) and name != MAY_BE_TEXT:
            yield change(name, operation, replaces=name in dropped)


def flat(container: Any) -> Iterator[Any]:
    """The single operations in what Alembic nests by table."""
    for each in container.ops:
        if isinstance(each, ops.ModifyTableOps):
            yield from flat(each)
        else:
            yield each


def named(operation: Any) -> str:
    """The finding's name for an operation; the same for the one that drops a thing and the one that makes it."""
    schema = operation.schema
    match operation:
        case ops.CreateIndexOp() | ops.DropIndexOp():
            return f"index:{schema}.{operation.index_name}"
        case ops.AddColumnOp():
            return f"column:{schema}.{operation.table_name}.{operation.column.name}"
        case ops.AlterColumnOp() | ops.DropColumnOp():
            return f"column:{schema}.{operation.table_name}.{operation.column_name}"
        case ops.CreateForeignKeyOp():
            return f"constraint:{operation.kw['source_schema']}.{operation.source_table}.{operation.constraint_name}"
        case ops.CreateUniqueConstraintOp() | ops.DropConstraintOp():
            return f"constraint:{schema}.{operation.table_name}.{operation.constraint_name}"
        case _:
            return f"table:{schema}.{operation.table_name}"


def change(name: str, operation: Any, *, replaces: bool) -> Finding:
    """The finding for one operation that makes or alters something."""
    kind, _, thing = name.partition(":")
    words = f"The {kind} {thing} is missing."
    if replaces or isinstance(operation, ops.AlterColumnOp):
        words = f"The {kind} {thing} is not the one that this release expects."
    return Finding(name=name, sentence=words, statements=tuple(mending(operation, replaces=replaces)))


def mending(operation: Any, *, replaces: bool) -> Iterator[str]:
    """The statements of an operation, in the form that holds up live traffic least."""
    match operation:
        case ops.CreateIndexOp():
            yield from building(operation)
        case ops.CreateUniqueConstraintOp():
            yield from constraining(operation, replaces=replaces)
        case ops.CreateForeignKeyOp():
            table = f"{operation.kw['source_schema']}.{operation.source_table}"
            if replaces:
                yield f"ALTER TABLE {table} DROP CONSTRAINT {operation.constraint_name}"
            operation.kw["postgresql_not_valid"] = True
            yield from rendered(operation)
            yield f"ALTER TABLE {table} VALIDATE CONSTRAINT {operation.constraint_name}"
        case ops.AlterColumnOp(modify_type=kind) if kind is not None:
            compiled = kind.compile(dialect=DIALECT)
            operation.kw["postgresql_using"] = f"{operation.column_name}::{compiled}"
            yield from rendered(operation)
        case _:
            yield from rendered(operation)


def building(operation: ops.CreateIndexOp) -> Iterator[str]:
    """Build an index beside live traffic; one of its name goes first, also what an interrupted build left."""
    yield f"DROP INDEX CONCURRENTLY IF EXISTS {operation.schema}.{operation.index_name}"
    operation.kw["postgresql_concurrently"] = True
    yield from rendered(operation)


def constraining(operation: Any, *, replaces: bool) -> Iterator[str]:
    """Build a unique key's index beside live traffic, and then only name it a constraint."""
    table = f"{operation.schema}.{operation.table_name}"
    if replaces:
        yield f"ALTER TABLE {table} DROP CONSTRAINT {operation.constraint_name}"
    index = ops.CreateIndexOp(
        operation.constraint_name,
        operation.table_name,
        operation.columns,
        schema=operation.schema,
        unique=True,
        postgresql_nulls_not_distinct=operation.kw.get("postgresql_nulls_not_distinct"),
    )
    yield from building(index)
    name = operation.constraint_name
    yield f"ALTER TABLE {table} ADD CONSTRAINT {name} UNIQUE USING INDEX {name}"


def rendered(operation: Any) -> Iterator[str]:
    """The SQL of one operation."""
    written = StringIO()
    context = MigrationContext.configure(dialect=DIALECT, opts={"as_sql": True, "output_buffer": written})
    Operations(context).invoke(operation)
    yield from (each.strip() for each in re.split(r";\n", written.getvalue()) if each.strip())


def wrong_checks(connection: Connection, tables: AbstractSet[str]) -> Iterator[Finding]:
    """CHECK constraints that are missing, or that name other values; Alembic does not look at them."""
    existing = {row.name: row.definition for row in connection.execute(CHECKS)}
    for table in (TABLES[name] for name in sorted(tables)):
        for check in table.constraints:
            if isinstance(check, CheckConstraint):
                name = f"{table.fullname}.{check.name}"
                if values(existing.get(name)) != values(str(check.sqltext)):
                    yield checking(table, check, missing=name not in existing)


def values(definition: str | None) -> AbstractSet[str] | None:
    """The literals that a condition names."""
    return None if definition is None else set(re.findall(r"'([^']*)'", definition))


def checking(table: Table, check: CheckConstraint, *, missing: bool) -> Finding:
    """The finding for one CHECK constraint, whose rows are looked at without keeping writers out."""
    name, alter = f"{table.fullname}.{check.name}", f"ALTER TABLE {table.fullname}"
    statements = [] if missing else [f"{alter} DROP CONSTRAINT {check.name}"]
    if table.fullname in USAGE:
        old = ", ".join(f"'{value}'" for value in RENAMED)
        rename = f"UPDATE {table.fullname} SET usage_type = rls.usage_type(usage_type) WHERE usage_type IN ({old})"  # noqa: S608 - of constants
        statements.append(rename)
    statements.append(f"{alter} ADD CONSTRAINT {check.name} CHECK ({check.sqltext}) NOT VALID")
    statements.append(f"{alter} VALIDATE CONSTRAINT {check.name}")
    words = "is missing" if missing else "allows other values than this release writes"
    return Finding(name=f"constraint:{name}", sentence=f"The constraint {name} {words}.", statements=tuple(statements))


def wrong_indexes(connection: Connection, tables: AbstractSet[str]) -> Iterator[Finding]:
    """Indexes of another method, or that an interrupted build left invalid; Alembic sees neither."""
    existing = {row.name: row for row in connection.execute(INDEXES)}
    for table in (TABLES[name] for name in sorted(tables)):
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            found = existing.get(f"{table.schema}.{index.name}")
            if found is not None and (not found.valid or found.method != method(index)):
                words = f"of method {found.method} instead of {method(index)}" if found.valid else "invalid"
                yield Finding(
                    name=f"index:{table.schema}.{index.name}",
                    sentence=f"The index {table.schema}.{index.name} is {words}.",
                    statements=tuple(building(ops.CreateIndexOp.from_index(index))),
                )


def method(index: Index) -> str:
    """How an index is organised."""
    return str(index.dialect_options["postgresql"]["using"] or "btree")


def needless_indexes(connection: Connection, tables: AbstractSet[str]) -> Iterator[Finding]:
    """Indexes that repeat another one exactly, each paid for at every write."""
    indexes = (index for table in TABLES.values() for index in table.indexes)
    meant = [f"{index.table.schema}.{index.name}" for index in indexes if index.table is not None]
    for row in connection.execute(TWINS, {"tables": list(tables), "meant": meant}):
        yield Finding(
            name=f"needless:{row.name}",
            sentence=f"The index {row.name} repeats {row.twin}.",
            statements=(f"DROP INDEX CONCURRENTLY {row.name}",),
        )
