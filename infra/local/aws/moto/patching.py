"""How the extensions change moto: new methods are attached, existing ones are extended."""

from __future__ import annotations

import functools
from types import FunctionType, ModuleType
from typing import Any


def attach(owner: type, *handlers: FunctionType) -> None:
    """Makes functions methods of `owner` under their own names, in place of what was there."""
    for handler in handlers:
        setattr(owner, handler.__name__, handler)


def extend(owner: type, *wrappers: FunctionType) -> None:
    """Puts each wrapper around the method of the same name: it is called as `wrapper(original, self, ...)`.

    Raises AttributeError where `owner` has no such method: moto has changed and the extension must too.
    """
    for wrapper in wrappers:
        wrap(owner, wrapper.__name__, wrapper)


def wrap(owner: type, name: str, wrapper: FunctionType) -> None:
    """As `extend`, for a method whose name the wrapper does not have."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def wrapped(self: Any, *arguments: Any, **named: Any) -> Any:
        return wrapper(original, self, *arguments, **named)

    setattr(owner, name, wrapped)


def redefine(module: ModuleType, **constants: Any) -> None:
    """Gives constants of one of moto's modules another value."""
    for name, value in constants.items():
        if not hasattr(module, name):
            raise AttributeError(f"{module.__name__} has no {name}")
        setattr(module, name, value)


def given(response: Any, *names: str) -> dict[str, Any]:
    """The request's parameters of these names that were sent."""
    values = {name: response._get_param(name) for name in names}
    return {name: value for name, value in values.items() if value is not None}
