"""The protocol with one fault put in, to show that the tests would find it."""

from collections.abc import Callable
from dataclasses import dataclass

import psycopg

from db.migrate import PROTOCOL
from db.url import DatabaseUrl
from tests.integration.queue_proof import scenarios
from tests.support.rows import Rows

Scenario = Callable[[DatabaseUrl, DatabaseUrl, Rows], None]

LOCKS = (
    "    select t.status::text into task_status from public.tasks t where t.id = task for no key update;\n",
    "    select l.fence into current_fence from worker.leases l where l.task_id = task for update;\n",
)
COUNT = (
    "    perform pg_advisory_xact_lock(hashtextextended('codingit_worker.claim ' || owner, 0));\n",
    "    select count(*) into slots_used from worker.leases l where l.user_id = owner and l.holder is not null;\n",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One exact text of the protocol and what stands in its place; `found_by` None leaves it to the histories."""

    name: str
    text: str
    instead: str = ""
    found_by: Scenario | None = None

    def install(self, owner_url: DatabaseUrl) -> None:
        """Replace the functions of that database. Fails when the text is not, or no longer, the protocol's."""
        assert PROTOCOL.count(self.text) == 1, f"the mutant '{self.name}' no longer applies"
        with psycopg.connect(owner_url.libpq, autocommit=True) as connection:
            connection.execute(PROTOCOL.replace(self.text, self.instead).encode())


MUTANTS = (
    Mutant(name="any fence may write", text="        when current_fence is distinct from my_fence then 'lost'\n"),
    Mutant(name="the owner's status is ignored", text="        when task_status <> 'processing' then 'taken'\n"),
    Mutant(name="a flush is done as often as it is sent", text=" and l.flushes < flush;", instead=";"),
    Mutant(name="progress goes back", text="greatest(t.progress, new_progress)", instead="new_progress"),
    Mutant(
        name="a held lease is claimed",
        text="if lease.holder is not null or lease.not_before > now()",
        instead="if lease.not_before > now()",
    ),
    Mutant(
        name="a task put off is claimed",
        text="if lease.holder is not null or lease.not_before > now()",
        instead="if lease.holder is not null",
    ),
    Mutant(
        name="one more than the limit runs",
        text="    if slots_used >= per_user then\n",
        instead="    if slots_used > per_user then\n",
    ),
    Mutant(
        name="the turn is forgotten",
        text="    if at_turn <> started then update worker.turn set user_id = at_turn; end if;\n",
    ),
    Mutant(
        name="a user is offered all slots at once",
        text="        at_turn := next_user;\n",
        instead="        at_turn := coalesce(nullif(at_turn, started), next_user);\n",
    ),
    Mutant(
        name="cancel ends the lease of a run that still stops",
        text=" and l.holder is null;\n    end if;\n    return task_status;",
        instead=";\n    end if;\n    return task_status;",
    ),
    Mutant(
        name="a running task is put back",
        text="    if task_status = 'processing' and held then return 'running'; end if;\n",
    ),
    Mutant(name="the last to close a run is right", text=" and r.finished_at is null"),
    Mutant(name="crashes are not counted", text="l.crashes + (cause = 'crash')::int", instead="l.crashes"),
    Mutant(
        name="a fence outlives its run",
        text="flushes = 0,\n        fence = nextval('worker.fences')",
        instead="flushes = 0",
    ),
    Mutant(
        name="recovery waits for owners",
        text="where t.id = task for no key update skip locked;\n    if not found and exists",
        instead="where t.id = task for no key update;\n    if not found and exists",
        found_by=lambda url, _, rows: scenarios.recovery_passes_over_a_row_in_its_owners_hands(url, rows),
    ),
    Mutant(
        name="a log is written anew",
        text="whole jsonb := found_entries || entries;",
        instead="whole jsonb := entries;",
    ),
    Mutant(
        name="the limit is counted before the wait",
        text="".join(COUNT),
        instead="".join(reversed(COUNT)),
        found_by=lambda url, _, rows: scenarios.a_claim_that_waited_for_the_limit_counts_anew(url, rows),
    ),
    Mutant(
        name="the lease is locked before the task",
        text="".join(LOCKS),
        instead="".join(reversed(LOCKS)),
        found_by=lambda url, _, rows: scenarios.two_calls_behind_an_owner_both_get_through(
            url, rows, first="retry", second="append"
        ),
    ),
    Mutant(
        name="recovery does not look again",
        text="\n        or (lease.holder is not null and lease.expires_at >= now())",
        found_by=scenarios.a_lease_renewed_during_recovery_is_kept,
    ),
)
