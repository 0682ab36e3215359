"""One embedded AWS for all tests of this folder, in a process of its own: moto is changed for a whole process."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest

from infra.local.aws.planes.addresses import AddressInUseError, check_free
from infra.local.layout import STATE_VARIABLE, Layout

CHECKOUT = Path(__file__).parents[3]
REGION = "eu-central-1"
SLOTS = range(120, 220)
"""Above those that platforms take."""


@dataclass
class Aws:
    """A running embedded AWS and clients for it."""

    layout: Layout
    process: subprocess.Popen[bytes]
    session: boto3.Session
    clients: dict[tuple[str, str], Any] = field(default_factory=dict)

    def client(self, service: str, region: str = REGION) -> Any:
        if (service, region) not in self.clients:
            self.clients[service, region] = self.session.client(
                service, region_name=region, endpoint_url=self.layout.aws_url
            )
        return self.clients[service, region]

    def wait_for(self, condition: Callable[[], Any], seconds: float = 20.0) -> Any:
        """What `condition` gives once that is true."""
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < deadline, f"not within {seconds} s; the server said: {self.said()}"
            time.sleep(0.03)
        return value

    def http(self, url: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Status and body of a GET, or of a POST where there is a body. Raises OSError."""
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(parts.netloc, timeout=10)
        try:
            connection.request("GET" if body is None else "POST", parts.path, body)
            reply = connection.getresponse()
            return reply.status, reply.read()
        finally:
            connection.close()

    def said(self) -> str:
        return (self.layout.logs / "server.log").read_text()


@dataclass(frozen=True)
class Network:
    vpc: str
    subnets: list[str]


def free_slot() -> int:
    first = os.getpid() % len(SLOTS)
    for slot in (*SLOTS[first:], *SLOTS[:first]):
        try:
            check_free(f"127.{slot}.0.1", 4566)
        except AddressInUseError:
            continue
        return slot
    raise AssertionError("no slot is free")


def start(state: Path) -> Aws:
    layout = Layout(checkout=CHECKOUT, state=state, slot=free_slot())
    layout.save()
    layout.logs.mkdir()
    environment = {**os.environ, STATE_VARIABLE: str(state)}
    with (layout.logs / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "infra.local.aws.server"], env=environment, cwd=CHECKOUT, stdout=log, stderr=log
        )
    credentials = layout.aws_environment(REGION)
    session = boto3.Session(credentials["AWS_ACCESS_KEY_ID"], credentials["AWS_SECRET_ACCESS_KEY"], region_name=REGION)
    aws = Aws(layout, process, session)

    def answers() -> bool:
        assert process.poll() is None, aws.said()
        try:
            return aws.http(f"{layout.aws_url}/_penstock/health")[0] == 200
        except OSError:
            return False

    aws.wait_for(answers)
    return aws


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    aws = start(tmp_path_factory.mktemp("embedded-aws") / "state")
    try:
        yield aws
    finally:
        for client in aws.clients.values():
            client.close()
        aws.process.terminate()
        assert aws.process.wait(20) == 0, aws.said()


@pytest.fixture(scope="session")
def network(aws: Aws) -> Network:
    ec2 = aws.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    zones = {f"10.0.{n}.0/24": f"{REGION}{letter}" for n, letter in enumerate("abc")}
    made = [ec2.create_subnet(VpcId=vpc, CidrBlock=block, AvailabilityZone=zone) for block, zone in zones.items()]
    return Network(vpc, [answer["Subnet"]["SubnetId"] for answer in made])


@pytest.fixture(scope="session")
def role(aws: Aws) -> str:
    """The ARN of an IAM role."""
    trust = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"Service": "eks.amazonaws.com"}, "Action": "sts:AssumeRole"}],
    }
    answer = aws.client("iam").create_role(RoleName="cluster", AssumeRolePolicyDocument=json.dumps(trust))
    return answer["Role"]["Arn"]


@pytest.fixture(scope="session")
def cluster(aws: Aws, network: Network, role: str) -> dict[str, Any]:
    """An EKS cluster as CreateCluster answered, made by the deployer."""
    return aws.client("eks").create_cluster(
        name="penstock",
        roleArn=role,
        version="1.36",
        resourcesVpcConfig={"subnetIds": network.subnets, "endpointPrivateAccess": True},
        accessConfig={"authenticationMode": "API"},
        upgradePolicy={"supportType": "STANDARD"},
        zonalShiftConfig={"enabled": True},
        tags={"team": "platform"},
    )["cluster"]
