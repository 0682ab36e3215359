"""EKS Pod Identity on the local target: who gets credentials, and what happens while EKS does not answer."""

from __future__ import annotations

import pytest
from aiohttp import web

from infra.local.kubernetes.agent import identities
from infra.local.kubernetes.agent.aws import Aws, AwsError
from infra.local.kubernetes.agent.environment import ConfigError
from infra.local.kubernetes.agent.identities import Identities, identity_environment

ENVIRONMENT = identity_environment("http://127.9.0.1:4566", "eu-central-1", ("id", "secret"))


def pod(account: str | None, namespace: str = "penstock") -> dict:
    return {"metadata": {"namespace": namespace}, "spec": {"serviceAccountName": account} if account else {}}


class Eks(Aws):
    """Answers as told, and counts."""

    def __init__(self) -> None:
        self.accounts, self.calls, self.away = {("penstock", "migration")}, 0, False

    async def clusters(self) -> list[str]:
        self.calls += 1
        if self.away:
            raise AwsError("ClientConnectorError", "nobody there")
        return ["penstock-local"]

    async def pod_identities(self, cluster: str) -> set[tuple[str, str]]:
        return set(self.accounts)


async def test_only_a_service_account_with_an_association_gets_credentials():
    found = Identities(Eks(), ENVIRONMENT)
    assert await found.environment_of(pod("migration")) == ENVIRONMENT
    assert await found.environment_of(pod("migration", "other")) == {}
    assert await found.environment_of(pod("gateway")) == {}
    assert await found.environment_of(pod(None)) == {}


async def test_pods_that_start_together_share_a_look_and_later_ones_look_again(monkeypatch: pytest.MonkeyPatch):
    eks = Eks()
    found = Identities(eks, ENVIRONMENT)
    for _ in range(5):
        await found.environment_of(pod("engine"))
    assert eks.calls == 1
    eks.accounts.add(("penstock", "engine"))
    monkeypatch.setattr(identities, "KEPT_SECONDS", 0.0)
    found._known_until = 0.0
    assert await found.environment_of(pod("engine")) == ENVIRONMENT


async def test_a_start_is_tried_again_while_eks_does_not_answer():
    eks = Eks()
    eks.away = True
    found = Identities(eks, ENVIRONMENT)
    with pytest.raises(ConfigError, match="penstock/migration is not known yet: ClientConnectorError"):
        await found.environment_of(pod("migration"))
    eks.away = False
    assert await found.environment_of(pod("migration")) == ENVIRONMENT


async def test_associations_are_read_page_by_page():
    pages = {
        None: {"associations": [{"namespace": "a", "serviceAccount": "one"}], "nextToken": "more"},
        "more": {"associations": [{"namespace": "a", "serviceAccount": "two"}]},
    }

    async def answer(request: web.Request) -> web.Response:
        assert request.path == "/clusters/penstock-local/pod-identity-associations"
        return web.json_response(pages[request.query.get("nextToken")])

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    aws = Aws(f"http://127.0.0.1:{runner.addresses[0][1]}", "eu-central-1", ("id", "secret"))
    try:
        assert await aws.pod_identities("penstock-local") == {("a", "one"), ("a", "two")}
    finally:
        await aws.close()
        await runner.cleanup()
