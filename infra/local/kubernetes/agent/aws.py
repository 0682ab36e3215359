"""The three AWS APIs that the agent reads and writes, signed and asynchronous.

Not boto3: with its EC2, EKS and ELBv2 models it takes 38 MB, and its calls need threads. The agent makes nine kinds of
call.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import json
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import aiohttp
from yarl import URL

EC2_VERSION, ELB_VERSION = "2016-11-15", "2015-12-01"


class AwsError(Exception):
    """A refused or failed call; `code` is AWS's error code, or the kind of failure where no answer came."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


@dataclass(frozen=True)
class Hardware:
    """An instance type's resources: virtual CPUs, memory in MiB, GPUs."""

    vcpus: int
    memory_mib: int
    gpus: int


Target = tuple[str, int]
"""Address and port of a registered target."""


def sign(
    *,
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    service: str,
    region: str,
    key: tuple[str, str],
    now: dt.datetime,
) -> dict[str, str]:
    """Signature Version 4: the headers to send. `key` is access key id and secret; `headers` are all signed."""
    parts = urlsplit(url)
    date = now.strftime("%Y%m%dT%H%M%SZ")
    sent = {**headers, "Host": parts.netloc, "X-Amz-Date": date}
    canonical = sorted((name.lower(), value.strip()) for name, value in sent.items())
    names = ";".join(name for name, _ in canonical)
    request = "\n".join(
        (
            method,
            quote(parts.path or "/", safe="/~"),
            parts.query,
            *(f"{name}:{value}" for name, value in canonical),
            "",
            names,
            hashlib.sha256(body).hexdigest(),
        )
    )
    scope = f"{date[:8]}/{region}/{service}/aws4_request"
    text = "\n".join(("AWS4-HMAC-SHA256", date, scope, hashlib.sha256(request.encode()).hexdigest()))
    secret = f"AWS4{key[1]}".encode()
    for part in scope.split("/"):
        secret = hmac.new(secret, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()
    authorization = f"AWS4-HMAC-SHA256 Credential={key[0]}/{scope}, SignedHeaders={names}, Signature={signature}"
    return {**sent, "Authorization": authorization}


class Aws:
    """Calls to one endpoint in one region. Raises AwsError for every failure."""

    def __init__(self, endpoint: str, region: str, key: tuple[str, str], *, timeout_seconds: float = 10.0) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._region = region
        self._key = key
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout_seconds))

    async def close(self) -> None:
        await self._session.close()

    async def clusters(self) -> list[str]:
        return await self._eks_list("/clusters", "clusters")

    async def node_groups(self, cluster: str) -> list[dict[str, Any]]:
        """Descriptions as EKS gives them (`nodegroupName`, `subnets`, `scalingConfig`, ...)."""
        path = f"/clusters/{quote(cluster, safe='')}/node-groups"
        names = await self._eks_list(path, "nodegroups")
        return [(await self._eks(f"{path}/{quote(name, safe='')}"))["nodegroup"] for name in names]

    async def pod_identities(self, cluster: str) -> set[tuple[str, str]]:
        """Namespace and name of each service account that takes an IAM role."""
        found = await self._eks_list(f"/clusters/{quote(cluster, safe='')}/pod-identity-associations", "associations")
        return {(association["namespace"], association["serviceAccount"]) for association in found}

    async def subnet_zones(self, subnets: Iterable[str]) -> dict[str, str]:
        parameters = {f"SubnetId.{n}": subnet for n, subnet in enumerate(subnets, 1)}
        reply = await self._query("ec2", "DescribeSubnets", EC2_VERSION, parameters)
        return {_text(e, "subnetId"): _text(e, "availabilityZone") for e in reply.iterfind("subnetSet/item")}

    async def hardware(self, types: Iterable[str]) -> dict[str, Hardware]:
        parameters = {f"InstanceType.{n}": name for n, name in enumerate(types, 1)}
        reply = await self._query("ec2", "DescribeInstanceTypes", EC2_VERSION, parameters)
        return {
            _text(e, "instanceType"): Hardware(
                vcpus=int(_text(e, "vCpuInfo/defaultVCpus")),
                memory_mib=int(_text(e, "memoryInfo/sizeInMiB")),
                gpus=sum(int(_text(gpu, "count")) for gpu in e.iterfind("gpuInfo/gpus/item")),
            )
            for e in reply.iterfind("instanceTypeSet/item")
        }

    async def target_health(self, group: str) -> dict[Target, str]:
        """State (`healthy`, `initial`, `draining`, ...) of each registered target."""
        reply = await self._query(
            "elasticloadbalancing", "DescribeTargetHealth", ELB_VERSION, {"TargetGroupArn": group}
        )
        path = "DescribeTargetHealthResult/TargetHealthDescriptions/member"
        return {
            (_text(e, "Target/Id"), int(_text(e, "Target/Port"))): _text(e, "TargetHealth/State")
            for e in reply.iterfind(path)
        }

    async def register(self, group: str, targets: Iterable[Target]) -> None:
        await self._query("elasticloadbalancing", "RegisterTargets", ELB_VERSION, _targets(group, targets))

    async def deregister(self, group: str, targets: Iterable[Target]) -> None:
        await self._query("elasticloadbalancing", "DeregisterTargets", ELB_VERSION, _targets(group, targets))

    async def _eks_list(self, path: str, field: str) -> list[Any]:
        found: list[Any] = []
        token = ""
        while True:
            reply = await self._eks(path + (f"?nextToken={quote(token, safe='')}" if token else ""))
            found += reply[field]
            if not (token := reply.get("nextToken") or ""):
                return found

    async def _eks(self, path: str) -> dict[str, Any]:
        raw = await self._send("GET", path, b"", "eks", {})
        return json.loads(raw)

    async def _query(self, service: str, action: str, version: str, parameters: Mapping[str, str]) -> ET.Element:
        body = urlencode({"Action": action, "Version": version, **parameters}).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
        return _plain(await self._send("POST", "/", body, service, headers))

    async def _send(self, method: str, path: str, body: bytes, service: str, headers: Mapping[str, str]) -> bytes:
        url = self._endpoint + path
        signed = sign(
            method=method, url=url, headers=headers, body=body, service=service, region=self._region, key=self._key,
            now=dt.datetime.now(dt.UTC),
        )  # fmt: skip
        try:
            async with self._session.request(
                method, URL(url, encoded=True), data=body or None, headers=signed
            ) as reply:
                raw = await reply.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise AwsError(type(error).__name__, str(error) or f"{method} {path}") from error
        if reply.status >= 400:
            raise _refusal(reply.status, raw, reply.headers.get("x-amzn-errortype", ""))
        return raw


def _targets(group: str, targets: Iterable[Target]) -> dict[str, str]:
    parameters = {"TargetGroupArn": group}
    for n, (address, port) in enumerate(targets, 1):
        parameters |= {f"Targets.member.{n}.Id": address, f"Targets.member.{n}.Port": str(port)}
    return parameters


def _plain(raw: bytes) -> ET.Element:
    """The reply without its namespaces. The embedded AWS is trusted: it is this platform's own."""
    root = ET.fromstring(raw)  # noqa: S314
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def _text(element: ET.Element, path: str) -> str:
    return element.findtext(path) or ""


def _refusal(status: int, raw: bytes, kind: str) -> AwsError:
    if kind:
        return AwsError(kind.partition(":")[0], raw[:300].decode(errors="replace"))
    try:
        root = _plain(raw)
    except ET.ParseError:
        return AwsError(f"Http{status}", raw[:300].decode(errors="replace"))
    return AwsError(root.findtext(".//Code") or f"Http{status}", root.findtext(".//Message") or "")
