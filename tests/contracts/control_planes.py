"""What a real control plane needs in a test: the binaries, and addresses that no platform uses."""

from __future__ import annotations

import pytest

from infra.local.slots import busy_ports
from infra.local.toolchain.find import Toolchain, cache_folder, cached, on_path
from infra.local.toolchain.tools import TOOLS


def toolchain() -> Toolchain:
    """Found as `make up` finds it; nothing is fetched or built for a test."""
    folders = [on_path(tool) or cached(tool, cache_folder()) for tool in TOOLS]
    if not all(folders):
        pytest.skip("pulumi and the control plane are not set up: run `make up` once")
    return Toolchain(tuple(dict.fromkeys(folder for folder in folders if folder)))


def a_free_slot() -> int:
    """Beyond the slots of platforms (slots.py), so that none is ever in the way."""
    return next(slot for slot in range(200, 250) if not busy_ports(f"127.{slot}.0.1"))
