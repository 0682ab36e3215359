"""`/metrics` of the simulated engine: counters, gauges and histograms in Prometheus' text format, without a library.

Hot paths touch a plain dict entry or a list cell; all text is made when somebody scrapes.
"""

from __future__ import annotations

import gc
import math
import os
import resource
import sys
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from pathlib import Path

from app.engine import families
from app.engine.families import CACHE_CONFIG, ENGINE, HTTP_COARSE, HTTP_FINE, HTTP_HELP, one_two_five

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Histogram:
    """Counts per bucket (`edges` plus +Inf), not cumulated, and the sum."""

    __slots__ = ("counts", "created", "edges", "total")

    def __init__(self, edges: tuple[float, ...], created: float) -> None:
        self.edges = edges
        self.counts = [0] * (len(edges) + 1)
        self.total = 0.0
        self.created = created

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.edges, value)] += 1
        self.total += value

    def lines(self, name: str, labels: Mapping[str, str]) -> Iterable[str]:
        count = 0
        for edge, here in zip((*self.edges, math.inf), self.counts, strict=True):
            count += here
            yield f"{name}_bucket{_labels({**labels, 'le': number(edge)})} {number(count)}"
        yield f"{name}_count{_labels(labels)} {number(count)}"
        yield f"{name}_sum{_labels(labels)} {number(self.total)}"


class Metrics:
    """`values[(family, label value)]` holds counters and gauges; a family without a label of its own has ''.

    `now` is the wall clock's time at the start, in seconds: the `_created` series.
    """

    def __init__(self, model: str, max_model_len: int, now: float, cache_config: Mapping[str, str]) -> None:
        self._base = {"engine": "0", "model_name": model}
        self._started = now
        self._cache_config = {**CACHE_CONFIG, **cache_config}
        self.values: dict[tuple[str, str], float] = {}
        self.histograms: dict[str, Histogram] = {}
        for kind, name, _, detail in ENGINE:
            if kind == "histogram":
                edges = one_two_five(max_model_len) if detail == families.TOKENS else detail
                assert isinstance(edges, tuple)  # noqa: S101  (the table's own form)
                self.histograms[name] = Histogram(edges, now)
            else:
                for _, value in _own_labels(detail):
                    self.values[name, value] = 0.0
        self.values["engine_sleep_state", "awake"] = 1.0
        self._http: dict[tuple[str, str, str], list[float]] = {}
        self._sizes: dict[str, list[float]] = {}
        self._durations: dict[tuple[str, str], Histogram] = {}
        self._fine = Histogram(HTTP_FINE, now)

    def add(self, family: str, label: str = "", by: float = 1.0) -> None:
        self.values[family, label] += by

    def http(self, handler: str, method: str, status: int, sizes: tuple[int, int], seconds: float, now: float) -> None:
        """One answered request. `sizes`: content lengths in and out, bytes, 0 for none. `now` as in the constructor."""
        counter = self._http.setdefault((handler, method, f"{status // 100}xx"), [0.0, now])
        counter[0] += 1
        size = self._sizes.setdefault(handler, [0.0, 0.0, 0.0, now])
        size[0] += 1
        size[1] += sizes[0]
        size[2] += sizes[1]
        if (handler, method) not in self._durations:
            self._durations[handler, method] = Histogram(HTTP_COARSE, now)
        self._durations[handler, method].observe(seconds)
        self._fine.observe(seconds)

    def render(self) -> str:
        """The whole page. The caller has set the gauges."""
        lines = [*_python_lines(), *_process_lines(self._started)]
        for kind, name, text, detail in ENGINE:
            if kind == "histogram":
                full = f"vllm:{name}"
                lines += _head(full, text, "histogram")
                lines += self.histograms[name].lines(full, self._base)
                lines += _head(f"{full}_created", text, "gauge")
                lines.append(f"{full}_created{_labels(self._base)} {number(self._started)}")
                continue
            base = dict(self._base)
            if _without_engine(detail):
                del base["engine"]
            full = f"vllm:{name}_total" if kind == "counter" else f"vllm:{name}"
            lines += _head(full, text, kind)
            series = [({**base, **own}, self.values[name, value]) for own, value in _own_labels(detail)]
            lines += [f"{full}{_labels(labels)} {number(value)}" for labels, value in series]
            if kind == "counter":
                lines += _head(f"vllm:{name}_created", text, "gauge")
                lines += [f"vllm:{name}_created{_labels(labels)} {number(self._started)}" for labels, _ in series]
        lines += _head("vllm:cache_config_info", "Information of the LLMEngine CacheConfig", "gauge")
        lines.append(f"vllm:cache_config_info{_labels(self._cache_config)} 1.0")
        lines += self._http_lines()
        return "\n".join(lines) + "\n"

    def _http_lines(self) -> list[str]:
        text = HTTP_HELP["http_requests"]
        requests = [
            (_labels({"handler": handler, "method": method, "status": status}), counter)
            for (handler, method, status), counter in self._http.items()
        ]
        lines = _head("http_requests_total", text, "counter")
        lines += [f"http_requests_total{labels} {number(counter[0])}" for labels, counter in requests]
        lines += _head("http_requests_created", text, "gauge")
        lines += [f"http_requests_created{labels} {number(counter[1])}" for labels, counter in requests]
        for name, column in (("http_request_size_bytes", 1), ("http_response_size_bytes", 2)):
            text = HTTP_HELP[name]
            lines += _head(name, text, "summary")
            for handler, size in self._sizes.items():
                labels = _labels({"handler": handler})
                lines.append(f"{name}_count{labels} {number(size[0])}")
                lines.append(f"{name}_sum{labels} {number(size[column])}")
            lines += _head(f"{name}_created", text, "gauge")
            for handler, size in self._sizes.items():
                lines.append(f"{name}_created{_labels({'handler': handler})} {number(size[3])}")
        name = "http_request_duration_highr_seconds"
        lines += [*_head(name, HTTP_HELP[name], "histogram"), *self._fine.lines(name, {})]
        lines += [*_head(f"{name}_created", HTTP_HELP[name], "gauge"), f"{name}_created {number(self._fine.created)}"]
        name = "http_request_duration_seconds"
        lines += _head(name, HTTP_HELP[name], "histogram")
        for (handler, method), histogram in self._durations.items():
            lines += histogram.lines(name, {"handler": handler, "method": method})
        lines += _head(f"{name}_created", HTTP_HELP[name], "gauge")
        for (handler, method), histogram in self._durations.items():
            labels = _labels({"handler": handler, "method": method})
            lines.append(f"{name}_created{labels} {number(histogram.created)}")
        return lines


def number(value: float) -> str:
    """A value as Go prints floats, which the exposition format follows: 1.0, 1.7952479e+09, +Inf."""
    value = float(value)
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if 1e6 <= value < 1e16:
        digits = repr(value).replace(".", "").rstrip("0")
        exponent = repr(value).index(".") - 1
        return f"{digits[0]}.{digits[1:]}e+{exponent:02d}" if len(digits) > 1 else f"{digits}e+{exponent:02d}"
    return repr(value)


def _own_labels(detail: object) -> list[tuple[dict[str, str], str]]:
    """(label and value, value) of each series that a family has; ({}, '') where it has no label of its own."""
    if not isinstance(detail, tuple):
        return [({}, "")]
    own = [(label, values) for label, values in detail if values]
    if not own:
        return [({}, "")]
    label, values = own[0]
    return [({label: value}, value) for value in values]


def _without_engine(detail: object) -> bool:
    return isinstance(detail, tuple) and ("engine", ()) in detail


def _head(name: str, text: str, kind: str) -> list[str]:
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    escaped = (
        (name, value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\""))
        for name, value in sorted(labels.items())
    )
    return "{" + ",".join(f'{name}="{value}"' for name, value in escaped) + "}"


def _python_lines() -> list[str]:
    lines: list[str] = []
    for name, text, key in (
        ("python_gc_objects_collected_total", "Objects collected during gc", "collected"),
        ("python_gc_objects_uncollectable_total", "Uncollectable objects found during GC", "uncollectable"),
        ("python_gc_collections_total", "Number of times this generation was collected", "collections"),
    ):
        lines += _head(name, text, "counter")
        for generation, stats in enumerate(gc.get_stats()):
            lines.append(f'{name}{{generation="{generation}"}} {number(stats[key])}')
    version = sys.version_info
    info = {
        "implementation": "CPython", "major": str(version.major), "minor": str(version.minor),
        "patchlevel": str(version.micro), "version": f"{version.major}.{version.minor}.{version.micro}",
    }  # fmt: skip
    return [*lines, *_head("python_info", "Python platform information", "gauge"), f"python_info{_labels(info)} 1.0"]


def _process_lines(started: float) -> list[str]:
    pages = Path("/proc/self/statm").read_text().split()
    page = resource.getpagesize()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    descriptors = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  (a count, on the scrape's path)
    rows = (
        ("process_virtual_memory_bytes", "Virtual memory size in bytes.", "gauge", int(pages[0]) * page),
        ("process_resident_memory_bytes", "Resident memory size in bytes.", "gauge", int(pages[1]) * page),
        ("process_start_time_seconds", "Start time of the process since unix epoch in seconds.", "gauge", started),
        ("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", "counter",
         usage.ru_utime + usage.ru_stime),
        ("process_open_fds", "Number of open file descriptors.", "gauge", descriptors),
        ("process_max_fds", "Maximum number of open file descriptors.", "gauge",
         resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
    )  # fmt: skip
    return [line for name, text, kind, value in rows for line in (*_head(name, text, kind), f"{name} {number(value)}")]
