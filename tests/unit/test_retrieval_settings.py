"""What a stack file may say of retrieval, and what reaches gateways and database."""

from __future__ import annotations

import copy

import pytest

from app.retrieval.config import RetrievalConfig
from components.migration import MigrationShape, migration_job
from infra.gateway_config import gateway_config
from infra.settings import Settings
from tests.unit.settings_cases import STACKS, VALUES, Values, problems, put

ON = (put("retrieval.enabled", True), put("retrieval.model", "tiny"))


@pytest.mark.parametrize("stack", STACKS)
def test_retrieval_is_off_until_a_stack_names_a_model_for_embeddings(stack: str):
    assert gateway_config(Settings.parse(copy.deepcopy(VALUES[stack])), "blue").retrieval is None


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
