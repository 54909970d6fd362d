"""The functions of `db/sql`, and how those of a database differ from them."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, text

from db.declared.access import CALLERS, WATCHED
from db.declared.finding import Finding

FOLDER = Path(__file__).parent.parent / "sql"
SCHEMAS = ("rls", "auth", "storage", "public")
"""In the order in which their functions are made."""
SEARCH_PATH = "search_path=pg_catalog, pg_temp"
"""Whoever calls. Left empty it is no safer: PostgreSQL then looks for types in pg_temp before anywhere else, where a
caller may have put a `text` of their own, whose CHECK runs with the rights of the function's owner."""
STATEMENT = re.compile(
    r"^create or replace function (?P<name>[\w.]+)\((?P<arguments>.*?)\)\s+returns (?P<result>.*?)\n"
    r"language (?P<language>\w+) (?P<volatility>\w+)(?P<definer> security definer)? "
    r"set search_path = pg_catalog, pg_temp as \$\$(?P<body>.*?)\$\$;",
    re.DOTALL | re.MULTILINE,
)
FOUND = text("""
    SELECT n.nspname || '.' || p.proname AS name, p.oid::regprocedure::text AS signature,
        pg_get_function_arguments(p.oid) AS arguments, pg_get_function_result(p.oid) AS result, l.lanname AS language,
        CASE p.provolatile WHEN 'i' THEN 'immutable' WHEN 's' THEN 'stable' ELSE 'volatile' END AS volatility,
        p.prosecdef AS definer, coalesce(p.proconfig, '{}') AS settings, p.prosrc AS body,
        ARRAY(SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END
            FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
            WHERE a.grantee <> p.proowner ORDER BY 1) AS callers
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
    WHERE n.nspname || '.' || p.proname = ANY (:names) AND p.prokind = 'f'
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What makes a function what it is; arguments and result as PostgreSQL writes them."""

    arguments: str
    result: str
    language: str
    volatility: str
    definer: bool
    settings: tuple[str, ...]
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A function as it is declared."""

    name: str
    body: Body
    statement: str

    @property
    def signature(self) -> str:
        """As GRANT and DROP name it: the types of its arguments, without their names and defaults."""
        plain = re.sub(r" DEFAULT [^,]+", "", self.body.arguments)
        types = (argument.partition(" ")[2] for argument in plain.split(", ") if argument)
        return f"{self.name}({', '.join(types)})"

    @property
    def schema(self) -> str:
        """Where it lives."""
        return self.name.partition(".")[0]

    def rights(self) -> Iterator[str]:
        """Statements after which those may call it who are to, and no other role that we watch."""
        yield f"REVOKE ALL ON FUNCTION {self.signature} FROM {', '.join(WATCHED)}"
        if callers := CALLERS.get(self.name):
            yield f"GRANT EXECUTE ON FUNCTION {self.signature} TO {', '.join(callers)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A function as a database has it."""

    signature: str
    body: Body
    callers: frozenset[str]


def declared() -> Mapping[str, Function]:
    """All of them by name, in the order in which they can be made. No two have the same name."""
    return {function.name: function for schema in SCHEMAS for function in read((FOLDER / f"{schema}.sql").read_text())}


def read(statements: str) -> Iterator[Function]:
    """The functions of one file."""
    for match in STATEMENT.finditer(statements):
        body = Body(
            arguments=one_line(match["arguments"]),
            result=one_line(match["result"]),
            language=match["language"],
            volatility=match["volatility"],
            definer=match["definer"] is not None,
            settings=(SEARCH_PATH,),
            source=match["body"],
        )
        yield Function(name=match["name"], body=body, statement=match[0].removesuffix(";"))


def one_line(words: str) -> str:
    """The same words with one space between them."""
    return " ".join(words.split())


def found(connection: Connection, names: Iterable[str]) -> Mapping[str, Sequence[Found]]:
    """What the database has by these names, overloads included; nothing is to be on the search path."""
    functions: dict[str, list[Found]] = defaultdict(list)
    for row in connection.execute(FOUND, {"names": list(names)}):
        body = Body(
            arguments=row.arguments,
            result=row.result,
            language=row.language,
            volatility=row.volatility,
            definer=row.definer,
            settings=tuple(row.settings),
            source=row.body,
        )
        functions[row.name].append(Found(signature=row.signature, body=body, callers=frozenset(row.callers)))
    return functions


def difference(function: Function, existing: Sequence[Found]) -> Finding | None:
    """How the functions of this name differ from the one that is declared; None when there is it and no other."""
    name = f"function:{function.name}"
    match existing:
        case []:
            statements = (function.statement, *function.rights())
            return Finding(name=name, sentence=f"There is no function {function.name}.", statements=statements)
        case [only] if only.body == function.body and not wrongly_called(function, only):
            return None
        case [only] if only.body == function.body:
            sentence = f"Others may call {function.name} than are meant to."
            return Finding(name=name, sentence=sentence, statements=tuple(function.rights()))
        case _:
            # A function is replaced in place where it takes and gives the same; else it and the like of it must go.
            unfit = [each for each in existing if not replaceable(function, each)]
            drops = (f"DROP FUNCTION {each.signature}" for each in unfit)
            sentence = f"Function {function.name} is not the one that this release expects."
            return Finding(name=name, sentence=sentence, statements=(*drops, function.statement, *function.rights()))


def wrongly_called(function: Function, existing: Found) -> bool:
    """Whether another role that we watch may call it, or one that should may not."""
    return existing.callers & set(WATCHED) != set(CALLERS.get(function.name, ()))


def replaceable(function: Function, existing: Found) -> bool:
    """Whether CREATE OR REPLACE takes its place, without leaving an overload beside it."""
    return (existing.body.arguments, existing.body.result) == (function.body.arguments, function.body.result)
