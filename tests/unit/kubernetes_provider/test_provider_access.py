"""Reaching a cluster: kubeconfigs, signing in, trust, retries."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest

from infra.local.certificates import make_server_certificate
from infra.local.kubernetes.provider.client import ApiClient, Patience
from infra.local.kubernetes.provider.errors import UnreachableError
from infra.local.kubernetes.provider.kubeconfig import KubeconfigError, load

CONFIG_MAP = "kubernetes:core/v1:ConfigMap"
INPUTS = {"metadata": {"name": "x", "namespace": "default"}, "data": {"a": "1"}}
YAML = """
apiVersion: v1
current-context: one
clusters: [{name: c, cluster: {server: "https://127.0.0.1:6443/", insecure-skip-tls-verify: true}}]
users: [{name: u, user: {token: secret-token}}]
contexts:
- {name: one, context: {cluster: c, user: u}}
- {name: two, context: {cluster: c, user: u, namespace: penstock}}
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Any:
    """Writes an exec plug-in that counts its runs and prints `token-<run>`; `more` is shell code that runs first."""

    def write(expires: timedelta | None = None, more: str = "") -> dict[str, Any]:
        status = {"token": "token-$n"}
        if expires is not None:
            status["expirationTimestamp"] = (datetime.now(UTC) + expires).strftime("%Y-%m-%dT%H:%M:%SZ")
        credential = json.dumps({"kind": "ExecCredential", "status": status}).replace('"', '\\"')
        script = tmp_path / "login"
        script.write_text(
            f'#!/bin/sh\n{more}\necho x >> {tmp_path}/runs\nn=$(wc -l < {tmp_path}/runs | tr -d " ")\n'
            f'echo "$KUBERNETES_EXEC_INFO" > {tmp_path}/info\necho "{credential}"\n'
        )
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        version = "client.authentication.k8s.io/v1"
        return {"exec": {"apiVersion": version, "command": str(script), "args": ["--cluster", "penstock"]}}

    return write


def runs(folder: Path) -> int:
    return len((folder / "runs").read_text().splitlines())


def test_a_kubeconfig_may_be_yaml_json_or_a_path(tmp_path: Path, cluster: Any) -> None:
    file = tmp_path / "config"
    file.write_text(YAML)
    for access in (load(YAML), load(str(file))):
        assert (access.server, access.token, access.insecure) == ("https://127.0.0.1:6443", "secret-token", True)
    assert load(YAML, "two").namespace == "penstock"
    assert load(cluster.kubeconfig()).server == cluster.url
    assert "secret-token" not in repr(load(YAML))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("/no/such/file", "kubeconfig /no/such/file cannot be read: No such file or directory"),
        ("{", "kubeconfig is not valid JSON"),
        ("a: [\nb: c", "kubeconfig is not valid YAML"),
        ("- a\n- b", "kubeconfig is not an object"),
        ('{"clusters": []}', "kubeconfig has no current-context"),
        ('{"current-context": "x"}', "kubeconfig has no context named 'x'"),
        (YAML.replace("https:", "ftp:"), "server must be an http"),
        (YAML.replace("token:", "username:"), "kubeconfig user u: username is not supported"),
        (YAML.replace("token: secret-token", "exec: {apiVersion: v0, command: a}"), "user u: exec apiVersion must be"),
        (YAML.replace("token: secret-token", "client-key-data: '!'"), "client-key"),
    ],
)
def test_a_kubeconfig_that_cannot_be_used_names_the_entry(text: str, message: str) -> None:
    with pytest.raises(KubeconfigError, match=message):
        load(text)


def test_a_cluster_on_another_machine_is_refused(unconfigured: Any, cluster: Any, aborted: Any) -> None:
    with pytest.raises(aborted, match=r"on this machine's cluster only, but the kubeconfig names https://10\.0\.0\.1"):
        unconfigured.configure(kubeconfig=cluster.kubeconfig(server="https://10.0.0.1"))


def test_the_exec_plugin_runs_once_for_many_requests(engine: Any, cluster: Any, plugin: Any, tmp_path: Path) -> None:
    cluster.tokens = {"token-1"}
    engine.configure(kubeconfig=cluster.kubeconfig(plugin()))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: engine.create(CONFIG_MAP, {"metadata": {"name": f"x{n}"}}), range(8)))
    assert runs(tmp_path) == 1
    info = json.loads((tmp_path / "info").read_text())
    assert (info["kind"], info["spec"]["interactive"]) == ("ExecCredential", False)


def test_a_refused_token_is_renewed_once(engine: Any, cluster: Any, plugin: Any, tmp_path: Path, aborted: Any) -> None:
    cluster.tokens = {"token-2"}
    engine.configure(kubeconfig=cluster.kubeconfig(plugin()))
    engine.create(CONFIG_MAP, INPUTS)
    assert runs(tmp_path) == 2
    cluster.tokens = set()
    with pytest.raises(aborted, match="Unauthorized"):
        engine.update(CONFIG_MAP, "default/x", INPUTS)


def test_a_token_near_its_end_is_renewed(engine: Any, cluster: Any, plugin: Any, tmp_path: Path) -> None:
    cluster.tokens = {"token-1", "token-2", "token-3", "token-4"}
    engine.configure(kubeconfig=cluster.kubeconfig(plugin(timedelta(seconds=5))))
    engine.read(CONFIG_MAP, "default/x")
    assert runs(tmp_path) == 2


def test_a_long_lived_token_is_kept(engine: Any, cluster: Any, plugin: Any, tmp_path: Path) -> None:
    cluster.tokens = {"token-1"}
    engine.configure(kubeconfig=cluster.kubeconfig(plugin(timedelta(minutes=14))))
    engine.create(CONFIG_MAP, INPUTS)
    assert runs(tmp_path) == 1


def test_a_static_token_that_is_refused_is_an_error(engine: Any, cluster: Any, aborted: Any) -> None:
    cluster.tokens = {"another"}
    with pytest.raises(aborted, match="Unauthorized"):
        engine.create(CONFIG_MAP, INPUTS)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("echo no such profile >&2; exit 3", "failed with status 3: no such profile"),
        ("echo hello; exit 0", "printed no token"),
        ("sleep 5", "gave no token within 0 s"),
    ],
)
def test_an_exec_plugin_that_fails_is_one_sentence(
    engine: Any, cluster: Any, plugin: Any, aborted: Any, more: str, message: str
) -> None:
    engine.configure(kubeconfig=cluster.kubeconfig(plugin(more=more)))
    engine.provider.session.objects.client.credentials.timeout_seconds = 0.3
    with pytest.raises(aborted, match=f"the kubeconfig's exec command .*login {message}"):
        engine.create(CONFIG_MAP, INPUTS)


def test_a_missing_exec_plugin_shows_its_hint(engine: Any, cluster: Any, aborted: Any) -> None:
    version = "client.authentication.k8s.io/v1"
    user = {"exec": {"apiVersion": version, "command": "no-such-login", "installHint": "run make up"}}
    engine.configure(kubeconfig=cluster.kubeconfig(user))
    with pytest.raises(aborted, match="exec command no-such-login was not found: run make up"):
        engine.create(CONFIG_MAP, INPUTS)


def test_a_lost_connection_is_tried_again(engine: Any, cluster: Any) -> None:
    engine.be_patient()
    cluster.resets = 3
    assert engine.create(CONFIG_MAP, INPUTS).id == "default/x"


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_busy_api_server_is_tried_again(engine: Any, cluster: Any, code: int) -> None:
    engine.be_patient()
    answers = iter([(code, {"message": "busy"}), (code, {"message": "busy"})])
    cluster.script = lambda _method, path: next(answers, None)
    assert engine.create(CONFIG_MAP, INPUTS).id == "default/x"


def test_a_server_that_stays_busy_ends_the_attempt_within_a_bound(engine: Any, cluster: Any, aborted: Any) -> None:
    cluster.script = lambda _method, _path: (503, {"message": "busy"})
    started = time.monotonic()
    with pytest.raises(aborted, match="busy"):
        engine.create(CONFIG_MAP, INPUTS)
    assert time.monotonic() - started < 3


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_an_unreachable_cluster_is_one_sentence(engine: Any, cluster: Any, aborted: Any) -> None:
    server = f"http://127.0.0.1:{free_port()}"
    engine.configure(kubeconfig=cluster.kubeconfig(server=server))
    with pytest.raises(aborted, match=rf"^the cluster at {server} cannot be reached: Connection refused$") as failure:
        engine.create(CONFIG_MAP, INPUTS)
    assert failure.value.code is grpc.StatusCode.UNAVAILABLE


def test_previews_go_on_without_a_cluster_and_ask_only_once(engine: Any, cluster: Any) -> None:
    engine.configure(kubeconfig=cluster.kubeconfig(server=f"http://127.0.0.1:{free_port()}"))
    started = time.monotonic()
    engine.be_patient()
    for _ in range(5):
        assert engine.create(CONFIG_MAP, INPUTS, preview=True).outputs["data"] == {"a": "1"}
        custom = engine.check("kubernetes:penstock.dev/v1:Fleet", {"metadata": {"name": "f"}})
        assert "namespace" not in custom["metadata"]
    assert time.monotonic() - started < 2


def test_an_unreachable_cluster_may_be_forgotten_on_request(engine: Any, cluster: Any) -> None:
    server = f"http://127.0.0.1:{free_port()}"
    engine.configure(kubeconfig=cluster.kubeconfig(server=server), deleteUnreachable="true")
    engine.delete(CONFIG_MAP, "default/x")
    assert engine.read(CONFIG_MAP, "default/x").id == ""
    assert "forgotten, as deleteUnreachable says" in engine.lines.warned[0]


def test_a_server_that_does_not_answer_is_given_up(cluster: Any) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        access = load(cluster.kubeconfig(server=f"http://127.0.0.1:{silent.getsockname()[1]}"))
        client = ApiClient(access, patience=Patience(0.2, 0.2, retry_seconds=0))
        with pytest.raises(UnreachableError, match="cannot be reached: no answer in time"):
            client.get("/api/v1")


class _Hello(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"kind": "Status"}')

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the overridden method's name
        pass


def test_only_the_kubeconfigs_authority_is_trusted(tmp_path: Path, cluster: Any) -> None:
    made, other = (make_server_certificate(["localhost"], ["127.0.0.1"]) for _ in range(2))
    (tmp_path / "crt").write_bytes(made.certificate)
    (tmp_path / "key").write_bytes(made.key)
    server = HTTPServer(("127.0.0.1", 0), _Hello)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "crt", tmp_path / "key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    kubeconfig = json.loads(cluster.kubeconfig(server=f"https://127.0.0.1:{server.server_address[1]}"))
    try:
        for authority, trusted in ((made.authority, True), (other.authority, False)):
            kubeconfig["clusters"][0]["cluster"]["certificate-authority-data"] = base64.b64encode(authority).decode()
            client = ApiClient(load(json.dumps(kubeconfig)), patience=Patience(2, 2, retry_seconds=0))
            if trusted:
                assert client.get("/") == {"kind": "Status"}
            else:
                with pytest.raises(UnreachableError, match="its certificate is not trusted"):
                    client.get("/")
            client.close()
    finally:
        server.shutdown()
        server.server_close()


def test_a_client_certificate_is_loaded_without_leaving_a_file(cluster: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    made = make_server_certificate(["client"], [])
    encoded = {name: base64.b64encode(text).decode() for name, text in (("c", made.certificate), ("k", made.key))}
    user = {"client-certificate-data": encoded["c"], "client-key-data": encoded["k"]}
    ApiClient(load(cluster.kubeconfig(user, server="https://127.0.0.1:1"))).close()
    assert list(tmp_path.iterdir()) == []
    user["client-key-data"] = base64.b64encode(b"not a key").decode()
    with pytest.raises(KubeconfigError, match="a certificate or key cannot be used"):
        ApiClient(load(cluster.kubeconfig(user, server="https://127.0.0.1:1")))
