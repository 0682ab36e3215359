"""What decides does no I/O: sockets, files, processes and clocks of others are left to the driver around it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

GATEWAY = Path(__file__).parents[2] / "app/gateway"
CORE = (
    "account.py", "admit.py", "choose.py", "continuation.py", "continued.py", "errors.py", "retry.py", "rewrite.py",
    "balance/affinity.py", "balance/pick.py", "budget/levels.py", "cache/canonical.py", "cache/facts.py",
    "guards/injection.py", "guards/pii.py", "keys/grant.py", "ledger/row.py", "limits/book.py", "limits/policy.py",
    "providers/conversation.py", "queue/fair.py", "routing/breaker.py", "routing/decide.py", "routing/judge.py",
    "routing/score.py",
)  # fmt: skip
DRIVERS = {
    "asyncio", "asyncpg", "hiredis", "http", "httptools", "multiprocessing", "redis", "socket", "subprocess",
    "threading", "urllib", "uvicorn", "uvloop",
}  # fmt: skip


def imported(path: Path) -> set[str]:
    """First words of what a module imports when it runs, not of what only type checkers read."""
    tree = ast.parse(path.read_text())
    quiet = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    left_out = {id(inner) for node in quiet for inner in ast.walk(node)}
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in left_out:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize("module", CORE)
def test_what_decides_imports_nothing_that_does_io(module: str):
    assert imported(GATEWAY / module) & DRIVERS == set()


def test_the_drivers_are_seen_as_such():
    assert "asyncio" in imported(GATEWAY / "client.py")
