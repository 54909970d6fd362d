"""What the database can answer besides results."""


class DatabaseUnavailable(Exception):
    """A call of the protocol did not get its answer. Each is safe to repeat, and worth it."""


class DatabaseUnreachable(DatabaseUnavailable):
    """No answer came: the connection failed, was cut, or took too long. Whether the call took effect is unknown."""


class DatabaseBusy(DatabaseUnavailable):
    """The call waited too long for somebody else's lock, and took no effect."""


class DatabaseUnfit(DatabaseUnavailable):
    """The database lacks what this release needs, or the role may not use it; it took no effect."""


class PoolerRefused(Exception):
    """What was asked needs a session of its own, and the address is a transaction pooler's."""


class UpgradeBusy(Exception):
    """Another upgrade of the same database holds the lock and did not end in time."""


class TransactionUnfit(Exception):
    """There is no transaction of its own in which to act as somebody else."""


class Unstorable(ValueError):
    """A value holds what PostgreSQL cannot store; the message says what and where."""


class PathInvalid(ValueError):
    """A path that no file of a workspace may have."""


class PathTaken(Exception):
    """Another file or directory of the workspace is in the way; nothing was changed."""


class MovedIntoItself(Exception):
    """A directory was to be moved to a place below itself; nothing was changed."""
