"""Engines that serve models: for each kind its command line, its probes, its metrics and how it drains."""

from __future__ import annotations

from collections.abc import Mapping

from components.engines.adapter import Engine
from components.engines.compatible import COMPATIBLE
from components.engines.sglang import SGLANG
from components.engines.tgi import TGI
from components.engines.vllm import VLLM

ENGINES: Mapping[str, Engine] = {engine.kind: engine for engine in (VLLM, SGLANG, TGI, COMPATIBLE)}
"""By the kind that a model's entry names. Settings, manifests, alarms and commands read no other list."""

__all__ = ["ENGINES", "Engine"]
