"""The deployment of the local stack: output to a log file, progress to the terminal, and what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from infra.ops import deploy
from infra.ops.endpoint import Endpoint
from infra.ops.progress import Progress

if TYPE_CHECKING:
    from infra.local.layout import Layout
    from infra.ops.changes import Change
    from infra.ops.stacks import StackAccess


def deploy_local(access: StackAccess, layout: Layout, progress: Progress) -> list[Change]:
    """Runs `pulumi up`; its whole output goes to the log `pulumi-up`. Raises PenstockError."""
    layout.logs.mkdir(parents=True, exist_ok=True)
    log = layout.logs / "pulumi-up.log"

    def write(line: str) -> None:
        # Opened for each line: after a second Ctrl-C this has returned, and Pulumi still says something.
        with log.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    return deploy.up(access.automation(), progress, on_output=write)


def welcome(endpoint: Endpoint) -> str:
    """What a newcomer needs: the address, the key and the next three commands."""
    model = endpoint.models[0] if endpoint.models else "MODEL"
    return f"""
The platform is up.

  gateway   {endpoint.url}
  API key   {endpoint.key}
  models    {", ".join(endpoint.models)}

Ask it something:

  source .venv/bin/activate
  penstock chat "Why do spot nodes need a drain?"

Or with the official client (pip install openai):

  from openai import OpenAI
  client = OpenAI(base_url="{endpoint.base_url}", api_key="{endpoint.key}", max_retries=6)
  client.chat.completions.create(model="{model}", messages=[{{"role": "user", "content": "Hello"}}])

Then: penstock status | penstock release shift green=50 | eval "$(penstock env)" | penstock down"""
