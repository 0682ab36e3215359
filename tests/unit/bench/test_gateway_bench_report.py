"""The page that the benchmark writes."""

from __future__ import annotations

from bench.gateway.report import Facts, Measured, StreamsHeld, aims, noise_line, page

FACTS = Facts("2026-11-21", "Some CPU, 2 cores", "3.11.7", "abc1234", 2, 300.0, True, True, 1.5, False)


def measured(name: str, json_us: float, **more: object) -> Measured:
    one = Measured(name, name.title(), "1.0", "passes on", cpu={"json": [json_us, json_us * 1.2]})
    for field, value in more.items():
        setattr(one, field, value)
    return one


def own(**more: object) -> Measured:
    return measured(
        "penstock",
        50.0,
        **{
            "event": [12.0],
            "ratio": {"json": [0.45], "sse": [0.7]},
            "added": {"json-low": [(0.4, 1.0), (0.6, 3.0)], "sse-low": [(0.3, 0.9)]},
            "memory_mb": [60.0],
            "start_seconds": [0.4],
        }
        | more,
    )


def found(*others: Measured) -> dict[str, bool | None]:
    return {aim.text: aim.met for aim in aims([own(), *others])}


def test_an_aim_is_met_missed_or_not_measured():
    result = found(measured("envoy", 66.0, ratio={"json": [0.3]}), measured("litellm", 9000.0, ratio={"json": [0.002]}))
    assert result["JSON capacity against nginx"] is True
    assert result["JSON capacity against Envoy"] is True
    assert result["JSON capacity against LiteLLM"] is True
    assert result["SSE capacity against nginx"] is False
    assert result["added p50, JSON, low load"] is True
    assert result["added p99, JSON, low load"] is False
    assert result["JSON capacity against the production-stack router"] is None


def test_without_the_own_gateway_no_aim_is_measured():
    assert {aim.met for aim in aims([measured("nginx", 20.0)])} == {None}


def test_missed_aims_are_said_under_their_table():
    text = page(FACTS, [own()], {}, [], {})
    assert "2 of 12 aims are missed: SSE capacity against nginx; added p99, JSON, low load." in text
    assert "| SSE capacity against nginx | at least 0.8 | 0.70 | **missed** |" in text
    assert "Not measured: JSON capacity against Envoy;" in text


def test_a_missing_gateway_is_listed_with_its_reason():
    text = page(FACTS, [own()], {"HAProxy": "no apt-get"}, [], {})
    assert "- HAProxy: missing, no apt-get\n" in text
    assert "None is missing." in page(FACTS, [own()], {}, [], {})


def test_void_runs_are_listed():
    assert "- Penstock: SSE: void: 3 errs\n" in page(FACTS, [own(faults=["SSE: void: 3 errs"])], {}, [], {})


def test_the_reference_has_a_share_of_one_and_unknown_figures_a_dash():
    text = page(FACTS, [measured("nginx", 20.0)], {}, [], {})
    assert "| Nginx | 45,455 | 22.0 | - | - | - | 1.00 | 1.00 | 1.00 | 1.00 |" in text


def test_idle_streams_are_given_as_reached_and_wanted():
    text = page(FACTS, [own()], {}, [StreamsHeld("Penstock", 10_000, 9_900, 250.0, 21.0, 0.012)], {})
    assert "| Penstock | 9,900 of 10,000 | 250 | 21.0 | 1.2 |" in text


def test_two_processes_are_compared_with_one():
    assert "| 2 | 50.0 | 0.80 |" in page(FACTS, [own()], {}, [], {1: 40.0, 2: 50.0})


def test_the_page_says_machine_date_version_noise_and_method():
    text = page(FACTS, [own()], {}, [], {})
    for part in ("2026-11-21", "Some CPU, 2 cores", "abc1234", "schedstat", "SCHED_FIFO", "Medians of 2 rounds"):
        assert part in text
    assert "Penstock ±9 %" in noise_line([own()])


def test_a_quick_run_and_a_single_core_are_said():
    quick = Facts("2026-11-21", "CPU", "3.11", "a", 1, 60.0, False, False, 0.5, True)
    text = page(quick, [own()], {}, [], {})
    assert "quick run" in text
    assert "one core: the load ran beside the gateway" in text
    assert "without real-time scheduling" in text
    assert "1 round " in text


def test_the_page_shows_whether_memory_grew_over_many_requests():
    seen = [(number * 1000, 50.0 + (number >= 15)) for number in range(1, 31)]
    text = page(FACTS, [own()], {}, [], {}, seen)
    assert "| 1,000 | 50.0 |" in text
    assert "| 30,000 | 51.0 |" in text
    assert "Grown by 0.00 MB" in text, "what came before the second half is in both"
    assert "Grown by 1.00 MB" in page(FACTS, [own()], {}, [], {}, [(n * 1000, 50.0 + (n > 20)) for n in range(1, 31)])
    assert "Not measured." in page(FACTS, [own()], {}, [], {})
