import stat
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.ops.errors import UsageError
from infra.ops.weights import StackFileError, Weights, edit, parse_shift, read, read_text, replace_file

STACK_FILE = """\
# What a reviewer sees first.
config:
  aws:region: eu-central-1   # the one region
  penstock:release:
    live: blue
    blue:
      weight: 100   # percent
      image: gateway:1
    green:
      image: "gateway:2"
      weight: 0
  penstock:models: {tiny: {weight: 7}}
"""


def test_one_colour_is_enough_and_the_other_gets_the_rest():
    assert parse_shift(["green=30"]) == Weights(blue=70, green=30)
    assert parse_shift(["blue=100"]) == Weights(blue=100, green=0)
    assert parse_shift(["green=0"]) == Weights(blue=100, green=0)
    assert parse_shift(["green=50", "blue=50"]) == Weights(blue=50, green=50)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "No weight"),
        (["green"], "COLOUR=PERCENT"),
        (["red=50"], "'red=50' is not a weight"),
        (["green=-1"], "not a weight"),
        (["green=1.5"], "not a weight"),
        (["green=101"], "0 to 100"),
        (["green=50", "green=60"], "given twice"),
        (["green=50", "blue=60"], "sum to 100"),
    ],
)
def test_a_shift_that_cannot_be_right_says_what_is_allowed(arguments, message):
    with pytest.raises(UsageError, match=message):
        parse_shift(arguments)


def test_an_edit_changes_the_two_weight_lines_and_nothing_else():
    changed = edit(STACK_FILE, Weights(blue=50, green=50))
    before, after = STACK_FILE.splitlines(), changed.splitlines()
    different = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert different == [
        ("      weight: 100   # percent", "      weight: 50   # percent"),
        ("      weight: 0", "      weight: 50"),
    ]


comment = st.from_regex(r"( +# [a-z:'\"{}\[\]&*é ]{0,20})?", fullmatch=True)
blank = st.sampled_from(["", "\n", "  # config: penstock:release: weight: 9\n", "\n\n"])
quote = st.sampled_from(["", "'", '"'])
percent = st.integers(0, 100)


@st.composite
def stack_files(draw) -> str:
    """Texts of one meaning in many spellings: comments, quotes, order, indentation, line ends, neighbours."""
    share = draw(percent)

    def colour(name: str, weight: int) -> str:
        mark = draw(quote)
        if draw(st.booleans()):
            return f"    {name}: {{weight: {mark}{weight}{mark}, image: 'é'}}{draw(comment)}\n"
        lines = [f"      weight: {mark}{weight}{mark}{draw(comment)}\n", "      image: x\n"]
        return f"    {name}:\n" + draw(blank).join(draw(st.permutations(lines)))

    colours = [colour("blue", share), colour("green", 100 - share), f"    live: blue{draw(comment)}\n"]
    release = (
        f"  {draw(st.sampled_from(['penstock:release', chr(34) + 'penstock:release' + chr(34)]))}:{draw(comment)}\n"
    )
    release += draw(blank).join(draw(st.permutations(colours)))
    blocks = [release, "  penstock:other:\n    green: {weight: 3}\n", f"  aws:region: eu{draw(comment)}\n"]
    text = draw(blank) + "config:\n" + draw(blank).join(draw(st.permutations(blocks)))
    if draw(st.booleans()):
        text = "\ufeff" + text if not text.startswith("\n") else text
    return text.replace("\n", "\r\n") if draw(st.booleans()) else text


@settings(max_examples=40)
@given(text=stack_files(), green=percent)
def test_any_stack_file_keeps_all_its_other_bytes(text: str, green: int):
    weights = Weights(blue=100 - green, green=green)
    changed = edit(text, weights)
    assert read(changed) == weights
    assert edit(changed, read(text)) == text, "the way back must restore every byte"
    expected = yaml.safe_load(text)
    for name in ("blue", "green"):
        kind = type(expected["config"]["penstock:release"][name]["weight"])
        expected["config"]["penstock:release"][name]["weight"] = kind(weights.of(name))
    assert yaml.safe_load(changed) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("config: [", "not valid YAML"),
        ("", "config is missing"),
        ("config: {}", "config.penstock:release is missing"),
        ("config: {penstock:release: '{}'}", "penstock:release.blue is missing"),
        ("config: {'penstock:release': {blue: {weight: 100}}}", "green is missing"),
        ("config: {'penstock:release': {blue: {weight: 100}, blue: {weight: 1}}}", "more than once"),
        ("config: {'penstock:release': {blue: {weight: all}, green: {weight: 0}}}", "not a plain number"),
        ("config: {'penstock:release': {blue: {weight: !!int 100}, green: {weight: 0}}}", "not a plain number"),
        ("config: {'penstock:release': {blue: {weight: 90}, green: {weight: 0}}}", "sum to 100"),
    ],
)
def test_a_stack_file_that_cannot_be_read_names_the_key_path(text, message):
    with pytest.raises(StackFileError, match=message):
        read(text, "Pulumi.dev.yaml")


def test_a_weight_that_other_keys_share_is_not_edited():
    alias = "config: {x: &w 100, 'penstock:release': {blue: {weight: *w}, green: {weight: 0}}}"
    with pytest.raises(StackFileError, match="not a plain number"):
        edit(alias, Weights(blue=50, green=50))
    one_colour_twice = "config: {'penstock:release': {blue: &b {weight: 50}, green: *b}}"
    with pytest.raises(StackFileError, match="shared with other keys"):
        edit(one_colour_twice, Weights(blue=50, green=50))


def test_a_file_is_replaced_whole_with_its_mode_and_leaves_nothing_beside(tmp_path: Path):
    file = tmp_path / "Pulumi.dev.yaml"
    file.write_bytes(STACK_FILE.replace("\n", "\r\n").encode())
    file.chmod(0o640)
    replace_file(file, edit(read_text(file), Weights(blue=0, green=100)))
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert [entry.name for entry in tmp_path.iterdir()] == [file.name]
    assert b"weight: 100\r\n" in file.read_bytes()


def test_a_missing_stack_file_is_named(tmp_path: Path):
    with pytest.raises(StackFileError, match=r"no stack file Pulumi\.none\.yaml"):
        read_text(tmp_path / "Pulumi.none.yaml")


def test_a_folder_that_cannot_be_written_ends_in_a_sentence(tmp_path: Path):
    with pytest.raises(StackFileError, match="cannot be written"):
        replace_file(tmp_path / "gone" / "Pulumi.dev.yaml", "x")
