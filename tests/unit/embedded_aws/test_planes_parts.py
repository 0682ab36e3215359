"""The small parts of the planes and of the front, without a server."""

from __future__ import annotations

import io
import json
import os
import pwd
import subprocess
from pathlib import Path
from typing import Any

import pytest

from infra.local.aws.front import Call, error_answer, identify
from infra.local.aws.planes import postgres
from infra.local.aws.planes.addresses import Addresses, AddressInUseError
from infra.local.aws.planes.balancers import health_of
from infra.local.aws.planes.caches import configuration
from infra.local.aws.planes.databases import pick
from infra.local.aws.planes.postgres import Installation, Quarters, reachable, remove_abandoned
from infra.local.layout import CACHES, Layout

AVAILABLE = {major: Installation(major, version, Path("/pg")) for major, version in ((16, "16.14"), (18, "18.4"))}


def test_only_the_major_version_of_a_database_counts() -> None:
    assert pick(AVAILABLE, "16.3").version == "16.14"
    assert pick(AVAILABLE, "18").version == "18.4"
    assert pick(AVAILABLE, None).version == "18.4"


@pytest.mark.parametrize("version", ["17.5", "9.6", "latest"])
def test_an_unavailable_version_names_those_that_are_there(version: str) -> None:
    with pytest.raises(LookupError, match=f"Cannot find version {version} for postgres: this machine has 16.14, 18.4"):
        pick(AVAILABLE, version)


def test_an_address_is_given_once_and_given_again_after_its_release() -> None:
    addresses = Addresses(Layout(Path(), Path(), 9), CACHES)
    assert [addresses.take(name) for name in ("a", "b", "a")] == ["127.9.2.1", "127.9.2.2", "127.9.2.1"]
    addresses.release("a")
    assert addresses.take("c") == "127.9.2.1"


def test_the_254_addresses_of_an_area_can_run_out() -> None:
    addresses = Addresses(Layout(Path(), Path(), 9), CACHES)
    for number in range(254):
        addresses.take(str(number))
    with pytest.raises(AddressInUseError, match="all 254 addresses"):
        addresses.take("one more")


def test_a_cache_has_bounded_memory_and_writes_nothing_to_disk() -> None:
    text = configuration("127.9.2.1", 6379, None, "volatile-lru")
    assert "maxmemory 64mb\n" in text
    assert 'save ""\n' in text
    assert "requirepass" not in text


def test_a_token_cannot_break_out_of_the_configuration() -> None:
    assert r'requirepass "a\"b\\"' in configuration("127.9.2.1", 6379, 'a"b\\', "volatile-lru")


def test_a_folder_below_a_private_one_is_not_reachable_for_others(tmp_path: Path) -> None:
    inner = tmp_path / "private" / "inner"
    inner.mkdir(parents=True)
    (tmp_path / "private").chmod(0o700)
    assert not reachable(inner)


def test_the_folder_of_a_killed_platform_is_removed_and_that_of_a_running_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres.tempfile, "tempdir", str(tmp_path))
    quarters = Quarters(tmp_path / "state")
    quarters.user = pwd.getpwuid(os.geteuid()).pw_name  # as under root, without a change of user
    running, killed = quarters.folder(), tmp_path / f"{postgres.FOLDER_PREFIX}left"
    (killed / "data").mkdir(parents=True)
    remove_abandoned()
    assert not killed.exists()
    assert running.exists()
    quarters.remove()
    assert not running.exists()


@pytest.mark.parametrize(
    ("status", "state", "reason"),
    [
        (None, "initial", "Elb.RegistrationInProgress"),
        ({"pending_active_hc": True, "failed_active_health_check": True}, "initial", "Elb.InitialHealthChecking"),
        ({"failed_active_health_check": True, "active_hc_timeout": True}, "unhealthy", "Target.Timeout"),
        ({"failed_active_health_check": True}, "unhealthy", "Target.FailedHealthChecks"),
        ({"eds_health_status": "HEALTHY"}, "healthy", None),
    ],
)
def test_envoys_words_for_health_are_put_in_those_of_aws(
    status: dict[str, Any] | None, state: str, reason: str | None
) -> None:
    health = health_of(status)
    assert (health.state, health.reason) == (state, reason)


def environment(service: str, **more: Any) -> dict[str, Any]:
    credential = f"AWS4-HMAC-SHA256 Credential=key/20261121/eu-central-1/{service}/aws4_request, SignedHeaders=host"
    return {"HTTP_AUTHORIZATION": credential, "PATH_INFO": "/", "REQUEST_METHOD": "POST", **more}


def test_a_call_is_identified_by_form_target_operation_or_path() -> None:
    form = b"Action=DescribeVpcs&Version=2016-11-15"
    sent = environment(
        "ec2", CONTENT_TYPE="application/x-www-form-urlencoded", CONTENT_LENGTH=str(len(form)),
        **{"wsgi.input": io.BytesIO(form)},
    )  # fmt: skip
    assert identify(sent) == Call("ec2", "DescribeVpcs", "query")
    assert sent["wsgi.input"].read() == form, "the body is put back"
    target = environment("kms", HTTP_X_AMZ_TARGET="TrentService.CreateKey")
    assert identify(target) == Call("kms", "CreateKey", "json")
    operation = environment("monitoring", PATH_INFO="/service/GraniteServiceVersion20100801/operation/PutMetricAlarm")
    assert identify(operation) == Call("monitoring", "PutMetricAlarm", "json")
    path = environment("eks", PATH_INFO="/clusters", REQUEST_METHOD="GET")
    assert identify(path) == Call("eks", "GET /clusters", "rest")
    assert identify({"PATH_INFO": "/", "REQUEST_METHOD": "GET"}).service == "-"


def test_an_error_has_the_form_of_its_service() -> None:
    _, ec2 = error_answer(Call("ec2", "A", "query"), "NotImplemented", "no <A>")
    assert b"<Errors><Error><Code>NotImplemented</Code><Message>no &lt;A&gt;" in ec2
    _, query = error_answer(Call("rds", "A", "query"), "NotImplemented", "no A")
    assert query.startswith(b"<ErrorResponse><Error>")
    headers, rest = error_answer(Call("eks", "GET /", "rest"), "NotImplemented", "no A")
    assert ("x-amzn-ErrorType", "NotImplemented") in headers
    assert json.loads(rest) == {"__type": "NotImplemented", "message": "no A"}


def test_programs_that_the_other_user_cannot_reach_run_from_their_copy(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(postgres, "reachable", lambda _path: False)
    quarters = Quarters(tmp_path / "postgres")
    quarters.user = pwd.getpwuid(os.geteuid()).pw_name
    try:
        for installation in postgres.installations().values():
            programs = quarters.programs(installation)
            assert not programs.is_relative_to(installation.root)
            for program in postgres.PROGRAMS:
                answer = subprocess.run(
                    [programs / program, "--version"], capture_output=True, text=True, timeout=10, check=True
                )
                assert installation.version in answer.stdout
    finally:
        quarters.remove()
