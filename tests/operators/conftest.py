"""Operators that are built on demand: KEDA and Karpenter's core, each before a control plane of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from components import karpenter_manifests, keda_manifests
from infra.local.toolchain.tools import KARPENTER, KEDA
from tests.operators.autoscaler import Autoscaler, start_keda
from tests.operators.hollow import Hollow
from tests.operators.nodes import Provisioner, start_karpenter
from tests.operators.plane import plane


@pytest.fixture(scope="module")
def autoscaler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Autoscaler]:
    """KEDA's operator and adapter with the rights and the arguments that the program gives them."""
    with ExitStack() as stack:
        made = stack.enter_context(plane(tmp_path_factory.mktemp("keda"), KEDA))
        made.define(keda_manifests.definitions())
        yield stack.enter_context(start_keda(made))


@pytest.fixture(scope="module")
def provisioner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provisioner]:
    """Karpenter's core with its pretended cloud, and nodes without a kubelet that say they are well."""
    with ExitStack() as stack:
        made = stack.enter_context(plane(tmp_path_factory.mktemp("karpenter"), KARPENTER))
        made.define(karpenter_manifests.definitions())
        hollow = Hollow(made)
        stack.callback(hollow.close)
        yield stack.enter_context(start_karpenter(made))
