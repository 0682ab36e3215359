"""The provider's own configuration, as the program gives it to `kubernetes.Provider`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra.local.kubernetes.provider.values import plain

UNSUPPORTED = {
    "renderYamlToDirectory": "rendering to a folder needs the official provider",
    "cluster": "choose a context instead",
}


class SettingsError(ValueError):
    """A provider setting that cannot be used. The message names it."""


@dataclass(frozen=True)
class Settings:
    """`kubeconfig` is content or a path; "" where none was given."""

    kubeconfig: str = ""
    context: str = ""
    namespace: str = ""
    cluster_identifier: str = ""
    config_map_mutable: bool = False
    secret_mutable: bool = False
    patch_force: bool = False
    upsert: bool = False
    delete_unreachable: bool = False

    @classmethod
    def parse(cls, arguments: Mapping[str, Any]) -> Settings:
        """Reads the provider's inputs. Booleans come as JSON text. Raises SettingsError naming the key."""
        values = plain(dict(arguments))
        for key, why in UNSUPPORTED.items():
            if values.get(key):
                raise SettingsError(f"kubernetes provider: {key} is not supported by the local provider: {why}")
        if not _flag(values, "enableServerSideApply", default=True):
            raise SettingsError("kubernetes provider: enableServerSideApply cannot be false with the local provider")
        return cls(
            kubeconfig=_text(values, "kubeconfig"),
            context=_text(values, "context"),
            namespace=_text(values, "namespace"),
            cluster_identifier=_text(values, "clusterIdentifier"),
            config_map_mutable=_flag(values, "enableConfigMapMutable"),
            secret_mutable=_flag(values, "enableSecretMutable"),
            patch_force=_flag(values, "enablePatchForce"),
            upsert=_flag(values, "upsertExistingObjects"),
            delete_unreachable=_flag(values, "deleteUnreachable"),
        )


def _text(values: Mapping[str, Any], key: str) -> str:
    value = values.get(key) or ""
    if not isinstance(value, str):
        raise SettingsError(f"kubernetes provider: {key} must be a string")
    return value


def _flag(values: Mapping[str, Any], key: str, *, default: bool = False) -> bool:
    value = values.get(key, default)
    if value in (True, "true"):
        return True
    if value in (False, "false", ""):
        return False
    raise SettingsError(f"kubernetes provider: {key} must be true or false, not {value!r}")
