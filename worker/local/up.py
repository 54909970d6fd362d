"""`up`: everything on this machine, from the servers to Flower, in the order in which one needs the other."""

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from celery.utils.nodenames import host_format
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from db import migrate
from db.engine import Database, engine
from db.queries import leases, queue, users
from db.url import DatabaseUrl
from worker import git
from worker.errors import Cause, CommandFailed
from worker.local import cast, demo, demo_user, readiness, state, summary, surroundings
from worker.local.access import Access, let_in
from worker.local.board import Board
from worker.local.cast import REHEARSAL
from worker.local.interrupt import Interrupt, Interrupted
from worker.local.processes import NODES, Fleet
from worker.local.screen import Screen, screen
from worker.local.servers import Addresses, servers
from worker.settings import settings

LOOK_EVERY = 0.2
DEMO_WITHIN = timedelta(minutes=3)
"""After this the demo counts as failed, whatever it waits for; one with a model behind it has ten times as long."""
SILENCE = timedelta(seconds=5)
"""For how long the database may fail to answer before we give up on it."""
STARTING_WITHIN = 60.0
CTRL_C = 130


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What was asked for on the command line."""

    demo: bool = False
    agent: str = REHEARSAL
    exit_when_done: bool = False
    concurrency: int | None = None
    json: bool = False


@dataclass(slots=True, kw_only=True)
class Up:
    """Everything that runs, once it does."""

    engine: Engine
    fleet: Fleet
    remote: demo.Remote | None
    agent: str
    """Who does the demo's tasks."""
    where: summary.Whereabouts
    servers_log: Path
    answered: float = field(default_factory=time.monotonic)


def run(folder: Path, wishes: Wishes) -> int:
    """
    Start everything, show the tasks, and stop everything; answers the exit code.

    Raises:
        CommandFailed, WrongUse: says what is in the way.
    """
    logging.getLogger("psycopg").addHandler(logging.NullHandler())  # it would tell of every connection we interrupt
    interrupt, shown = Interrupt(), screen(json=wishes.json)
    with interrupt.heeded():
        try:
            with ExitStack() as stack:
                with interrupt.raising():
                    up = started(stack, folder, wishes, interrupt, shown)
                code = follow(up, wishes, interrupt, shown)
                shown.settle()
        except Interrupted:
            code = CTRL_C
        finally:
            shown.settle()
        if interrupt.asked:
            shown.say("Everything is stopped.")
        return code


def started(stack: ExitStack, folder: Path, wishes: Wishes, interrupt: Interrupt, shown: Screen) -> Up:
    """Everything, started; `stack` stops it, in the other order."""
    began, chosen = time.monotonic(), settings()
    if chosen.database_url:
        shown.say("DATABASE_URL is set; it is left alone, for `up` runs on servers of its own.")
    own = hold(stack, folder)
    model = cast.environment(wishes.agent, chosen) if wishes.demo else {}
    git.version(demo.run, own)
    answering = surroundings.answering(chosen)
    addresses, ours = stack.enter_context(running_servers(folder))
    shown.done("PostgreSQL and Valkey", f"{since(began)}{'' if ours else ', of `local start`, and left to it'}")
    access = kept_access(own)
    database = stack.enter_context(prepared(addresses, access, shown=shown))
    if ours:
        forget_offers(database)
    remote = stack.enter_context(demo.repository(own, access)) if wishes.demo else None
    if remote:
        shown.done("Git repository", remote.url)
        clear_demo(database, remote)
    where = surroundings.whereabouts(folder, own, chosen, access=access, answering=answering, remote=remote)
    told = surroundings.environment(addresses, access, where=where, remote=remote, concurrency=wishes.concurrency)
    fleet = Fleet(logs=where.logs, env={**told, **model}, grace=chosen.grace)
    stack.callback(stop, fleet, database, addresses.database_url, interrupt=interrupt, shown=shown)
    with state.plainly():
        fleet.start()
    readiness.wait(fleet, health=where.health, flower=where.flower, redis_url=addresses.redis_url)
    shown.done("Processes", f"worker, dispatcher, maintenance, beat, Flower, {since(began)}")
    return Up(
        engine=database,
        fleet=fleet,
        remote=remote,
        agent=wishes.agent,
        where=where,
        servers_log=folder / "postgres.log",
    )


def hold(stack: ExitStack, folder: Path) -> Path:
    """The folder of `up` itself within the servers', held. Raises CommandFailed that says who holds it."""
    own = folder / "up"
    with state.plainly():
        state.prepare(folder)
    stack.enter_context(state.held(own, command="up"))
    return own


@contextmanager
def running_servers(folder: Path) -> Iterator[tuple[Addresses, bool]]:
    """The servers that `local start` runs, else our own for as long as the block runs; and whether they are ours."""
    found = waited_for(folder)
    if found:
        yield found, False
        return
    with state.held(folder, command="up"), servers(folder) as addresses:
        yield addresses, True


def waited_for(folder: Path) -> Addresses | None:
    """The servers that another command holds, once they answer; None where nobody holds the folder."""
    deadline = time.monotonic() + STARTING_WITHIN
    while holder := state.running(folder):
        if holder.addresses:
            return holder.addresses
        if time.monotonic() > deadline:
            raise CommandFailed(f"{holder} does not get its servers to run. Stop it with: codingit-worker local stop")
        time.sleep(LOOK_EVERY)
    return None


def kept_access(own: Path) -> Access:
    """The passwords of earlier runs, or new ones, kept for later runs."""
    access = Access.of(own)
    with state.plainly():
        access.keep(own)
    return access


@contextmanager
def prepared(addresses: Addresses, access: Access, *, shown: Screen) -> Iterator[Engine]:
    """The database at this release's version, its workers let in, with somebody to add tasks for; as its owner."""
    version = migrate.upgrade(addresses.database_url)
    let_in(addresses.database_url, access.worker_password)
    database = engine(addresses.database_url)
    try:
        with Session(database) as session, session.begin():
            users.ensure(session, demo_user.ID, email=demo_user.EMAIL)
        shown.done("Database", f"version {version}")
        yield database
    finally:
        database.dispose()


def forget_offers(database: Engine) -> None:
    """Our broker begins empty, so nothing is on its way to anybody."""
    with Session(database) as session, session.begin():
        leases.forget_offers(session)


def clear_demo(database: Engine, remote: demo.Remote) -> None:
    """Nothing of an earlier demo is in the way of this one."""
    with Session(database) as session, session.begin():
        demo.clear(session, remote)


def stop(fleet: Fleet, database: Engine, owner: DatabaseUrl, *, interrupt: Interrupt, shown: Screen) -> None:
    """End the processes; if somebody asks twice, at once, and then what they ran is given back in their place."""
    shown.settle()
    fleet.stop(busy=lambda: is_busy(database), hurry=lambda: interrupt.impatient, say=shown.say)
    if interrupt.impatient:
        give_back(database, owner)


def give_back(database: Engine, owner: DatabaseUrl) -> None:
    """Give back what our worker ran when it was killed: it is dead, so nobody waits for its leases to lapse."""
    with Database(owner) as connection:
        for lease in held(database):
            queue.give_back(
                connection, lease.task_id, fence=lease.fence, cause=Cause.SHUTDOWN.value, bound=0, delay=timedelta()
            )


def held(database: Engine) -> list[leases.Held]:
    """What our worker runs."""
    with Session(database) as session:
        return leases.held_by(session, host_format(NODES[0]))


def is_busy(database: Engine) -> bool:
    """Whether our worker may run something."""
    try:
        return bool(held(database))
    except OperationalError:
        return True


def follow(up: Up, wishes: Wishes, interrupt: Interrupt, shown: Screen) -> int:
    """Show the tasks until the demo is over, if that is wanted, or until somebody ends us; the exit code."""
    with Session(up.engine) as session:
        board = Board(session)
        code = perform(up, session, board, interrupt, shown) if up.remote else 0
        if wishes.exit_when_done or interrupt.asked:
            return CTRL_C if wishes.exit_when_done and interrupt.asked else code
        shown.facts("Everything runs. Ctrl-C stops it.", summary.ways_on(up.where))
        board.forget()
        for _ in looks(up, session, board, interrupt, shown):
            board.trim()
    return 0


def perform(up: Up, session: Session, board: Board, interrupt: Interrupt, shown: Screen) -> int:
    """The demo, to its end; 0 if all went as it should."""
    assert up.remote is not None  # noqa: S101 - for the type checker
    began = time.monotonic()
    patience = DEMO_WITHIN * (1 if up.agent == REHEARSAL else 10)
    with demo.begun(session, up.remote, agent=up.agent) as played:
        for _ in looks(up, session, board, interrupt, shown):
            played.play(session, board)
            session.commit()
            if played.is_over(session, board) or time.monotonic() - began > patience.total_seconds():
                break
        shown.settle()
        if interrupt.asked:
            return 0
        return judge(played, board, began=began, shown=shown)


def judge(played: demo.Demo, board: Board, *, began: float, shown: Screen) -> int:
    """What was pushed, and a sentence for each task that did not end as it should; 0 if all did."""
    shown.facts("Pushed commits", summary.pushed(played.commits(board)))
    faults = played.faults(board)
    for fault in faults:
        shown.say(fault)
    if not faults:
        shown.say(f"{played.outcome()}, in {since(began)}.")
    return 1 if faults else 0


def looks(up: Up, session: Session, board: Board, interrupt: Interrupt, shown: Screen) -> Iterator[None]:
    """A step for each look at the tasks, as long as nobody ends us; mends what died meanwhile."""
    while not interrupt.asked:
        for sentence in up.fleet.mend():
            shown.say(sentence)
        try:
            changed = board.look(session)
            session.rollback()
            up.answered = time.monotonic()
        except OperationalError as fault:
            session.rollback()
            endure(up, fault)
            changed = []
        else:
            shown.show(board, changed)
            yield
        time.sleep(LOOK_EVERY)


def endure(up: Up, fault: OperationalError) -> None:
    """A database that does not answer for a moment is waited for. Raises CommandFailed after that."""
    if time.monotonic() - up.answered > SILENCE.total_seconds():
        said = str(fault.orig).strip().partition("\n")[0]
        raise CommandFailed(f"PostgreSQL does not answer any more ({said}). Its log: {up.servers_log}") from fault


def since(began: float) -> str:
    """`3.2 s`."""
    return f"{time.monotonic() - began:.1f} s"
