import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.ops.commands.env import without_repeats
from infra.ops.errors import UsageError
from infra.ops.logfiles import LogFile, find, follow, select, tail
from infra.ops.shell import script

value = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)


@given(value)
@settings(max_examples=60)
def test_any_value_is_one_word_of_an_export(text: str):
    line = script({"NAME": text}, [], "sh")
    assert shlex.split(line) == ["export", f"NAME={text}"]


def test_a_shell_takes_the_lines_over():
    nasty = "a 'b' \"c\" $HOME `id` \\ \n* é"
    lines = script({"PENSTOCK_X": nasty}, ["AWS_PROFILE"], "sh")
    done = subprocess.run(
        ["sh", "-c", f'{lines}\nprintf %s "$PENSTOCK_X${{AWS_PROFILE-unset}}"'],
        env={"AWS_PROFILE": "real", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    )
    assert done.stdout == nasty + "unset"


def test_fish_gets_its_own_quotes_and_a_list_for_path():
    assert (
        script({"X": "it's \\ $HOME"}, ["AWS_PROFILE"], "fish") == "set -e AWS_PROFILE\nset -gx X 'it\\'s \\\\ $HOME'"
    )
    assert script({"PATH": "/a:/b c"}, [], "fish") == "set -gx PATH '/a' '/b c'"


@pytest.mark.parametrize("name", ["A-B", "1A", "A B", "", "A;id"])
def test_what_is_not_a_name_is_refused(name):
    with pytest.raises(ValueError, match="not the name"):
        script({name: "x"}, [], "sh")


def test_path_does_not_grow_with_each_use():
    assert without_repeats("/a:/b:/a:/c") == "/a:/b:/c"


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    pods = ("pods/penstock_engine-tiny-blue-x_vllm.log", "pods/penstock_gateway-blue-1_gateway.log")
    for name in ("apiserver.log", "etcd.log", *pods):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("one\ntwo\nthree\n")
    for name in pods:
        (tmp_path / name).with_suffix(".previous.log").write_text("old\n")
    return tmp_path


def test_logs_are_found_servers_first(logs: Path):
    names = [file.name for file in find(logs)]
    assert names == ["apiserver", "etcd", "engine-tiny-blue-x/vllm", "gateway-blue-1/gateway"]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (None, 4),
        ("etcd", 1),
        ("api", 1),
        ("engine", 1),
        ("gateway", 1),
        ("gateway-blue-1", 1),
        ("vllm", 1),
    ],
)
def test_a_log_is_named_by_the_start_of_its_name(logs: Path, wanted, found):
    assert len(select(find(logs), wanted)) == found


def test_an_unknown_log_names_what_there_is(logs: Path):
    with pytest.raises(UsageError, match="apiserver, etcd"):
        select(find(logs), "nonsense")


@given(st.lists(st.text("ab é", max_size=9), max_size=30), st.integers(0, 40))
@settings(max_examples=40)
def test_a_tail_is_the_last_lines(tmp_path_factory, lines: list[str], count: int):
    path = tmp_path_factory.mktemp("tail") / "x.log"
    path.write_text("".join(f"{line}\n" for line in lines))
    assert tail(path, count)[0] == (lines[-count:] if count else [])


def test_following_gives_new_lines_and_survives_a_rotation(tmp_path: Path):
    path = tmp_path / "x.log"
    path.write_text("before\n")
    files = [LogFile("x", path)]
    _, end = tail(path, 0)

    def later(_: float) -> None:
        path.write_text("new\n")  # shorter than what was read: it was cut

    with path.open("a") as log:
        log.write("one\ntw")
    lines = follow(lambda: files, {path: end}, sleep=later)
    assert next(lines)[1] == "one"
    assert next(lines)[1].endswith("new")
    path.unlink()
    path.with_name("y.log").write_text("another\n")
    files[:] = [LogFile("y", path.with_name("y.log"))]
    assert next(lines)[1] == "another", "files that appear are followed too"
