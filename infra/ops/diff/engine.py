"""Pulumi's engine over two revisions: an update of the base in record-only mode, then a preview of the head on it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from infra.local.toolchain.build import PYTHON_VARIABLE
from infra.local.workspace import LINKED, PLUGINS
from infra.ops.errors import PenstockError
from infra.policy.held import WITHOUT

CHECKOUT = Path(__file__).resolve().parents[3]
RECORDING = {
    "infra.local.aws.provider": "infra.ops.diff.record_aws",
    "infra.local.kubernetes.provider": "infra.ops.diff.record_kubernetes",
}
SECONDS = 300.0
"""An update or a preview without a cloud that takes longer hangs (measured: 6 to 20 s)."""
PARALLEL = "64"
LAST_LINES = 15
ENCRYPTION = ("encryptionsalt", "encryptedkey", "secretsprovider")
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "XDG_CACHE_HOME", "SSL_CERT_FILE")
"""Of the caller's environment. Credentials above all do not come along: the program of a fork runs here."""


@dataclass
class Bench:
    """A throw-away file backend with recording plug-ins, in `folder`; one stack at a time."""

    folder: Path
    pulumi: Path
    path: str
    """PATH of the tools."""

    def prepare(self) -> None:
        for name in ("home", "backend"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        for path, module in PLUGINS.items():
            plugin = self.folder / "home" / "plugins" / path
            plugin.parent.mkdir(parents=True, exist_ok=True)
            # The base's program has its own modules first on the path; the plug-ins are this checkout's.
            plugin.write_text(
                f'#!/bin/sh\nPYTHONPATH="{CHECKOUT}" exec "{sys.executable}" -P -m {RECORDING[module]} "$@"\n'
            )
            plugin.chmod(0o755)

    def update(self, sources: Path, stack: str, stack_file: str) -> None:
        """Makes the stack's state of the program in `sources`. Raises PenstockError."""
        place = self._place("base", sources, stack, stack_file)
        self._pulumi(sources, place, "stack", "init", stack)
        self._pulumi(
            sources, place, "up", "--yes", "--skip-preview", "--suppress-outputs", "--stack", stack,
            "--parallel", PARALLEL,
        )  # fmt: skip

    def preview(self, sources: Path, stack: str, stack_file: str) -> dict[str, Any]:
        """`pulumi preview --json` of the program in `sources` on the state that is there. Raises PenstockError."""
        place = self._place("head", sources, stack, stack_file)
        salt = (self.folder / "base" / f"Pulumi.{stack}.yaml").read_text().partition("encryptionsalt:")[2]
        with (place / f"Pulumi.{stack}.yaml").open("a") as file:
            file.write(f"encryptionsalt:{salt.splitlines()[0]}\n")
        # A protected resource that goes is to be reported, not to end the report.
        options = ["--json", "--ignore-protect", "--show-replacement-steps", "--parallel", PARALLEL]
        return json.loads(self._pulumi(sources, place, "preview", "--stack", stack, *options))

    def _place(self, name: str, sources: Path, stack: str, stack_file: str) -> Path:
        place = self.folder / name
        place.mkdir(exist_ok=True)
        for link in LINKED:
            target = Path(sys.executable).parents[1] if link == ".venv" else sources / link
            (place / link).unlink(missing_ok=True)
            (place / link).symlink_to(target)
        (place / f"Pulumi.{stack}.yaml").write_text(without_ciphers(stack_file))
        return place

    def _pulumi(self, sources: Path, place: Path, *arguments: str) -> str:
        command = [str(self.pulumi), *arguments, "--non-interactive", "--color", "never"]
        try:
            done = subprocess.run(
                command, cwd=place, env=self._environment(sources), capture_output=True, text=True,
                timeout=SECONDS, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise PenstockError(f"`pulumi {arguments[0]}` did not end in {SECONDS:.0f} s.") from None
        if done.returncode:
            whose = "base" if place.name == "base" else "working tree"
            raise PenstockError(f"The program of the {whose} failed: {_reason(done.stdout, done.stderr)}")
        return done.stdout

    def _environment(self, sources: Path) -> Mapping[str, str]:
        return {
            **{name: os.environ[name] for name in KEPT if name in os.environ},
            "PATH": self.path,
            "PYTHONPATH": str(sources),
            PYTHON_VARIABLE: sys.executable,
            "PULUMI_HOME": str(self.folder / "home"),
            "PULUMI_BACKEND_URL": (self.folder / "backend").as_uri(),
            "PULUMI_CONFIG_PASSPHRASE": "of a folder that is removed at once",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            "PULUMI_DIY_BACKEND_DISABLE_CHECKPOINT_BACKUPS": "true",
            "PULUMI_EXPERIMENTAL": "true",
            "PULUMI_SKIP_CHECKPOINTS": "true",
            "PULUMI_ERROR_OUTPUT_STRING": "1",
            WITHOUT: "nothing is deployed, two revisions are compared",
        }


def _reason(output: str, errors: str) -> str:
    """The engine's own diagnostics, which `--json` puts into the output; else its last lines."""
    try:
        said = [each["message"].strip() for each in json.loads(output)["diagnostics"] if each["severity"] == "error"]
    except (ValueError, KeyError, TypeError):
        text = (errors + output).partition("\nResources:")[0]  # what follows counts what was done
        said = [line for line in text.splitlines() if line.strip()][-LAST_LINES:]
    return "\n".join(dict.fromkeys(said))


def without_ciphers(text: str) -> str:
    """A stack file that needs no key: each secret value reads as a digest of its ciphertext, so that a change of it
    still shows."""
    content = yaml.safe_load(text) or {}
    return yaml.safe_dump(
        {key: _opened(value) for key, value in content.items() if key not in ENCRYPTION}, sort_keys=False, width=120
    )


def _opened(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"secure"}:
            return f"cipher-{hashlib.sha256(str(value['secure']).encode()).hexdigest()[:16]}"
        return {key: _opened(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_opened(each) for each in value]
    return value
