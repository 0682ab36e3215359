"""Where everything of one local platform is: folders, addresses, ports. The one place that says so.

A platform owns one *slot*, the second octet of its addresses: 127.<slot>.0.0/16 is loopback on every Linux, so
each server, database, load balancer and pod has an address of its own with its usual port, and two checkouts
never meet. The slot is chosen once and kept in `platform.json`.

    127.S.0.1        the platform's own servers (etcd, API server, embedded AWS, ...)
    127.S.1.n        RDS instances, port 5432
    127.S.2.n        ElastiCache nodes, port 6379
    127.S.3.n        load balancers, ports of their listeners
    127.S.16+k.n     pods of node k (k from 0), n from 2
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from infra.local.files import write_whole

STATE_VARIABLE = "PENSTOCK_LOCAL_STATE"
"""Environment variable that tells a process of the platform which state folder is its own."""

STACK = "local"
"""The stack that `penstock up` deploys, and its file Pulumi.local.yaml."""

ACCOUNT = "123456789012"
"""The embedded AWS's account: moto's own default."""

DATABASES, CACHES, BALANCERS, FIRST_NODE = 1, 2, 3, 16


@dataclass(frozen=True)
class Layout:
    """One local platform. `checkout` is the repository, `state` the ignored folder that holds all it writes."""

    checkout: Path
    state: Path
    slot: int
    stack: str = STACK
    """The stack that this platform carries."""
    own_stack_files: bool = False
    """Whether its stack files are the platform's own, and not the checkout's."""

    @classmethod
    def default_state(cls, checkout: Path) -> Path:
        return checkout / ".penstock" / "local"

    @classmethod
    def load(cls, state: Path) -> Layout:
        """Reads `platform.json`. Raises FileNotFoundError where no platform was made."""
        content = json.loads((state / "platform.json").read_text())
        return cls(
            checkout=Path(content["checkout"]),
            state=state,
            slot=content["slot"],
            stack=content.get("stack", STACK),
            own_stack_files=content.get("own_stack_files", False),
        )

    @classmethod
    def from_environment(cls) -> Layout:
        """The platform that the calling process belongs to. Raises KeyError outside of one."""
        return cls.load(Path(os.environ[STATE_VARIABLE]))

    def save(self) -> None:
        self.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        content = {
            "checkout": str(self.checkout),
            "slot": self.slot,
            "stack": self.stack,
            "own_stack_files": self.own_stack_files,
        }
        write_whole(self.state / "platform.json", json.dumps(content))

    def address(self, area: int, number: int) -> str:
        """The loopback address `number` (1 to 254) of an area: DATABASES, CACHES, BALANCERS or FIRST_NODE + k."""
        if not (0 <= area <= 255 and 1 <= number <= 254):
            raise ValueError(f"no such address: area {area}, number {number}")
        return f"127.{self.slot}.{area}.{number}"

    @property
    def stack_files(self) -> Path:
        """The folder of the stack files that are deployed."""
        return self.state / "stack-files" if self.own_stack_files else self.checkout

    @property
    def stack_file(self) -> Path:
        return self.stack_files / f"Pulumi.{self.stack}.yaml"

    @property
    def host(self) -> str:
        return self.address(0, 1)

    @property
    def etcd_url(self) -> str:
        return f"http://{self.host}:2379"

    @property
    def etcd_peer_url(self) -> str:
        return f"http://{self.host}:2380"

    @property
    def api_server_url(self) -> str:
        return f"https://{self.host}:6443"

    @property
    def controller_manager_port(self) -> int:
        return 10257

    @property
    def scheduler_port(self) -> int:
        return 10259

    @property
    def aws_url(self) -> str:
        """The embedded AWS: every service's endpoint."""
        return f"http://{self.host}:4566"

    @property
    def authenticator_url(self) -> str:
        """Where the API server has EKS tokens reviewed (TokenReview webhook)."""
        return f"{self.aws_url}/_penstock/authenticate"

    @property
    def balancer_admin_url(self) -> str:
        return f"http://{self.host}:9901"

    @property
    def pki(self) -> Path:
        return self.state / "pki"

    @property
    def certificate_authority(self) -> Path:
        """The certificate of the platform's own authority: what clients of the API server trust."""
        return self.pki / "ca.crt"

    @property
    def admin_kubeconfig(self) -> Path:
        """For the platform's own servers and node agent (static token, group system:masters). Mode 0600."""
        return self.pki / "admin.kubeconfig"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def pods(self) -> Path:
        return self.state / "pods"

    @property
    def workspace(self) -> Path:
        """Pulumi's working folder: links to the checkout and the copies of the stack files."""
        return self.state / "workspace"

    @property
    def backend(self) -> Path:
        return self.state / "backend"

    @property
    def pulumi_home(self) -> Path:
        return self.state / "pulumi-home"

    @property
    def passphrase_file(self) -> Path:
        return self.state / "passphrase"

    def aws_environment(self, region: str) -> dict[str, str]:
        """What points any AWS client at the embedded AWS and keeps it from the real one."""
        return {
            "AWS_ENDPOINT_URL": self.aws_url,
            "AWS_ACCESS_KEY_ID": "penstock-local",
            "AWS_SECRET_ACCESS_KEY": "penstock-local",
            "AWS_REGION": region,
            "AWS_DEFAULT_REGION": region,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }
