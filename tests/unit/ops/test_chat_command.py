import json

import pytest
from click.testing import CliRunner, Result

from infra.ops.cli import cli
from infra.ops.endpoint import Endpoint, GatewayError, from_outputs, wait_until_ready
from infra.ops.errors import NotRunningError, PenstockError, UsageError


@pytest.fixture
def chat(gateway):
    def run(*arguments: str, stdin: str | None = None) -> Result:
        environment = {"PENSTOCK_GATEWAY_URL": gateway.url, "PENSTOCK_API_KEY": "test-key"}
        return CliRunner().invoke(cli, ["chat", *arguments], env=environment, input=stdin)

    return run


def test_an_answer_is_streamed_to_standard_output(chat, gateway):
    result = chat("hello", "--max-tokens", "9", "--system", "be short")
    assert result.exit_code == 0, result.output
    assert result.stdout == "t0 t1 t2 \n"
    assert gateway.requests[0]["messages"] == [
        {"role": "system", "content": "be short"},
        {"role": "user", "content": "hello"},
    ]
    assert gateway.requests[0]["max_tokens"] == 9
    assert gateway.requests[0]["model"] == "tiny", "without --model the gateway's first one is asked"


def test_a_whole_answer_is_asked_for_without_stream(chat, gateway):
    assert chat("hello", "--no-stream").stdout == "whole\n"
    assert "stream" not in gateway.requests[0]


def test_a_prompt_may_come_from_standard_input(chat, gateway):
    assert chat("-", stdin="from a pipe").exit_code == 0
    assert gateway.requests[0]["messages"][0]["content"] == "from a pipe"


def test_json_has_text_usage_and_colour(chat):
    answer = json.loads(chat("hello", "--json").stdout)
    assert answer["text"] == "t0 t1 t2 "
    assert (answer["prompt_tokens"], answer["completion_tokens"], answer["colour"]) == (5, 3, "blue")
    assert 0 <= answer["ttft_seconds"] <= answer["total_seconds"]


def test_a_refusal_is_shown_with_the_gateways_reason(chat, gateway):
    gateway.status = 503
    result = chat("hello")
    assert isinstance(result.exception, GatewayError)
    assert "answered 503: No engine is ready." in str(result.exception)


def test_a_stream_without_its_end_is_an_error(chat, gateway):
    gateway.stream = lambda: [b'data: {"choices":[{"delta":{"content":"half"}}]}\n\n']
    result = chat("hello")
    assert result.stdout == "half", "what came is shown"
    assert "cut" in str(result.exception)


def test_an_error_event_inside_a_stream_is_an_error(chat, gateway):
    gateway.stream = lambda: [b'data: {"error":{"message":"engine lost"}}\n\ndata: [DONE]\n\n']
    assert "engine lost" in str(chat("hello").exception)


def test_an_empty_prompt_is_wrong_usage(chat):
    assert isinstance(chat("  ").exception, UsageError)


def test_a_url_without_a_key_is_wrong_usage():
    result = CliRunner().invoke(cli, ["chat", "x", "--url", "http://127.0.0.1:1"], env={"PENSTOCK_API_KEY": ""})
    assert isinstance(result.exception, UsageError)


def test_a_gateway_that_is_not_there_ends_in_a_sentence():
    with pytest.raises(GatewayError, match=r"The gateway at http://127\.0\.0\.1:9 did not answer"):
        wait_until_ready(Endpoint("http://127.0.0.1:9", "k"), seconds=0)


def test_outputs_without_a_gateway_mean_that_nothing_is_deployed():
    with pytest.raises(NotRunningError, match="apiKey"):
        from_outputs({"gatewayUrl": "http://127.0.0.1:8080"})
    assert issubclass(NotRunningError, PenstockError)


def test_the_base_url_has_one_version_and_the_key_is_not_in_the_representation():
    endpoint = from_outputs({"gatewayUrl": "http://127.0.0.1:8080/v1/", "apiKey": "hidden", "models": ["tiny"]})
    assert endpoint.base_url == "http://127.0.0.1:8080/v1"
    assert "hidden" not in repr(endpoint)
