"""Replies recorded from vLLM 0.32.0, and what a client gets for them."""

from __future__ import annotations

import pytest

from app.gateway import retry
from app.gateway.errors import normalise, parse_engine_error

MISSING = (
    b"{\"error\":{\"message\":\"1 validation error:\\n  {'type': 'missing', 'loc': 'body.messages', 'msg': "
    b'\'Field required\', \'input\': \'<dict of 1 items>\'}","type":"Bad Request","param":"body.messages","code":400}}'
)
BAD_JSON = (
    b"{\"error\":{\"message\":\"1 validation error:\\n  {'type': 'json_invalid', 'loc': 'body.9', 'msg': "
    b'\'JSON decode error\', \'input\': \'<dict of 0 items>\'}","type":"Bad Request","param":"body.9","code":400}}'
)
TOO_LONG = (
    b'{"error":{"message":"max_tokens=999999 cannot be greater than max_model_len=2048. Please request fewer output '
    b'tokens.","type":"BadRequestError","param":"max_tokens","code":400}}'
)
NO_MODEL = (
    b'{"error":{"message":"The model `nope` does not exist. Valid aliases: secret-alias.","type":"NotFoundError",'
    b'"param":"model","code":404}}'
)
DRAINING = (
    b'{"error":{"message":"cannot schedule new futures after shutdown","type":"InternalServerError","param":null,'
    b'"code":500}}'
)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, MISSING, (400, None, "messages")),
        (400, BAD_JSON, (400, "invalid_json", None)),
        (400, TOO_LONG, (400, "context_length_exceeded", "max_tokens")),
        (404, NO_MODEL, (404, "model_not_found", "model")),
        (404, b'{"detail":"Not Found"}', (404, "unsupported_route", None)),
        (401, b'{"error":"Unauthorized"}', (502, "engine_refused", None)),
        (403, b'{"error":{"message":"no","type":"PermissionDeniedError"}}', (502, "engine_refused", None)),
        (500, DRAINING, (503, "overloaded", None)),
        (500, b"Internal Server Error", (500, "engine_failed", None)),
        (502, b"<html>", (502, "engine_failed", None)),
        (503, b'{"error":{"message":"full","type":"Service Unavailable"}}', (503, "overloaded", None)),
        (504, b"", (504, "timeout", None)),
        (400, b'{"object":"error","message":"old shape","code":400}', (400, None, None)),
        (422, b'{"detail":[{"loc":["body"]}]}', (422, None, None)),
        (400, b"[1]", (400, None, None)),
        (400, b"\xff", (400, None, None)),
        (307, b"", (502, "engine_refused", None)),
    ],
)
def test_every_shape_of_engine_error_becomes_openais(status: int, body: bytes, expected: tuple[int, str, str]):
    problem = normalise(parse_engine_error(status, body), "tiny")
    assert (problem.status, problem.code, problem.param) == expected
    assert problem.message
    assert problem.as_dict().keys() == {"message", "type", "param", "code"}


def test_a_validation_list_becomes_a_sentence():
    assert normalise(parse_engine_error(400, MISSING), "tiny").message == "messages: Field required"


def test_the_aliases_of_an_engine_stay_secret():
    assert "secret-alias" not in normalise(parse_engine_error(404, NO_MODEL), "tiny").message


@pytest.mark.parametrize("address", ["10.0.3.7:8000", "http://engine-1.pods:8000/v1", "[fd00::1]:8000"])
def test_the_addresses_of_engines_stay_secret(address: str):
    error = parse_engine_error(400, b'{"error":{"message":"cannot reach %b now"}}' % address.encode())
    assert normalise(error, "tiny").message == "cannot reach the engine now"


def test_a_503_says_when_to_come_back():
    assert dict(normalise(parse_engine_error(503, b""), "tiny").headers)[b"retry-after"].isdigit()


def test_an_engine_that_drains_costs_neither_budget_nor_reputation():
    failure = retry.from_reply(parse_engine_error(500, DRAINING), "tiny")
    assert (failure.retry, failure.budgeted, failure.rest) == (True, False, "drain")


@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_a_client_error_is_never_retried_nor_held_against_the_engine(status: int):
    failure = retry.from_reply(parse_engine_error(status, b'{"error":{"message":"no"}}'), "tiny")
    assert (failure.retry, failure.rest) == (False, "no")


@pytest.mark.parametrize(("status", "rest"), [(500, "growing"), (502, "growing"), (503, "short"), (504, "growing")])
def test_server_errors_are_retried_within_the_budget(status: int, rest: str):
    failure = retry.from_reply(parse_engine_error(status, b""), "tiny")
    assert (failure.retry, failure.budgeted, failure.rest) == (True, True, rest)
