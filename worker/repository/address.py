"""Which addresses may be cloned."""

import ipaddress
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import SplitResult, unquote_to_bytes, urlsplit

from worker.errors import Cause, RunInterrupted, TaskFailed
from worker.repository.names import HostUnknown, Lookup, NamesAway, lookup

PORTS = {"https": 443, "http": 80}
LONGEST = 2000
SHOWN = 100
AGAIN = timedelta(seconds=30)
HOST = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*")
PATH = re.compile(r"(/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)+")
NOT_PUBLIC = tuple(
    ipaddress.ip_network(network)
    for network in (
        "168.63.129.16/32",  # Azure's wire server, which answers on a public address
        "192.0.0.0/24",  # protocol assignments; Oracle Cloud's metadata is among them
        "192.88.99.0/24",  # 6to4 relays
        "3fff::/20",  # documentation, which older Pythons take for global
        "fec0::/10",  # site-local: no longer given out, still routed inside
    )
)
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
FOLDED = frozenset({"github.com", "gitlab.com", "bitbucket.org"})
"""Where `Acme/Site` and `acme/site` are one repository; elsewhere they may be two."""


class Unreachable(RunInterrupted):
    """The repository's host does not answer now; `sentence` says so to the task's owner."""

    def __init__(self, sentence: str) -> None:
        super().__init__(Cause.OVERLOADED, delay=AGAIN)
        self.sentence = sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A repository's address, normalised: host in lower case, no credentials, no trailing slash."""

    scheme: str
    host: str
    """Without brackets when it is an IPv6 address."""
    port: int
    path: str
    """Begins with a slash, as git sends it."""

    @property
    def netloc(self) -> str:
        """The host as it stands in the address, with its port unless that is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def authority(self) -> str:
        """The host as credentials know it: bare only for https on 443, so that no token slips to plain http."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if (self.scheme, self.port) == ("https", PORTS["https"]) else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The address for git."""
        return f"{self.scheme}://{self.netloc}{self.path}"

    @property
    def name(self) -> str:
        """The path as credentials know it: without `.git`, in lower case where the host does not tell cases apart."""
        path = self.path.removesuffix(".git")
        return path.lower() if self.host in FOLDED else path


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository(Place):
    """A place that may be cloned, with the addresses that its host had when that was decided."""

    addresses: tuple[str, ...]

    @property
    def pin(self) -> str | None:
        """For git's http.curloptResolve, against a name that resolves otherwise later; None for an IP literal."""
        if literal(self.host):
            return None
        listed = ",".join(f"[{address}]" if ":" in address else address for address in self.addresses)
        return f"{self.host}:{self.port}:{listed}"


def accept(repo_url: str, *, allowed_hosts: Sequence[str], lookup: Lookup = lookup) -> Repository:
    """
    The repository at an address that a stranger wrote.

    Looks up its host by `lookup`; `allowed_hosts` (`host` or `host:port`) may be private, loopback or plain http.

    Raises:
        TaskFailed: the address is refused; the sentence is for its owner and holds no credential.
        Unreachable: the name service does not answer.
    """
    place = parse(repo_url)
    allowed = is_allowed(place, allowed_hosts)
    if place.scheme == "http" and not allowed:
        raise TaskFailed(f"The repository's address {shown(place.url)} must begin with https://, not http://.")
    found = resolve(place, lookup)
    if not allowed and not all(map(is_public, found)):
        raise TaskFailed(f"The repository's host {shown(place.host)} is not on the public internet, so it is refused.")
    return Repository(scheme=place.scheme, host=place.host, port=place.port, path=place.path, addresses=found)


def is_allowed(place: Place, allowed_hosts: Sequence[str]) -> bool:
    """Whether the operator named this host, or this host and port."""
    host = f"[{place.host}]" if ":" in place.host else place.host
    return bool({place.host, host, f"{host}:{place.port}"} & {allowed.lower() for allowed in allowed_hosts})


def parse(repo_url: str) -> Place:
    """The address taken apart, without asking the network; TaskFailed where any part is refused."""
    refuse_form(repo_url)
    parts, port = split(repo_url)
    refuse_parts(parts)
    path = parts.path.rstrip("/")
    refuse_path(path)
    host = host_of(parts)
    return Place(scheme=parts.scheme, host=host, port=port or PORTS[parts.scheme], path=path)


def refuse_form(repo_url: str) -> None:
    """What is wrong before the address is taken apart; the text itself is shown only where it holds no password."""
    if not repo_url:
        raise TaskFailed("The task names no repository.")
    if len(repo_url) > LONGEST:
        raise TaskFailed(f"The repository's address is longer than {LONGEST} characters.")
    if not repo_url.isascii() or re.search(r"[\x00-\x20\x7f\\]", repo_url):
        raise TaskFailed("The repository's address holds a character that no address may hold, such as a space.")
    if re.match(r"(ssh|git\+ssh)://|[^/@:]+@[^/:]+:", repo_url, re.IGNORECASE):
        raise TaskFailed("The repository's address is for SSH: use its https:// address.")
    if not re.match(r"https?://", repo_url, re.IGNORECASE):
        raise TaskFailed("The repository's address must begin with https://, such as https://github.com/acme/site.")


def split(repo_url: str) -> tuple[SplitResult, int | None]:
    """The parts and the port of an address that begins like one."""
    try:
        return (parts := urlsplit(repo_url)), parts.port
    except ValueError:
        raise TaskFailed("The repository's address is not valid: check its host and port.") from None


def refuse_parts(parts: SplitResult) -> None:
    """Parts that a repository's address does not have."""
    if "@" in parts.netloc:
        raise TaskFailed("The repository's address holds a user name or password: remove it.")
    if parts.query or parts.fragment:
        raise TaskFailed("The repository's address must end with the repository: remove what follows ? or #.")
    if parts.netloc.endswith(":") or parts.port == 0:
        raise TaskFailed("The repository's address is not valid: check its host and port.")


def refuse_path(path: str) -> None:
    """A path that could mean another one to someone else."""
    if not path:
        raise TaskFailed("The repository's address names a host and no repository.")
    odd = re.search(r"%(?![0-9a-f]{2})|%(2e|2f|5c|25|3b|0.|1.|7f)", path, re.IGNORECASE)
    # What follows a ; is a parameter to some servers, which drop it and then take the rest for the segment.
    segments = {segment.partition(";")[0] for segment in path.split("/")}
    if odd or not PATH.fullmatch(path) or {".", ".."} & segments or not is_utf8(unquote_to_bytes(path)):
        raise TaskFailed(f"The repository's address has a path that is not valid: {shown(path)}.")


def is_utf8(text: bytes) -> bool:
    """Whether it can be read as UTF-8, which knows one form of each character only: %c0%ae is no dot."""
    try:
        return bool(text.decode())
    except UnicodeDecodeError:
        return False


def host_of(parts: SplitResult) -> str:
    """The host in lower case; an IP address only as everyone writes it, never 2130706433 or 0x7f.1."""
    host = (parts.hostname or "").removesuffix(".")
    if literal(host) and ("[" in parts.netloc) == (":" in host):
        return str(ipaddress.ip_address(host))
    if not HOST.fullmatch(host) or re.fullmatch(r"[0-9]+|0x[0-9a-f]*", host.rpartition(".")[2]):
        raise TaskFailed(f"The repository's address has a host that is not valid: {shown(host) or 'it is empty'}.")
    return host


def literal(host: str) -> bool:
    """Whether the host is an IP address rather than a name; one with a zone (fe80::1%eth0) is not taken for either."""
    try:
        return "%" not in host and bool(ipaddress.ip_address(host))
    except ValueError:
        return False


def resolve(place: Place, lookup: Lookup) -> tuple[str, ...]:
    """Every address of the host, in the order in which they should be tried."""
    try:
        return lookup(place.host, place.port)
    except HostUnknown:
        raise TaskFailed(f"The repository's host {shown(place.host)} could not be found: check it.") from None
    except NamesAway:
        raise Unreachable(f"The name of the repository's host {shown(place.host)} cannot be looked up now.") from None


def is_public(address: str) -> bool:
    """Whether the address, and any IPv4 address inside it, is globally routable."""
    return all(
        each.is_global
        and not (each.is_multicast or each.is_reserved or each.is_link_local or each.is_loopback or each.is_private)
        and not any(each in network for network in NOT_PUBLIC if network.version == each.version)
        for each in embedded(ipaddress.ip_address(address))
    )


def embedded(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> Iterator[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """What packets to the address may reach: an IPv4 address that it wraps, else itself."""
    if isinstance(address, ipaddress.IPv4Address):
        yield address
        return
    wrapped = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in NAT64:
        wrapped.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    inner = [each for each in wrapped if each is not None]
    yield from inner or [address]


def shown(text: str) -> str:
    """Hostile text, safe to print: what is not printable escaped, and clipped."""
    plain = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text[: SHOWN + 1])
    return plain if len(plain) <= SHOWN else plain[: SHOWN - 1] + "…"
