"""The tools, their versions, and how each is recognised, downloaded and built. The one place for these facts."""

from __future__ import annotations

import re
from dataclasses import dataclass

KUBERNETES_VERSION = "v1.36.3"
_COMPONENT_VERSION = "k8s.io/component-base/version"


@dataclass(frozen=True)
class Binary:
    """One executable. `version_command` prints a text that holds its version."""

    name: str
    package: str
    """The Go package that builds it."""
    version_command: tuple[str, ...] = ("--version",)
    release: str = ""
    """Where the official release has it, with {version}, {number} (no v) and {arch} (amd64, arm64); "": nowhere."""
    checksums: str = ""
    """The release's own list of SHA-256 sums, or the sum alone."""


@dataclass(frozen=True)
class Tool:
    """A set of binaries that are built and replaced together."""

    name: str
    version: str
    binaries: tuple[Binary, ...]
    accepts: str
    """What version on PATH will do, for a person to read."""
    lowest: tuple[int, int, int]
    below: tuple[int, int, int]
    build_seconds: int
    """Measured on 2 cores with an empty cache, module download included: for the progress line."""
    ldflags: str = "-s -w"
    tags: str = ""
    extra_files: tuple[tuple[str, str], ...] = ()
    """(module, path in it): scripts that the release carries beside the binaries and a build takes from the sources."""
    language_host: str = ""
    """The release's own language host. It cannot be built, so a build puts a script for ours beside the binaries."""

    def fits(self, version: str) -> bool:
        """Whether a version text such as `v3.259.0` is inside [lowest, below)."""
        found = re.search(r"(\d+)\.(\d+)\.(\d+)", version)
        return bool(found) and self.lowest <= tuple(int(part) for part in found.groups()) < self.below


PULUMI = Tool(
    name="pulumi",
    version="v3.259.0",
    binaries=(
        Binary(
            "pulumi",
            "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi",
            ("version",),
            release="https://get.pulumi.com/releases/sdk/pulumi-{version}-linux-{pulumi_arch}.tar.gz",
            checksums="https://get.pulumi.com/releases/sdk/pulumi-{number}-checksums.txt",
        ),
    ),
    accepts="3.259.0 or a later 3.x",
    lowest=(3, 259, 0),
    below=(4, 0, 0),
    build_seconds=230,
    ldflags="-s -w -X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version={version}",
    tags="osusergo,grpcnotrace",
    language_host="pulumi-language-python",
    extra_files=(("github.com/pulumi/pulumi/sdk/v3", "python/cmd/pulumi-language-python-exec"),),
)

ETCD = Tool(
    name="etcd",
    version="v3.6.14",
    binaries=(
        Binary(
            "etcd",
            "go.etcd.io/etcd/server/v3",
            release="https://github.com/etcd-io/etcd/releases/download/{version}/etcd-{version}-linux-{arch}.tar.gz",
            checksums="https://github.com/etcd-io/etcd/releases/download/{version}/SHA256SUMS",
        ),
    ),
    accepts="3.6.x",
    lowest=(3, 6, 0),
    below=(3, 7, 0),
    build_seconds=60,
)


def _kubernetes_binary(name: str, *version_command: str) -> Binary:
    release = "https://dl.k8s.io/release/{version}/bin/linux/{arch}/" + name
    return Binary(
        name, f"k8s.io/kubernetes/cmd/{name}", version_command or ("--version",), release, release + ".sha256"
    )


KUBERNETES = Tool(
    name="kubernetes",
    version=KUBERNETES_VERSION,
    binaries=(
        _kubernetes_binary("kube-apiserver"),
        _kubernetes_binary("kube-controller-manager"),
        _kubernetes_binary("kube-scheduler"),
        _kubernetes_binary("kubectl", "version", "--client"),
    ),
    accepts="1.36.x",
    lowest=(1, 36, 0),
    below=(1, 37, 0),
    build_seconds=280,
    # Without these the server reports an empty version, and clients' version checks misbehave.
    ldflags=(
        f"-s -w -X {_COMPONENT_VERSION}.gitVersion={{version}} -X {_COMPONENT_VERSION}.gitMajor=1"
        f" -X {_COMPONENT_VERSION}.gitMinor=36 -X {_COMPONENT_VERSION}.gitTreeState=clean"
    ),
)

ACTIONLINT = Tool(
    name="actionlint",
    version="v1.7.12",
    binaries=(
        Binary(
            "actionlint",
            "github.com/rhysd/actionlint/cmd/actionlint",
            ("-version",),
            release="https://github.com/rhysd/actionlint/releases/download/{version}/actionlint_{number}_linux_{arch}.tar.gz",
            checksums="https://github.com/rhysd/actionlint/releases/download/{version}/actionlint_{number}_checksums.txt",
        ),
    ),
    accepts="1.7.12 or a later 1.7.x",
    lowest=(1, 7, 12),
    below=(1, 8, 0),
    build_seconds=20,
)
"""For `make lint-workflows` alone: the platform does not need it."""

KEDA = Tool(
    name="keda",
    version="v2.20.2",
    binaries=(
        Binary("keda-operator", "github.com/kedacore/keda/v2/cmd/operator"),
        Binary("keda-adapter", "github.com/kedacore/keda/v2/cmd/adapter"),
    ),
    accepts="2.20.2 or a later 2.20.x",
    lowest=(2, 20, 2),
    below=(2, 21, 0),
    build_seconds=430,
    ldflags="-s -w -X github.com/kedacore/keda/v2/version.Version={version}",
)
"""For the tests of tier `operators` alone. KEDA publishes images and no programs, so it is always built."""

KARPENTER = Tool(
    name="karpenter",
    version="v1.14.1",
    binaries=(Binary("karpenter-kwok", "sigs.k8s.io/karpenter/kwok"),),
    accepts="1.14.1 or a later 1.14.x",
    lowest=(1, 14, 1),
    below=(1, 15, 0),
    build_seconds=105,
)
"""Karpenter's core with its pretended cloud in place of EC2. For the tests of tier `operators` alone, as KEDA."""

TOOLS = (PULUMI, ETCD, KUBERNETES)
"""What the platform needs."""

OPERATORS = (KEDA, KARPENTER)
"""What the tests of tier `operators` need besides."""
