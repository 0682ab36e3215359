"""The only parser of stack configuration: strict models, rules across keys, errors that name the key path."""

from __future__ import annotations

from infra.settings.errors import Problem, SettingsError
from infra.settings.model import NAMESPACE
from infra.settings.parse import Settings
from infra.settings.rules import model_slug

__all__ = ["NAMESPACE", "Problem", "Settings", "SettingsError", "model_slug"]
