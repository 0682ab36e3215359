"""The life of a local platform's servers: started once, killed with their supervisor, started anew, removed whole."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import boto3
import pytest

from bench.local import family
from infra.local import cloud
from infra.local.layout import Layout
from infra.ops.cli import run
from infra.ops.context import Context
from infra.ops.errors import ExitCode
from infra.ops.progress import Progress
from tests.contracts.control_planes import toolchain

pytestmark = [pytest.mark.toolchain, pytest.mark.timeout(600)]

REPOSITORY = Path(__file__).resolve().parents[2]
REGION = "eu-central-1"
END_SECONDS = 60.0
"""By then every server of a killed supervisor is gone: a second here, and never for want of time on a busy machine."""

SERVERS = {"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"}


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Path]:
    """A checkout with a platform of its own, whatever else runs on this machine."""
    toolchain()
    for name in ("Pulumi.yaml", "Pulumi.local.yaml"):
        shutil.copy(REPOSITORY / name, tmp_path)
    (tmp_path / "infra").symlink_to(REPOSITORY / "infra")
    yield tmp_path
    cloud.down(tmp_path, Progress(StringIO(), live=False))


def start(checkout: Path) -> tuple[Layout, str]:
    """The platform, and what was said while it started."""
    said = StringIO()
    return cloud.up(checkout, Progress(said, live=False)), said.getvalue()


def eventually(predicate: Callable[[], Any], seconds: float) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := predicate()):
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s"
        time.sleep(0.05)
    return value


def supervisor(layout: Layout) -> int:
    return json.loads((layout.state / "supervisor.json").read_text())["process"]


def programs(processes: set[int]) -> dict[int, str]:
    """Name by number of those processes that still run. One that has ended and was not waited for does not count."""
    found = {}
    for process in processes:
        try:
            name, fields = Path(f"/proc/{process}/stat").read_text().split("(", 1)[1].rsplit(")", 1)
        except OSError:
            continue
        if fields.split()[0] != "Z":
            found[process] = name
    return found


def temporary_folders(processes: set[int]) -> set[Path]:
    """Those that the processes use: others' platforms may run beside this one."""
    lines = [Path(f"/proc/{process}/cmdline").read_text() for process in processes]
    folders = Path(tempfile.gettempdir()).glob("penstock-*")
    return {folder for folder in folders if any(str(folder) in line for line in lines)}


def make_a_database_and_a_cache(layout: Layout) -> None:
    """Servers behind objects: processes of the embedded AWS and, under root, of another user."""

    def client(service: str) -> Any:
        credentials = {"aws_access_key_id": "penstock-local", "aws_secret_access_key": "penstock-local"}
        return boto3.client(service, region_name=REGION, endpoint_url=layout.aws_url, **credentials)

    rds, cache = client("rds"), client("elasticache")
    rds.create_db_instance(
        DBInstanceIdentifier="ledger", Engine="postgres", DBInstanceClass="db.t4g.micro", AllocatedStorage=20,
        MasterUsername="penstock", MasterUserPassword="not-a-secret-here",
    )  # fmt: skip
    cache.create_replication_group(
        ReplicationGroupId="cache",
        ReplicationGroupDescription="a cache",
        Engine="valkey",
        CacheNodeType="cache.t4g.micro",
    )

    def ready() -> bool:
        database = rds.describe_db_instances(DBInstanceIdentifier="ledger")["DBInstances"][0]
        assert database["DBInstanceStatus"] != "failed", (layout.logs / "aws.log").read_text()[-2000:]
        return database["DBInstanceStatus"] == "available"

    eventually(ready, 180)


def test_a_killed_supervisor_takes_all_with_it_and_the_next_start_and_stop_leave_nothing(
    checkout: Path, capsys: pytest.CaptureFixture[str]
):
    layout, _ = start(checkout)
    first = supervisor(layout)
    make_a_database_and_a_cache(layout)

    again, said = start(checkout)
    assert (again, supervisor(again), said) == (layout, first, ""), "a second start does nothing"

    servers = family(first)
    folders = temporary_folders(servers)
    names = set(programs(servers).values())
    assert {name[:15] for name in SERVERS} < names, f"the kernel's names of 15 letters: {names}"
    assert {"postgres", "redis-server"} < names

    os.kill(first, signal.SIGKILL)
    eventually(lambda: not programs(servers), END_SECONDS)
    assert cloud.running(checkout) is None
    sentence = (
        f"the local platform's supervisor (process {first}) was killed, and its servers with it; "
        "start a new platform with `make up`"
    )
    assert cloud.last_words(checkout) == sentence
    assert run(["status"], Context(checkout)) == ExitCode.NOT_RUNNING
    assert sentence[1:] in capsys.readouterr().err

    layout, said = start(checkout)
    second = supervisor(layout)
    assert second != first
    assert "was killed, and its servers with it; making a new one" in said
    assert not any(folder.exists() for folder in folders), "what the killed platform kept elsewhere is removed"

    make_a_database_and_a_cache(layout)
    servers = family(second)
    folders = temporary_folders(servers)
    cloud.down(checkout, Progress(StringIO(), live=False))
    eventually(lambda: not programs(servers), END_SECONDS)
    assert not layout.state.exists()
    assert not any(folder.exists() for folder in folders)
    assert run(["status"], Context(checkout)) == ExitCode.NOT_RUNNING
    assert "The local platform is not running; start it with `make up`." in capsys.readouterr().err
