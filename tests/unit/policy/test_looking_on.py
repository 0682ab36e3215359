"""The pack looks at a plain `pulumi preview`: by the environment, and by a program that refuses to run without it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from infra.local.toolchain.find import ensure
from infra.local.toolchain.tools import PULUMI
from infra.ops.diff.engine import CHECKOUT, Bench
from infra.ops.progress import Progress
from infra.policy import held

PROGRAM = CHECKOUT / "infra"


@pytest.mark.parametrize(
    "environment",
    [
        {held.VARIABLE: "infra/policy"},
        {held.VARIABLE: str(PROGRAM / "policy")},
        {held.VARIABLE: "/a/pack,infra/policy"},
        {held.VARIABLE: '"/with, a comma",infra/policy'},
        {held.WITHOUT: "an experiment"},
    ],
)
def test_the_program_runs_where_its_rules_look_on_or_a_reason_is_given(environment: Mapping[str, str]):
    assert held.reason_against(environment, (PROGRAM, CHECKOUT)) is None


@pytest.mark.parametrize(
    "environment",
    [{}, {held.VARIABLE: ""}, {held.VARIABLE: "/a/pack"}, {held.VARIABLE: "policy/infra"}, {held.WITHOUT: " "}],
)
def test_the_program_refuses_where_nobody_looks_on(environment: Mapping[str, str]):
    said = held.reason_against(environment, (PROGRAM, CHECKOUT))
    assert said
    assert "export PULUMI_OPTION_POLICY_PACK=infra/policy" in said


def test_a_callers_own_packs_are_kept_and_ours_stands_once():
    once = held.held({held.VARIABLE: "/a/pack,/with commas/in, it"})
    assert held.packs(once) == ["/a/pack", "/with commas/in", " it", str(held.PACK)]
    assert held.held(once) == once
    quoted = held.held({held.VARIABLE: '"/in, it"'})
    assert held.packs(quoted) == ["/in, it", str(held.PACK)]


class Plain:
    """`pulumi preview` as a shell runs it, over recorders in place of a cloud."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    def preview(self, stack: str, text: str, variables: Mapping[str, str], *options: str) -> tuple[int, str]:
        folder = self.bench._place("head", CHECKOUT, stack, text)
        environment = {**self.bench._environment(CHECKOUT)}
        environment.pop(held.WITHOUT)
        arguments = ("--stack", stack, "--non-interactive", "--color", "never", *options)
        if not (self.bench.folder / "backend" / ".pulumi" / "stacks" / "penstock" / f"{stack}.json").exists():
            self.bench._pulumi(CHECKOUT, folder, "stack", "init", stack)
        done = subprocess.run(
            [str(self.bench.pulumi), "preview", *arguments], cwd=folder, env={**environment, **variables},
            capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Plain:
    toolchain = ensure(Progress(quiet=True), tools=(PULUMI,))
    bench = Bench(tmp_path_factory.mktemp("bench"), toolchain.path("pulumi"), toolchain.search_path(os.environ["PATH"]))
    bench.prepare()
    return Plain(bench)


def stack_file(stack: str, *edits: tuple[str, str]) -> str:
    text = (CHECKOUT / f"Pulumi.{stack}.yaml").read_text()
    for before, after in edits:
        assert before in text
        text = text.replace(before, after, 1)
    return text


BY_ENVIRONMENT = {held.VARIABLE: "infra/policy"}
UNPROTECTED = ("penstock:protected: true", "penstock:protected: false")


@pytest.mark.toolchain
@pytest.mark.timeout(900)
@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_a_plain_preview_passes_the_rules(plain: Plain, stack: str):
    status, said = plain.preview(stack, stack_file(stack), BY_ENVIRONMENT)
    assert status == 0, said[-3000:]
    assert "penstock@" in said.split("Policies:", 1)[-1]


@pytest.mark.toolchain
@pytest.mark.timeout(900)
def test_a_plain_preview_of_what_a_rule_forbids_is_refused(plain: Plain):
    """Production without deletion protection: the settings allow it, the rules do not."""
    status, said = plain.preview("prod", stack_file("prod", UNPROTECTED), BY_ENVIRONMENT)
    assert status != 0
    assert "[mandatory]" in said
    assert "deletion" in said


@pytest.mark.toolchain
@pytest.mark.timeout(900)
def test_a_plain_preview_without_the_variable_is_refused_before_any_resource(plain: Plain):
    status, said = plain.preview("prod", stack_file("prod"), {})
    assert status != 0
    assert "export PULUMI_OPTION_POLICY_PACK=infra/policy" in said
    assert "aws:" not in said


@pytest.mark.toolchain
@pytest.mark.timeout(900)
def test_a_pack_that_is_named_twice_looks_once(plain: Plain):
    pack = str(Path("infra") / "policy")
    status, said = plain.preview("dev", stack_file("dev"), BY_ENVIRONMENT, "--policy-pack", pack)
    assert status == 0, said[-3000:]
