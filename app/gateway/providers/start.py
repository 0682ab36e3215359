"""Makes the targets of outside models when a gateway starts. Without providers nothing of theirs is imported."""

from __future__ import annotations

import json
from collections.abc import Coroutine, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from app.gateway.choose import Pool
from app.gateway.config import ModelRoute, OutsideModel
from app.gateway.settings import SettingsError

if TYPE_CHECKING:
    from app.gateway.service import Service, Target

SECRETS = "PENSTOCK_PROVIDER_SECRETS"
"""JSON: the ARN of the secret with each provider's key, by the provider's name."""


def outside_targets(service: Service) -> dict[str, Target]:
    """One target for each outside model, by name; the service's names learn them. Raises SettingsError."""
    config = service.config
    if not config.providers:
        return {}
    from app.gateway.providers.metrics import ProviderMetrics
    from app.gateway.providers.outside import Outside
    from app.gateway.service import Target

    metrics = ProviderMetrics(service.metrics.registry)
    targets: dict[str, Target] = {}
    for provider in config.providers:
        models = [model for model in config.outside_models if model.provider == provider.name]
        names = ("connect_seconds", "first_byte_seconds", "between_bytes_seconds", "answer_seconds")
        times = config.timeouts.model_copy(update={name: getattr(provider, name) for name in names})
        try:
            outside = Outside(provider, models, times, service.loop, metrics, service.log)
        except OSError as error:
            raise SettingsError(f"providers: {provider.name}: ca_file: {error.strerror or error}") from None
        for model in models:
            headers = f"x-penstock-colour: {config.colour}\r\nx-penstock-model: {model.name}\r\n".encode()
            pool = Pool()
            pool.keep(outside.engine)
            target = Target(_route(model), pool, service.metrics.models[model.name], headers, outside=outside)
            targets[model.name] = target
            service.by_name |= dict.fromkeys((model.name, *model.aliases), target)
    return targets


def keys_and_roles(service: Service, environment: Mapping[str, str]) -> Iterator[Coroutine[Any, Any, None]]:
    """What keeps the keys in Secrets Manager and the pod's own role in view.

    Raises SettingsError for a provider whose secret is not named in the environment.
    """
    secrets = _secrets(environment)
    found = {target.outside.provider.name: target.outside for target in service.outside.values() if target.outside}
    for name, outside in found.items():
        if outside.provider.key_secret:
            from app.gateway.providers.secret import KeySecret

            if name not in secrets:
                raise SettingsError(f"{SECRETS}: has no ARN for the provider {name}")
            outside.key = key = KeySecret(name, secrets[name], environment, service.log)
            yield key.keep()
    asking = [one for one in found.values() if one.provider.kind == "bedrock" and one.key is None]
    if asking:
        from app.gateway.providers.role import Role

        role = Role(service.log)
        for one in asking:
            one.role = role
        yield role.keep()


def _secrets(environment: Mapping[str, str]) -> dict[str, str]:
    try:
        found = json.loads(environment.get(SECRETS) or "{}")
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(arn, str) for arn in found.values()):
        raise SettingsError(f"{SECRETS}: must be a JSON object, from names of providers to ARNs of their secrets")
    return found


def _route(model: OutsideModel) -> ModelRoute:
    """What the gateway knows of any model. No pod is watched for this one."""
    return ModelRoute(
        name=model.name,
        aliases=model.aliases,
        selector="",
        context_tokens=model.context_tokens,
        max_output_tokens=model.max_output_tokens,
        input_usd_per_million_tokens=model.input_usd_per_million_tokens,
        output_usd_per_million_tokens=model.output_usd_per_million_tokens,
        limits=model.limits,
    )
