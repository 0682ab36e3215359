"""What the run over many requests makes of its readings."""

from __future__ import annotations

import pytest

from bench.gateway.memory import growth
from bench.gateway.runner import Failed


def test_growth_is_between_the_halves_after_the_warm_up():
    seen = [(10, 30.0), (50, 55.0), (60, 56.0), (70, 55.5), (80, 56.2), (100, 57.5)]
    assert growth(seen) == pytest.approx(1.5)


def test_what_shrinks_has_no_growth():
    assert growth([(50, 56.0), (60, 55.0)]) == -1.0


def test_too_few_readings_are_no_measurement():
    with pytest.raises(Failed, match="only 60"):
        growth([(60, 1.0)])
    with pytest.raises(Failed, match="only 0"):
        growth([])
