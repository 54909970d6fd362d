"""Flower's settings: it shows, behind a password, and changes nothing."""

import sys

from worker.errors import WrongUse
from worker.settings import settings

try:
    chosen = settings()
except WrongUse as fault:
    sys.exit(f"Error: {fault}")
if chosen.flower_auth is None:
    sys.exit("Error: CODINGIT_FLOWER_AUTH is not set. Set it to user:password, which Flower will ask for.")

address, _, port = chosen.flower_address.rpartition(":")
port = int(port)  # type: ignore[assignment]  # Flower reads it under this name, and wants a number
basic_auth = [chosen.flower_auth.get_secret_value()]
read_only = True
purge_offline_workers = 60
persistent = False
max_tasks = 20_000
natural_time = True
tasks_columns = "uuid,args,state,worker,runtime,result,received,started,name"
