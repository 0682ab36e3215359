"""Memory of the key-value cache: sums that are known, and entries that are refused by them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.settings import Settings
from infra.settings.accelerators import gpu_of
from infra.settings.memory_rules import ACTIVATIONS_GIB, bytes_per_token, room_gib
from infra.settings.served import KvCache
from tests.unit.settings_cases import VALUES, Values, problems, put

LLAMA_3_8B = {"layers": 32, "heads": 8, "headDim": 128, "bytesPerValue": 2, "fullLengthRequests": 1}


def cache(**changes: Any) -> KvCache:
    return KvCache.model_validate(LLAMA_3_8B | changes)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (LLAMA_3_8B, 128 * 1024),
        ({"layers": 80}, 320 * 1024),  # Llama 3 70B
        ({"layers": 36}, 144 * 1024),  # Qwen3 8B
        ({"layers": 32, "heads": 32}, 512 * 1024),  # Llama 2 7B: no grouped heads
        ({"bytesPerValue": 1}, 64 * 1024),
    ],
)
def test_a_token_takes_what_is_known_of_these_models(shape: dict[str, int], expected: int):
    assert bytes_per_token(cache(**shape)) == expected


@given(heads=st.integers(1, 64), parallel=st.sampled_from([1, 2, 4, 8, 16]))
def test_gpus_that_share_a_layer_never_take_less_and_hold_few_heads_twice(heads: int, parallel: int):
    alone, shared = bytes_per_token(cache(heads=heads)), bytes_per_token(cache(heads=heads), parallel)
    assert shared >= alone
    if heads % parallel == 0:
        assert shared == alone
    if heads < parallel:
        assert shared == alone // heads * parallel


def refused(length: int, **changes: Any) -> str:
    def edit(values: Values) -> None:
        put("models.0.kvCache", LLAMA_3_8B | changes)(values)
        put("models.0.gpuType", "L4")(values)
        put("models.0.weightsGib", 15)(values)
        put("models.0.maxModelLen", length)(values)

    found = problems(edit, "local")
    assert found.keys() <= {"models[0].kvCache"}
    return found.get("models[0].kvCache", "")


def test_requests_that_do_not_fit_are_refused_with_the_sum_and_what_would_fit():
    # 22.4 x 0.9 - 2 - 15 = 3.16 GiB; 128 KiB a token: 25,886 tokens.
    assert refused(16384) == ""
    said = refused(32768)
    assert "1 x maxModelLen 32768 tokens x 131072 bytes = 4.0 GiB" in said
    assert "1 x L4 of g6.xlarge" in said
    assert "= 3.2 GiB; allowed: maxModelLen 25886 or less" in said
    assert refused(25886) == ""
    assert refused(16384, fullLengthRequests=2).startswith("fullLengthRequests 2 x maxModelLen 16384")
    assert refused(16384, fullLengthRequests=2, bytesPerValue=1) == ""


def test_an_entry_without_the_models_shape_is_not_checked():
    assert problems(put("models.0.kvCache", None), "local") == {}


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_models_of_our_stacks_have_room_for_what_they_promise(stack: str):
    for model in Settings.parse(VALUES[stack]).models:
        assert model.kv_cache is not None, model.name
    assert problems(lambda _values: None, stack) == {}


def test_what_is_left_is_the_share_less_weights_and_what_is_computed_with():
    model = Settings.parse(VALUES["prod"]).models[0]
    gpu = gpu_of("g6e.2xlarge")
    assert room_gib(model, gpu) == pytest.approx(44.7 * 0.9 - ACTIVATIONS_GIB - 15.3)
