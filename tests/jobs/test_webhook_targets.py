"""Which addresses a webhook may call."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import IPv4Network, ip_address
from typing import Any

import pytest

from app.jobs import webhooks
from app.jobs.config import WebhookRules

STRICT = WebhookRules()
LOOSE = WebhookRules(networks=(IPv4Network("10.1.0.0/16"),))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.1",
        "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fd00:ec2::254", "::ffff:10.0.0.1",
        "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "ff02::1",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public_are_refused(address: str):
    assert not webhooks.allowed(ip_address(address), STRICT)


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "64:ff9b::5db8:d70e"])
def test_public_addresses_are_taken(address: str):
    assert webhooks.allowed(ip_address(address), STRICT)


def test_a_network_that_the_operator_named_is_taken_and_no_other():
    assert webhooks.allowed(ip_address("10.1.2.3"), LOOSE)
    assert not webhooks.allowed(ip_address("10.2.2.3"), LOOSE)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/", "ftp://example.com/", "https://", "https:///path", "https://u:p@example.com/",
        "https://127.0.0.1/", "https://[::1]/", "https://example.com:0/", "https://example.com:99999/", "https://a b/",
        "https://example.com/" + "a" * 2000, "https://169.254.169.254/latest/meta-data/",
    ],
)  # fmt: skip
def test_targets_that_are_wrong_on_their_face_are_refused(url: str):
    assert webhooks.problem_of(url, STRICT)


def test_a_target_over_https_with_a_name_is_taken():
    assert webhooks.problem_of("https://hooks.example.com:8443/a?b=c", STRICT) == ""


async def test_a_name_that_leads_to_a_private_address_is_never_connected_to(monkeypatch: pytest.MonkeyPatch):
    asked: list[str] = []

    async def getaddrinfo(host: str, port: int, **more: Any) -> list[Any]:
        asked.append(host)
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.215.14", port)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
        ]

    async def connect(*more: Any, **named: Any) -> Any:
        raise AssertionError("it must not connect")

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(loop, "create_connection", connect)
    over, said = await webhooks.deliver("https://rebinding.example/", "msg_1", b"{}", b"secret", STRICT)
    assert (over, said) == (True, "refused: the address is not public")
    assert asked == ["rebinding.example"]
