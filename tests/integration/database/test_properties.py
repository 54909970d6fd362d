"""Whatever is put in comes back or is refused: JSON of any shape, and text that would like to be SQL."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import date
from types import ModuleType
from typing import Any, get_args, get_type_hints
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from db.engine import engine
from db.errors import MovedIntoItself, PathInvalid, PathTaken, Unstorable
from db.models import MessageRole, ProjectStatus, TaskStatus
from db.queries import chat, embeddings, files, fragments, leases, messages, projects, tasks, uploads, usage, users
from db.rls import acting_as
from db.url import DatabaseUrl
from tests.support.databases import copied
from worker.local.servers import Addresses

ME = UUID(int=1)
MODULES = (chat, embeddings, files, fragments, leases, messages, projects, tasks, uploads, usage, users)
REFUSALS = (DBAPIError, MovedIntoItself, PathInvalid, PathTaken, Unstorable, UnicodeEncodeError)
"""The answers there are to what cannot be: the database's, ours, and Python's for half a character in a question."""
often = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

plain_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
numbers = st.integers(-(10**40), 10**40) | st.floats(allow_nan=False, allow_infinity=False)
documents = st.recursive(
    st.none() | st.booleans() | numbers | plain_text,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(plain_text, inner, max_size=6),
    max_leaves=30,
)
UNSTORABLE = st.sampled_from(["\0", "\ud800", "\udfff", float("nan"), float("inf"), float("-inf"), {"\0": 1}, {1: 2}])


@pytest.fixture(scope="module")
def url(stack: Addresses, template: str) -> Iterator[DatabaseUrl]:
    with copied(stack.database_url, template) as copy:
        with psycopg.connect(copy.libpq, autocommit=True) as connection:
            connection.execute("INSERT INTO auth.users (id) VALUES (%s)", [ME])
        yield copy


@pytest.fixture(scope="module")
def database(url: DatabaseUrl) -> Iterator[Engine]:
    opened = engine(url)
    yield opened
    opened.dispose()


@pytest.fixture(scope="module")
def project(database: Engine) -> UUID:
    with acting_as(database, ME) as session:
        return projects.create(session, "Mine", user_id=ME)


def same(sent: Any, read: Any) -> bool:
    """
    Whether the JSON is the same. Numbers are decimal there and exact, so a float is compared as one.

    A large one comes back as the integer that PostgreSQL writes it as.
    """
    if isinstance(sent, float):
        return not isinstance(read, bool) and float(read) == sent
    if isinstance(sent, list):
        return isinstance(read, list) and len(sent) == len(read) and all(map(same, sent, read))
    if isinstance(sent, dict):
        return isinstance(read, dict) and sent.keys() == read.keys() and all(same(sent[k], read[k]) for k in sent)
    return type(sent) is type(read) and bool(sent == read)


@often
@given(document=documents)
@example(document=None)
@example(document=1e308)
@example(document=5e-324)
@example(document={"": {"": []}})
@example(document="\\u0000")
@example(document='{"looks": "like JSON"}')
def test_json_of_any_shape_survives(database: Engine, project: UUID, document: Any) -> None:
    with acting_as(database, ME) as session:
        messages.save(
            *(session, project),
            role=MessageRole.USER,
            content=document,
            sequence_number=0,
            object_data=document,
        )
        made = projects.create(session, "With metadata", user_id=ME, metadata={"document": document})
        (message,) = messages.of_project(session, project, limit=1)
        found = projects.get(session, made)
        projects.delete_for_good(session, made)

    assert same(document, message.content)
    assert same(document, message.object_data)
    assert found is not None
    assert same({"document": document}, found.metadata)


@often
@given(document=documents, unstorable=UNSTORABLE, place=st.sampled_from(["alone", "listed", "named"]))
def test_what_postgresql_cannot_store_is_refused_before_it_is_asked(
    database: Engine, project: UUID, document: Any, unstorable: Any, place: str
) -> None:
    places = {"alone": unstorable, "listed": [document, [unstorable]], "named": {"a": document, "b": unstorable}}
    with acting_as(database, ME) as session:
        with pytest.raises(Unstorable):
            messages.save(session, project, role=MessageRole.USER, content=places[place], sequence_number=1)
        assert session.is_active


@often
@given(content=plain_text, name=plain_text)
@example(content="\r\n\x7f\u2028", name="\x01")
def test_text_of_any_kind_survives_with_its_size(database: Engine, content: str, name: str) -> None:
    path = f"dir/{name.replace('/', '_')}x"
    with acting_as(database, ME) as session:
        files.write(session, path, content, user_id=ME)
        found = files.read(session, path, user_id=ME)
        (entry,) = files.listing(session, "dir", user_id=ME)
        files.remove(session, "dir", user_id=ME)

    assert found is not None
    assert (found.content, entry.path, entry.size_bytes) == (content, path, len(content.encode()))


Step = tuple[str, str, str]
segment = st.sampled_from(["a", "b", "ab", "a%", "a_", "%", "\\"])
path = st.lists(segment, min_size=1, max_size=3).map("/".join)
steps = st.lists(st.tuples(st.sampled_from(["write", "make", "move", "remove"]), path, path), max_size=12)


@often
@given(steps=steps)
def test_a_workspace_does_what_a_file_system_would(database: Engine, steps: list[Step]) -> None:
    """The model is a dictionary of paths: a text for a file, None for a directory."""
    model: dict[str, str | None] = {}
    with acting_as(database, ME) as session:
        for step in steps:
            assert attempt(carry_out, session, step) == attempt(on_model, model, step), step
            assert stored(session) == model, step
        for top in {each.partition("/")[0] for each in model}:
            files.remove(session, top, user_id=ME)


def attempt(call: Callable[..., object], *arguments: object) -> object:
    try:
        return call(*arguments)
    except (PathTaken, MovedIntoItself) as refusal:
        return type(refusal)


def carry_out(session: Session, step: Step) -> object:
    verb, one, other = step
    if verb == "move":
        return files.move(session, one, other, user_id=ME)
    if verb == "remove":
        return files.remove(session, one, user_id=ME)
    if verb == "write":
        files.write(session, one, other, user_id=ME)
    else:
        files.make_directory(session, one, user_id=ME)
    return None


def on_model(model: dict[str, str | None], step: Step) -> object:
    verb, one, other = step
    if verb in {"write", "make"}:
        below_directories(model, one)
        if one in model and (model[one] is None) != (verb == "make"):
            raise PathTaken
        make_way(model, one)
        model[one] = other if verb == "write" else None
        return None
    moved = [each for each in model if each == one or each.startswith(f"{one}/")]
    if verb == "move":
        if other.startswith(f"{one}/"):
            raise MovedIntoItself
        if not moved:
            return 0
        if other in model:
            raise PathTaken
        below_directories(model, other)
        make_way(model, other)
    for each in moved:
        content = model.pop(each)
        if verb == "move":
            model[other + each[len(one) :]] = content
    return len(moved)


def above(path: str) -> list[str]:
    names = path.split("/")
    return ["/".join(names[:n]) for n in range(1, len(names))]


def below_directories(model: Mapping[str, str | None], path: str) -> None:
    if any(model.get(each) is not None for each in above(path)):
        raise PathTaken


def make_way(model: dict[str, str | None], path: str) -> None:
    for each in above(path):
        model.setdefault(each, None)


def stored(session: Session, directory: str = "") -> dict[str, str | None]:
    """What listings lead to: each row is where its name and parent say it is."""
    found: dict[str, str | None] = {}
    for entry in files.listing(session, directory, user_id=ME):
        assert entry.path == f"{directory}/{entry.name}".removeprefix("/")
        read = files.read(session, entry.path, user_id=ME)
        found[entry.path] = read.content if read else None
        if entry.is_directory:
            found |= stored(session, entry.path)
    return found


HOSTILE = (
    "'; DROP TABLE public.messages; --",
    "') OR TRUE; DELETE FROM public.projects; --",
    '"; DROP SCHEMA public CASCADE; --',
    "$$; DROP TABLE public.tasks; $$",
    "\\'; TRUNCATE public.projects; --",
    "%(user_id)s %s {0} :user_id ?",
    "1); RESET ROLE; --",
    "E'\\x27' || pg_sleep(10) || '",
    "\0",
    "\ud800",
    "%_\\",
    "",
)
HARMLESS = ("x", "a/b", "")
"""Texts among which there is one that each function takes."""
Call = Callable[[Session], object]


def query_functions() -> list[Callable[..., Any]]:
    """Every public function of the query modules that takes a session."""
    return [
        function
        for module in MODULES
        for name, function in vars(module).items()
        if takes_session(module, name, function)
    ]


def takes_session(module: ModuleType, name: str, function: object) -> bool:
    own = inspect.isfunction(function) and function.__module__ == module.__name__ and not name.startswith("_")
    return own and next(iter(inspect.signature(function).parameters), None) == "session"  # type: ignore[arg-type]  # a function


def with_everywhere(function: Callable[..., Any], text: str) -> Call:
    """A call of the function with this text wherever it takes one, and something fit wherever else."""
    hints = get_type_hints(function)
    parameters = [each for each in inspect.signature(function).parameters.values() if each.name != "session"]
    by_name = {
        each.name: filled(each.name, hints[each.name], text)
        for each in parameters
        if each.kind is not inspect.Parameter.VAR_KEYWORD
    }
    changes = {"title": text, "description": text, "metadata": {text: [text]}} if function.__name__ == "change" else {}
    return lambda session: function(session, **by_name, **changes)


def filled(name: str, hint: Any, text: str) -> Any:
    """Something of this type, of texts the hostile one; a page is never begun in the middle."""
    fit: dict[str, Any] = {
        "before": None,
        "after": None,
        "embedding": [1.0] * 1536,
        "task_ids": [3],
        "additional_dependencies": [text],
        "metadata": {text: text},
        "statuses": list(TaskStatus) if "TaskStatus" in str(hint) else list(ProjectStatus),
    }
    kinds: dict[Any, Any] = {UUID: ME, int: 3, bool: False, date: date(2026, 1, 1), MessageRole: MessageRole.USER}
    return fit[name] if name in fit else next((kinds[kind] for kind in (hint, *get_args(hint)) if kind in kinds), text)


@contextmanager
def sent_to(database: Engine) -> Iterator[list[str]]:
    """The statements that are sent, as SQL, without their parameters."""
    sent: list[str] = []

    def record(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    event.listen(database, "before_cursor_execute", record)
    yield sent
    event.remove(database, "before_cursor_execute", record)


def statements_with(database: Engine, function: Callable[..., Any], text: str) -> list[str]:
    """What the function sends for this text, as the user and as the owner, whether it is refused or not."""
    call = with_everywhere(function, text)
    with sent_to(database) as sent:
        with suppress(*REFUSALS), acting_as(database, ME) as session:
            call(session)
        with suppress(*REFUSALS), Session(database) as session, session.begin():
            call(session)
    return sent


@pytest.fixture(scope="module")
def bystanders(url: DatabaseUrl) -> Iterator[Callable[[], object]]:
    """What is to stay as it is: the rows of somebody else, and every table and function."""
    with psycopg.connect(url.libpq, autocommit=True) as connection:
        connection.execute("INSERT INTO auth.users (id) VALUES (%s)", [UUID(int=2)])
        connection.execute(
            "INSERT INTO public.projects (user_id, title) VALUES (%s, 'Theirs')",
            [UUID(int=2)],
        )
        connection.execute("INSERT INTO public.tasks (user_id, prompt) VALUES (%s, 'theirs')", [UUID(int=2)])
        yield lambda: connection.execute(
            """SELECT (SELECT array_agg(p ORDER BY p) FROM public.projects p WHERE user_id = %(them)s)::text,
               (SELECT array_agg(t ORDER BY id) FROM public.tasks t WHERE user_id = %(them)s)::text,
               (SELECT array_agg(oid::regclass::text || relrowsecurity ORDER BY oid) FROM pg_class),
               (SELECT array_agg(oid::regprocedure::text ORDER BY oid) FROM pg_proc), current_user""",
            {"them": UUID(int=2)},
        ).fetchall()


@pytest.mark.parametrize("function", query_functions(), ids=lambda it: f"{it.__module__.split('.')[-1]}.{it.__name__}")
def test_no_input_reaches_the_database_as_sql(
    database: Engine, bystanders: Callable[[], object], function: Callable[..., Any]
) -> None:
    """Whatever the text, what is sent is what a harmless one sends, as far as it is not refused on the way."""
    before = bystanders()
    known = {statement for text in HARMLESS for statement in statements_with(database, function, text)}
    assert len(known) > 1

    for text in HOSTILE:
        sent = statements_with(database, function, text)
        assert set(sent) <= known, text
        assert not [statement for statement in sent if len(text) > 1 and text in statement]
    assert bystanders() == before


def test_every_query_function_is_driven() -> None:
    assert {function.__module__ for function in query_functions()} == {module.__name__ for module in MODULES}
