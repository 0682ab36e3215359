"""The drain contract."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from infra.settings.drain import ENGINE_TEARDOWN_SECONDS, SPOT_MARGIN_SECONDS, SPOT_NOTICE_SECONDS, breaches
from tests.unit.settings_cases import problems, put

HOLDS: dict[str, Any] = {
    "pre_stop_seconds": 15,
    "gateway_shutdown_seconds": 45,
    "engine_shutdown_seconds": 45,
    "grace_seconds": 70,
    "deregistration_delay_seconds": 60,
    "probe_window_seconds": 15,
    "spot": True,
}


def keys(**changes: Any) -> list[str]:
    return [breach.key for breach in breaches(**{**HOLDS, **changes})]


def test_a_contract_whose_parts_fit_has_no_breach():
    assert keys() == []


def test_grace_must_outlast_pre_stop_shutdown_and_teardown():
    assert keys(grace_seconds=66) == []
    assert keys(grace_seconds=65) == ["graceSeconds"]
    assert keys(grace_seconds=60) == ["graceSeconds", "graceSeconds"], "gateway and engine"


def test_on_spot_the_grace_must_fit_the_notice():
    long = {"engine_shutdown_seconds": 90, "grace_seconds": 120}
    assert keys(**long) == ["graceSeconds"]
    assert keys(**long, spot=False) == []


def test_the_load_balancer_must_keep_streams_as_long_as_the_gateway_does():
    assert keys(deregistration_delay_seconds=59) == ["deregistrationDelaySeconds"]


def test_a_pod_must_not_get_sigterm_before_it_has_left_the_endpoints():
    assert keys(pre_stop_seconds=14) == ["preStopSeconds"]


@given(
    pre_stop=st.integers(1, 120),
    gateway=st.integers(1, 300),
    engine=st.integers(1, 300),
    grace=st.integers(2, 600),
    delay=st.integers(0, 600),
)
def test_a_contract_without_breach_never_kills_a_pod_that_drains(
    pre_stop: int, gateway: int, engine: int, grace: int, delay: int
):
    found = breaches(
        pre_stop_seconds=pre_stop,
        gateway_shutdown_seconds=gateway,
        engine_shutdown_seconds=engine,
        grace_seconds=grace,
        deregistration_delay_seconds=delay,
        probe_window_seconds=1,
        spot=True,
    )
    if not found:
        assert pre_stop + engine + ENGINE_TEARDOWN_SECONDS < grace <= SPOT_NOTICE_SECONDS - SPOT_MARGIN_SECONDS
        assert pre_stop + gateway < grace
        assert pre_stop + gateway <= delay


def test_a_breach_names_the_key_and_what_is_allowed():
    assert problems(put("drain.graceSeconds", 30))["drain.graceSeconds"].endswith("allowed is 39 or more, in seconds")
