"""What the database can answer besides results."""


class DatabaseUnreachable(Exception):
    """
    No answer came: the connection failed, was cut, or took too long.

    Whether the call took effect is unknown; the protocol's functions are safe to repeat.
    """


class PoolerRefused(Exception):
    """What was asked needs a session of its own, and the address is a transaction pooler's."""


class UpgradeBusy(Exception):
    """Another upgrade of the same database holds the lock and did not end in time."""
