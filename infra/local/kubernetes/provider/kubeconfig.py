"""Kubeconfig files: which server, whom to trust, how to sign in. Reads the files it names."""

from __future__ import annotations

import base64
import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


class KubeconfigError(ValueError):
    """A kubeconfig that cannot be used. The message names the entry."""


@dataclass(frozen=True)
class ExecPlugin:
    """A command that prints an ExecCredential (client.authentication.k8s.io)."""

    command: str
    arguments: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    api_version: str
    install_hint: str = ""
    cluster_info: bool = False


@dataclass(frozen=True)
class Access:
    """One context of a kubeconfig. Certificates and keys are PEM text, "" where there are none."""

    server: str
    authority: str = field(default="", repr=False)
    insecure: bool = False
    server_name: str = ""
    namespace: str = ""
    token: str = field(default="", repr=False)
    token_file: str = ""
    certificate: str = field(default="", repr=False)
    key: str = field(default="", repr=False)
    exec_plugin: ExecPlugin | None = None

    @property
    def loopback(self) -> bool:
        """Whether the API server is on this machine."""
        host = urlsplit(self.server).hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"


def load(source: str, context: str = "") -> Access:
    """Reads a kubeconfig, given as content or as a path. Raises KubeconfigError."""
    text = source.strip()
    folder = Path.cwd()
    if "\n" not in text and not text.startswith("{"):
        path = Path(text).expanduser()
        folder = path.parent
        try:
            text = path.read_text()
        except OSError as error:
            raise KubeconfigError(f"kubeconfig {path} cannot be read: {error.strerror}") from error
    content = _parse(text)
    return _access(content, context or str(content.get("current-context") or ""), folder)


def _parse(text: str) -> Mapping[str, Any]:
    if text.startswith("{"):
        try:
            content = json.loads(text)
        except ValueError as error:
            raise KubeconfigError(f"kubeconfig is not valid JSON: {error}") from error
    else:
        import yaml  # most kubeconfigs are JSON here, and yaml takes a while to load

        try:
            content = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise KubeconfigError(f"kubeconfig is not valid YAML: {error}") from error
    if not isinstance(content, Mapping):
        raise KubeconfigError("kubeconfig is not an object")
    return content


def _access(content: Mapping[str, Any], context_name: str, folder: Path) -> Access:
    if not context_name:
        raise KubeconfigError("kubeconfig has no current-context, and none was chosen")
    context = _entry(content, "contexts", context_name, "context")
    cluster = _entry(content, "clusters", str(context.get("cluster") or ""), "cluster")
    user = _entry(content, "users", str(context.get("user") or ""), "user") if context.get("user") else {}
    server = str(cluster.get("server") or "")
    if urlsplit(server).scheme not in ("http", "https"):
        raise KubeconfigError(f"kubeconfig cluster {context['cluster']}: server must be an http(s) URL, not {server!r}")
    for unknown in ("auth-provider", "username"):
        if user.get(unknown):
            raise KubeconfigError(
                f"kubeconfig user {context['user']}: {unknown} is not supported: use token, client-certificate or exec"
            )
    return Access(
        server=server.rstrip("/"),
        authority=_pem(cluster, "certificate-authority", folder),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        server_name=str(cluster.get("tls-server-name") or ""),
        namespace=str(context.get("namespace") or ""),
        token=str(user.get("token") or ""),
        token_file=str(folder / str(user["tokenFile"])) if user.get("tokenFile") else "",
        certificate=_pem(user, "client-certificate", folder),
        key=_pem(user, "client-key", folder),
        exec_plugin=_exec(user["exec"], str(context["user"])) if user.get("exec") else None,
    )


def _entry(content: Mapping[str, Any], section: str, name: str, field_name: str) -> Mapping[str, Any]:
    for entry in content.get(section) or ():
        if entry.get("name") == name:
            return entry.get(field_name) or {}
    raise KubeconfigError(f"kubeconfig has no {field_name} named {name!r}")


def _pem(entry: Mapping[str, Any], key: str, folder: Path) -> str:
    """`<key>-data` (base64) or else the file that `<key>` names."""
    try:
        if entry.get(f"{key}-data"):
            return base64.b64decode(entry[f"{key}-data"], validate=True).decode()
        if entry.get(key):
            return (folder / str(entry[key])).read_text()
    except (OSError, ValueError) as error:
        raise KubeconfigError(f"kubeconfig: {key} cannot be read: {error}") from error
    return ""


def _exec(entry: Mapping[str, Any], user: str) -> ExecPlugin:
    version = str(entry.get("apiVersion") or "")
    if version not in ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"):
        raise KubeconfigError(
            f"kubeconfig user {user}: exec apiVersion must be client.authentication.k8s.io/v1, not {version!r}"
        )
    if not entry.get("command"):
        raise KubeconfigError(f"kubeconfig user {user}: exec names no command")
    return ExecPlugin(
        command=str(entry["command"]),
        arguments=tuple(str(argument) for argument in entry.get("args") or ()),
        environment=tuple((str(pair["name"]), str(pair["value"])) for pair in entry.get("env") or ()),
        api_version=version,
        install_hint=str(entry.get("installHint") or ""),
        cluster_info=bool(entry.get("provideClusterInfo")),
    )
