"""Who may write versions of models, and under which conditions."""

import json

import pytest
from click.testing import CliRunner

from components import policies, registry_policies
from infra.ops.cli import cli
from infra.ops.context import Context
from infra.ops.registry.manifest import manifest_key, pointers_key, prefix, records_prefix
from tests.unit.policy.document_cases import BUCKET, EVERYTHING, KEY, ROLE, Case

POLICY = registry_policies.weights_bucket(BUCKET)
READER = registry_policies.read_models(BUCKET, KEY)
VALIDATOR = registry_policies.validate_models(BUCKET, KEY)
REGISTRAR = registry_policies.keep_models(BUCKET, KEY)
ENGINE = policies.read_weights(BUCKET, KEY)
DIGEST = "sha256-" + "ab" * 32
WEIGHTS, LOOSE = f"{BUCKET}/{prefix('tiny', DIGEST)}model.safetensors", f"{BUCKET}/tiny/2026-10-01/model.safetensors"
MANIFEST, RECORD = f"{BUCKET}/{manifest_key('tiny', DIGEST)}", f"{BUCKET}/{records_prefix('tiny', DIGEST)}1.json"
POINTERS = f"{BUCKET}/{pointers_key('tiny')}"
TLS = {"aws:SecureTransport": "true"}
PUT = TLS | {"s3:ObjectCreationOperation": "true"}
NEW, SAME = PUT | {"s3:if-none-match": "*"}, PUT | {"s3:if-match": "etag"}
PART = TLS | {"s3:ObjectCreationOperation": "false"}


def by_anyone(allowed: bool, resource: str, context: dict, action: str = "s3:PutObject") -> Case:
    """Under the bucket's policy, by somebody whose own policies allow everything."""
    return Case(allowed, POLICY, action, resource, ROLE, context, True, identity=(EVERYTHING,))


@pytest.mark.parametrize(
    "case",
    [
        by_anyone(True, WEIGHTS, NEW),
        by_anyone(False, WEIGHTS, PUT),
        by_anyone(False, WEIGHTS, SAME),
        by_anyone(True, WEIGHTS, PART),
        by_anyone(True, LOOSE, PUT),
        by_anyone(False, LOOSE, PUT | {"aws:SecureTransport": "false"}),
        by_anyone(True, RECORD, NEW),
        by_anyone(False, RECORD, SAME),
        by_anyone(True, MANIFEST, NEW),
        by_anyone(True, MANIFEST, SAME),
        by_anyone(False, MANIFEST, PUT),
        by_anyone(True, POINTERS, SAME),
        by_anyone(False, POINTERS, PUT),
        by_anyone(True, WEIGHTS, TLS, "s3:DeleteObject"),
    ],
)
def test_versions_and_records_are_written_once_and_nothing_is_overwritten_unread(case: Case):
    assert case.outcome() is case.allowed


@pytest.mark.parametrize(
    ("document", "action", "resource", "allowed"),
    [
        (READER, "s3:GetObject", RECORD, True),
        (READER, "s3:GetObject", WEIGHTS, False),
        (READER, "s3:PutObject", RECORD, False),
        (VALIDATOR, "s3:PutObject", RECORD, True),
        (VALIDATOR, "s3:PutObject", MANIFEST, False),
        (VALIDATOR, "s3:PutObject", POINTERS, False),
        (VALIDATOR, "s3:PutObject", WEIGHTS, False),
        (VALIDATOR, "s3:DeleteObject", RECORD, False),
        (REGISTRAR, "s3:PutObject", WEIGHTS, True),
        (REGISTRAR, "s3:PutObject", MANIFEST, True),
        (REGISTRAR, "s3:DeleteObject", MANIFEST, True),
        (REGISTRAR, "s3:GetObject", RECORD, True),
        (REGISTRAR, "s3:PutObject", RECORD, False),
        (REGISTRAR, "s3:DeleteObject", RECORD, False),
        (REGISTRAR, "s3:PutObject", LOOSE, False),
        (ENGINE, "s3:GetObject", WEIGHTS, True),
        (ENGINE, "s3:GetObject", RECORD, False),
        (ENGINE, "s3:GetObject", MANIFEST, False),
    ],
)
def test_who_adds_versions_cannot_say_that_they_are_good_and_who_evaluates_cannot_add(
    document: dict, action: str, resource: str, allowed: bool
):
    assert Case(allowed, document, action, resource).outcome() is allowed


@pytest.mark.parametrize("role", ["registrar", "validator", "reader"])
def test_the_command_prints_a_role_for_the_stacks_own_account_and_keys_through_s3_alone(role: str):
    result = CliRunner().invoke(cli, ["policy", "models", "--stack", "prod", "--role", role, "--json"], obj=Context())
    (document,) = json.loads(result.stdout)
    keys = [each for each in document["Statement"] if ":kms:" in str(each["Resource"])]
    assert keys
    assert all("kms:ViaService" in each["Condition"]["StringEquals"] for each in keys)
    assert "*" not in [each["Resource"] for each in document["Statement"]]
