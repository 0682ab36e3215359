"""What the stack files of this repository hold in place of your own values: refused once the account is a real one.

Rehearsals, tests, prices and reviews run with an example account, so they take the placeholders; nobody can deploy into
an example account, for the provider is held to `aws.accountId`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from infra.settings.errors import Problem
from infra.settings.model import Shape

EXAMPLE_ACCOUNTS = frozenset({"000000000000", "111122223333", "123456789012", "444455556666", "777788889999"})
"""Accounts of AWS's documentation, which belong to nobody; the local target's is among them."""
PLACEHOLDER_DIGEST = "sha256:" + "0" * 48
"""How the digest of an image begins that nobody has looked up yet."""
NO_CERTIFICATE = "certificate/00000000-0000-0000-0000-000000000000"
EXAMPLE_DOMAIN = "example.com"
"""Reserved for documentation (RFC 2606)."""


def is_example(account: str) -> bool:
    return account in EXAMPLE_ACCOUNTS


class RunImage(NamedTuple):
    path: str
    """The key that names it."""
    repository: str
    """In the stack's own registry, without its prefix `penstock-<stack>/`."""
    reference: str
    """A digest, sha256:..., or a tag."""


def images_that_run(shape: Shape) -> list[RunImage]:
    """The images of all that the stack would run, both colours' among them."""
    wanted, collector = shape.controllers, shape.watch.collector
    found = []
    if wanted.karpenter.enabled and shape.models:
        found.append(RunImage("controllers.karpenter.image", "karpenter", wanted.karpenter.image))
    if wanted.device_plugin.enabled:
        found.append(RunImage("controllers.devicePlugin.image", "device-plugin", wanted.device_plugin.image))
    if wanted.keda.enabled:
        found.append(RunImage("controllers.keda.operatorImage", "keda", wanted.keda.operator_image))
        found.append(RunImage("controllers.keda.adapterImage", "keda-metrics-apiserver", wanted.keda.adapter_image))
    if wanted.load_balancer.enabled:
        image = wanted.load_balancer.image
        found.append(RunImage("controllers.loadBalancer.image", "load-balancer-controller", image))
    if collector.enabled:
        found.append(RunImage("watch.collector.image", "collector", collector.image))
    for colour, release in (("blue", shape.release.blue), ("green", shape.release.green)):
        path = f"release.{colour}"
        found.append(RunImage(f"{path}.gatewayImage", "gateway", release.gateway_image))
        if shape.models:
            found.append(RunImage(f"{path}.engineImage", "engine", release.engine_image))
        for model, image in release.engine_images.items():
            found.append(RunImage(f"{path}.engineImages.{model}", "engine", image))
    return found


def a_real_account_has_no_placeholders(shape: Shape) -> Iterator[Problem]:
    account = shape.aws.account_id
    if is_example(account):
        return
    for image in images_that_run(shape):
        if not image.reference.startswith(PLACEHOLDER_DIGEST):
            continue
        yield Problem(
            image.path,
            f"is a placeholder, and account {account} is a real one: no image has this digest; allowed: the digest of "
            "an image in the account's own repository (docs/cluster.md says how to get one)",
        )
    certificate = shape.edge.certificate_arn
    if certificate and certificate.endswith(NO_CERTIFICATE):
        yield Problem(
            "edge.certificateArn",
            "is a placeholder; allowed: the ARN of a certificate, or null with edge.hostedZoneId",
        )
    if shape.edge.hostname and _is_example_name(shape.edge.hostname):
        yield Problem("edge.hostname", f"{shape.edge.hostname} is a placeholder; allowed: a name of yours, or null")
    if _is_example_name(shape.watch.runbooks_url.removeprefix("https://").partition("/")[0]):
        yield Problem(
            "watch.runbooksUrl",
            f"{shape.watch.runbooks_url} is a placeholder; allowed: where your people read docs/runbooks.md",
        )
    for index, principal in enumerate(shape.cluster.administrators):
        if is_example(principal.split(":")[4]):
            yield Problem(
                f"cluster.administrators[{index}]", f"{principal} is a placeholder; allowed: a role or user of yours"
            )


def _is_example_name(host: str) -> bool:
    return host == EXAMPLE_DOMAIN or host.endswith(f".{EXAMPLE_DOMAIN}")


PLACEHOLDER_RULES = (a_real_account_has_no_placeholders,)
