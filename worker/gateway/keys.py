"""Whose key a run uses for its model: the worker's own, or a user's from a hook in its place."""

import re
from dataclasses import dataclass, field

from worker import hook
from worker.errors import TaskFailed, WrongUse
from worker.settings import ProviderName, Settings

HOOK = "CODINGIT_PROVIDER_KEYS_HOOK"
KEY = re.compile(r"[!-~]{8,}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """A provider of models, where it answers, and the key for it."""

    provider: ProviderName
    key: str = field(repr=False)
    upstream: str


def access_for(settings: Settings, user_id: str, provider: ProviderName) -> Access:
    """
    What this user's runs use of a provider. Whatever a hook raises is passed on.

    Raises:
        TaskFailed: there is no key for it.
        WrongUse: the hook has a fault.
    """
    key = (
        hooked(settings.provider_keys_hook, user_id, provider)
        if settings.provider_keys_hook
        else own(settings, provider)
    )
    if key is None:
        raise TaskFailed(
            f"This worker has no key for the models of {provider}."
            f" Whoever runs it can set CODINGIT_{provider.upper()}_API_KEY, or have {HOOK} answer one for you."
        )
    return Access(provider=provider, key=key, upstream=upstream(settings, provider))


def own(settings: Settings, provider: ProviderName) -> str | None:
    """The worker's own key for a provider."""
    keys = {
        "anthropic": settings.anthropic_api_key,
        "openai": settings.openai_api_key,
        "google": settings.google_api_key,
    }
    key = keys[provider]
    return key.get_secret_value() if key else None


def upstream(settings: Settings, provider: ProviderName) -> str:
    """Where a provider answers."""
    addresses = {
        "anthropic": settings.anthropic_base_url,
        "openai": settings.openai_base_url,
        "google": settings.google_base_url,
    }
    return addresses[provider]


def hooked(name: str, user_id: str, provider: ProviderName) -> str | None:
    """The key that the hook answers, checked, and never shown."""
    key = hook.named(name, setting=HOOK)(user_id, provider)
    if key is None:
        return None
    if not isinstance(key, str) or not KEY.fullmatch(key):
        raise WrongUse(f"{HOOK}: {name} must return a key of at least 8 characters without spaces, or None.")
    return key
