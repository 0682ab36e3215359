"""The simulated engine starts with the command line of `vllm serve` and with no other."""

from __future__ import annotations

import shlex

import pytest

from app.engine.__main__ import main
from app.engine.flags import IGNORED, IGNORED_SWITCHES, MODELLED, MODELLED_SWITCHES, FlagError, parse
from app.engine.settings import SimulatorSettings


def test_the_command_line_of_a_deployment_is_understood() -> None:
    line = (
        "/models/tiny --served-model-name tiny tiny-chat --host 127.0.0.1 --port 8001 --max-model-len 2048 "
        "--shutdown-timeout 60 --max-num-seqs=64 --gpu-memory-utilization 0.9 --api-key one two "
        "--disable-access-log-for-endpoints /health,/metrics,/ping --load-format runai_streamer "
        """--model-loader-extra-config '{"concurrency": 32}' -tp 2 --no-enable-prefix-caching --enforce-eager """
        "--trust-remote-code"
    )
    flags = parse(shlex.split(line))
    assert flags.model == "/models/tiny"
    assert flags.names == ("tiny", "tiny-chat")
    assert (flags.host, flags.port, flags.max_model_len, flags.max_num_seqs) == ("127.0.0.1", 8001, 2048, 64)
    assert flags.shutdown_timeout == 60
    assert flags.api_key == ("one", "two")
    assert flags.disable_access_log_for_endpoints == ("/health", "/metrics", "/ping")
    assert not flags.enable_prefix_caching


def test_a_model_without_a_served_name_is_served_under_its_path() -> None:
    assert parse(["--model", "some/model"]).names == ("some/model",)


def test_underscores_stand_for_dashes() -> None:
    assert parse(["m", "--max_model_len=128"]).max_model_len == 128


@pytest.mark.parametrize(("text", "length"), [("32k", 32_000), ("32K", 32_768), ("1.5k", 1500), ("4096", 4096)])
def test_lengths_may_have_a_unit(text: str, length: int) -> None:
    assert parse(["m", "--max-model-len", text]).max_model_len == length


@pytest.mark.parametrize(
    "arguments",
    [
        ["--temperature", "1"],
        ["--max-model-length", "9"],
        ["--prefill-tokens-per-second", "9"],
        ["--no-max-model-len"],
        ["-z"],
        ["second-model"],
    ],
)
def test_a_flag_that_vllm_does_not_have_is_refused(arguments: list[str]) -> None:
    with pytest.raises(FlagError, match=f"unrecognized arguments: {arguments[0]}"):
        parse(["m", *arguments])


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--port", "eighty"], "--port: invalid value: 'eighty'"),
        (["--port"], "--port: expected one argument"),
        (["--gpu-memory-utilization", "90"], "must be in"),
        (["--max-model-len", "0"], "at least 1"),
        (["--shutdown-timeout", "-1"], "must be seconds, 0 or more"),
        (["--enforce-eager=yes"], "ignored explicit argument"),
        (["--served-model-name"], "expected at least one argument"),
        (["--ssl-keyfile", "key.pem"], "does not speak TLS"),
        (["--config", "vllm.yaml"], "does not read a config file"),
        (["--lora-modules", "{oops"], "Invalid JSON format for --lora-modules"),
    ],
)
def test_a_wrong_value_is_refused_by_the_flag_s_name(arguments: list[str], complaint: str) -> None:
    with pytest.raises(FlagError, match=complaint):
        parse(["m", *arguments])


def test_a_known_flag_is_in_one_list_only() -> None:
    lists = [set(MODELLED), set(MODELLED_SWITCHES), set(IGNORED), set(IGNORED_SWITCHES)]
    assert sum(map(len, lists)) == len(set().union(*lists))


def test_a_wrong_command_line_ends_with_status_two(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "m", "--no-such-flag"]) == 2
    assert "vllm serve: error: unrecognized arguments: --no-such-flag" in capsys.readouterr().err
    assert main(["bench"]) == 2


def test_the_version_is_the_simulated_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == "0.32.0\n"


def test_settings_come_from_the_environment() -> None:
    settings = SimulatorSettings.from_environment(
        {"PENSTOCK_SIM_LOAD_SECONDS": "0", "PENSTOCK_SIM_SEED": "7", "PATH": "/bin"}
    )
    assert (settings.load_seconds, settings.seed, settings.teardown_seconds) == (0, 7, 0.5)


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("PENSTOCK_SIM_SPEED", "1", "PENSTOCK_SIM_SPEED is not a setting"),
        ("PENSTOCK_SIM_SEED", "x", "PENSTOCK_SIM_SEED must be a number"),
        ("PENSTOCK_SIM_ERROR_RATE", "2", "PENSTOCK_SIM_ERROR_RATE must be between 0 and 1"),
    ],
)
def test_a_wrong_setting_is_named(variable: str, value: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        SimulatorSettings.from_environment({variable: value})
