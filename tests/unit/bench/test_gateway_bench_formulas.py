"""The benchmark's arithmetic and what it reads from the kernel."""

from __future__ import annotations

import os
import time

import pytest

from bench.gateway import formulas, kernel
from bench.gateway.modes import EVENTS, MODES, bodies

COUNTED = {
    "ok": 3000,
    "errs": 0,
    "non200": 0,
    "incomplete": 0,
    "eps": 0.0,
    "p50": 1.0,
    "p99": 2.0,
    "ttft50": 0.5,
    "ttft99": 0.9,
}
EDGES = {"from": 1_000_000_000, "until": 3_000_000_000}


def test_a_window_lasts_as_long_as_the_generator_said():
    assert formulas.window(EDGES, COUNTED).seconds == 2.0


@pytest.mark.parametrize("fault", ["errs", "non200", "incomplete"])
def test_one_faulty_answer_voids_a_run(fault: str):
    with pytest.raises(formulas.VoidRunError, match=f"1 {fault}"):
        formulas.window(EDGES, COUNTED | {fault: 1})


def test_a_run_in_which_nothing_ended_is_void():
    with pytest.raises(formulas.VoidRunError, match="no request"):
        formulas.window(EDGES, COUNTED | {"ok": 0})


def test_cpu_of_a_request_is_the_used_time_over_the_requests():
    assert formulas.microseconds_each(0.5, 10_000) == 50.0
    assert formulas.per_core(50.0) == 20_000


def test_no_requests_have_no_cpu_each():
    with pytest.raises(formulas.VoidRunError):
        formulas.microseconds_each(0.5, 0)


def test_the_own_gateway_runs_between_two_runs_of_the_reference():
    order = formulas.running_order(["own", "r", "a", "b", "c", "d"], "r", "own")
    assert order[:3] == ["r", "own", "r"]
    assert sorted({*order}) == ["a", "b", "c", "d", "own", "r"]
    assert order[-1] == "r"


def test_no_gateway_is_further_than_three_runs_from_a_reference():
    order = formulas.running_order(["r", "own", *"abcdefgh"], "r", "own")
    near = formulas.references(order, "r")
    assert all(len(found) == 2 for found in near.values())
    assert all(min(abs(index - at) for at in found) <= 2 for index, found in near.items())


def test_without_the_reference_the_others_still_run():
    assert formulas.running_order(["own", "a"], "r", "own") == ["own", "a"]
    assert formulas.references(["own", "a"], "r") == {0: (), 1: ()}


def test_without_the_own_gateway_the_reference_comes_first():
    assert formulas.running_order(["r", "a"], "r", "own") == ["r", "a", "r"]


def test_noise_is_half_the_range_over_the_median():
    assert formulas.noise([9.0, 10.0, 11.0]) == pytest.approx(0.1)
    assert formulas.noise([10.0]) is None


def test_each_idle_stream_takes_two_open_files():
    assert formulas.idle_streams(10_000, 20_000) == 9_900
    assert formulas.idle_streams(10_000, 65_536) == 10_000
    assert formulas.idle_streams(10_000, 100) == 0


def test_scheduler_time_is_the_first_number_in_nanoseconds():
    assert kernel.parse_schedstat("1500000000 7 9\n") == 1.5


def test_memory_is_the_proportional_set_in_megabytes():
    text = "5590-7ffe ---p 00000000 00:00 0 [rollup]\nRss: 90000 kB\nPss:               12500 kB\nPss_Dirty: 1 kB\n"
    assert kernel.parse_pss_mb(text) == pytest.approx(12.8)
    with pytest.raises(ValueError, match="Pss:"):
        kernel.parse_pss_mb("Rss: 1 kB\n")


def test_a_process_name_may_hold_brackets_and_blanks():
    assert kernel.parse_parent("42 (a) b (c) S 7 42 42 0") == 7


def test_the_processor_is_named_as_the_kernel_names_it():
    assert kernel.parse_cpu_model("processor: 0\nmodel name\t: Some CPU 9\n") == "Some CPU 9"
    assert kernel.parse_cpu_model("") == "unknown processor"


def test_the_cpu_clock_counts_work_and_not_sleep():
    clock = kernel.CpuClock(os.getpid())
    before = clock.read()
    time.sleep(0.05)
    asleep = clock.read() - before
    until = time.process_time() + 0.05
    while time.process_time() < until:
        pass
    assert clock.read() - before - asleep >= 0.04
    assert asleep < 0.04


def test_the_bodies_have_the_sizes_of_the_modes():
    sizes = {name: len(body) for name, body in bodies().items()}
    assert sizes == {"json": 820, "sse": 879, "69KB": 69_000, "480KB": pytest.approx(480_000, abs=120)}
    assert EVENTS == 35


def test_each_mode_is_bounded_in_time_and_connections():
    for mode in MODES:
        assert mode.seconds + mode.warm_seconds <= 5, mode.name
        assert mode.connections <= 256, mode.name
        assert bool(mode.rate) == bool(mode.slow_rate), mode.name
