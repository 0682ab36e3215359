"""`penstock completion`."""

from __future__ import annotations

import click

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script that completes commands, options and stacks in a shell.

    \b
      eval "$(penstock completion bash)"                              in ~/.bashrc; bash 4.4 or later
      eval "$(penstock completion zsh)"                               in ~/.zshrc
      penstock completion fish > ~/.config/fish/completions/penstock.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise click.BadParameter(f"click knows no completion for {shell}")
    made = kind(context.find_root().command, {}, "penstock", "_PENSTOCK_COMPLETE")
    # Not `source()`: for bash that runs a bash to learn its version, which may be another than the caller's.
    click.echo(made.source_template % made.source_vars())
