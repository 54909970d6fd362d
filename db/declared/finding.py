"""One thing in which a database differs from what this release expects."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A difference, for a person to read and to choose by name."""

    name: str
    """What it is about, the same at every check: `policies:public.tasks`."""
    sentence: str
    statements: Sequence[str] = ()
    """What would mend it, in this order; empty when only a person, or an upgrade, can."""
