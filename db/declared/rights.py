"""How row level security and rights of a database's tables differ from what `access` declares."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, text

from db.declared.access import ACTIONS, RULES, WATCHED, Rule
from db.declared.finding import Finding
from db.declared.functions import one_line

POLICIES = text("""
    SELECT p.polrelid::regclass::text AS relation, p.polname AS name,
        CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE'
            ELSE 'ALL' END AS action,
        p.polpermissive AS permissive,
        ARRAY(SELECT CASE r WHEN 0 THEN 'PUBLIC' ELSE r::regrole::text END FROM unnest(p.polroles) r) AS roles,
        pg_get_expr(p.polqual, p.polrelid) AS rows, pg_get_expr(p.polwithcheck, p.polrelid) AS written
    FROM pg_policy p
""")
SECURED = text("SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'p') AND relrowsecurity")
TABLES = text("SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'p')")
SEQUENCES = text("""
    SELECT d.refobjid::regclass::text AS owner, d.objid::regclass::text AS name, EXISTS (
        SELECT FROM pg_depend WHERE classid = 'pg_attrdef'::regclass AND refobjid = d.objid
    ) AS drawn
    FROM pg_depend d JOIN pg_class c ON c.oid = d.objid
    WHERE c.relkind = 'S' AND d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
        AND d.deptype IN ('a', 'i')
    ORDER BY 2
""")
GRANTS = text("""
    SELECT g.relation::regclass::text AS relation, g.column_name, g.privilege,
        CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE g.grantee::regrole::text END AS grantee
    FROM (
        SELECT c.oid AS relation, '' AS column_name, a.grantee, a.privilege_type AS privilege, c.relowner AS owner
        FROM pg_class c CROSS JOIN aclexplode(c.relacl) a
        UNION ALL
        SELECT c.oid, t.attname, a.grantee, a.privilege_type, c.relowner
        FROM pg_attribute t JOIN pg_class c ON c.oid = t.attrelid CROSS JOIN aclexplode(t.attacl) a
    ) g WHERE g.grantee <> g.owner
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A policy, conditions as PostgreSQL writes them in one line."""

    name: str
    action: str
    permissive: bool
    roles: tuple[str, ...]
    rows: str | None
    written: str | None


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Grant:
    """One right of one role, to a whole relation or to one column of it."""

    grantee: str
    privilege: str
    column: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequence:
    """One that a table owns. A right to it asks only the default that draws from it, and no identity column does."""

    name: str
    drawn: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a database has of all this, by relation."""

    tables: frozenset[str]
    sequences: Mapping[str, tuple[Sequence, ...]]
    secured: frozenset[str]
    policies: Mapping[str, frozenset[Policy]]
    grants: Mapping[str, frozenset[Grant]]


def found(connection: Connection) -> Found:
    """All of it, read at once; nothing is to be on the search path."""
    policies: dict[str, set[Policy]] = defaultdict(set)
    for row in connection.execute(POLICIES):
        policies[row.relation].add(
            Policy(
                name=row.name,
                action=row.action,
                permissive=row.permissive,
                roles=tuple(row.roles),
                rows=row.rows and one_line(row.rows),
                written=row.written and one_line(row.written),
            )
        )
    grants: dict[str, set[Grant]] = defaultdict(set)
    for row in connection.execute(GRANTS):
        grants[row.relation].add(Grant(grantee=row.grantee, privilege=row.privilege, column=row.column_name))
    sequences: dict[str, tuple[Sequence, ...]] = defaultdict(tuple)
    for row in connection.execute(SEQUENCES):
        sequences[row.owner] += (Sequence(name=row.name, drawn=row.drawn),)
    return Found(
        tables=frozenset(connection.scalars(TABLES)),
        sequences=sequences,
        secured=frozenset(connection.scalars(SECURED)),
        policies={relation: frozenset(each) for relation, each in policies.items()},
        grants={relation: frozenset(each) for relation, each in grants.items()},
    )


def differences(has: Found, table: str) -> Iterator[Finding]:
    """How a table, and what it draws from, differ from what is declared; nothing where it is absent."""
    if table not in has.tables:
        return
    yield from policy_difference(has, table)
    yield from rights_difference(has, table, "TABLE", wanted_grants(table))
    for sequence in has.sequences.get(table, ()):
        wanted = wanted_draws(table) if sequence.drawn else frozenset()
        yield from rights_difference(has, sequence.name, "SEQUENCE", wanted)


def rights_difference(has: Found, relation: str, kind: str, wanted: frozenset[Grant]) -> Iterator[Finding]:
    """Whether those roles that we watch have just these rights."""
    granted = frozenset(each for each in has.grants.get(relation, ()) if each.grantee in WATCHED)
    if granted != wanted:
        sentence = f"Roles have other rights on {relation} than are meant: {told(granted, wanted)}."
        statements = tuple(granting(f"{kind} {relation}", wanted))
        yield Finding(name=f"rights:{relation}", sentence=sentence, statements=statements)


def policy_difference(has: Found, table: str) -> Iterator[Finding]:
    """Whether row level security is on, with the policies that are declared and no others."""
    existing = has.policies.get(table, frozenset())
    wanted = frozenset(policy(rule) for rule in RULES[table])
    statements = [
        *(f"DROP POLICY {quoted(each.name)} ON {table}" for each in sorted(existing - wanted, key=lambda p: p.name))
    ]
    statements += [creating(table, rule) for rule in RULES[table] if policy(rule) not in existing]
    if table not in has.secured:
        statements.append(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    if statements:
        sentence = f"Row level security of {table} is not what this release expects."
        yield Finding(name=f"policies:{table}", sentence=sentence, statements=tuple(statements))


def quoted(name: str) -> str:
    """A name of anybody's, as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def policy(rule: Rule) -> Policy:
    """The policy that a rule is in a database."""
    return Policy(
        name=rule.name, action=rule.action, permissive=True, roles=(rule.role,), rows=rule.rows, written=rule.written
    )


def creating(table: str, rule: Rule) -> str:
    """The statement that makes a rule's policy."""
    using = f" USING ({rule.rows})" if rule.rows else ""
    check = f" WITH CHECK ({rule.written})" if rule.written else ""
    return f"CREATE POLICY {rule.name} ON {table} FOR {rule.action} TO {rule.role}{using}{check}"


def wanted_grants(table: str) -> frozenset[Grant]:
    """The rights without which the rules would be idle, and no others."""
    return frozenset(
        Grant(grantee=rule.role, privilege=action, column=column)
        for rule in RULES[table]
        for action in (ACTIONS if rule.action == "ALL" else (rule.action,))
        for column in (rule.columns or ("",))
    )


def wanted_draws(table: str) -> frozenset[Grant]:
    """Who may insert may draw the row's number."""
    drawing = (grant.grantee for grant in wanted_grants(table) if grant.privilege == "INSERT")
    return frozenset(Grant(grantee=role, privilege="USAGE") for role in drawing)


def granting(thing: str, wanted: frozenset[Grant]) -> Iterator[str]:
    """Statements after which those roles that we watch have these rights."""
    yield f"REVOKE ALL ON {thing} FROM {', '.join(WATCHED)}"
    for role in WATCHED:
        if rights := ", ".join(listed(grant for grant in wanted if grant.grantee == role)):
            yield f"GRANT {rights} ON {thing} TO {role}"


def listed(grants: Iterable[Grant]) -> Iterator[str]:
    """The rights as GRANT lists them: `SELECT, UPDATE (title)`."""
    columns: dict[str, list[str]] = defaultdict(list)
    for grant in sorted(grants):
        columns[grant.privilege].append(grant.column)
    for privilege, named in columns.items():
        yield privilege if named == [""] else f"{privilege} ({', '.join(named)})"


def told(granted: frozenset[Grant], wanted: frozenset[Grant]) -> str:
    """Who has too much, and who lacks something."""
    surplus = {each.grantee for each in granted - wanted}
    lacking = {each.grantee for each in wanted - granted}
    words = [f"{role} has too many" for role in sorted(surplus)] + [f"{role} lacks some" for role in sorted(lacking)]
    return ", ".join(words)
