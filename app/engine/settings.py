"""What only the simulator has: its timing, its seed and its failures, from the environment (prefix `PENSTOCK_SIM_`).

| variable | unit, default | meaning |
|---|---|---|
| PENSTOCK_SIM_LOAD_SECONDS | s, 0.5 | connections are refused so long, as while a real engine loads its weights |
| PENSTOCK_SIM_PREFILL_TOKENS_PER_SECOND | 8000 | rate of prompt tokens that the prefix cache does not hold |
| PENSTOCK_SIM_DECODE_TOKENS_PER_SECOND | 80 | rate of one sequence while the batch is below the knee |
| PENSTOCK_SIM_DECODE_KNEE | sequences, 32 | beyond it the decode rate is shared |
| PENSTOCK_SIM_KV_CACHE_TOKENS | tokens, 131072 (or max_model_len if more) | size of the KV cache |
| PENSTOCK_SIM_SEED | 0 | changes all texts; engines with one seed continue each other's answers |
| PENSTOCK_SIM_TEARDOWN_SECONDS | s, 0.5 | between the last answer and the exit; a real engine takes 4 to 5 s |
| PENSTOCK_SIM_SLOW_FACTOR | 1 | multiplies every step's duration |
| PENSTOCK_SIM_ERROR_RATE | 0 to 1, 0 | share of generation requests answered with 500 before the first byte |
| PENSTOCK_SIM_STREAM_ERROR_RATE | 0 to 1, 0 | share of generations that end in an error after their third token |
| PENSTOCK_SIM_CRASH_AFTER_TOKENS | tokens, off | the process dies (status 1) once it has generated so many |
| PENSTOCK_SIM_HANG_AFTER_TOKENS | tokens, off | generation stops for good, while `/health` stays 200 |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

PREFIX = "PENSTOCK_SIM_"


@dataclass(frozen=True)
class SimulatorSettings:
    load_seconds: float = 0.5
    prefill_tokens_per_second: float = 8000.0
    decode_tokens_per_second: float = 80.0
    decode_knee: int = 32
    kv_cache_tokens: int = 0
    seed: int = 0
    teardown_seconds: float = 0.5
    slow_factor: float = 1.0
    error_rate: float = 0.0
    stream_error_rate: float = 0.0
    crash_after_tokens: int = 0
    hang_after_tokens: int = 0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> SimulatorSettings:
        """Raises ValueError that names the variable and what it allows."""
        kinds = {field.name: type(field.default) for field in fields(cls)}
        values: dict[str, float | int] = {}
        for variable, text in environment.items():
            if not variable.startswith(PREFIX):
                continue
            name = variable.removeprefix(PREFIX).lower()
            if name not in kinds:
                allowed = ", ".join(PREFIX + known.upper() for known in kinds)
                raise ValueError(f"{variable} is not a setting of the simulated engine; there are {allowed}")
            try:
                value = float(text) if kinds[name] is float else int(text)
            except ValueError:
                raise ValueError(f"{variable} must be a number, not {text!r}") from None
            least, most = _bounds(name)
            if not least <= value <= most:
                raise ValueError(f"{variable} must be between {least:g} and {most:g}, not {text}")
            values[name] = value
        return cls(**values)  # ty: ignore[invalid-argument-type]  (the kinds come from the same fields)


def _bounds(name: str) -> tuple[float, float]:
    if name.endswith("_rate"):
        return 0, 1
    if name.endswith("_per_second"):
        return 0.1, 1e7
    if name == "slow_factor":
        return 0.001, 1e4
    if name == "decode_knee":
        return 1, 1e6
    return 0, 1e9
