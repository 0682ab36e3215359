"""Brings files, batches and jobs to life in a gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.gateway.errors import Refused, unknown_model
from app.jobs.api import JobsApi
from app.jobs.ticket import Tickets

if TYPE_CHECKING:
    from app.gateway.keys.grant import Grant
    from app.gateway.service import Service
    from app.jobs.config import JobsConfig
    from app.jobs.settings import Place


def start(service: Service, config: JobsConfig, place: Place) -> None:
    def require_model(grant: Grant, name: str) -> None:
        if grant.visible(service.routes).get(name) is None:
            raise Refused(unknown_model(name))

    service.keys.tickets = Tickets(place.secret, service.keys)
    service.jobs = JobsApi(config, place, service.log, service.keys, require_model)
