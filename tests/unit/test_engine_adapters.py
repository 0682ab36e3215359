"""Engines as small objects: command lines to the letter, and what the rest of the platform reads from them."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

from app.engine.flags import IGNORED_SWITCHES, REFUSED, parse
from components.alarms import engine_alarms
from components.collector_manifests import PER_COLOUR
from components.dashboards import engine_panels
from components.engine_manifests import FETCH_ADAPTERS
from components.engines import ENGINES
from infra.ops import scrape
from infra.settings.served import Model
from tests.unit.engine_cases import shape

FIXTURE = Path(__file__).parents[1] / "contracts" / "fixtures" / "vllm-0.32" / "metrics.txt"

BIG = {
    "quantisation": "fp8",
    "prefix_caching": False,
    "chunked_prefill": False,
    "gpus": 8,
    "nodes": 2,
    "tensor_parallel": 8,
    "arguments": ("--seed", "7"),
}
ADAPTERS = [
    {"name": "law", "source": "weights://adapters/law", "rank": 32},
    {"name": "poems", "source": "/adapters/poems", "rank": 8},
]
LINES = {
    "vllm": (
        shape(),
        (
            "serve s3://bucket/small --served-model-name small default --host '$(POD_IP)' --port 8000 "
            "--max-model-len 4096 --gpu-memory-utilization 0.90 --shutdown-timeout 60 "
            "--disable-access-log-for-endpoints /health,/metrics,/ping --enable-prefix-caching "
            "--enable-chunked-prefill "
            """--load-format runai_streamer --model-loader-extra-config '{"concurrency":16}'"""
        ),
    ),
    "vllm, two nodes": (
        shape(**BIG, aliases=()),
        (
            "serve s3://bucket/small --served-model-name small --host '$(POD_IP)' --port 8000 "
            "--max-model-len 4096 --gpu-memory-utilization 0.90 --shutdown-timeout 60 "
            "--disable-access-log-for-endpoints /health,/metrics,/ping --no-enable-prefix-caching "
            "--no-enable-chunked-prefill --quantization fp8 --tensor-parallel-size 8 --pipeline-parallel-size 2 "
            """--load-format runai_streamer --model-loader-extra-config '{"concurrency":16}' """
            "--nnodes 2 --node-rank '$(LWS_WORKER_INDEX)' --master-addr '$(LWS_LEADER_ADDRESS)' --seed 7"
        ),
    ),
    "vllm, adapters": (
        shape(source="/models/small", streamed=False, aliases=(), lora_adapters=ADAPTERS),
        (
            "serve /models/small --served-model-name small --host '$(POD_IP)' --port 8000 "
            "--max-model-len 4096 --gpu-memory-utilization 0.90 --shutdown-timeout 60 "
            "--disable-access-log-for-endpoints /health,/metrics,/ping --enable-prefix-caching "
            "--enable-chunked-prefill "
            "--enable-lora --max-loras 2 --max-lora-rank 32 --lora-modules law=/var/adapters/law poems=/adapters/poems"
        ),
    ),
    "sglang": (
        shape(**BIG, kind="sglang"),
        (
            "-m sglang.launch_server --model-path s3://bucket/small --served-model-name small --host '$(POD_IP)' "
            "--port 8000 --context-length 4096 --mem-fraction-static 0.90 --enable-metrics --disable-radix-cache "
            "--chunked-prefill-size -1 --quantization fp8 --tp-size 8 --pp-size 2 --load-format runai_streamer "
            "--nnodes 2 --node-rank '$(LWS_WORKER_INDEX)' --dist-init-addr '$(LWS_LEADER_ADDRESS):20000' --seed 7"
        ),
    ),
    "tgi": (
        shape(kind="tgi", source="/models/small", streamed=False, gpus=2, tensor_parallel=2, quantisation="awq"),
        (
            "--model-id /models/small --hostname '$(POD_IP)' --port 8000 --max-total-tokens 4096 "
            "--cuda-memory-fraction 0.90 --usage-stats off --quantize awq --num-shard 2"
        ),
    ),
    "openai-compatible": (
        shape(kind="openai-compatible", arguments=("--model", "/m", "--listen", "$(POD_IP):8000")),
        "--model /m --listen '$(POD_IP):8000'",
    ),
}
PROMETHEUS = {
    "vllm": ("vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc"),
    "sglang": ("sglang:num_running_reqs", "sglang:num_queue_reqs", "sglang:token_usage"),
    "tgi": ("tgi_batch_current_size", "tgi_queue_size", None),
}


@pytest.mark.parametrize("case", LINES)
def test_an_engine_is_started_with_this_command_line(case: str):
    engine, line = LINES[case]
    assert [str(each) for each in ENGINES[engine["kind"]].arguments(engine, 60)] == shlex.split(line)


@pytest.mark.parametrize("case", [case for case in LINES if case.startswith("vllm")])
def test_vllms_command_line_is_one_that_vllm_has(case: str):
    engine, line = LINES[case]
    flags = parse(shlex.split(line)[1:])
    assert flags.enable_prefix_caching is engine["prefix_caching"]
    assert flags.lora_modules == (
        {"law": "/var/adapters/law", "poems": "/adapters/poems"} if engine["lora_adapters"] else {}
    )
    (worker,) = ENGINES["vllm"].worker_arguments
    assert worker.removeprefix("--") in {*IGNORED_SWITCHES, *REFUSED}, "a flag of vLLM's"


def test_the_seconds_of_the_drain_reach_the_engine_by_the_flag_that_it_names():
    for kind, engine in ENGINES.items():
        arguments = [str(each) for each in engine.arguments(shape(kind=kind, arguments=()), 47)]
        if engine.drain.flag is None:
            assert "47" not in arguments
        else:
            assert arguments[arguments.index(engine.drain.flag) + 1] == "47"


def test_every_kind_that_an_entry_may_name_is_an_engine():
    assert set(get_args(Model.model_fields["engine"].annotation)) == set(ENGINES)


def test_the_metrics_that_vllm_is_watched_by_are_those_that_it_was_recorded_with():
    recorded = FIXTURE.read_text()
    names = ENGINES["vllm"].metrics
    for name in (*names.watched, names.itl):
        assert f"# TYPE {name} " in recorded, name


@pytest.mark.parametrize("kind", PROMETHEUS)
def test_the_command_reads_the_gauges_of_any_engine(kind: str):
    running, waiting, usage = PROMETHEUS[kind]
    text = f"# TYPE {running} gauge\n{running} 3\n# TYPE {waiting} gauge\n{waiting} 2\n"
    if usage:
        text += f"# TYPE {usage} gauge\n{usage} 0.25\n"
    assert scrape.engine(text) == scrape.EngineFigures(3, 2, 0.25 if usage else 0.0)


def test_an_engine_that_tells_nothing_counts_as_idle():
    assert scrape.engine("# TYPE up gauge\nup 1\n") == scrape.EngineFigures(0, 0, 0.0)


def test_alarms_and_panels_of_an_engine_are_of_its_own_names_and_only_of_those_that_it_has():
    def metrics(kinds: list[str]) -> set[str]:
        return {alarm.metric for alarm in engine_alarms(["blue"], 10, 3.0, kinds)}

    ours = metrics([])
    assert metrics(["vllm"]) - ours == {"vllm:num_requests_waiting", "vllm:kv_cache_usage_perc"}
    assert metrics(["sglang"]) - ours == {"sglang:num_queue_reqs", "sglang:token_usage"}
    assert metrics(["tgi"]) - ours == {"tgi_queue_size"}
    assert metrics(["openai-compatible"]) == ours
    names = [alarm.name for alarm in engine_alarms(["blue"], 10, 3.0, ["vllm", "sglang"])]
    assert len(names) == len(set(names))
    for kind in ENGINES:
        read = {alarm.metric for alarm in engine_alarms(["blue"], 10, 3.0, [kind])} - ours
        read |= {line.metric for panel in engine_panels("n", ["blue"], [kind]) for line in panel.lines} - {
            line.metric for panel in engine_panels("n", ["blue"], []) for line in panel.lines
        }
        assert read <= set(PER_COLOUR), "what is watched is collected"


FAKE = """
class Bucket:
    def __init__(self, name): self.name = name
    def download_file(self, key, file):
        with open(file, "w") as out: out.write(f"{self.name}:{key}")
class Client:
    def get_paginator(self, name): return self
    def paginate(self, Bucket, Prefix):
        there = ["a/law/", "a/law/adapter_config.json", "a/law/deep/weights.safetensors", "b/x"]
        yield {"Contents": [{"Key": key} for key in there if key.startswith(Prefix)]}
def client(name): return Client()
class resource:
    def __init__(self, name): pass
    Bucket = Bucket
"""


def fetch(tmp_path: Path, adapters: dict[str, str]) -> subprocess.CompletedProcess[str]:
    (tmp_path / "boto3.py").write_text(FAKE)
    environment: dict[str, Any] = {
        "PYTHONPATH": str(tmp_path),
        "ADAPTERS": json.dumps(adapters),
        "ADAPTERS_FOLDER": str(tmp_path / "out"),
        "ADAPTERS_BUCKET": "bucket",
    }
    command = [sys.executable, "-c", FETCH_ADAPTERS]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20, check=False)


def test_adapters_of_the_bucket_are_copied_before_the_engine_starts(tmp_path: Path):
    assert fetch(tmp_path, {"law": "a/law/"}).returncode == 0
    files = {
        str(each.relative_to(tmp_path)): each.read_text() for each in (tmp_path / "out").rglob("*") if each.is_file()
    }
    assert files == {
        "out/law/adapter_config.json": "bucket:a/law/adapter_config.json",
        "out/law/deep/weights.safetensors": "bucket:a/law/deep/weights.safetensors",
    }


def test_an_adapter_that_is_not_there_stops_the_pod_with_its_name(tmp_path: Path):
    ended = fetch(tmp_path, {"law": "nowhere/"})
    assert (ended.returncode, ended.stderr) == (1, "adapter law: nothing lies under s3://bucket/nowhere/\n")
