"""What a stack file may say of retrieval, and what reaches gateways and database."""

from __future__ import annotations

import copy

import pytest

from app.retrieval.config import RetrievalConfig
from components.migration import MigrationShape, migration_job
from infra.gateway_config import gateway_config
from infra.settings import Settings
from tests.unit.settings_cases import CHECKOUT, STACKS, VALUES, Values, problems, put

ON = (put("retrieval.enabled", True), put("retrieval.model", "tiny"))


@pytest.mark.parametrize("stack", STACKS)
def test_retrieval_the_semantic_cache_and_a_pipeline_are_on_in_every_environment(stack: str):
    settings = Settings.from_stack_file(CHECKOUT / f"Pulumi.{stack}.yaml")
    config = gateway_config(settings, "blue")
    assert (config.retrieval is not None and config.retrieval.model) == "embed"
    assert config.cache.semantic_cache is not None
    assert (config.cache.enabled, config.cache.semantic_cache.model) == (True, "embed")
    (answer,) = config.pipelines.pipelines
    assert [step.kind for step in answer.steps][-5:] == ["retrieve", "prompt", "model", "validate", "model"]
    makers = [model.name for model in (*settings.models, *settings.outside_models) if model.makes_embeddings]
    assert makers == ["embed"]


def test_retrieval_is_off_where_a_stack_says_so():
    assert gateway_config(Settings.parse(copy.deepcopy(VALUES["local"])), "blue").retrieval is None


def test_an_outside_model_for_chats_is_refused_as_one_for_embeddings():
    def chats(values: Values) -> None:
        values["outsideModels"][0] |= {"upstream": "amazon.nova-pro-v1:0", "embeddingDimensions": None}

    found = problems(chats, "dev")
    assert "makes no embeddings (its embeddingDimensions is null)" in found["retrieval.model"]
    assert "is no model of this stack" in found["gateway.cache.semantic.model"]


@pytest.mark.parametrize(
    ("upstream", "size", "said"),
    [
        ("amazon.titan-embed-text-v2:0", 1536, "1536 is not allowed; allowed: 256, 512, 1024"),
        ("amazon.titan-embed-text-v2:0", None, "makes embeddings; allowed: 256, 512, 1024"),
        ("amazon.nova-pro-v1:0", 1024, "is asked for chats alone"),
    ],
)
def test_dimensions_that_a_model_does_not_make_are_refused_at_preview(upstream: str, size: int | None, said: str):
    def other(values: Values) -> None:
        values["outsideModels"][0] |= {"upstream": upstream, "embeddingDimensions": size}

    assert said in problems(other, "prod")["outsideModels[0].embeddingDimensions"]


def test_the_settings_of_retrieval_reach_the_gateways():
    values: Values = copy.deepcopy(VALUES["local"])
    for edit in (*ON, put("retrieval.chunkTokens", 100), put("retrieval.maxDocumentMib", 2)):
        edit(values)
    assert gateway_config(Settings.parse(values), "green").retrieval == RetrievalConfig(
        model="tiny", chunk_tokens=100, max_document_bytes=2 * 2**20
    )


def test_a_model_that_the_stack_lacks_is_refused():
    def large(values: Values) -> None:
        values["retrieval"].update(enabled=True, model="large")

    assert problems(ON[0])["retrieval.model"] == "is null; allowed: tiny"
    assert problems(large)["retrieval.model"] == "large is no model of this stack; allowed: tiny"
    assert "half of chunkTokens" in problems(put("retrieval.overlapTokens", 200))["retrieval.overlapTokens"]


@pytest.mark.parametrize("wanted", [True, False])
def test_the_migration_makes_the_tables_of_retrieval_where_it_is_on(wanted: bool):
    shape: MigrationShape = {
        "database_address": "db:5432",
        "database_tls": "prefer",
        "owner_secret_arn": "arn",
        "login_secret": "s",
        "keep_days": 5,
        "semantic_cache": False,
        "retrieval": wanted,
    }
    job = migration_job(shape, namespace="n", image="i", pool="system")
    assert ("--retrieval" in job["spec"]["template"]["spec"]["containers"][0]["args"]) is wanted
