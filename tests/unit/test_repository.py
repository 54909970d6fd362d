"""Which addresses are accepted, and who is given whose token."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from worker.errors import TaskFailed, WrongUse
from worker.repository import Credential, Repository, Unreachable, accept, credential_for, credentials
from worker.settings import Settings

ANN = "6f9c2c6e-0a52-4a5e-9d0f-6d1d2f1c7b1a"
BOB = "0b1d7b62-31a9-4d3e-8f0e-2a4f1f6c9d10"
TOKEN = "ghp_0123456789abcdef"
NAMES = {
    "github.com": ["140.82.121.3"],
    "dual.example": ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"],
    "inside.example": ["10.0.0.5"],
    "half.example": ["93.184.216.34", "127.0.0.1"],
    "metadata.example": ["169.254.169.254"],
    "azure.example": ["168.63.129.16"],
    "localhost": ["127.0.0.1", "::1"],
}


@pytest.fixture(autouse=True)
def _name_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name service that knows `NAMES` and IP addresses, and is out of order for `.broken`."""

    def getaddrinfo(host: str, port: int, **_: object) -> list[Any]:
        if host.endswith(".broken"):
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        if host not in NAMES and not host[0].isdigit() and ":" not in host:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(0, 0, 0, "", (address, port)) for address in NAMES.get(host, [host])]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.mark.parametrize(
    ("address", "url", "pin"),
    [
        ("https://github.com/acme/site", "https://github.com/acme/site", "github.com:443:140.82.121.3"),
        ("HTTPS://GitHub.com:443/acme/site.git/", "https://github.com/acme/site.git", "github.com:443:140.82.121.3"),
        ("https://github.com./acme/My%20Site", "https://github.com/acme/My%20Site", "github.com:443:140.82.121.3"),
        (
            "https://dual.example:8443/a",
            "https://dual.example:8443/a",
            "dual.example:8443:93.184.216.34,[2606:2800:220:1:248:1893:25c8:1946]",
        ),
        ("https://93.184.216.34/a", "https://93.184.216.34/a", None),
        ("https://[64:ff9b::5db8:d822]/a", "https://[64:ff9b::5db8:d822]/a", None),
        ("https://[2606:2800:220:1::1]:444/a", "https://[2606:2800:220:1::1]:444/a", None),
        ("https://93.184.216.34/%c3%a9/a;b", "https://93.184.216.34/%c3%a9/a;b", None),
    ],
)
def test_an_ordinary_address_is_accepted_and_its_name_pinned(address: str, url: str, pin: str | None) -> None:
    found = accept(address, allowed_hosts=())
    assert (found.url, found.pin) == (url, pin)


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("", "names no repository"),
        ("ext::sh -c touch% /tmp/x", "character that no address may hold"),
        ("ext::sh", "must begin with https"),
        ("file:///etc", "must begin with https"),
        ("/etc/passwd", "must begin with https"),
        ("ftp://github.com/acme/site", "must begin with https"),
        ("javascript:alert(1)", "must begin with https"),
        ("-oProxyCommand=x", "must begin with https"),
        ("--upload-pack=touch", "must begin with https"),
        ("git@github.com:acme/site.git", "is for SSH: use its https"),
        ("ssh://git@github.com/acme/site", "is for SSH: use its https"),
        ("git+ssh://git@github.com/acme/site", "is for SSH: use its https"),
        ("http://github.com/acme/site", "must begin with https://, not http://"),
        ("https://github.com/acme/si te", "character that no address"),
        ("https://github.com/acme/site\n", "character that no address"),
        (" https://github.com/acme/site", "character that no address"),
        ("https://github.com\\@evil.example/a", "character that no address"),
        ("https://github.com/acme/\u202esite", "character that no address"),
        ("https://gïthub.com/acme/site", "character that no address"),
        ("https://github.com/" + "a" * 2000, "longer than 2000"),
        (f"https://ann:{TOKEN}@github.com/acme/site", "holds a user name or password"),
        (f"https://{TOKEN}@github.com/acme/site", "holds a user name or password"),
        ("https://github.com/acme/site?ref=main", "remove what follows"),
        ("https://github.com/acme/site#readme", "remove what follows"),
        ("https:///acme/site", "host that is not valid"),
        ("https://:443/acme", "host that is not valid"),
        ("https://-x.example/a", "host that is not valid"),
        ("https://a..example/a", "host that is not valid"),
        ("https://git;hub.com/a", "host that is not valid"),
        ("https://2130706433/a", "host that is not valid"),
        ("https://0x7f.1/a", "host that is not valid"),
        ("https://127.1/a", "host that is not valid"),
        ("https://0177.0.0.1/a", "host that is not valid"),
        ("https://[fe80::1%25eth0]/a", "not valid"),
        ("https://[::1/a", "check its host and port"),
        ("https://github.com:99999/a", "check its host and port"),
        ("https://github.com:0/a", "check its host and port"),
        ("https://github.com:x/a", "check its host and port"),
        ("https://github.com", "names a host and no repository"),
        ("https://github.com/", "names a host and no repository"),
        ("https://github.com/acme/../other", "path that is not valid"),
        ("https://github.com/acme/%2e%2E/other", "path that is not valid"),
        ("https://github.com/acme%2fsite", "path that is not valid"),
        ("https://github.com/acme%252e", "path that is not valid"),
        ("https://github.com/acme/..;/other", "path that is not valid"),
        ("https://github.com/acme/.;x=1/other", "path that is not valid"),
        ("https://github.com/acme/..%3b/other", "path that is not valid"),
        ("https://github.com/acme/%c0%ae%c0%ae/other", "path that is not valid"),
        ("https://github.com/acme/%ff", "path that is not valid"),
        ("https://github.com/acme%0asite", "path that is not valid"),
        ("https://github.com/acme%zz", "path that is not valid"),
        ("https://github.com//acme", "path that is not valid"),
        ("https://github.com/<script>", "path that is not valid"),
        ("https://nowhere.example/a", "could not be found"),
        ("https://inside.example/a", "not on the public internet"),
        ("https://half.example/a", "not on the public internet"),
        ("https://metadata.example/a", "not on the public internet"),
        ("https://azure.example/a", "not on the public internet"),
        ("https://localhost/a", "not on the public internet"),
        ("https://127.0.0.1/a", "not on the public internet"),
        ("https://0.0.0.0/a", "not on the public internet"),
        ("https://100.64.0.1/a", "not on the public internet"),
        ("https://192.0.0.192/a", "not on the public internet"),
        ("https://224.0.0.251/a", "not on the public internet"),
        ("https://255.255.255.255/a", "not on the public internet"),
        ("https://[::]/a", "not on the public internet"),
        ("https://[::1]/a", "not on the public internet"),
        ("https://[::ffff:127.0.0.1]/a", "not on the public internet"),
        ("https://[::127.0.0.1]/a", "not on the public internet"),
        ("https://[64:ff9b::7f00:1]/a", "not on the public internet"),
        ("https://[2002:7f00:1::]/a", "not on the public internet"),
        ("https://[fd00:ec2::254]/a", "not on the public internet"),
        ("https://[fe80::1]/a", "not on the public internet"),
        ("https://[fec0::1]/a", "not on the public internet"),
        ("https://[3fff::1]/a", "not on the public internet"),
        ("https://[ff02::1]/a", "not on the public internet"),
    ],
)
def test_a_hostile_or_mistaken_address_is_refused_in_a_sentence(address: str, sentence: str) -> None:
    with pytest.raises(TaskFailed, match=sentence) as refused:
        accept(address, allowed_hosts=())
    said = str(refused.value)
    assert TOKEN not in said
    assert said.isprintable()
    assert len(said) < 250


def test_a_name_service_that_is_out_of_order_is_not_the_users_fault() -> None:
    with pytest.raises(Unreachable) as late:
        accept("https://git.broken/acme/site", allowed_hosts=())
    assert "cannot be looked up now" in late.value.sentence


@pytest.mark.parametrize("allowed", ["localhost", "localhost:8080", "LOCALHOST"])
def test_a_host_that_the_operator_names_may_be_private_and_plain_http(allowed: str) -> None:
    found = accept("http://localhost:8080/acme/site", allowed_hosts=[allowed])
    assert found.pin == "localhost:8080:127.0.0.1,[::1]"


@pytest.mark.parametrize("allowed", ["localhost:80", "host", "example", "localhost.example", ""])
def test_another_host_or_port_is_not_thereby_allowed(allowed: str) -> None:
    with pytest.raises(TaskFailed):
        accept("http://localhost:8080/acme/site", allowed_hosts=[allowed])


# Credentials

Write = Callable[[str], Settings]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Settings whose credentials file has this content."""

    def writing(content: str) -> Settings:
        path = tmp_path / "credentials.toml"
        path.write_text(content)
        path.chmod(0o600)
        return Settings(_env_file=None, credentials_file=path)

    return writing


def repository(url: str) -> Repository:
    return accept(url, allowed_hosts=["localhost"])


def allow(place: str, *, user: str = ANN, token: str = TOKEN) -> str:
    return f'[[allow]]\nuser = "{user}"\nrepository = "{place}"\ntoken = "{token}"\n'


@pytest.mark.parametrize(
    ("entry", "url", "given"),
    [
        ("https://github.com/acme/site", "https://github.com/acme/site", True),
        ("https://github.com/acme/site.git", "https://github.com/acme/site/", True),
        ("https://github.com/acme/site", "https://GITHUB.com:443/Acme/Site.git", True),
        ("https://github.com/acme/site", "https://github.com/acme/site2", False),
        ("https://github.com/acme/site", "https://github.com/acme/site/sub", False),
        ("https://github.com/acme/site", "https://github.com:8443/acme/site", False),
        ("https://github.com/acme/site", "https://dual.example/acme/site", False),
        ("https://github.com/acme/*", "https://github.com/acme/site", True),
        ("https://github.com/acme/*", "https://github.com/acme/group/site.git", True),
        ("https://github.com/acme/*", "https://github.com/acme", False),
        ("https://github.com/acme/*", "https://github.com/acme-evil/site", False),
        ("https://github.com/*", "https://github.com/acme/site", True),
        ("https://dual.example/acme/site", "https://dual.example/Acme/site", False),
        ("https://localhost/acme/site", "http://localhost/acme/site", False),
        ("https://localhost:80/acme/site", "http://localhost/acme/site", False),
        ("http://localhost:8080/acme/*", "http://localhost:8080/acme/site", True),
    ],
)
def test_a_token_is_for_its_repositories_alone(write: Write, entry: str, url: str, *, given: bool) -> None:
    settings = write(allow(entry))
    expected = Credential(username="x-access-token", token=TOKEN) if given else None
    assert credential_for(settings, ANN, repository(url)) == expected
    assert credential_for(settings, ANN.upper(), repository(url)) == expected
    assert credential_for(settings, BOB, repository(url)) is None


def test_the_nearest_entry_is_taken(write: Write) -> None:
    settings = write(
        allow("https://github.com/acme/site", token="exact-0123456789")
        + allow("https://github.com/*", token="widest-0123456789")
        + allow("https://github.com/acme/*", token="wider-0123456789")
    )
    paths = ("acme/site", "acme/other", "else/where")
    given = [credential_for(settings, ANN, repository(f"https://github.com/{path}")) for path in paths]
    assert [one and one.token[:6] for one in given] == ["exact-", "wider-", "widest"]


def test_without_a_file_every_clone_is_anonymous() -> None:
    settings = Settings(_env_file=None)
    assert credential_for(settings, ANN, repository("https://github.com/acme/site")) is None


def test_a_token_may_stand_in_a_file_of_its_own(write: Write, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.touch(mode=0o600)
    file.write_text(f"{TOKEN}\n")
    entry = f'[[allow]]\nuser = "{ANN}"\nrepository = "https://github.com/acme/site"\nusername = "ann"\n'
    settings = write(f'{entry}token_file = "{file}"\n')
    found = credential_for(settings, ANN, repository("https://github.com/acme/site"))
    assert found == Credential(username="ann", token=TOKEN)
    assert TOKEN not in repr(found)
    file.chmod(0o640)
    with pytest.raises(WrongUse, match=f"token_file: can be read by others: run chmod 600 {file}"):
        credential_for(settings, ANN, repository("https://github.com/acme/site"))


def test_a_change_of_the_file_holds_from_the_next_run_on(write: Write) -> None:
    site = repository("https://github.com/acme/site")
    assert credential_for(write(allow("https://github.com/acme/site")), ANN, site)
    assert credential_for(write(""), ANN, site) is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_file_that_others_can_read_is_refused(write: Write, mode: int) -> None:
    path = write(allow("https://github.com/acme/site")).credentials_file
    assert path
    path.chmod(mode)
    with pytest.raises(WrongUse, match=f"run chmod 600 {path}"):
        credentials(path)


def test_every_fault_is_told_at_once_and_no_token(write: Write) -> None:
    path = write(
        f"""
        [[allow]]
        user = "ann"
        repository = "https://github.com/acme/*/site"
        tokn = "{TOKEN}"
        [[allow]]
        user = "{ANN}"
        repository = "git@github.com:acme/site"
        token = "{TOKEN}"
        token_file = "/nowhere"
        [[allow]]
        user = "{ANN}"
        repository = "https://github.com/acme/../x/*"
        token_file = "/nowhere"
        [[allow]]
        username = 5
        token = "a\\nb"
        {allow("https://github.com/acme/a")}
        {allow("https://github.com/Acme/a.git")}
        """
    ).credentials_file
    assert path
    with pytest.raises(WrongUse) as wrong:
        credentials(path)
    said = str(wrong.value)
    assert TOKEN not in said
    for fault in (
        "1: tokn: there is no such key; did you mean token?",
        "1: user: must be the id of a user",
        "1: repository: a * stands only at the end",
        "1: give either token or token_file",
        "2: repository: The repository's address is for SSH",
        "2: give either token or token_file",
        "3: repository: The repository's address has a path",
        "3: token_file: cannot be read",
        "4: username: must be one line",
        "4: user: must be the id",
        "4: token: must be one line",
        f"there twice for user {ANN}",
    ):
        assert fault in said, said


@pytest.mark.parametrize(
    ("content", "sentence"),
    [("allow = 1", "must be .* tables"), ("[[alow]]\nx=1", "must be .* tables"), ("x", "not valid TOML")],
)
def test_a_file_of_another_kind_is_refused(write: Write, content: str, sentence: str) -> None:
    with pytest.raises(WrongUse, match=sentence):
        credential_for(write(content), ANN, repository("https://github.com/acme/site"))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match="cannot be read: No such file"):
        credentials(tmp_path / "nothing.toml")


def ask(user_id: str, host: str, path: str) -> Credential | None:
    """A hook."""
    return Credential(token=f"{user_id}@{host}{path}") if path != "/acme/none" else None


def answer_nonsense(user_id: str, host: str, path: str) -> str:
    """A hook that is wrong."""
    return TOKEN


def hooked(function: str) -> Settings:
    return Settings(_env_file=None, credentials_hook=f"{__name__}:{function}")


def test_a_hook_is_asked_in_place_of_the_file() -> None:
    found = credential_for(hooked("ask"), ANN, repository("http://localhost/acme/site.git"))
    assert found == Credential(token=f"{ANN}@localhost:80/acme/site")
    assert credential_for(hooked("ask"), ANN, repository("https://github.com/acme/none")) is None


@pytest.mark.parametrize("function", ["nothing", "answer_nonsense"])
def test_a_hook_that_is_wrong_is_named(function: str) -> None:
    with pytest.raises(WrongUse, match="CODINGIT_CREDENTIALS_HOOK") as wrong:
        credential_for(hooked(function), ANN, repository("https://github.com/acme/site"))
    assert TOKEN not in str(wrong.value)
