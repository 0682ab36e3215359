"""The documentation, held to the program: its commands are real and run by tests, its links lead somewhere."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner

from infra.ops.cli import cli, run
from infra.ops.context import Context
from tests.docs import proofs
from tests.docs.reading import CHECKOUT, Said, anchors, code_lines, commands, links, name_of, pages, spans

PAGES = pages()
TARGETS = set(re.findall(r"^([a-z0-9][a-z0-9-]*):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))
IN_BLOCKS = [said for page in PAGES for said in commands(page.read_text(), name_of(page))]
IN_SENTENCES = [said for page in PAGES for said in spans(page.read_text(), name_of(page))]


def first_words(text: str) -> str:
    """The command without what is set before it, on one line."""
    return re.sub(r"^(?:[A-Z_]+=\S+ +)+\\?\s*", "", text)


def known(said: Said) -> bool:
    text = first_words(said.text)
    shown = text.splitlines()[0]
    if text in proofs.HERE or any(shown in lines for lines in proofs.ON_THE_PLATFORM.values()):
        return True
    return any(text.startswith(each) for each in begun())


def begun() -> Iterable[str]:
    return (*proofs.BY_A_TEST, *proofs.NEEDS_AN_ACCOUNT)


def test_every_command_of_a_block_of_code_is_run_by_a_test():
    assert len(IN_BLOCKS) > 60, "the pages are not read any more"
    unknown = [str(said) for said in IN_BLOCKS if not known(said)]
    assert unknown == [], "say in tests/docs/proofs.py what runs these"


def test_no_proof_is_left_without_a_command():
    texts = [first_words(said.text) for said in IN_BLOCKS]
    shown = {(said.page, first_words(said.text).splitlines()[0]) for said in IN_BLOCKS}
    left = [each for each in begun() if not any(text.startswith(each) for text in texts)]
    left += [each for each in proofs.HERE if each not in texts]
    left += [
        f"{page}: {each}"
        for page, lines in proofs.ON_THE_PLATFORM.items()
        for each in lines
        if (page, each) not in shown
    ]
    left += [each for each in proofs.SHORTENED if not any(each in text for text in texts)]
    assert left == []


def test_every_named_proof_exists():
    missing = []
    for proof in proofs.BY_A_TEST.values():
        path, _, name = proof.partition("::")
        place = CHECKOUT / path
        if not place.exists() or (name and f"def {name}(" not in place.read_text()):
            missing.append(proof)
    assert missing == []


@pytest.mark.parametrize("said", [each for each in IN_BLOCKS if each.text.startswith("make ")], ids=str)
def test_every_target_in_a_block_is_in_the_makefile(said: Said):
    assert targets_of(said.text) <= TARGETS


def test_every_target_in_a_sentence_is_in_the_makefile():
    unknown = [
        str(said) for said in IN_SENTENCES if said.text.startswith("make ") and not targets_of(said.text) <= TARGETS
    ]
    assert unknown == []


def targets_of(text: str) -> set[str]:
    return {word for word in text.split()[1:] if "=" not in word}


@pytest.mark.parametrize(
    "said", [each for each in IN_BLOCKS if first_words(each.text).startswith("penstock ")], ids=str
)
def test_the_command_line_takes_what_a_block_says(said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("preview.json").write_text("{}")  # what an earlier command of the page has written
    parse(shlex.split(re.sub(r"\s[<>]\s*\S+", "", said.text))[1:])


def test_every_command_of_a_sentence_is_one():
    wrong = []
    for said in IN_SENTENCES:
        words = said.text.split()[1:]
        if said.text.startswith("penstock ") and not is_command(words):
            wrong.append(str(said))
    assert wrong == []


def is_command(words: list[str]) -> bool:
    """Do these words begin with a command, with options that it has? Names of files and the like are not looked at."""
    command: click.Command = cli
    for position, word in enumerate(words):
        if not isinstance(command, click.Group):
            options = {name for parameter in command.params for name in parameter.opts}
            return {each for each in words[position:] if each.startswith("-")} <= options
        choices = [command.get_command(click.Context(command), each) for each in word.split("|")]
        if None in choices or not choices[0]:
            return False
        command = choices[0]
    return True


def parse(words: list[str]) -> None:
    """Reads a command line as `penstock` would, without doing it. Raises click's usage errors."""
    context = click.Context(cli, obj=Context(checkout=CHECKOUT), **cli.context_settings)
    command: click.Command = cli
    while isinstance(command, click.Group):
        found = command.get_command(context, words[0])
        assert found is not None, f"there is no command {words[0]!r}"
        context = click.Context(command, parent=context, info_name=words[0], obj=context.obj)
        command, words = found, words[1:]
    command.make_context(command.name, list(words), parent=context)


@pytest.mark.parametrize("line", proofs.HERE)
def test_a_command_that_needs_nothing_does_what_its_page_says(line: str):
    result = CliRunner().invoke(cli, shlex.split(line)[1:], obj=Context(checkout=CHECKOUT))
    assert result.exit_code == 0, result.output
    assert result.stdout
    if "--json" in line:
        json.loads(result.stdout)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path):
    broken = []
    for line, target in links(page.read_text()):
        if re.match(r"(https|mailto):", target):
            continue
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        if not place.exists() or not place.is_relative_to(CHECKOUT):
            broken.append(f"{line}: {target} does not exist")
        elif anchor and place.suffix == ".md" and anchor not in anchors(place.read_text()):
            broken.append(f"{line}: {target} has no such heading")
    assert broken == []


def test_every_page_can_be_reached_from_the_readme():
    seen: set[Path] = set()
    ahead = [CHECKOUT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        found = [(page.parent / target.partition("#")[0]).resolve() for _, target in links(page.read_text())]
        ahead += [place for place in found if place.is_relative_to(CHECKOUT) and place.is_file()]
    assert sorted(name_of(page) for page in PAGES if page not in seen) == []


def test_blocks_of_yaml_and_json_can_be_read():
    wrong = []
    for page in PAGES:
        for language, text, number in blocks(page.read_text()):
            try:
                if language == "json":
                    json.loads(text)
                elif language in ("yaml", "yml"):
                    list(yaml.safe_load_all(text))
            except ValueError as error:
                wrong.append(f"{name_of(page)}:{number}: {error}")
    assert wrong == []


def blocks(text: str) -> Iterable[tuple[str, str, int]]:
    """Language, text and first line of each fenced block."""
    lines: list[str] = []
    begin, last, spoken = 0, -1, ""
    for number, language, line in [*code_lines(text), (10**9, "", "")]:
        if number != last + 1:
            if lines and spoken != "indented":
                yield spoken, "\n".join(lines), begin
            lines, begin, spoken = [], number, language
        lines.append(line)
        last = number


def test_the_commands_are_read_whole():
    text = """
    A=1 B=2 \\
      python -m x --y
    curl u -d '{
      "a": 1}'
    make up   # what for
    cat x
"""
    assert [said.text for said in commands(text, "p")] == [
        "A=1 B=2 \\\n  python -m x --y",
        "curl u -d '{\n  \"a\": 1}'",
        "make up",
    ]


def test_wrong_commands_in_sentences_are_found():
    assert is_command(["release", "stage|promote"])
    assert is_command(["cost", "--refresh"])
    assert not is_command(["cost", "--cheap"])
    assert not is_command(["relase"])
    with pytest.raises(click.UsageError):
        parse(["cost", "--cheap"])
    assert run(["cost", "--cheap"]) == 2
