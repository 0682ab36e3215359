"""A model's entry: what is refused, with the key and what is allowed."""

from __future__ import annotations

from typing import Any

import pytest

from infra.settings.accelerators import GPU_OF_FAMILY, GPUS_BY_FAMILY, gpu_of, types_with
from infra.settings.served import Model
from tests.unit.settings_cases import VALUES, Values, problems, put

SCALING = {"maxReplicas": 4, "targetPerReplica": 20, "toZero": False}


def refused(*puts: tuple[str, Any], stack: str = "local") -> dict[str, str]:
    def edit(values: Values) -> None:
        for path, value in puts:
            put(path, value)(values)

    return problems(edit, stack)


def scaled(**changes: Any) -> list[tuple[str, Any]]:
    return [("controllers.keda.enabled", True), ("models.0.scaling", SCALING | changes)]


def test_every_family_of_gpu_nodes_has_a_known_gpu():
    assert GPU_OF_FAMILY.keys() == GPUS_BY_FAMILY.keys()
    assert types_with("L4")[0].startswith("g6.")
    assert {gpu_of(each).name for each in types_with("L40S")} == {"L40S"}


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("quantisation", "int3", "'int3' is not allowed; allowed: 'none', 'awq', 'gptq' or 'fp8'"),
        ("engine", "ollama", "allowed: 'vllm', 'sglang', 'tgi' or 'openai-compatible'"),
        ("tensorParallel", 2, "2 does not fit gpus 1 x nodes 1 = 1 with vllm; allowed: 1"),
        ("gpuType", "H100", "no node has H100; allowed: null, or one of A10G, L4, L40S"),
        ("weightsGib", 30, "30 does not fit 1 x L4 of g6.xlarge (nodeGroups.gpu): 1 x 22.4 GiB x 0.9 = 20.2"),
        ("sharedMemoryMib", 1024, "1024 leaves nothing of memoryMib 1024"),
        ("spotShare", 101, "101 is too large; allowed: 100 or less"),
        ("arguments", [" "], "must match"),
    ],
)
def test_a_value_that_cannot_be_is_refused(key: str, value: Any, says: str):
    found = refused((f"models.0.{key}", value))
    (path,) = found
    assert path.startswith(f"models[0].{key}")
    assert says in found[path]


def test_fp8_is_refused_where_one_of_the_gpus_cannot_and_taken_where_all_can():
    says = refused(("models.0.quantisation", "fp8"))["models[0].quantisation"]
    assert says == (
        "fp8 needs compute capability 8.9 or newer, and g5.xlarge of nodeGroups.gpuSpot has A10G with 8.6; "
        "allowed: none, or a gpuType that can (H100, H200, L4, L40S)"
    )
    assert refused(("models.0.quantisation", "fp8"), ("models.0.gpuType", "L4")) == {}
    assert refused(("models.0.quantisation", "awq")) == {}


def test_what_an_engine_cannot_do_is_refused_with_the_engines_that_can():
    lora = {"name": "law", "source": "weights://law", "rank": 16}
    found = refused(("models.0.engine", "sglang"), ("models.0.aliases", ["a"]), ("models.0.loraAdapters", [lora]))
    assert found == {
        "models[0].aliases": "sglang cannot do this here; allowed: none, or engine vllm or tgi or openai-compatible",
        "models[0].loraAdapters": "sglang cannot do this here; allowed: none, or engine vllm",
    }
    assert refused(("models.0.engine", "sglang")) == {}
    assert set(refused(("models.0.engine", "tgi"), ("models.0.source", "weights://x"))) == {"models[0].source"}
    assert set(refused(("models.0.engine", "openai-compatible"))) == {"models[0].arguments"}
    assert (
        refused(("models.0.engine", "openai-compatible"), ("models.0.arguments", ["--listen", "$(POD_IP):8000"])) == {}
    )


def test_an_engine_with_a_short_time_out_of_its_own_is_refused_where_the_drain_promises_more():
    long = [("drain.engineShutdownSeconds", 91), ("drain.graceSeconds", 100), ("drain.preStopSeconds", 3)]
    assert refused(*long) == {}
    says = refused(*long, ("models.0.engine", "tgi"))["models[0].engine"]
    assert "tgi ends requests 90 s after SIGTERM" in says
    assert "drain.engineShutdownSeconds promises 91" in says


def test_adapters_have_names_of_their_own():
    lora = {"name": "tiny", "source": "weights://law", "rank": 16}
    assert "is taken by models[0].name" in refused(("models.0.loraAdapters", [lora]))["models[0].loraAdapters[0].name"]
    wrong = [lora | {"name": "law", "rank": 20}]
    assert "20 is not allowed" in refused(("models.0.loraAdapters", wrong))["models[0].loraAdapters[0].rank"]
    whole = [lora | {"name": "law", "source": "weights://"}]
    assert "the whole bucket" in refused(("models.0.loraAdapters", whole))["models[0].loraAdapters[0].source"]


def test_two_engines_cannot_share_an_image():
    def edit(values: Values) -> None:
        second = values["models"][0] | {"name": "second", "engine": "sglang"}
        values["models"].append(second)
        for colour in ("blue", "green"):
            values["release"][colour]["engineReplicas"]["second"] = 1

    found = problems(edit)
    assert set(found) == {"release.blue.engineImages", "release.green.engineImages"}
    assert "engines of sglang and vllm would share the image local" in found["release.blue.engineImages"]

    def own_images(values: Values) -> None:
        edit(values)
        for colour in ("blue", "green"):
            values["release"][colour]["engineImages"] = {"second": "sglang-1"}

    assert problems(own_images) == {}


def test_images_are_given_to_models_that_there_are_and_by_digest_where_data_is_live():
    assert "no such model" in refused(("release.blue.engineImages", {"tyni": "x"}))["release.blue.engineImages.tyni"]
    says = refused(("release.blue.engineImages", {"qwen3-8b": "latest"}), stack="prod")
    assert "a digest" in says["release.blue.engineImages.qwen3-8b"]


def test_scaling_needs_keda():
    assert set(refused(("models.0.scaling", SCALING))) == {"models[0].scaling"}
    assert refused(*scaled()) == {}
    old = refused(*scaled(), ("controllers.keda.version", "2.19.0"))
    assert "allowed beside models[0].scaling: 2.20.0 or newer" in old["controllers.keda.version"]


def test_the_ceiling_is_not_below_the_floor():
    says = refused(*scaled(maxReplicas=2))["models[0].scaling.maxReplicas"]
    assert says == "2 is below release.green.engineReplicas.tiny, the floor; allowed: 3 or more"


def test_a_ceiling_for_which_no_node_may_exist_is_refused_with_the_sum():
    says = refused(*scaled(maxReplicas=7))["release"]
    assert says.startswith("the engines of both colours want 14 GPUs, gpu and gpuSpot have 12 at most")


def test_a_model_goes_to_zero_only_where_requests_wait_for_it():
    path = "models[0].scaling.toZero"
    assert "503" in refused(*scaled(toZero=True))[path]
    waiting = [*scaled(toZero=True), ("models.0.queue.fromZero", True)]
    assert refused(*waiting) == {}
    assert refused(*waiting, ("models.0.spotShare", 100)) == {}
    assert "keeps one on demand" in refused(*waiting, ("models.0.spotShare", 50))[path]


def test_an_engine_of_several_nodes_is_neither_scaled_nor_on_spot():
    big = [("models.0.nodes", 2), ("models.0.tensorParallel", 2), ("release.green.engineReplicas", {"tiny": 2})]
    assert refused(*big) == {}
    assert "not scaled" in refused(*big, *scaled())["models[0].scaling"]
    assert "one lost node" in refused(*big, ("models.0.spotShare", 50))["models[0].spotShare"]
    assert set(refused(*big, ("models.0.engine", "tgi"))) == {"models[0].nodes"}


def test_a_floor_for_which_there_is_no_node_on_demand_is_refused_with_the_sum():
    few = ("nodeGroups.gpu.desiredNodes", 3), ("nodeGroups.gpu.maxNodes", 3)
    says = refused(*few, ("models.0.spotShare", 30))["models"]
    assert says == (
        "by their spotShare 3 x 1 (blue tiny) + 3 x 1 (green tiny) = 6 GPUs may not be on spot, and on demand there "
        "are gpu 3 x 1 = 3; allowed: a larger spotShare, fewer engineReplicas, or more maxNodes"
    )
    assert refused(*few, ("models.0.spotShare", 67)) == {}


def test_a_ceiling_counts_on_demand_where_no_engine_may_be_on_spot():
    keys = [("models.0.spotShare", 0), ("nodeGroups.gpu.maxNodes", 6)]
    assert refused(*keys, *scaled(maxReplicas=3)) == {}
    assert set(refused(*keys, *scaled(maxReplicas=4))) == {"models"}


def test_only_a_model_that_goes_to_zero_may_be_without_an_engine():
    def sleeps(scaling: dict[str, Any] | None) -> bool:
        return Model.model_validate(VALUES["local"]["models"][0] | {"scaling": scaling}).may_sleep

    assert [sleeps(None), sleeps(SCALING), sleeps(SCALING | {"toZero": True})] == [False, False, True]
