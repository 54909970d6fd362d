"""Everything in which a database differs from what this release expects, and nothing that is its owner's business."""

from collections.abc import Iterator

from sqlalchemy import Connection, text

from db.declared import functions, rights, schema, triggers
from db.declared.access import RULES
from db.declared.finding import Finding
from db.declared.install import Made, made_by_us, takes_functions, welcome
from db.declared.triggers import TRIGGERS

EXPOSED = {
    "public.reset_sequence_to_max": "REVOKE ALL ON FUNCTION {} FROM PUBLIC, anon, authenticated",
    "public.get_sequence_value": "REVOKE ALL ON FUNCTION {} FROM PUBLIC, anon, authenticated",
}
"""Functions that the application's own SQL makes with its owner's rights, for anybody to call."""
OWNERS_VIEW = text("""
    SELECT EXISTS (
        SELECT FROM pg_class c WHERE c.oid = to_regclass('public.sequence_status') AND c.relkind = 'v'
            AND NOT coalesce(c.reloptions @> '{security_invoker=true}', false)
    )
""")


def findings(connection: Connection) -> list[Finding]:
    """
    All of them, in an order in which they can be mended: what policies and functions need comes before them.

    Supabase's own schemas are looked at only where we stand in for it.
    """
    connection.execute(text("SET search_path = pg_catalog"))  # every name is then read back with its schema
    made = made_by_us(connection)
    return [
        *schema.differences(connection),
        *differing_functions(connection, made),
        *differing_rights(connection, made),
        *differing_triggers(connection, made),
        *faults_of_the_original(connection),
    ]


def differing_functions(connection: Connection, made: Made) -> Iterator[Finding]:
    """Functions that are not as declared, whoever made them."""
    declared = [each for each in functions.declared().values() if takes_functions(each.schema, made)]
    existing = functions.found(connection, [each.name for each in declared])
    for function in declared:
        if finding := functions.difference(function, existing.get(function.name, [])):
            yield finding


def differing_rights(connection: Connection, made: Made) -> Iterator[Finding]:
    """Tables whose policies or rights are not as declared, whoever made them."""
    has = rights.found(connection)
    for table in RULES:
        if table.startswith("public.") or ("table", table) in made:
            yield from rights.differences(has, table)


def differing_triggers(connection: Connection, made: Made) -> Iterator[Finding]:
    """Triggers that are not as declared, on whosever tables."""
    existing = triggers.found(connection)
    own = [each for each in TRIGGERS if each.table.startswith("public.") or ("table", each.table) in made]
    for trigger in [*own, *filter(None, [welcome(connection)])]:
        if finding := triggers.difference(trigger, existing.get(trigger.name)):
            yield finding


def faults_of_the_original(connection: Connection) -> Iterator[Finding]:
    """What the application's own SQL makes besides, and should not as it does."""
    existing = functions.found(connection, EXPOSED)
    for name, statement in EXPOSED.items():
        exposed = [
            each.signature for each in existing.get(name, []) if each.callers & {"PUBLIC", "anon", "authenticated"}
        ]
        if exposed:
            yield Finding(
                name=f"function:{name}",
                sentence=f"Users may call {name}, which changes sequences with its owner's rights.",
                statements=tuple(statement.format(each) for each in exposed),
            )
    if connection.scalar(OWNERS_VIEW):
        yield Finding(
            name="view:public.sequence_status",
            sentence="Users read the view public.sequence_status with its owner's rights.",
            statements=("ALTER VIEW public.sequence_status SET (security_invoker = true)",),
        )
