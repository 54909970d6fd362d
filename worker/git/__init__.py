"""
The git steps of a run: read, mirror, clone, commit, bundle, receive, push.

The host never runs git in a folder that an agent wrote: what happens in the workspace happens in the sandbox, and
comes back as one file of hostile bytes.
"""

from worker.git.branch import generated_branch, validate_branch
from worker.git.cache import Cache, evict, unwanted
from worker.git.failure import PushRejected
from worker.git.host import OLDEST, Host, Run, version
from worker.git.pull_request import PullRequest, open_pull_request
from worker.git.push import push, remote_head
from worker.git.quarantine import Delivery, receive
from worker.git.remote import Base, Mirror, Pushed, base_for, mirror, notes
from worker.git.workspace import Task, Workspace, bundle, clone, commit, start

__all__ = [
    "OLDEST",
    "Base",
    "Cache",
    "Delivery",
    "Host",
    "Mirror",
    "PullRequest",
    "PushRejected",
    "Pushed",
    "Run",
    "Task",
    "Workspace",
    "base_for",
    "bundle",
    "clone",
    "commit",
    "evict",
    "generated_branch",
    "mirror",
    "notes",
    "open_pull_request",
    "push",
    "receive",
    "remote_head",
    "start",
    "unwanted",
    "validate_branch",
    "version",
]
