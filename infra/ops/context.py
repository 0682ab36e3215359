"""What every command gets: the checkout it belongs to, and how it reports."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from infra.ops.errors import PenstockError, UsageError

if TYPE_CHECKING:
    from infra.ops.endpoint import Endpoint
    from infra.ops.progress import Progress
    from infra.ops.stacks import StackAccess


@dataclass
class Context:
    """Click's object. Tests put another checkout in."""

    checkout: Path = field(default_factory=lambda: Path(__file__).resolve().parents[2])

    def progress(self) -> Progress:
        from infra.ops.progress import Progress

        return Progress()

    def open(self, stack: str) -> StackAccess:
        from infra.ops.stacks import open_stack

        self.require_checkout()
        return open_stack(self.checkout, stack)

    def endpoint(self, stack: str, url: str | None = None, key: str | None = None) -> Endpoint:
        """The gateway that was named, else the stack's. Raises UsageError where only one of URL and key is given."""
        from infra.ops import endpoint

        if bool(url) != bool(key):
            raise UsageError("A gateway's URL and its key belong together.", "Give both, or neither.")
        if url and key:
            found = endpoint.Endpoint(endpoint.normalised(url), key)
            return endpoint.Endpoint(found.url, key, endpoint.list_models(found))
        return endpoint.from_outputs(self.open(stack).outputs())

    def stack_file(self, stack: str) -> Path:
        """Raises UsageError where the stack has no file, PenstockError without a checkout."""
        self.require_checkout()
        return stack_file_of(self.checkout, stack)

    def require_checkout(self) -> None:
        """Raises PenstockError where this command was installed without its repository."""
        if not (self.checkout / "Pulumi.yaml").is_file():
            raise PenstockError(
                f"{self.checkout} is not a Penstock checkout: it has no Pulumi.yaml.",
                "Use the `penstock` of a checkout's .venv (`make setup`).",
            )


def stack_file_of(checkout: Path, stack: str) -> Path:
    """Raises UsageError where the stack has no file."""
    file = checkout / f"Pulumi.{stack}.yaml"
    if not file.is_file():
        raise UsageError(f"There is no {file.name}.", "Name a stack that has a file: --stack NAME.")
    return file


pass_context = click.make_pass_decorator(Context)


def stack_names(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """For completion: the stacks that have a file."""
    checkout = (context.find_object(Context) or Context()).checkout
    names = (path.name.removeprefix("Pulumi.").removesuffix(".yaml") for path in checkout.glob("Pulumi.*.yaml"))
    return sorted(name for name in names if name.startswith(begun))


stack_option = click.option(
    "--stack",
    "-s",
    default="local",
    show_default=True,
    envvar="PENSTOCK_STACK",
    show_envvar=True,
    shell_complete=stack_names,
    help="The stack: the name in Pulumi.NAME.yaml.",
)


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(function)


def echo_json(content: Any) -> None:
    click.echo(json.dumps(content, indent=2))
