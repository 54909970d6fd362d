"""`codingit-worker projects`: bring back a project that its user deleted."""

from typing import Annotated
from uuid import UUID

import typer

from worker.cli.addresses import owners_database
from worker.cli.output import Json, report
from worker.errors import CommandFailed

app = typer.Typer(no_args_is_help=True, help="Bring back what users deleted.")


@app.command()
def restore(
    project_id: Annotated[UUID, typer.Argument(metavar="ID", help="The project's id.", show_default=False)],
    *,
    json: Json = False,
) -> None:
    """Make a deleted project active again, while it is kept."""
    from db.queries import wastebasket
    from worker.cli import sessions
    from worker.maintenance.policies import days
    from worker.settings import settings

    kept = settings().project_retention
    with sessions.opened(owners_database()) as session:
        answer = wastebasket.take_out(session, project_id, kept=kept)
    if answer is not wastebasket.Answer.RESTORED:
        raise CommandFailed(WHY_NOT[answer].format(id=project_id, kept=days(kept)))
    report({"id": project_id, "status": "active"}, f"Restored project {project_id}: it is active again.", json=json)


WHY_NOT = {
    "kept": "Project {id} is not deleted, so there is nothing to restore.",
    "too late": (
        "Project {id} was deleted more than {kept} ago. Parts of it may be purged already, so it is not restored. "
        "CODINGIT_PROJECT_RETENTION says how long deleted projects are kept."
    ),
    "absent": "There is no project {id}: it was purged, or there never was one. Projects are kept {kept} once deleted.",
}
