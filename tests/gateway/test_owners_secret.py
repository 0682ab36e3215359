"""How the migration gets the owner's password: from Secrets Manager, as its pod's role, and from nobody else."""

from __future__ import annotations

import datetime as dt
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials

from app.gateway.database import __main__ as command
from app.gateway.database.secret import Credentials, SecretError, owner_environment, read_login, sign

ARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:rds!db-0f1e2d3c-AbCdEf"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "example"}
LOGIN = json.dumps({"username": "penstock", "password": "of-the-owner"})


class Cloud(http.server.ThreadingHTTPServer):
    """Secrets Manager and the Pod Identity agent, at one address."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.secret: tuple[int, bytes] = (200, json.dumps({"SecretString": LOGIN}).encode())
        self.credentials: tuple[int, bytes] = (
            200,
            json.dumps({"AccessKeyId": "ASIAPOD", "SecretAccessKey": "pods", "Token": "session"}).encode(),
        )
        self.seen: list[tuple[str, dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Cloud  # ty: ignore[incompatible-mutable-override]

    def _answer(self, answer: tuple[int, bytes]) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(answer[0])
        self.send_header("Content-Length", str(len(answer[1])))
        self.end_headers()
        self.wfile.write(answer[1])

    def do_POST(self) -> None:
        self._answer(self.server.secret)

    def do_GET(self) -> None:
        self._answer(self.server.credentials)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        """Nothing to standard error."""


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    server = Cloud()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_request_is_signed_as_awss_own_client_signs_it():
    moment = dt.datetime(2026, 11, 21, 12, 30, tzinfo=dt.UTC)
    host, body = "secretsmanager.eu-central-1.amazonaws.com", b'{"SecretId": "x"}'
    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "secretsmanager.GetSecretValue"}
    for token in ("", "of the session"):
        mine = sign(host, headers, body, "eu-central-1", Credentials("AKIDEXAMPLE", "example", token), moment)
        signer = SigV4Auth(
            BotocoreCredentials("AKIDEXAMPLE", "example", token or None), "secretsmanager", "eu-central-1"
        )
        request = AWSRequest("POST", f"https://{host}/", headers=dict(headers), data=body)
        request.headers["X-Amz-Date"] = request.context["timestamp"] = mine["X-Amz-Date"]
        if token:
            request.headers["X-Amz-Security-Token"] = token
        canonical = signer.canonical_request(request)
        signature = signer.signature(signer.string_to_sign(request, canonical), request)
        assert mine["Authorization"].endswith(f"Signature={signature}")


def test_the_login_is_read_with_the_credentials_of_the_pod(cloud: Cloud, tmp_path: Path):
    token = tmp_path / "token"
    token.write_text("of-the-service-account\n")
    environment = {
        **KEYS,
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{cloud.url}/v1/credentials",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(token),
        "AWS_ENDPOINT_URL": cloud.url,
    }
    assert read_login(ARN, environment) == ("penstock", "of-the-owner")
    (path, agent, _), (_, asked, body) = cloud.seen
    assert (path, agent["authorization"]) == ("/v1/credentials", "of-the-service-account")
    assert asked["authorization"].startswith("AWS4-HMAC-SHA256 Credential=ASIAPOD/")
    assert asked["x-amz-security-token"] == "session"
    assert json.loads(body) == {"SecretId": ARN}


def test_the_pods_token_is_sent_to_the_agent_alone(tmp_path: Path):
    token = tmp_path / "token"
    token.write_text("secret")
    environment = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://example.com/v1/credentials",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(token),
    }
    with pytest.raises(SecretError, match="neither HTTPS nor the Pod Identity agent"):
        read_login(ARN, environment)


def test_what_is_wrong_is_said_without_the_secret(cloud: Cloud):
    environment = {**KEYS, "AWS_ENDPOINT_URL": cloud.url}
    refusal = {"__type": "x#AccessDeniedException", "Message": "not you"}
    for answer, words in (
        ((400, json.dumps(refusal).encode()), "answered 400 .* AccessDeniedException not you"),
        ((200, json.dumps({"SecretString": '{"password": "of-the-owner"}'}).encode()), "does not hold a user name"),
        ((200, b"<html>"), "holds no text"),
    ):
        cloud.secret = answer
        with pytest.raises(SecretError, match=words) as raised:
            read_login(ARN, environment)
        assert "of-the-owner" not in str(raised.value)


def test_a_pod_without_a_role_is_told_what_it_lacks():
    with pytest.raises(SecretError, match="no Pod Identity association yet"):
        read_login(ARN, {})


def test_an_address_that_is_no_secrets_is_refused_before_anything_is_sent():
    for wrong in ("", "penstock", "arn:aws:s3:::bucket", ARN + " x"):
        with pytest.raises(SecretError, match="not the ARN of a secret"):
            read_login(wrong, KEYS)


def test_nobody_at_the_address_is_an_error_that_names_it(cloud: Cloud):
    cloud.shutdown()
    cloud.server_close()
    with pytest.raises(SecretError, match=r"127\.0\.0\.1:\d+ did not answer"):
        read_login(ARN, {**KEYS, "AWS_ENDPOINT_URL": cloud.url})


def test_the_secret_takes_the_place_of_user_password_and_password_file(cloud: Cloud):
    given = {**KEYS, "AWS_ENDPOINT_URL": cloud.url, "PENSTOCK_DATABASE_ADDRESS": "database:5432"}
    assert owner_environment(given) == given
    found = owner_environment(
        {**given, "PENSTOCK_DATABASE_SECRET_ARN": ARN, "PENSTOCK_DATABASE_PASSWORD_FILE": "/nowhere"}
    )
    assert (found["PENSTOCK_DATABASE_USER"], found["PENSTOCK_DATABASE_PASSWORD"]) == ("penstock", "of-the-owner")
    assert "PENSTOCK_DATABASE_PASSWORD_FILE" not in found


def test_a_migration_without_its_secret_fails_so_that_its_job_tries_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_CONTAINER_CREDENTIALS_FULL_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PENSTOCK_DATABASE_SECRET_ARN", ARN)
    assert command.main(["migrate"]) == 1
    assert "no Pod Identity association yet" in capsys.readouterr().err
