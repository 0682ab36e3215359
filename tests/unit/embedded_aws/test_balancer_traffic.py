"""A load balancer under traffic: real Envoy, real upstreams, weights and targets changed by boto3."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from botocore.exceptions import ClientError

CHUNKS, CHUNK_SECONDS = 30, 0.05


@dataclass
class Edge:
    """A load balancer with one weighted rule over two target groups of one target each."""

    address: str
    listener: str
    rule: str
    groups: dict[str, str]
    targets: dict[str, str]
    balancer: str

    def forward(self, blue: int, green: int) -> list[dict[str, Any]]:
        weights = {"blue": blue, "green": green}
        groups = [{"TargetGroupArn": self.groups[colour], "Weight": weight} for colour, weight in weights.items()]
        return [{"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}]


@dataclass
class Outcome:
    """What clients saw: answers as (moment, colour), failures as text."""

    answers: list[tuple[float, str]] = field(default_factory=list)
    streams: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def colours(self, since: float, until: float = float("inf")) -> Counter[str]:
        return Counter(colour for moment, colour in self.answers if since <= moment < until)


@pytest.fixture
def edge(aws, network) -> Iterator[Edge]:
    elb = aws.client("elbv2")
    targets = {"blue": aws.layout.address(16, 2), "green": aws.layout.address(17, 2)}
    made = elb.create_load_balancer(Name="penstock", Subnets=network.subnets, Scheme="internal")["LoadBalancers"][0]
    groups = {}
    for colour in targets:
        group = elb.create_target_group(
            Name=colour, Protocol="HTTP", Port=8080, VpcId=network.vpc, TargetType="ip", HealthCheckPath="/readyz",
            HealthCheckIntervalSeconds=5, HealthCheckTimeoutSeconds=2, UnhealthyThresholdCount=2,
        )["TargetGroups"][0]["TargetGroupArn"]  # fmt: skip
        elb.modify_target_group_attributes(
            TargetGroupArn=group, Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "1"}]
        )
        groups[colour] = group
    fallback = {"StatusCode": "404", "ContentType": "application/json", "MessageBody": '{"error": "no such path"}'}
    listener = elb.create_listener(
        LoadBalancerArn=made["LoadBalancerArn"], Protocol="HTTP", Port=8080,
        DefaultActions=[{"Type": "fixed-response", "FixedResponseConfig": fallback}],
    )["Listeners"][0]["ListenerArn"]  # fmt: skip
    edge = Edge(made["DNSName"], listener, "", groups, targets, made["LoadBalancerArn"])
    edge.rule = elb.create_rule(
        ListenerArn=listener, Priority=10, Actions=edge.forward(100, 0),
        Conditions=[{"Field": "path-pattern", "PathPatternConfig": {"Values": ["/v1/*"]}}],
    )["Rules"][0]["RuleArn"]  # fmt: skip
    yield edge
    elb.delete_load_balancer(LoadBalancerArn=edge.balancer)
    for group in groups.values():
        elb.delete_target_group(TargetGroupArn=group)


@asynccontextmanager
async def upstreams(edge: Edge) -> AsyncGenerator[None]:
    """A server for each colour that answers with its colour, at once or in a stream of 1.5 s."""

    def application(colour: str) -> web.Application:
        async def plain(request: web.Request) -> web.Response:
            return web.Response(text=colour, headers={"x-client": request.headers["x-forwarded-for"]})

        async def stream(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            for number in range(CHUNKS):
                await response.write(f"{colour} {number}\n".encode())
                await asyncio.sleep(CHUNK_SECONDS)
            return response

        made = web.Application()
        made.add_routes([web.get("/v1/plain", plain), web.get("/v1/stream", stream), web.get("/readyz", plain_ready)])
        return made

    async def plain_ready(_request: web.Request) -> web.Response:
        return web.Response(text="ok")

    runners = []
    for colour, address in edge.targets.items():
        runner = web.AppRunner(application(colour), keepalive_timeout=90)
        await runner.setup()
        await web.TCPSite(runner, address, 8080).start()
        runners.append(runner)
    try:
        yield
    finally:
        for runner in runners:
            await runner.cleanup()


@asynccontextmanager
async def clients(edge: Edge, outcome: Outcome, requesters: int = 4, streams: int = 10) -> AsyncGenerator[None]:
    """Constant load until the block ends; open streams are then read to their end."""
    ended = asyncio.Event()
    async with aiohttp.ClientSession(f"http://{edge.address}:8080") as session:

        async def request() -> None:
            while not ended.is_set():
                try:
                    async with session.get("/v1/plain") as reply:
                        text = await reply.text()
                        if reply.status == 200:
                            outcome.answers.append((time.monotonic(), text))
                        else:
                            outcome.failures.append(f"{reply.status} {text}")
                except aiohttp.ClientError as error:
                    outcome.failures.append(repr(error))
                await asyncio.sleep(0.005)

        async def stream() -> None:
            while not ended.is_set():
                try:
                    async with session.get("/v1/stream") as reply:
                        lines = (await reply.text()).splitlines()
                except aiohttp.ClientError as error:
                    outcome.failures.append(repr(error))
                    continue
                colour = lines[0].split()[0]
                if lines == [f"{colour} {number}" for number in range(CHUNKS)]:
                    outcome.streams.append(colour)
                else:
                    outcome.failures.append(f"stream cut after {len(lines)} chunks")

        tasks = [asyncio.create_task(work()) for work in [request] * requesters + [stream] * streams]
        try:
            yield
        finally:
            ended.set()
            await asyncio.gather(*tasks)


async def healthy(aws, edge: Edge) -> None:
    """Registers both targets and waits until they are healthy: as their servers answer, one check is enough."""
    elb = aws.client("elbv2")
    for colour, group in edge.groups.items():
        await asyncio.to_thread(elb.register_targets, TargetGroupArn=group, Targets=[{"Id": edge.targets[colour]}])

    def states() -> list[str]:
        answers = [elb.describe_target_health(TargetGroupArn=group) for group in edge.groups.values()]
        return [item["TargetHealth"]["State"] for answer in answers for item in answer["TargetHealthDescriptions"]]

    await asyncio.to_thread(aws.wait_for, lambda: states() == ["healthy", "healthy"])


async def test_a_shift_of_weights_and_a_deregistration_fail_no_request_and_cut_no_stream(aws, edge: Edge) -> None:
    elb, outcome = aws.client("elbv2"), Outcome()

    async def weights(blue: int, green: int) -> tuple[float, float]:
        """The moments before and after the call."""
        before = time.monotonic()
        await asyncio.to_thread(elb.modify_rule, RuleArn=edge.rule, Actions=edge.forward(blue, green))
        return before, time.monotonic()

    async with upstreams(edge):
        await healthy(aws, edge)
        async with clients(edge, outcome):
            await asyncio.sleep(0.4)
            half = await weights(50, 50)
            await asyncio.sleep(0.8)
            all_green = await weights(0, 100)
            await asyncio.sleep(0.2)
            await asyncio.to_thread(
                elb.deregister_targets, TargetGroupArn=edge.groups["blue"], Targets=[{"Id": edge.targets["blue"]}]
            )
            await asyncio.sleep(0.3)
    print(f"\n{len(outcome.answers)} requests, {len(outcome.streams)} streams, {len(outcome.failures)} failures")
    assert outcome.failures == []
    assert set(outcome.colours(0, half[0])) == {"blue"}
    shared = outcome.colours(half[1] + 0.2, all_green[0])
    assert 0.25 < shared["green"] / shared.total() < 0.75, shared
    assert set(outcome.colours(all_green[1] + 0.2)) == {"green"}, "a weight holds within 200 ms"
    assert "blue" in outcome.streams, "a stream of the old colour ran on to its end"


async def test_rules_answer_by_path_and_the_default_action_answers_the_rest(aws, edge: Edge) -> None:
    async with upstreams(edge), aiohttp.ClientSession(f"http://{edge.address}:8080") as session:
        await healthy(aws, edge)
        async with session.get("/admin") as reply:
            assert (reply.status, await reply.text()) == (404, '{"error": "no such path"}')
            assert reply.headers["content-type"] == "application/json"
        async with session.get("/v1/plain?a=b") as reply:
            assert (reply.status, await reply.text()) == (200, "blue")
            assert reply.headers["x-client"], "the client's address is in X-Forwarded-For"
            assert "server" not in reply.headers or "envoy" not in reply.headers["server"]


async def test_health_is_that_of_real_checks(aws, edge: Edge) -> None:
    elb, absent = aws.client("elbv2"), aws.layout.address(18, 2)

    def states() -> dict[str, tuple[str, str | None]]:
        found = elb.describe_target_health(TargetGroupArn=edge.groups["green"])["TargetHealthDescriptions"]
        healths = {item["Target"]["Id"]: item["TargetHealth"] for item in found}
        return {identifier: (health["State"], health.get("Reason")) for identifier, health in healths.items()}

    async with upstreams(edge):
        await healthy(aws, edge)
        await asyncio.to_thread(elb.register_targets, TargetGroupArn=edge.groups["green"], Targets=[{"Id": absent}])
        unhealthy = ("unhealthy", "Target.FailedHealthChecks")
        await asyncio.to_thread(aws.wait_for, lambda: states().get(absent) == unhealthy)
        assert states()[edge.targets["green"]] == ("healthy", None)
        await asyncio.to_thread(elb.deregister_targets, TargetGroupArn=edge.groups["green"], Targets=[{"Id": absent}])
        assert states()[absent] == ("draining", "Target.DeregistrationInProgress")
        await asyncio.to_thread(aws.wait_for, lambda: absent not in states())


async def test_a_group_without_a_target_is_a_503_and_one_whose_target_refuses_is_a_502(aws, edge: Edge) -> None:
    """Without a healthy target every target gets requests: an application load balancer fails open."""
    async with aiohttp.ClientSession(f"http://{edge.address}:8080") as session:
        assert await status_once_not(404, session) == 503  # 404 until the new rule has reached the data path
        group, target = edge.groups["blue"], {"Id": edge.targets["blue"]}
        await asyncio.to_thread(aws.client("elbv2").register_targets, TargetGroupArn=group, Targets=[target])
        assert await status_once_not(503, session) == 502


async def status_once_not(passing: int, session: aiohttp.ClientSession) -> int:
    """The status of a request, once it is another than `passing`, or after 5 s."""
    deadline = time.monotonic() + 5
    while True:
        async with session.get("/v1/plain") as reply:
            await reply.read()
        if reply.status != passing or time.monotonic() > deadline:
            return reply.status
        await asyncio.sleep(0.02)


def test_a_listener_on_a_taken_port_is_refused_by_name(aws, edge: Edge) -> None:
    with socket.socket() as other:
        other.bind((edge.address, 9000))
        other.listen()
        with pytest.raises(ClientError, match=r"port 9000 of 127\.\d+\.3\.\d+ is in use by another process"):
            aws.client("elbv2").create_listener(
                LoadBalancerArn=edge.balancer, Protocol="HTTP", Port=9000, DefaultActions=edge.forward(1, 1)
            )
    assert len(aws.client("elbv2").describe_listeners(LoadBalancerArn=edge.balancer)["Listeners"]) == 1


def test_a_target_group_knows_which_balancers_use_it_now(aws, edge: Edge) -> None:
    elb = aws.client("elbv2")

    def users() -> list[str]:
        return elb.describe_target_groups(TargetGroupArns=[edge.groups["blue"]])["TargetGroups"][0]["LoadBalancerArns"]

    assert users() == [edge.balancer]
    elb.delete_rule(RuleArn=edge.rule)
    assert users() == []
    elb.register_targets(TargetGroupArn=edge.groups["blue"], Targets=[{"Id": edge.targets["blue"]}])
    health = elb.describe_target_health(TargetGroupArn=edge.groups["blue"])["TargetHealthDescriptions"][0]
    assert health["TargetHealth"]["Reason"] == "Target.NotInUse"


def test_a_network_load_balancer_is_refused(aws, network) -> None:
    with pytest.raises(ClientError, match="a network load balancer has no local data path"):
        aws.client("elbv2").create_load_balancer(Name="nlb", Type="network", Subnets=network.subnets)
