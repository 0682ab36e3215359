"""The load's client tries again when, and as late as, OpenAI's own does."""

from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai._base_client import FinalRequestOptions

from infra.ops.drill.catalogue import PROMISED_SECONDS
from infra.ops.drill.run import CLIENT_RETRIES
from infra.ops.load import retry

MOST_RETRIES = 9
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "x-should-retry": st.sampled_from(["true", "false", "perhaps"]),
        "retry-after": st.sampled_from(["0", "1", "7.5", "119", "121", "nan", "inf", "-3", "soon"]),
        "retry-after-ms": st.sampled_from(["0", "250", "90000", "130000", "never"]),
    },
)
"""Without dates, which the load's client does not read."""


@pytest.fixture(scope="module")
def official() -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url="http://127.0.0.1:9/v1", api_key="none", max_retries=MOST_RETRIES) as client:
        yield client


@given(status=st.sampled_from([400, 401, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504]), headers=HEADERS)
def test_the_same_answers_are_asked_for_again(official: Any, status: int, headers: dict[str, str]):
    assert retry.worth_it(status, headers) == official._should_retry(httpx2.Response(status, headers=headers))


@given(tried=st.integers(0, MOST_RETRIES), headers=HEADERS, chance=st.floats(0, 1))
def test_the_pauses_are_the_same(official: Any, tried: int, headers: dict[str, str], chance: float):
    options = FinalRequestOptions.construct(method="post", url="/chat/completions")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("openai._base_client.random", lambda: chance)
        theirs = official._calculate_retry_timeout(MOST_RETRIES - tried, options, httpx2.Headers(headers))
    assert retry.pause(tried, headers, chance) == pytest.approx(theirs)


def test_a_client_that_was_told_nothing_tries_as_often_as_theirs():
    assert retry.USUAL_RETRIES == openai.DEFAULT_MAX_RETRIES


@given(st.floats(0.01, 60))
def test_the_last_of_the_retries_comes_after_the_outage_and_the_one_before_it_may_not(outage: float):
    retries = retry.retries_for(outage)
    shortest = [retry.pause(tried, {}, 1.0) for tried in range(retries)]
    assert sum(shortest) >= outage > sum(shortest[:-1])


def test_the_client_of_the_drills_outlasts_what_a_load_balancer_needs_to_leave_out_what_is_gone():
    assert retry.retries_for(PROMISED_SECONDS) == CLIENT_RETRIES == 6
