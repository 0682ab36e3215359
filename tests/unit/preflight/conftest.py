from collections.abc import Iterator

import pytest

from tests.unit.preflight.cases import Stubbed


@pytest.fixture
def aws() -> Iterator[Stubbed]:
    stubbed = Stubbed()
    yield stubbed
    for stubber in stubbed.stubbers.values():
        stubber.assert_no_pending_responses()
        stubber.client.close()
