"""Makes the targets of outside models when a gateway starts. Without providers nothing of theirs is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.gateway.choose import Pool
from app.gateway.config import ModelRoute, OutsideModel
from app.gateway.settings import SettingsError

if TYPE_CHECKING:
    from app.gateway.service import Service, Target


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
            outside = Outside(provider, {model.name: model.upstream for model in models}, times, service.loop, metrics)
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
