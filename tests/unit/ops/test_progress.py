import io
import time

import pytest

from infra.ops.progress import Progress, duration


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_piped_progress_is_plain_lines_without_colours():
    out, clock = io.StringIO(), Clock()
    progress = Progress(out, clock=clock)
    with progress.step("Building pulumi", 195):
        clock.now = 3
        progress.detail("not yet")
        clock.now = 12
        progress.detail("compiling\n  engine")
        clock.now = 13
        progress.detail("too soon after the last")
        progress.say("a note")
        clock.now = 200
    assert out.getvalue() == (
        "Building pulumi (about 3 min 15 s) ...\n"
        "  Building pulumi: 12 s of about 3 min 15 s | compiling engine\n"
        "a note\n"
        "Building pulumi: done in 3 min 20 s\n"
    )


def test_a_step_that_fails_says_so():
    out = io.StringIO()
    with pytest.raises(ValueError, match="x"), Progress(out).step("Work"):
        raise ValueError("x")
    assert "Work: failed after 0.0 s" in out.getvalue()


def test_a_terminal_gets_one_line_that_is_redrawn(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    out, clock = Terminal(), Clock()
    progress = Progress(out, clock=clock)
    with progress.step("Work", 5):
        clock.now = 2
        progress.say("a note")
    text = out.getvalue()
    assert "\r\x1b[2K" in text
    assert "Work: 2.0 s of about 5.0 s" in text
    assert text.endswith("Work: \x1b[32mdone in\x1b[0m 2.0 s\n")


def test_no_color_is_respected_on_a_terminal(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    with Progress(out).step("Work"):
        pass
    assert "\x1b[3" not in out.getvalue()


def test_a_step_inside_a_step_returns_to_the_outer_one():
    out = io.StringIO()
    progress = Progress(out)
    with progress.step("outer"), progress.step("inner"):
        pass
    assert out.getvalue().splitlines() == [
        "outer ...",
        "inner ...",
        "inner: done in 0.0 s",
        "outer: done in 0.0 s",
    ]


def test_a_reader_that_has_gone_does_not_stop_the_work():
    out = io.StringIO()
    progress = Progress(out)
    with progress.step("Work"):
        out.close()
        progress.say("nobody reads this")


def test_quiet_progress_says_nothing():
    out = io.StringIO()
    with Progress(out, quiet=True).step("Work"):
        pass
    assert out.getvalue() == ""


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s")]
)
def test_durations_read_well(seconds, text):
    assert duration(seconds) == text


def test_a_log_hears_of_long_work_now_and_then_even_where_nothing_is_new(monkeypatch):
    monkeypatch.setattr("infra.ops.progress.PLAIN_REPEAT_SECONDS", 0.02)
    out = io.StringIO()
    progress = Progress(out)
    with progress.step("Deploying"):
        progress.detail("Deployment engine: 1 of 3 pods are ready")
        deadline = time.monotonic() + 10
        while out.getvalue().count("  Deploying: ") < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
    said = out.getvalue().splitlines()
    assert sum(line.endswith("| Deployment engine: 1 of 3 pods are ready") for line in said) >= 3
    assert said[-1].startswith("Deploying: done in")
