"""Taking a new version replaces nothing: every recorded release, under its own stack files, against this program."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from pathlib import Path

import pulumi
import pytest
from pulumi import Alias, ResourceOptions

from infra.ops.diff.steps import parse
from infra.rehearsal import Rehearsal, rehearse, rehearse_stack
from infra.settings.migrations import migrate
from tests.upgrades.identity import BY_CONTENT, STACK, Kept, broken, kept
from tests.upgrades.record import CHECKOUT, DEPLOYED, RELEASES, STACKS, STATE, make_bench

FOUND = sorted(path.name for path in RELEASES.iterdir())
CASES = [(release, stack) for release in FOUND for stack in STACKS]


def recorded(release: str, stack: str) -> list[Kept]:
    return [Kept.parse(line) for line in (RELEASES / release / f"{stack}.txt").read_text().splitlines()]


def migrated(release: str, stack: str) -> str:
    return migrate((RELEASES / release / f"Pulumi.{stack}.yaml").read_text()).text


def test_each_release_has_an_upgrade_page():
    pages = {path.stem.removeprefix("upgrade-") for path in (CHECKOUT / "docs").glob("upgrade-*.md")}
    assert set(FOUND) <= pages


@pytest.mark.parametrize(("release", "stack"), CASES)
def test_what_a_release_deployed_keeps_its_identity(release: str, stack: str, tmp_path: Path):
    file = tmp_path / f"Pulumi.{stack}.yaml"
    file.write_text(migrated(release, stack))
    assert broken(recorded(release, stack), rehearse_stack(file).registrations) == []


@pytest.mark.toolchain
@pytest.mark.timeout(300)
@pytest.mark.parametrize("stack", DEPLOYED)
@pytest.mark.parametrize("release", FOUND)
def test_an_upgrade_replaces_and_deletes_nothing(
    release: str, stack: str, tmp_path: Path, record_property, capsys: pytest.CaptureFixture[str]
):
    """With Pulumi's engine: the release's own state, and this program previewed on it."""
    bench = make_bench(tmp_path)
    state = tmp_path / STATE.format(stack=stack)
    state.parent.mkdir(parents=True)
    state.write_bytes(gzip.decompress((RELEASES / release / f"{stack}.state.json.gz").read_bytes()))
    (tmp_path / "base").mkdir()
    salt = json.loads(state.read_text())["checkpoint"]["latest"]["secrets_providers"]["state"]["salt"]
    (tmp_path / "base" / f"Pulumi.{stack}.yaml").write_text(f"encryptionsalt: {salt}\n")

    steps = parse(bench.preview(CHECKOUT, stack, migrated(release, stack)))

    counted = Counter(step.operation for step in steps)
    lost = [
        f"{step.operation} {step.type} {step.name}: {', '.join(step.replaced_by)}"
        for step in steps
        if step.operation in ("replace", "delete") and step.type not in BY_CONTENT
    ]
    record_property("replaced", len(lost))
    with capsys.disabled():
        told = ", ".join(f"{count} {name}" for name, count in sorted(counted.items())) or "no changes"
        print(f"\nfrom {release}, {stack}: {len(lost)} replaced or deleted; {told}")
    assert lost == []


# What the checks themselves see.


class Box(pulumi.ComponentResource):
    def __init__(self, name: str, kind: str = "Box", opts: ResourceOptions | None = None) -> None:
        super().__init__(f"test:index:{kind}", name, None, opts)
        self.register_outputs({})


def queue(
    name: str, parent: pulumi.Resource, queue_name: str = "orders", aliases: list[Alias] | None = None
) -> pulumi.Resource:
    return pulumi.CustomResource(
        "aws:sqs/queue:Queue", name, {"name": queue_name}, ResourceOptions(parent=parent, aliases=aliases)
    )


def registered(program) -> Rehearsal:
    return rehearse(program, {}, stack="dev", preview=False)


def said(change) -> list[str]:
    before = registered(lambda: queue("orders", Box("box")))
    old = [Kept.parse(each.line()) for each in kept(before.registrations)]
    return broken(old, registered(change).registrations)


def test_the_same_program_keeps_all():
    assert said(lambda: queue("orders", Box("box"))) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda: queue("purchases", Box("box")), "test:index:Box$aws:sqs/queue:Queue::orders is gone"),
        (lambda: queue("orders", Box("box", "Crate")), "test:index:Box::box is gone"),
        (lambda: queue("orders", Box("crate")), "another parent, test:index:Box::crate"),
        (lambda: queue("orders", Box("box"), "purchases"), "name changed, which replaces it"),
        (lambda: queue("orders", Box("inner", opts=ResourceOptions(parent=Box("box")))), "Queue::orders is gone"),
    ],
    ids=["name", "type of the parent", "name of the parent", "forcing input", "moved below another"],
)
def test_each_change_that_would_replace_is_named(change, words: str):
    assert any(words in each for each in said(change)), said(change)


@pytest.mark.parametrize(
    "change",
    [
        lambda: queue("purchases", Box("box"), aliases=[Alias(name="orders")]),
        lambda: queue("orders", Box("box", "Crate", ResourceOptions(aliases=[Alias(type_="test:index:Box")]))),
        lambda: queue("orders", Box("crate", opts=ResourceOptions(aliases=[Alias(name="box")]))),
    ],
    ids=["name", "type of the parent", "name of the parent"],
)
def test_an_alias_keeps_what_is_renamed(change):
    assert said(change) == []


def test_no_record_tells_of_the_machine_it_was_made_on():
    for path in RELEASES.rglob("*.gz"):
        text = gzip.decompress(path.read_bytes()).decode()
        assert re.findall(r'"/(?:home|root|tmp|Users)/[^"]*"', text) == []
        assert STACK in text
