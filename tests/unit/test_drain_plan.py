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
    "probe_period_seconds": 5,
    "probe_failures": 3,
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
    period=st.integers(1, 60),
    failures=st.integers(1, 20),
)
def test_a_contract_without_breach_never_kills_a_pod_that_drains(
    pre_stop: int, gateway: int, engine: int, grace: int, delay: int, period: int, failures: int
):
    found = breaches(
        pre_stop_seconds=pre_stop,
        gateway_shutdown_seconds=gateway,
        engine_shutdown_seconds=engine,
        grace_seconds=grace,
        deregistration_delay_seconds=delay,
        probe_period_seconds=period,
        probe_failures=failures,
        spot=True,
    )
    if not found:
        assert pre_stop + engine + ENGINE_TEARDOWN_SECONDS < grace <= SPOT_NOTICE_SECONDS - SPOT_MARGIN_SECONDS
        assert pre_stop + gateway < grace
        assert pre_stop + gateway <= delay
        assert period * failures <= pre_stop


def test_a_breach_writes_its_sum_out():
    def message(**changes: Any) -> str:
        return breaches(**{**HOLDS, **changes})[0].message

    assert message(pre_stop_seconds=14).startswith(
        "14 is shorter than what the probes need to notice a change: probes.periodSeconds 5 x failureThreshold 3 = 15; "
    )
    assert message(grace_seconds=65) == (
        "65 is too short: preStopSeconds 15 + engineShutdownSeconds 45 + 5 of the engine's teardown = 65, "
        "so allowed is 66 or more, in seconds"
    )
    assert message(grace_seconds=101) == (
        "101 does not fit the notice of a spot node: 20 until its pods are told + graceSeconds 101 = 121, and the "
        "notice is 120; allowed while spot nodes may exist: 100 or less, in seconds"
    )
    assert "preStopSeconds 15 + gatewayShutdownSeconds 45 = 60" in message(deregistration_delay_seconds=59)


def test_a_breach_names_the_key_and_what_is_allowed():
    assert problems(put("drain.graceSeconds", 30))["drain.graceSeconds"].endswith("allowed is 39 or more, in seconds")
