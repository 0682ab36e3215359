"""Rules that answer without a model: exact messages by hash table, patterns by RE2, which is linear in the text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from app.gateway.routing.config import Route
from app.gateway.routing.features import Features
from app.gateway.routing.score import normal

MOST_MESSAGE = 2000
"""A longer message is never answered by a rule, in characters."""
MOST_GROUP = 200
"""Of what a named group matched, so many characters go into the answer."""
RE2_MEMORY = 1 << 20

_HOLE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


class Rules:
    """The compiled rules of one route. Raises ValueError for a pattern that RE2 does not take."""

    def __init__(self, route: Route, templates: Mapping[str, str]) -> None:
        self._route = route.name
        self._templates = templates
        self._exact: dict[str, str] = {}
        self._patterns: list[tuple[Any, str]] = []
        for number, rule in enumerate(route.rules):
            for message in rule.exact:
                self._exact.setdefault(normal(message), rule.template)
            if rule.pattern is not None:
                self._patterns.append((_compile(rule.pattern, f"{route.name}.rules.{number}.pattern"), rule.template))

    def answer(self, features: Features) -> tuple[str, str] | None:
        """Template and text for a request; None where no rule matches."""
        if not features.text or features.length > MOST_MESSAGE:
            return None
        template = self._exact.get(normal(features.text))
        if template is not None:
            return template, self.fill(template, {})
        for pattern, name in self._patterns:
            found = pattern.fullmatch(features.text)
            if found is not None:
                groups = {key: value[:MOST_GROUP] for key, value in found.groupdict().items() if value is not None}
                return name, self.fill(name, groups)
        return None

    def fill(self, template: str, groups: Mapping[str, str]) -> str:
        """The template's text. What a group holds is never filled in again."""
        known = {"model": self._route} | dict(groups)
        return _HOLE.sub(lambda hole: known.get(hole[1], hole[0]), self._templates[template])


def _compile(pattern: str, where: str) -> Any:
    try:
        return compiled(pattern)
    except ValueError as error:
        raise ValueError(f"routing.routes: {where}: {error}") from None


def compiled(pattern: str) -> Any:
    """Raises ValueError for what RE2 does not take."""
    import re2  # late: a gateway without patterns does not load it

    options = re2.Options()
    options.max_mem = RE2_MEMORY
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        told = error.args[0] if error.args else error
        told = told.decode(errors="replace") if isinstance(told, bytes) else told
        raise ValueError(f"not a valid RE2 expression: {told}") from None
