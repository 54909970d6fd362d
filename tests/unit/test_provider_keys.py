"""Whose key a run uses for its model."""

import pytest
from pydantic import ValidationError

from worker.errors import TaskFailed, WrongUse
from worker.gateway.keys import access_for
from worker.settings import ProviderName, Settings

ANN = "00000000-0000-4000-8000-00000000000a"
KEYS = {"anthropic_api_key": "sk-ant-12345678", "openai_api_key": "sk-open-12345678", "google_api_key": "AIza-12345678"}


def of_ann(user_id: str, provider: str) -> str | None:
    """A hook."""
    return f"ann-s-{provider}-key" if user_id == ANN else None


def not_a_key(*_: str) -> object:
    """A hook that is wrong, with a key in what it answers."""
    return {"key": "sk-ant-12345678"}


def with_a_newline(*_: str) -> str:
    """A hook whose key could bring a header of its own."""
    return "sk-ant-12345678\r\nX-Other: 1"


def settings(**values: str) -> Settings:
    return Settings(_env_file=None, **values)  # type: ignore[arg-type]  # as the environment has them


@pytest.mark.parametrize("provider", ["anthropic", "openai", "google"])
def test_each_provider_has_its_own_key_and_address(provider: ProviderName) -> None:
    found = access_for(settings(**KEYS), ANN, provider)

    assert found.key == KEYS[f"{provider}_api_key"]
    assert found.upstream.startswith("https://")
    assert found.key not in repr(found)


def test_a_hook_is_asked_in_place_of_the_worker_s_keys() -> None:
    """A user whom it has no key for does not spend the worker's."""
    hooked = settings(**KEYS, provider_keys_hook=f"{__name__}:of_ann")

    assert access_for(hooked, ANN, "openai").key == "ann-s-openai-key"
    with pytest.raises(TaskFailed, match="no key for the models of openai"):
        access_for(hooked, ANN.replace("a", "b"), "openai")


def test_without_a_key_it_says_what_to_set() -> None:
    with pytest.raises(TaskFailed, match="CODINGIT_GOOGLE_API_KEY"):
        access_for(settings(), ANN, "google")


@pytest.mark.parametrize("function", ["not_a_key", "with_a_newline", "missing"])
def test_a_hook_that_is_wrong_is_named_without_what_it_said(function: str) -> None:
    with pytest.raises(WrongUse, match="CODINGIT_PROVIDER_KEYS_HOOK") as refused:
        access_for(settings(provider_keys_hook=f"{__name__}:{function}"), ANN, "openai")

    assert "12345678" not in str(refused.value)


def test_every_key_is_a_secret_of_the_settings() -> None:
    found = settings(**KEYS)

    assert set(KEYS.values()) <= set(found.secrets())
    assert not any(key in repr(found) for key in KEYS.values())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("anthropic_api_key", "sk-ant 12345678"),
        ("anthropic_api_key", "short"),
        ("anthropic_base_url", "http://models.example.com"),
        ("anthropic_base_url", "https://user:word@models.example.com"),
        ("anthropic_base_url", "https://models.example.com?x=1"),
        ("openai_base_url", "https://models.example.com/v1"),
        ("prices", "claude=3"),
        ("prices", "claude-*=3/15/1/2/3"),
        ("egress_hosts", "*"),
        ("egress_hosts", "https://pypi.org"),
        ("egress_hosts", "a.*.org"),
        ("run_cost", "5"),
        ("user_daily_cost", "nan"),
    ],
)
def test_what_would_not_do_what_it_says_is_a_fault_of_the_settings(name: str, value: str) -> None:
    with pytest.raises(ValidationError):
        settings(**{name: value})


@pytest.mark.parametrize(
    ("name", "value", "taken"),
    [
        ("anthropic_base_url", "https://models.example.com/team/", "https://models.example.com/team"),
        ("anthropic_base_url", "http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("prices", "claude-*=3/15, gpt-x=1/2/0.5", ("claude-*=3/15", "gpt-x=1/2/0.5")),
        ("egress_hosts", "pypi.org, *.npmjs.org, example.com:8443", ("pypi.org", "*.npmjs.org", "example.com:8443")),
    ],
)
def test_the_rest_is_taken(name: str, value: str, taken: object) -> None:
    assert getattr(settings(**{name: value}), name) == taken
