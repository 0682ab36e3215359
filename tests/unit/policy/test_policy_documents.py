"""Every policy document of components/, decided by a real evaluation for allowed and refused calls."""

from __future__ import annotations

import inspect

import pytest

from components import policies
from infra.policy.evaluate import Request, authorise
from tests.unit.policy.document_cases import ACCOUNT, DOCUMENTS, EVERYTHING, KEY, KEY_CASES, KEYS, REGION, Case

PLUMBING = {"document", "dumps"}
NO_IAM_POLICY = {"keep_newest_images"}
"""An ECR lifecycle policy grants nothing."""

ALL = [*DOCUMENTS.items(), *((f"key of {name}", cases) for name, cases in KEY_CASES.items())]


@pytest.mark.parametrize(
    "case", [pytest.param(it, id=f"{name}-{it.action}-{it.allowed}") for name, cases in ALL for it in cases]
)
def test_a_document_decides_as_is_meant(case: Case) -> None:
    assert case.outcome() is case.allowed


def test_every_document_has_an_allowed_and_a_refused_call() -> None:
    public = {name for name, found in inspect.getmembers(policies, inspect.isfunction) if not name.startswith("_")}
    assert DOCUMENTS.keys() == public - PLUMBING - NO_IAM_POLICY, "a new document needs cases in document_cases.py"
    for name, cases in ALL:
        assert {case.allowed for case in cases} == {True, False}, name


def test_every_key_has_cases() -> None:
    assert KEY_CASES.keys() == KEYS.keys(), "a new key needs cases in document_cases.py"


@pytest.mark.parametrize("data_class", KEYS)
def test_no_key_serves_another_account_or_loses_its_administrator(data_class: str) -> None:
    administrator = f"arn:aws:iam::{ACCOUNT}:role/administrator"
    for action in ("kms:PutKeyPolicy", "kms:ScheduleKeyDeletion", "kms:CreateGrant"):
        request = Request(action, KEY, administrator)
        assert authorise(request, identity=[EVERYTHING], resource=[KEYS[data_class]], resource_decides=True)
        for service in ("ec2", "s3", "rds"):
            context = {"kms:CallerAccount": "999999999999", "kms:ViaService": f"{service}.{REGION}.amazonaws.com"}
            foreign = Request(action, KEY, "arn:aws:iam::999999999999:role/administrator", context)
            assert not authorise(foreign, identity=[EVERYTHING], resource=[KEYS[data_class]], resource_decides=True)
