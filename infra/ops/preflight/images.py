"""What nodes and pods start from: node images in EC2's catalogue, container images in the account's own registry."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from infra.ops.preflight.asking import Account, Unanswered, guarded
from infra.ops.preflight.findings import Finding, Status
from infra.settings.placeholder_rules import PLACEHOLDER_DIGEST, RunImage, images_that_run
from infra.settings.versions import architecture_of

NOT_FOUND = "ParameterNotFound"
NO_REPOSITORY, NO_IMAGE = "RepositoryNotFoundException", "ImageNotFoundException"


def check_images(account: Account) -> Iterator[Finding]:
    """Each image of the stack once: a pod whose image is not there waits, and so does the first update."""
    asked: dict[tuple[str, str], RunImage] = {}
    for image in images_that_run(account.settings):
        asked.setdefault((image.repository, image.reference), image)
    for image in asked.values():
        reference = image.reference[:19] if image.reference.startswith("sha256:") else image.reference
        check = f"Image {image.repository} {reference}"
        yield guarded(check, image.path, partial(_image, account, check, image))


def check_node_image(account: Account) -> Iterator[Finding]:
    """Karpenter finds the image of its alias by a public parameter; without one it starts no node."""
    wanted = account.settings.controllers.karpenter
    if wanted.enabled and account.settings.runs_engines:
        check = "Node image of Karpenter"
        yield guarded(check, wanted.ami_alias, partial(_node_image, account, check))


def parameter_of(alias: str, kubernetes: str, architecture: str) -> str:
    """The public parameter in which AWS keeps the GPU image of an alias (Karpenter, pkg/providers/amifamily)."""
    family, _, version = alias.partition("@")
    if family == "bottlerocket":
        kind = f"aws-k8s-{kubernetes}-nvidia"
        return f"/aws/service/bottlerocket/{kind}/{architecture}/{version.removeprefix('v')}/image_id"
    folder = f"/aws/service/eks/optimized-ami/{kubernetes}/amazon-linux-2023/{architecture}/nvidia"
    return f"{folder}/amazon-eks-node-al2023-{architecture}-nvidia-{kubernetes}-{version}/image_id"


def _image(account: Account, check: str, image: RunImage) -> Finding:
    repository = f"penstock-{account.stack}/{image.repository}"
    if image.reference.startswith(PLACEHOLDER_DIGEST):
        return Finding(check, image.path, "a placeholder", Status.LACKS, f"put the digest of an image of {repository}")
    wanted = {"imageDigest" if image.reference.startswith("sha256:") else "imageTag": image.reference}
    try:
        account.ask("ecr", "describe_images", repositoryName=repository, imageIds=[wanted])
    except Unanswered as silence:
        if silence.code == NO_REPOSITORY:
            there = f"{repository} is made by the first update, which waits for the image"
            return Finding(check, image.path, there, Status.NOTE, "push it as soon as the repository is there")
        if silence.code == NO_IMAGE:
            return Finding(check, image.path, f"not in {repository}", Status.LACKS, f"push it to {repository}")
        raise
    return Finding(check, image.path, f"in {repository}", Status.FITS)


def _node_image(account: Account, check: str) -> Finding:
    wanted, kubernetes = account.settings.controllers.karpenter, account.settings.cluster.version
    name = parameter_of(wanted.ami_alias, kubernetes, architecture_of(wanted.instance_types[0]))
    try:
        reply = account.ask("ssm", "get_parameter", Name=name)
    except Unanswered as silence:
        if silence.code == NOT_FOUND:
            request = "another controllers.karpenter.amiAlias: one that was released for this Kubernetes version"
            return Finding(check, wanted.ami_alias, f"no {name}", Status.LACKS, request)
        raise
    found = str((reply.get("Parameter") or {}).get("Value", ""))
    if not found.startswith("ami-"):
        raise Unanswered(f"ssm:GetParameter: {found[:40]!r} is no image")
    return Finding(check, wanted.ami_alias, found, Status.FITS)
