"""The pure parts of running a container: environment, paths, programs, probes, back-off, files, addresses."""

import base64
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.local.kubernetes.agent.addresses import Addresses, ExhaustedError
from infra.local.kubernetes.agent.checks import check, port_number
from infra.local.kubernetes.agent.commands import UnknownProgramError, command_line, resolve
from infra.local.kubernetes.agent.environment import ConfigError, Place, expand, pod_environment, references
from infra.local.kubernetes.agent.mounts import Mounts, mounts_of
from infra.local.kubernetes.agent.probes import Backoff, ProbeTracker, restarts
from infra.local.kubernetes.agent.process import prune_logs, rotate_when_large
from infra.local.kubernetes.agent.quantities import in_units, quantity
from infra.local.kubernetes.agent.volumes import File, write_atomically

PLACE = Place("127.9.16.2", "127.9.16.1", {"cpu": "1930m", "memory": "7Gi"})


def pod(container):
    metadata = {"name": "p", "namespace": "n", "uid": "u", "labels": {"topology.kubernetes.io/zone": "eu-central-1a"}}
    return {"metadata": metadata, "spec": {"nodeName": "system-a-1", "containers": [container]}}


def environment(*entries, sources=(), fetched=None, resources=None):
    container = {"name": "main", "env": list(entries), "envFrom": list(sources), "resources": resources or {}}
    return pod_environment(container, pod(container), PLACE, fetched or {}, {"SERVICE": "1"})


@pytest.mark.parametrize(
    ("text", "value"),
    [("$(A)/x", "1/x"), ("$(NO)", "$(NO)"), ("$$(A)", "$(A)"), ("a$b", "a$b"), ("$(A)$(A)", "11"), ("$", "$")],
)
def test_references_expand_as_in_kubernetes(text, value):
    assert expand(text, {"A": "1"}) == value


def test_a_value_may_use_those_before_it():
    values = environment({"name": "A", "value": "1"}, {"name": "B", "value": "$(A)$(SERVICE)$(C)"}, {"name": "C"})
    assert (values["B"], values["C"]) == ("11$(C)", "")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("status.podIP", "127.9.16.2"),
        ("status.hostIP", "127.9.16.1"),
        ("metadata.name", "p"),
        ("metadata.uid", "u"),
        ("spec.nodeName", "system-a-1"),
        ("metadata.labels['topology.kubernetes.io/zone']", "eu-central-1a"),
        ("metadata.labels['absent']", ""),
    ],
)
def test_fields_of_the_pod_reach_its_environment(path, value):
    assert environment({"name": "V", "valueFrom": {"fieldRef": {"fieldPath": path}}})["V"] == value


def test_an_unknown_field_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"spec\.nonsense"):
        environment({"name": "V", "valueFrom": {"fieldRef": {"fieldPath": "spec.nonsense"}}})


def test_resources_count_in_their_divisor_and_default_to_the_nodes():
    def value(resource, divisor="1", **resources):
        reference = {"resource": resource, "divisor": divisor}
        return environment({"name": "V", "valueFrom": {"resourceFieldRef": reference}}, resources=resources)["V"]

    assert value("limits.memory", "1Mi", limits={"memory": "2Gi"}) == "2048"
    assert value("limits.cpu", limits={"cpu": "1500m"}) == "2", "rounded up"
    assert value("limits.cpu") == "2"
    assert value("requests.cpu") == "0"


def test_secrets_and_config_maps_fill_the_environment():
    secret = {"data": {"K": base64.b64encode(b"v").decode()}}
    fetched = {("secrets", "s"): secret, ("configmaps", "c"): {"data": {"X": "1"}}, ("secrets", "gone"): None}
    entry = {"name": "V", "valueFrom": {"secretKeyRef": {"name": "s", "key": "K"}}}
    sources = [{"prefix": "P_", "configMapRef": {"name": "c"}}, {"secretRef": {"name": "gone", "optional": True}}]
    values = environment(entry, sources=sources, fetched=fetched)
    assert (values["V"], values["P_X"]) == ("v", "1")
    assert references({"env": [entry], "envFrom": sources}) == {
        ("secrets", "s"),
        ("configmaps", "c"),
        ("secrets", "gone"),
    }


@pytest.mark.parametrize(("reference", "message"), [("gone", "not found"), ("s", "has no key 'K'")])
def test_what_is_missing_is_named(reference, message):
    entry = {"name": "V", "valueFrom": {"secretKeyRef": {"name": reference, "key": "K"}}}
    with pytest.raises(ConfigError, match=message):
        environment(entry, fetched={("secrets", "gone"): None, ("secrets", "s"): {"data": {}}})


@pytest.mark.parametrize(
    ("text", "translated"),
    [
        ("/etc/app/a.json", "/real/config/a.json"),
        ("/etc/app", "/real/config"),
        ("--config=/etc/app/a.json", "--config=/real/config/a.json"),
        ("file:/etc/app/a", "file:/real/config/a"),
        ("/bin:/etc/app:/x", "/bin:/real/config:/x"),
        ("/etc/app/keys/k", "/real/keys/k"),
        ("/etc/apple", "/etc/apple"),
        ("x/etc/app", "x/etc/app"),
        ("http://host/etc/app", "http://host/etc/app"),
    ],
)
def test_mount_paths_become_real_folders_and_nothing_else_does(text, translated):
    mounts = Mounts({"/etc/app": Path("/real/config"), "/etc/app/keys": Path("/real/keys")})
    assert mounts.translate(text) == translated


@given(st.text())
def test_text_without_a_mount_path_is_left_alone(text):
    assert Mounts({"/mnt/é": Path("/real")}).translate(text.replace("/mnt", "")) == text.replace("/mnt", "")


def test_a_sub_path_is_a_place_inside_the_volume():
    container = {"volumeMounts": [{"name": "v", "mountPath": "/a/", "subPath": "s/f"}]}
    assert mounts_of(container, Path("/volumes")).places == {"/a": Path("/volumes/v/s/f")}


def test_the_first_word_decides_what_runs():
    assert command_line({"command": ["python", "-m", "x"]}) == [sys.executable, "-m", "x"]
    assert command_line({"command": ["vllm"], "args": ["serve", "m"]}) == [
        sys.executable,
        "-m",
        "app.engine",
        "serve",
        "m",
    ]
    assert resolve(["sh", "-c", "true"], tools=True)[0].endswith("/sh")
    for container in ({"image": "nginx:1"}, {"command": ["nginx"]}, {"command": ["sh"]}):
        with pytest.raises(UnknownProgramError, match="python, python3, vllm"):
            command_line(container)


def test_a_probe_changes_its_mind_only_at_its_thresholds():
    tracker = ProbeTracker(success_threshold=1, failure_threshold=3)
    assert tracker.record(True)
    assert [tracker.record(False) for _ in range(3)] == [False, False, True]
    assert tracker.verdict == "failure"
    assert tracker.record(True)


def test_a_success_between_failures_starts_the_count_anew():
    tracker = ProbeTracker(failure_threshold=2)
    results = [False, True, False, True, False]
    assert [tracker.record(result) for result in results] == [False, True, False, False, False]
    assert tracker.verdict == "success"


def test_restarts_wait_longer_each_time_and_a_long_run_forgives():
    backoff = Backoff(base=10, cap=300)
    assert [backoff.delay(1) for _ in range(8)] == [0, 10, 20, 40, 80, 160, 300, 300]
    assert backoff.delay(601) == 0
    assert backoff.delay(1) == 10


@pytest.mark.parametrize(
    ("policy", "code", "expected"),
    [("Always", 0, True), ("OnFailure", 0, False), ("OnFailure", 1, True), ("Never", 1, False)],
)
def test_the_restart_policy_is_kept(policy, code, expected):
    assert restarts(policy, code) is expected


def test_readers_of_a_volume_never_see_half_a_change(tmp_path):
    folder = tmp_path / "volume"
    assert write_atomically(folder, {"a": File(b"1"), "d/b": File(b"2", 0o600), "old": File(b"")})
    assert not write_atomically(folder, {"a": File(b"1"), "d/b": File(b"2", 0o600), "old": File(b"")})
    first = (folder / "..data").readlink()
    assert write_atomically(folder, {"a": File(b"9"), "d/b": File(b"2", 0o600)})
    assert (folder / "..data").readlink() != first, "one rename changes everything"
    assert (folder / "a").read_bytes() == b"9"
    assert (folder / "d" / "b").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in folder.iterdir() if not path.name.startswith("..")) == ["a", "d"]


def test_an_address_is_not_given_out_again_for_a_while():
    now = [0.0]
    addresses = Addresses(60, clock=lambda: now[0])
    assert addresses.take() == 2
    assert addresses.take(wished=9) == 9
    assert addresses.take(wished=9) == 3, "what is taken is not given"
    addresses.free(2)
    assert [addresses.take() for _ in range(254 - 4)][-1] == 254
    with pytest.raises(ExhaustedError):
        addresses.take()
    now[0] = 61
    assert addresses.take() == 2


@pytest.mark.parametrize(("text", "value"), [("500m", "0.5"), ("2Gi", "2147483648"), ("1k", "1000"), ("3", "3")])
def test_quantities_are_numbers(text, value):
    assert str(quantity(text).normalize().__format__("f")) == value


def test_a_bad_quantity_is_named():
    with pytest.raises(ValueError, match="'4x'"):
        in_units("4x")


def test_ports_go_by_number_or_name():
    assert (port_number(80, {}), port_number("http", {"http": 8080}), port_number("90", {})) == (80, 8080, 90)
    with pytest.raises(ValueError, match="named 'web'"):
        port_number("web", {"http": 1})


async def test_a_check_that_takes_too_long_fails_in_time():
    outcome = await check({"sleep": {"seconds": 60}}, "127.0.0.1", {}, run=_never, timeout_seconds=0.05)
    assert not outcome.passed
    assert "0.05 s" in outcome.message


async def _never(_words):
    raise AssertionError


async def test_a_check_of_a_closed_port_fails_without_raising(free_port):
    for action in ({"tcpSocket": {"port": free_port}}, {"httpGet": {"port": free_port, "path": "/x"}}):
        assert not (await check(action, "127.0.0.1", {}, run=_never, timeout_seconds=1)).passed


def test_a_large_log_is_cut_and_old_logs_go(tmp_path):
    log = tmp_path / "a.log"
    log.write_text("x" * 100)
    assert not rotate_when_large(log, 100)
    assert rotate_when_large(log, 99)
    assert log.read_text() == ""
    assert (tmp_path / "a.1.log").stat().st_size == 100
    assert prune_logs(tmp_path, keep=1) == 1
