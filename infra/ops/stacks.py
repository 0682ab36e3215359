"""One door to a stack, whether it lives on the local platform or in an AWS account.

For `local` the environment and the working folder are the platform's. Any other stack is driven as plain `pulumi`
would: in the checkout, with the credentials and the backend of the calling shell.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.local.layout import STACK as LOCAL
from infra.ops.errors import NotRunningError, PenstockError
from infra.policy.held import held

if TYPE_CHECKING:
    from infra.local.layout import Layout
    from infra.local.workspace import Workspace
    from infra.ops.aws import Session

PULUMI_SECONDS = 60.0
"""Reading a stack's state: a second on a file backend, a few over a network."""


@dataclass(frozen=True)
class Resource:
    """A resource in the stack's state. Secrets among the outputs are still encrypted."""

    urn: str
    type: str
    id: str
    outputs: Mapping[str, Any]
    protected: bool = False

    @property
    def name(self) -> str:
        return self.urn.rsplit("::", 1)[-1]


@dataclass(frozen=True)
class State:
    """What the last deployment left. Made from `pulumi stack export`."""

    outputs: Mapping[str, Any]
    resources: tuple[Resource, ...]

    @classmethod
    def parse(cls, exported: Mapping[str, Any]) -> State:
        rows = (exported.get("deployment") or {}).get("resources") or []
        resources = tuple(
            Resource(
                row["urn"], row["type"], row.get("id", ""), row.get("outputs") or {}, bool(row.get("protect", False))
            )
            for row in rows
            if not row.get("delete")
        )
        stack = next((resource for resource in resources if resource.type == "pulumi:pulumi:Stack"), None)
        return cls(stack.outputs if stack else {}, resources)

    @property
    def deployed(self) -> bool:
        return bool(self.outputs)

    def of_type(self, ending: str) -> list[Resource]:
        """Resources whose type token ends so, for example `:ListenerRule`."""
        return [resource for resource in self.resources if resource.type.endswith(ending)]

    def output(self, name: str) -> Any:
        """An output in plain text. Raises NotRunningError where the stack does not have it."""
        if name not in self.outputs:
            raise NotRunningError(f"The stack has no output {name!r}: it is not deployed.", "Run `penstock up`.")
        return self.outputs[name]


def _independent_of(urn: str, row: dict[str, Any]) -> dict[str, Any]:
    """A resource's state without the dependencies on another one."""
    of_properties = row.get("propertyDependencies") or {}
    changed = {
        "dependencies": [each for each in row.get("dependencies") or () if each != urn],
        "propertyDependencies": {name: [each for each in urns if each != urn] for name, urns in of_properties.items()},
    }
    return {key: changed.get(key, value) for key, value in row.items() if (key, value) != ("deletedWith", urn)}


@dataclass(frozen=True)
class StackAccess:
    """A stack that can be read and driven. Made by `open_stack`."""

    name: str
    checkout: Path
    folder: Path
    """Where `pulumi` runs: the checkout, or the local platform's workspace."""
    environment: Mapping[str, str]
    layout: Layout | None = None
    program: str = "pulumi"
    """The `pulumi` to run: a name on PATH, or the local toolchain's own."""

    @property
    def stack_file(self) -> Path:
        return self.checkout / f"Pulumi.{self.name}.yaml"

    def state(self) -> State:
        """Raises NotRunningError where there is no such stack, PenstockError where it cannot be read."""
        return State.parse(json.loads(self._pulumi("stack", "export")))

    def outputs(self) -> dict[str, Any]:
        """All outputs, secrets in plain text."""
        outputs = json.loads(self._pulumi("stack", "output", "--json", "--show-secrets"))
        if not outputs:
            raise NotRunningError(f"The stack {self.name} has no outputs: it is not deployed.", self._deploy_hint)
        return outputs

    def forget(self, urn: str) -> None:
        """Takes a resource out of the state, and leaves it in the cloud. Safe to repeat. Raises PenstockError.

        `pulumi state delete` would take all that depends on it as well, the guard of a protected stack among it.
        """
        exported = json.loads(self._pulumi("stack", "export"))
        rows = exported["deployment"].get("resources") or []
        kept = [_independent_of(urn, row) for row in rows if row["urn"] != urn]
        if len(kept) == len(rows):
            return
        exported["deployment"]["resources"] = kept
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:  # its mode is 0600; secrets in it are encrypted
            json.dump(exported, file)
            file.flush()
            self._pulumi("stack", "import", "--file", file.name)

    def workspace(self) -> Workspace:
        """The local platform's workspace. Raises PenstockError for any other stack."""
        from infra.local.workspace import Workspace

        if self.layout is None:
            raise PenstockError(
                f"This command deploys the stack {LOCAL} only.", f"Use `pulumi up -s {self.name}` for {self.name}."
            )
        return Workspace(self.layout)

    def automation(self) -> Any:
        """The stack as a `pulumi.automation.Stack`, ready for preview and up."""
        if self.layout is not None:
            for name in UNWANTED:  # the Automation API adds to this process's environment and cannot take away
                os.environ.pop(name, None)
            return self.workspace().stack()
        from pulumi import automation

        os.environ |= held(os.environ)
        return automation.select_stack(self.name, work_dir=str(self.checkout))

    def session(self) -> Session:
        from infra.ops import aws

        return aws.session(self.environment)

    def aws(self, service: str) -> Any:
        """A boto3 client for the stack's account, with short time-outs."""
        return self.session().client(service)

    @property
    def _deploy_hint(self) -> str:
        return "Run `penstock up`." if self.layout else f"Run `pulumi up -s {self.name}`."

    @property
    def _doctor_hint(self) -> str:
        if self.layout:
            return "Look at the platform's logs: `penstock logs`."
        return f"Look at the credentials and at where the state is: `penstock doctor --stack {self.name}`."

    def _pulumi(self, *arguments: str) -> str:
        command = [self.program, *arguments, "--stack", self.name, "--non-interactive", "--color", "never"]
        called = f"`pulumi {' '.join(arguments[:2])}`"
        try:
            done = subprocess.run(
                command,
                cwd=self.folder,
                env=dict(self.environment),
                capture_output=True,
                text=True,
                timeout=PULUMI_SECONDS,
                check=False,
            )
        except FileNotFoundError:
            raise PenstockError("`pulumi` is not on the PATH.", "Run `penstock up`, or install Pulumi.") from None
        except subprocess.TimeoutExpired:
            raise PenstockError(f"{called} did not answer in {PULUMI_SECONDS:.0f} s.", self._doctor_hint) from None
        if done.returncode != 0:
            reason = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
            if "no stack named" in reason:
                raise NotRunningError(f"There is no stack {self.name}.", self._deploy_hint)
            raise PenstockError(f"{called} failed: {reason.removeprefix('error: ').rstrip('.')}.", self._doctor_hint)
        return done.stdout


def open_stack(checkout: Path, name: str) -> StackAccess:
    """Raises NotRunningError for `local` where the platform is down."""
    if name != LOCAL:
        return StackAccess(name, checkout, checkout, dict(os.environ), program=_program())
    return access_on(running_layout(checkout))


def _program() -> str:
    """The `pulumi` on PATH, else the pinned one where the cache has it."""
    from infra.local.toolchain.find import cache_folder, cached
    from infra.local.toolchain.tools import PULUMI

    if shutil.which("pulumi"):
        return "pulumi"
    found = cached(PULUMI, cache_folder())
    return str(found / "pulumi") if found else "pulumi"


def access_on(layout: Layout) -> StackAccess:
    """The stack that a running platform carries. Raises PenstockError."""
    from infra.local.toolchain.find import ToolchainError
    from infra.local.workspace import Workspace
    from infra.settings import SettingsError

    try:
        workspace = Workspace(layout)
        environment = merged(workspace.environment())
    except (SettingsError, ToolchainError) as error:
        raise PenstockError(str(error)) from None
    pulumi = str(workspace.toolchain.path("pulumi"))
    return StackAccess(layout.stack, layout.checkout, layout.workspace, environment, layout, pulumi)


def running_layout(checkout: Path) -> Layout:
    """The running local platform. Raises NotRunningError."""
    from infra.local import cloud

    layout = cloud.running(checkout)
    if layout is None:
        raise NotRunningError(f"{cloud.last_words(checkout)}.")
    return layout


def merged(variables: Mapping[str, str]) -> dict[str, str]:
    """The calling shell's environment with the platform's variables, and nothing that would lead to a real account."""
    kept = {name: value for name, value in os.environ.items() if name not in UNWANTED}
    return {**kept, **variables}


UNWANTED = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE")
"""Credentials that would win over, or mix with, those of the local platform."""
