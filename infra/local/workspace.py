"""Pulumi on a local platform: a working folder, a file backend and the environment that `pulumi` needs.

The working folder has links to the checkout and copies of the stack files: selecting a stack writes an encryption salt
into its file, and the user's file is not ours to write. What `pulumi config set` changes is taken back.
"""

from __future__ import annotations

import os
import re
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from infra.local.files import write_whole
from infra.local.layout import STATE_VARIABLE, Layout
from infra.local.toolchain.build import PYTHON_VARIABLE
from infra.local.toolchain.find import Toolchain
from infra.policy.held import held

if TYPE_CHECKING:
    from pulumi import automation

LINKED = ("Pulumi.yaml", "infra", "components", "app", ".venv")

PLUGINS = {
    "resource-aws-v7.51.1/pulumi-resource-aws": "infra.local.aws.provider",
    "resource-kubernetes-v4.34.2/pulumi-resource-kubernetes": "infra.local.kubernetes.provider",
}
"""The folder's version is the one that the SDK asks for: the engine takes no other."""

_SALT = re.compile(r"^encryptionsalt: .*\n?", re.MULTILINE)


class Workspace:
    """The stack of a running platform."""

    def __init__(self, layout: Layout, toolchain: Toolchain | None = None) -> None:
        self.layout = layout
        self.toolchain = toolchain or Toolchain.load(layout.state)

    @property
    def programs(self) -> Path:
        """First on PATH: `pulumi`, which keeps the stack files in step."""
        return self.layout.state / "bin"

    def prepare(self) -> None:
        """Makes the folders, links and programs, and copies the stack files in. Idempotent."""
        layout = self.layout
        for folder in (layout.workspace, layout.backend, layout.pulumi_home, self.programs):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not layout.passphrase_file.exists():
            layout.passphrase_file.touch(mode=0o600)
            layout.passphrase_file.write_text(secrets.token_urlsafe(32))
        for name in LINKED:
            link = layout.workspace / name
            if not link.is_symlink():
                link.symlink_to(layout.checkout / name)
        for path, module in PLUGINS.items():
            plugin = layout.pulumi_home / "plugins" / path
            plugin.parent.mkdir(parents=True, exist_ok=True)
            _script(plugin, f'exec "{sys.executable}" -m {module} "$@"')
        _script(self.programs / "pulumi", f'exec "{sys.executable}" -m infra.local.pulumi_command "$@"')
        self.copy_in()

    def copy_in(self) -> None:
        """The user's stack files, each with the salt that its copy already has."""
        for source in self.layout.stack_files.glob("Pulumi.*.yaml"):
            target = self.layout.workspace / source.name
            salt = _SALT.search(target.read_text()) if target.exists() else None
            content = source.read_text()
            if salt and not _SALT.search(content):
                content = f"{content.rstrip()}\n{salt.group().rstrip()}\n"
            _write(target, content)
            _write(self._taken(source.name), source.read_text())

    def write_back(self) -> None:
        """Takes over what pulumi changed in a copy, but for the salt, unless the user's file has changed meanwhile."""
        for copy in self.layout.workspace.glob("Pulumi.*.yaml"):
            user_file, taken = self.layout.stack_files / copy.name, self._taken(copy.name)
            before = taken.read_text() if taken.exists() else ""
            content = copy.read_text()
            if not _SALT.search(before):
                content = _SALT.sub("", content)
            if content.rstrip() == before.rstrip():
                continue
            if user_file.exists() and user_file.read_text() != before:
                print(f"{copy.name} was changed by two at a time; pulumi's version is {copy}", file=sys.stderr)
                continue
            _write(user_file, content)
            _write(taken, content)

    def _taken(self, name: str) -> Path:
        return self.layout.workspace / f".{name}.taken"

    def environment(self) -> dict[str, str]:
        """What `pulumi`, `kubectl`, AWS clients and the plug-ins need, and nothing else of the caller's."""
        from infra.settings import Settings

        region = Settings.from_stack_file(self.layout.stack_file).aws.region
        virtualenv = Path(sys.executable).parent
        path = self.toolchain.search_path(f"{virtualenv}{os.pathsep}{os.environ.get('PATH', '/usr/bin:/bin')}")
        return {
            **self.layout.aws_environment(region),
            STATE_VARIABLE: str(self.layout.state),
            PYTHON_VARIABLE: sys.executable,
            "PATH": f"{self.programs}{os.pathsep}{path}",
            "PULUMI_HOME": str(self.layout.pulumi_home),
            "PULUMI_BACKEND_URL": self.layout.backend.as_uri(),
            "PULUMI_CONFIG_PASSPHRASE_FILE": str(self.layout.passphrase_file),
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            "PULUMI_DIY_BACKEND_DISABLE_CHECKPOINT_BACKUPS": "true",
            "PULUMI_ERROR_OUTPUT_STRING": "1",
            **held({}, self.layout.checkout / "infra" / "policy"),
            "PYTHONDONTWRITEBYTECODE": "",  # where it is set, each preview would take 2 s more (measured)
            "KUBECONFIG": str(self.layout.admin_kubeconfig),
        }

    def stack(self) -> automation.Stack:
        """The stack, made at its first use, with its files copied in."""
        from pulumi import automation

        self.prepare()
        options = automation.LocalWorkspaceOptions(
            work_dir=str(self.layout.workspace), env_vars=self.environment(), pulumi_command=self._command()
        )
        return automation.create_or_select_stack(self.layout.stack, work_dir=str(self.layout.workspace), opts=options)

    def _command(self) -> automation.PulumiCommand:
        """The automation API wants `<root>/bin/pulumi`."""
        from pulumi import automation

        root = self.layout.state / "pulumi-root"
        command = root / "bin" / "pulumi"
        if not command.is_symlink():
            command.parent.mkdir(parents=True, exist_ok=True)
            command.symlink_to(self.toolchain.path("pulumi"))
        return automation.PulumiCommand(root=str(root))


def _script(path: Path, line: str) -> None:
    _write(path, f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)


def _write(path: Path, content: str) -> None:
    if path.exists() and path.read_text() == content:
        return
    write_whole(path, content, path.stat().st_mode if path.exists() else 0o644)
