"""Which addresses may be cloned, and with whose credentials; a row's repo_url alone never earns a token."""

from worker.repository.address import Repository, Unreachable, accept
from worker.repository.credentials import Credential, Credentials, credential_for, credentials
from worker.repository.names import HostUnknown, Lookup, NamesAway

__all__ = [
    "Credential",
    "Credentials",
    "HostUnknown",
    "Lookup",
    "NamesAway",
    "Repository",
    "Unreachable",
    "accept",
    "credential_for",
    "credentials",
]
