"""The pure parts of drills: what is counted, what is judged, what is published."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from infra.ops.cli import cli
from infra.ops.drill import table
from infra.ops.drill.catalogue import CATALOGUE, Aim
from infra.ops.drill.figures import Counters, gaps_over, outage, result
from infra.ops.drill.longer import ALL, fault_of
from infra.ops.drill.place import Capacity, children_of, figures_of, in_folder
from infra.ops.errors import RefusedError
from infra.ops.load.buckets import Buckets
from infra.ops.load.records import Records, Request, Stream

CHECKOUT = Path(__file__).resolve().parents[3]
RESUMED = "penstock_resumed_streams_total"


def a_result(name="zone-loss", records=None, counters=None, stalls=None, **more):
    return result(
        CATALOGUE[name], "done", records or Records(), counters or Counters(),
        injected_at=4.0, capacity_seconds=1.5, stalls=stalls or Buckets(),
        more={"stall_before": 0.02, "client_late": 0.01, **more},
    )  # fmt: skip


def test_every_drill_has_a_fault_and_its_aims_name_figures_that_are_measured():
    assert set(CATALOGUE) == set(ALL)
    for name, drill in CATALOGUE.items():
        known = a_result(name).figures.keys() | {"refused_after_seconds", "weight_back_seconds", "left_behind"}
        assert drill.aims
        assert {aim.figure for aim in drill.aims} <= known


def test_what_takes_time_is_told_apart_from_what_holds_at_any_speed():
    for drill in CATALOGUE.values():
        for aim in drill.aims:
            speed = aim.figure in ("worst_stall", "stalled_200ms") or aim.figure.endswith("_seconds")
            assert aim.timed is speed, f"{drill.name}: {aim.words}"


def test_the_drill_that_ends_the_platform_is_the_last():
    assert list(CATALOGUE)[-1] == "supervisor-crash"


def test_requests_that_a_client_with_the_usual_retries_would_have_failed_are_told():
    tried = [Request(float(number), 0.1, "blue", retries=number) for number in range(5)]
    found = a_result(records=Records(requests=tried)).as_dict()
    assert (found["retried"], found["retried_more"], found["failed"]) == (4, 2, 0)
    assert "4 sent again by the client (2 more than 2 times), 0 failed for good" in table.failures(found)


def test_an_aim_is_missed_above_its_bound_and_where_nothing_was_measured():
    aim = Aim("worst_stall", 2.0, "worst stall under 2 s")
    assert not aim.missed({"worst_stall": 2.0})
    assert aim.missed({"worst_stall": 2.1})
    assert aim.missed({"worst_stall": None})
    assert aim.missed({})


def test_a_gateway_that_starts_anew_counts_from_zero_and_one_that_dies_keeps_its_count():
    counters = Counters()
    counters.take({"a": {f"{RESUMED}{{resumed}}": 5.0}, "b": {f"{RESUMED}{{resumed}}": 1.0, "penstock_x": 0.0}})
    counters.take({"a": {f"{RESUMED}{{resumed}}": 7.0}, "b": {f"{RESUMED}{{resumed}}": 2.0, "penstock_x": 0.0}})
    counters.take({"a": {f"{RESUMED}{{resumed}}": 1.0}, "c": {f"{RESUMED}{{no_engine}}": 3.0}})
    assert counters.resumed == 2 + 1 + 1
    assert counters.unresumed == {"no_engine": 3}


def test_what_gateways_counted_before_the_drill_is_not_its_doing():
    counters = Counters()
    counters.take({"a": {"penstock_retries_total": 100.0}})
    counters.take({"a": {"penstock_retries_total": 100.0}})
    assert counters.counted("penstock_retries_total") == 0
    assert counters.degraded(["penstock_retries"]) == {}


def test_what_degraded_is_told_by_the_worst_gateway_or_the_sum_over_all():
    counters = Counters()
    counters.take({gateway: gauges(0, 1, 0, 1) for gateway in "ab"})
    counters.take({"a": gauges(1, 1, 5000, 30), "b": gauges(1, 0, 7000, 2)})
    counters.take({gateway: gauges(0, 1, 0, 1) for gateway in "ab"})
    assert counters.degraded(
        ["penstock_limits_local", "penstock_cache_up", "penstock_ledger_spool_bytes", "penstock_keys_age_seconds"]
    ) == {
        "penstock_limits_local": "0 -> 2",
        "penstock_cache_up": "1 -> 0",
        "penstock_ledger_spool_bytes": "0 -> 1.2e+04",
        "penstock_keys_age_seconds": "1 -> 30",
    }


def gauges(local, up, spool, age):
    return {
        "penstock_limits_local": local,
        "penstock_cache_up": up,
        "penstock_ledger_spool_bytes": spool,
        "penstock_keys_age_seconds": age,
    }


def test_a_metric_that_must_move_is_untold_until_it_has():
    counters = Counters()
    counters.take({"a": gauges(0, 1, 0, 1)})
    assert counters.untold(CATALOGUE["cache-down"].telling) == ["penstock_cache_up"]
    counters.take({"a": gauges(0, 0, 0, 1)})
    assert counters.untold(CATALOGUE["cache-down"].telling) == []
    assert "what degrades is told in metrics" in a_result("cache-down").missed
    assert a_result("cache-down", counters=counters).passed


def test_what_fails_after_the_load_balancer_has_left_a_zone_out_is_counted_apart():
    early = Records(requests=[Request(18.9, 1.0, "", "HTTP 502")], streams=[Stream(19.1, 0.1, 2.0, 9, "", "cut", True)])
    assert a_result(records=early).figures["failed_late"] == 0
    late = Records(requests=[Request(19.1, 1.0, "", "HTTP 502")], streams=[Stream(19.1, None, 0.1, 0, "", "HTTP 502")])
    assert a_result(records=late).figures["failed_late"] == 2


def test_metrics_are_summed_over_their_labels_but_for_the_outcome():
    text = (
        "# TYPE penstock_resumed_streams_total counter\n"
        'penstock_resumed_streams_total{outcome="resumed"} 2\n'
        'penstock_resumed_streams_total{outcome="budget"} 1\n'
        "# TYPE penstock_engines_resting gauge\n"
        'penstock_engines_resting{model="a"} 1\npenstock_engines_resting{model="b"} 2\n'
        "# TYPE process_open_fds gauge\nprocess_open_fds 12\n"
        "# TYPE penstock_ttft_seconds histogram\n"
        'penstock_ttft_seconds_bucket{le="+Inf",model="a"} 3\npenstock_ttft_seconds_count{model="a"} 3\n'
    )
    assert figures_of(text) == {
        f"{RESUMED}{{resumed}}": 2.0,
        f"{RESUMED}{{budget}}": 1.0,
        "penstock_engines_resting": 3.0,
    }


def test_gaps_are_counted_from_a_bound_on():
    gaps = Buckets()
    for seconds in (0.01, 0.19, 0.25, 3.0):
        gaps.add(seconds)
    assert gaps_over(gaps, 0.2) == 2


def test_an_outage_lasts_from_the_first_failure_to_the_end_of_the_last():
    records = Records(requests=[Request(1.0, 0.1, "", "HTTP 502"), Request(5.0, 0.1, ""), Request(6.0, 0.5, "", "x")])
    records.requests.append(Request(8.0, 1.0, "blue", "HTTP 503"))
    assert outage(records, 4.0) == pytest.approx(3.0)
    assert outage(Records(), 0.0) == 0.0


def test_cut_streams_are_not_counted_as_failed_requests_too():
    records = Records(
        requests=[Request(1.0, 0.1, "blue", "HTTP 503"), Request(2.0, 0.1, "", "HTTP 502"), Request(3.0, 0.1, "blue")],
        streams=[Stream(1.0, 0.1, 2.0, 9, "blue", "cut: reset", cut=True), Stream(1.0, None, 0.1, 0, "", "HTTP 502")],
    )
    found = a_result(records=records)
    assert (found.figures["failed"], found.figures["cut"], found.figures["failed_in_gateway"]) == (3, 1, 1)
    assert found.missed == ("no failed request",)
    assert not found.passed


def test_capacity_is_full_where_nothing_is_less_than_before():
    full = Capacity({"blue engines ready": 3, "cache": 1})
    assert Capacity({"blue engines ready": 4, "cache": 1}).covers(full)
    less = Capacity({"blue engines ready": 2})
    assert not less.covers(full)
    assert less.missing(full) == "blue engines ready 2 of 3, cache 0 of 1"


def test_an_unknown_drill_is_refused_with_those_there_are():
    with pytest.raises(RefusedError, match="zone-loss"):
        fault_of("flood")


def test_processes_are_found_by_their_working_folder_and_their_parent(tmp_path):
    folder = tmp_path / "pod"
    folder.mkdir()
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, cwd=folder)
    try:
        assert in_folder(folder) == [process.pid]
        assert in_folder(tmp_path / "po") == []
        assert process.pid in children_of(os.getpid())
    finally:
        process.communicate(b"\n", timeout=10)


def test_the_published_page_is_the_one_of_the_published_results():
    results = table.read(CHECKOUT)
    assert (CHECKOUT / table.PAGE).read_text() == table.page(results)
    assert set(results) <= set(CATALOGUE)


def test_published_results_name_no_machine_and_no_path():
    text = (CHECKOUT / table.RESULTS).read_text()
    assert not re.search(r"/(home|work|root|tmp|Users)/", text)
    for found in json.loads(text).values():
        assert re.fullmatch(r"\d+ cores, \d+ GiB", found["machine"])


def test_a_recorded_result_replaces_the_one_before_and_keeps_the_others(tmp_path):
    (tmp_path / "docs").mkdir()
    table.record(tmp_path, a_result("engine-crash"), "30 requests/s")
    table.record(tmp_path, a_result("zone-loss"), "30 requests/s")
    records = Records(requests=[Request(1.0, 0.1, "", "HTTP 502")])
    table.record(tmp_path, a_result("engine-crash", records=records), "30 requests/s")
    kept = table.read(tmp_path)
    assert list(kept) == ["zone-loss", "engine-crash"], "in the order of the catalogue"
    page = (tmp_path / table.PAGE).read_text()
    assert "| engine-crash | 1 | 0 | 1 | 0 | 0 | 0 | 0 ms | 1.5 s | missed |" in page
    assert "- Missed: no failed request (1)." in page
    assert "1 failed for good (0 answered by a gateway, 1 by the load balancer or nobody)" in page


def test_the_list_of_drills_says_what_each_must_hold():
    done = CliRunner().invoke(cli, ["drill", "list", "--json"])
    listed = json.loads(done.output)
    assert [entry["name"] for entry in listed] == list(CATALOGUE)
    assert "no failed request" in listed[0]["aims"]


def test_a_drill_is_refused_without_a_yes_where_nobody_can_be_asked():
    done = CliRunner().invoke(cli, ["drill", "zone-loss"])
    assert isinstance(done.exception, RefusedError)
    assert "--yes" in str(done.exception)
