"""Functions of the operator's own that settings name as `module:function`."""

import importlib
from collections.abc import Callable
from typing import Any

from worker.errors import WrongUse


def named(name: str, *, setting: str) -> Callable[..., Any]:
    """
    The function of that name.

    Raises:
        WrongUse: there is none; it says which setting names it.
    """
    module, _, function = name.partition(":")
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as missing:
        raise WrongUse(f"{setting}: there is no {name!r}; write module:function.") from missing
    return found
