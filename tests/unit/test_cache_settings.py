"""What a stack file may say of the caches, and what reaches gateways and database."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from app.gateway.cache.settings import CacheConfig, CachePolicy, SemanticCache
from components.migration import MigrationShape, migration_job
from infra.gateway_config import gateway_config
from infra.settings import Settings
from infra.settings import gateway as shapes
from tests.unit.settings_cases import STACKS, VALUES, Values, problems, put

POLICY = {"exact": None, "sampled": None, "tools": None, "semantic": True, "ttlSeconds": None}
SEMANTIC = {
    "model": "tiny",
    "everywhere": False,
    "threshold": 0.96,
    "guard": "words",
    "lookupSeconds": 0.2,
    "ttlSeconds": 60,
    "maxAnswers": 10,
}


def config(*edits: Any, stack: str = "local") -> CacheConfig:
    values: Values = copy.deepcopy(VALUES[stack])
    for edit in edits:
        edit(values)
    return gateway_config(Settings.parse(values), "blue").cache


@pytest.mark.parametrize("stack", STACKS)
def test_each_stack_says_whether_answers_are_kept(stack: str):
    found = config(stack=stack)
    assert found.enabled
    assert found.sampled == "asked"
    # Nowhere unless a model or a tenant asks for it: a miss waits for an embedding. The cases leave it out of local.
    assert found.semantic is False
    assert (found.semantic_cache is not None and found.semantic_cache.guard == "strict") is (stack != "local")


def test_stack_files_and_gateway_have_the_same_keys():
    assert set(shapes.CachePolicy.model_fields) == set(CachePolicy.model_fields)
    assert set(shapes.SemanticCache.model_fields) - {"everywhere"} == set(SemanticCache.model_fields)


def test_the_settings_reach_the_gateways():
    found = config(
        put("gateway.cache.maxMemoryPercent", 30),
        put("gateway.cache.lookupSeconds", 0.01),
        put("gateway.cache.maxRequestKib", 64),
        put("gateway.cache.maxAnswerKib", 32),
        put("gateway.cache.semantic", SEMANTIC),
        put("gateway.cache.models.tiny", POLICY | {"ttlSeconds": 5}),
        put("gateway.cache.tenants.acme", POLICY | {"exact": False}),
    )
    assert found.max_memory_share == 0.3
    assert (found.lookup_seconds, found.max_request_bytes, found.max_answer_bytes) == (0.01, 65_536, 32_768)
    assert found.semantic is False
    assert found.semantic_cache == SemanticCache(
        model="tiny", threshold=0.96, guard="words", lookup_seconds=0.2, ttl_seconds=60, max_answers=10
    )
    assert found.models["tiny"] == CachePolicy(semantic=True, ttl_seconds=5)
    assert found.tenants["acme"].exact is False


@pytest.mark.parametrize("path", ["release.blue.engineImage", "models.0.source"])
def test_other_engines_or_weights_begin_with_an_empty_cache(path: str):
    assert config(put(path, "another")).revisions != config().revisions


def test_another_colours_engines_do_not():
    assert config(put("release.green.engineImage", "another")).revisions == config().revisions


def test_what_no_model_of_the_stack_can_do_is_refused():
    found = problems(
        lambda values: values["gateway"]["cache"].update(
            models={"large": POLICY}, tenants={"acme": POLICY}, semantic=None
        )
    )
    assert found["gateway.cache.models.large"] == "is no model of this stack; allowed: tiny"
    assert "gateway.cache.semantic is null" in found["gateway.cache.tenants.acme.semantic"]
    found = problems(put("gateway.cache.semantic", SEMANTIC | {"model": "large"}))
    assert "large is no model of this stack" in found["gateway.cache.semantic.model"]


@pytest.mark.parametrize("semantic", [True, False])
def test_the_database_gets_tables_for_it_only_where_it_is_on(semantic: bool):
    shape: MigrationShape = {
        "database_address": "db:5432",
        "database_tls": "prefer",
        "owner_secret_arn": "arn",
        "login_secret": "s",
        "keep_days": 5,
        "semantic_cache": semantic,
    }
    job = migration_job(shape, namespace="n", image="i", pool="system")
    assert ("--semantic-cache" in job["spec"]["template"]["spec"]["containers"][0]["args"]) is semantic
