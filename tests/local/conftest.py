"""The running platform, used as a person uses it: through `penstock` and the environment that it prints."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from infra.ops.endpoint import Endpoint, from_outputs
from infra.ops.stacks import UNWANTED

CHECKOUT = Path(__file__).resolve().parents[2]
COMMAND_SECONDS = 500


@dataclass(frozen=True)
class Platform:
    variables: dict[str, str] = field(repr=False)  # the key is among them

    @property
    def checkout(self) -> Path:
        return CHECKOUT

    @property
    def state(self) -> Path:
        return Path(self.variables["PENSTOCK_LOCAL_STATE"])

    @property
    def stack_file(self) -> Path:
        return CHECKOUT / "Pulumi.local.yaml"

    @property
    def endpoint(self) -> Endpoint:
        models = self.penstock_json("status")["models"]
        return from_outputs(
            {
                "gatewayUrl": self.variables["PENSTOCK_GATEWAY_URL"],
                "apiKey": self.variables["PENSTOCK_API_KEY"],
                "models": models,
            }
        )

    def run(self, *command: str, check: bool = True, cwd: Path = CHECKOUT) -> subprocess.CompletedProcess[str]:
        """A command in a shell that has taken `penstock env` over."""
        environment = {name: value for name, value in os.environ.items() if name not in UNWANTED} | self.variables
        done = subprocess.run(
            command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False
        )
        if check and done.returncode != 0:
            pytest.fail(f"{' '.join(command)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def penstock(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "infra.ops.cli", *arguments, check=check)

    def penstock_json(self, *arguments: str) -> Any:
        return json.loads(self.penstock(*arguments, "--json").stdout)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A killed supervisor ends the platform that the other tests use: it comes last, however tests were shuffled."""
    items.sort(key=lambda item: "supervisor_is_killed" in item.name)


@pytest.fixture(scope="session")
def platform() -> Platform:
    done = subprocess.run(
        [sys.executable, "-m", "infra.ops.cli", "env", "--json"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        pytest.fail(f"these tests need the local platform (make up): {done.stderr.strip()}", pytrace=False)
    variables = json.loads(done.stdout)
    if "PENSTOCK_API_KEY" not in variables:
        pytest.fail(f"the stack local is not deployed (make up): {done.stderr.strip()}", pytrace=False)
    return Platform(variables)


@pytest.fixture
def stack_files_unchanged(platform: Platform) -> Iterator[None]:
    """Whatever a run does, the repository's stack files are not its to write."""
    before = {path.name: path.read_bytes() for path in platform.checkout.glob("Pulumi*.yaml")}
    yield
    after = {path.name: path.read_bytes() for path in platform.checkout.glob("Pulumi*.yaml")}
    assert after == before


@pytest.fixture
def stack_file_restored(platform: Platform) -> Iterator[Path]:
    """For a test that changes the stack: afterwards file and stack are as before."""
    before = platform.stack_file.read_bytes()
    yield platform.stack_file
    if platform.stack_file.read_bytes() != before:
        platform.stack_file.write_bytes(before)
        platform.penstock("up", "--json")
