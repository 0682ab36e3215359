"""What is asked of an engine that it cannot do. Pure: settings and `Release` read the same list."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from components.engines import ENGINES
from components.engines.adapter import Feature

if TYPE_CHECKING:
    from components.engines.shape import EngineShape


def refused(
    kind: str,
    *,
    aliases: Sequence[object],
    lora_adapters: Sequence[object],
    prefix_caching: bool,
    chunked_prefill: bool,
    quantisation: str,
    streamed: bool,
    nodes: int,
    scaled: bool,
    arguments: Sequence[object],
) -> Iterator[tuple[str, str]]:
    """Name of the input, as other languages write it, and a sentence with what is allowed. Empty where all fits."""
    engine = ENGINES.get(kind)
    if engine is None:
        yield "kind", f"{kind!r} is not allowed; allowed: {', '.join(ENGINES)}"
        return
    asked: list[tuple[str, Feature, bool, str]] = [
        ("aliases", "aliases", bool(aliases), "none"),
        ("loraAdapters", "lora_adapters", bool(lora_adapters), "none"),
        ("prefixCaching", "prefix_caching", not prefix_caching, "true"),
        ("chunkedPrefill", "chunked_prefill", not chunked_prefill, "true"),
        ("quantisation", "quantisation", quantisation != "none", "none"),
        ("streamed", "streamed", streamed, "a path or name that the image knows"),
        ("nodes", "nodes", nodes > 1, "1"),
    ]
    for key, feature, wanted, allowed in asked:
        if wanted and not engine.takes(feature):
            able = [each.kind for each in ENGINES.values() if each.takes(feature)]
            yield key, f"{kind} cannot do this here; allowed: {allowed}, or engine {' or '.join(able)}"
    if not engine.command and not arguments:
        yield (
            "arguments",
            f"an {kind} engine is started by them alone; allowed: one or more, which make it listen at $(POD_IP):8000",
        )
    if scaled and nodes > 1:
        yield "scaling", f"an engine of {nodes} nodes is not scaled; allowed: null, or nodes: 1"


def check(engines: Sequence[EngineShape]) -> None:
    """Raises ValueError with the first engine's first input that is refused."""
    for at, engine in enumerate(engines):
        found = refused(
            engine["kind"],
            aliases=engine["aliases"],
            lora_adapters=engine["lora_adapters"],
            prefix_caching=engine["prefix_caching"],
            chunked_prefill=engine["chunked_prefill"],
            quantisation=engine["quantisation"],
            streamed=engine["streamed"],
            nodes=engine["nodes"],
            scaled="scaling" in engine,
            arguments=engine["arguments"],
        )
        for key, why in found:
            raise ValueError(f"engines[{at}].{key} ({engine['model']}): {why}")
