import json
import sys

import openai
import pytest

from infra.settings import Settings
from tests.local.conftest import Platform

pytestmark = pytest.mark.local

QUESTION = "Why do spot nodes need a drain?"


@pytest.fixture
def client(platform: Platform):
    endpoint = platform.endpoint
    with openai.OpenAI(base_url=endpoint.base_url, api_key=endpoint.key, max_retries=0, timeout=90) as found:
        yield found


def test_the_official_client_chats_with_the_printed_url_and_key(client, platform: Platform):
    model = platform.endpoint.models[0]
    answer = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": QUESTION}], max_tokens=16
    )
    assert answer.choices[0].message.content
    assert answer.usage.completion_tokens <= 16
    assert answer.model == model


def test_the_official_client_streams(client, platform: Platform):
    stream = client.chat.completions.create(
        model=platform.endpoint.models[0],
        messages=[{"role": "user", "content": QUESTION}],
        max_tokens=24,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert sum(bool(chunk.choices and chunk.choices[0].delta.content) for chunk in chunks) > 1, "it came in pieces"
    assert chunks[-1].usage is not None
    assert any(chunk.choices and chunk.choices[0].finish_reason for chunk in chunks)


def test_the_official_client_lists_the_models_of_the_stack(client, platform: Platform):
    pipelines = Settings.from_stack_file(platform.stack_file).pipelines.names
    wanted = [*platform.endpoint.models, *(pipeline.name for pipeline in pipelines)]
    assert [model.id for model in client.models.list()] == wanted


def test_a_wrong_key_and_an_unknown_model_are_openai_errors(client, platform: Platform):
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="no-such-model", messages=[{"role": "user", "content": "x"}])
    with (
        openai.OpenAI(base_url=platform.endpoint.base_url, api_key="wrong", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError),
    ):
        stranger.models.list()


def test_the_command_streams_an_answer_in_a_shell_without_the_environment(platform: Platform):
    answer = platform.penstock("chat", QUESTION, "--max-tokens", "12")
    assert answer.stdout.strip()
    by_stack = platform.run(
        "env", "-u", "PENSTOCK_GATEWAY_URL", "-u", "PENSTOCK_API_KEY",
        sys.executable, "-m", "infra.ops.cli", "chat", QUESTION, "--max-tokens", "12", "--json",
    )  # fmt: skip
    content = json.loads(by_stack.stdout)
    assert content["completion_tokens"] <= 12
    assert content["colour"] in ("blue", "green")
    assert content["ttft_seconds"] > 0


def test_the_command_says_what_the_gateway_refused(platform: Platform):
    refused = platform.penstock("chat", "x", "--model", "no-such-model", check=False)
    assert refused.returncode == 1
    assert "The gateway answered 404" in refused.stderr
