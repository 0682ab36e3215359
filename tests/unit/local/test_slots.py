import os
import socket

import pytest

from infra.local import slots
from infra.local.slots import SlotError, busy_ports, hold_slot


@pytest.fixture
def one_port(monkeypatch):
    """A port of the platform's that nobody else has; a listener on it can then be made in the test."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setattr(slots, "PORTS", {port: "the embedded AWS"})
    return port


def test_two_platforms_get_two_slots(tmp_path, one_port):
    with hold_slot(tmp_path) as first, hold_slot(tmp_path) as second:
        assert (first, second) == (10, 11)


def test_a_slot_is_free_again_when_its_holder_is_done(tmp_path, one_port):
    with hold_slot(tmp_path) as first:
        pass
    with hold_slot(tmp_path) as second:
        assert second == first


def test_a_port_that_is_busy_at_one_address_moves_the_platform_to_the_next(tmp_path, one_port):
    with socket.create_server(("127.10.0.1", one_port)), hold_slot(tmp_path) as slot:
        assert slot == 11


def test_a_port_that_is_busy_everywhere_is_named_with_its_holder(tmp_path, one_port):
    with (
        socket.create_server(("0.0.0.0", one_port)),  # noqa: S104 - that is the case under test
        pytest.raises(SlotError, match=rf"port {one_port}, which the embedded AWS needs.*\(process {os.getpid()}\)"),
        hold_slot(tmp_path),
    ):
        pass


def test_a_free_address_has_no_busy_ports(one_port):
    assert busy_ports("127.99.0.1") == {}
