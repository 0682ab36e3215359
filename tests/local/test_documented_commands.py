"""The commands of the documentation, typed one after the other on the running platform, each page in one shell."""

import os
import re
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from infra.ops.stacks import UNWANTED
from tests.docs import proofs
from tests.docs.reading import CHECKOUT, commands
from tests.local.conftest import Platform

pytestmark = pytest.mark.local

A_KEY = "key-0123456789abcdef"
"""The key that docs/keys.md speaks of."""


def shortened(text: str) -> str:
    for long, short in proofs.SHORTENED.items():
        text = text.replace(long, short)
    return text


def script(page: str) -> list[str]:
    """The page's commands in the order of the table."""
    said = {each.text.splitlines()[0]: each.text for each in commands((CHECKOUT / page).read_text(), page)}
    return [shortened(said[line]) for line in proofs.ON_THE_PLATFORM[page]]


def typed(page: str, lines: list[str], folder: Path) -> str:
    """Runs the commands in one bash that stops at the first failure, as a person in a new terminal would."""
    environment = {name: value for name, value in os.environ.items() if name not in UNWANTED}
    # `penstock` and `python` are on PATH once the environment is active, which is the front page's first step.
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", "\n".join(lines)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    if done.returncode:
        pytest.fail(f"{page} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


@pytest.mark.timeout(450)
@pytest.mark.usefixtures("platform", "stack_files_unchanged")
@pytest.mark.parametrize("page", [page for page in proofs.ON_THE_PLATFORM if page != "docs/keys.md"])
def test_what_a_page_says_can_be_typed(page: str, tmp_path: Path):
    # Pulumi's own commands are for the checkout; what commands write lands where they were typed.
    folder = CHECKOUT if page == "README.md" else tmp_path
    assert typed(page, script(page), folder)
    for line in script(page):
        written = re.search(r"(?:--report|>) (\S+)$", line)
        if written and folder == tmp_path:
            assert list(tmp_path.glob(f"{written[1]}*")), f"{line} wrote nothing"


def test_a_key_lives_as_its_page_says(platform: Platform, tmp_path: Path):
    tenant = f"acme-{secrets.token_hex(4)}"  # a tenant cannot be made twice
    tell, create, *more = (line.replace("acme", tenant) for line in script("docs/keys.md"))
    typed("docs/keys.md", [tell, create], tmp_path)
    (mine,) = platform.penstock_json("key", "list", "--tenant", tenant)
    typed("docs/keys.md", [line.replace(A_KEY, mine["id"]) for line in more], tmp_path)
    keys = platform.penstock_json("key", "list", "--tenant", tenant)
    assert next(key for key in keys if key["id"] == mine["id"])["revoked_at"]
