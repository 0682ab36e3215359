"""Old stack files are brought to this version's layout: recorded ones, and steps of every kind over made-up ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from infra.settings import Settings, SettingsError
from infra.settings.migrations import STEPS, MigrationError, Step, migrate, version_of
from infra.settings.model import SCHEMA_VERSION
from infra.settings.parse import stack_file_values
from infra.settings.yaml_text import TextError, add, put, remove, rename, replace_block

RECORDED = Path(__file__).with_name("stack_files")
FILES = sorted(RECORDED.glob("v*/*.yaml"))


def comments(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip().startswith("#")]


def test_each_older_version_has_a_step_and_recorded_files():
    assert sorted(STEPS) == list(range(1, SCHEMA_VERSION))
    assert {path.parent.name for path in FILES} == {f"v{version}" for version in range(1, SCHEMA_VERSION)}


@pytest.mark.parametrize("path", FILES, ids=[f"{path.parent.name}-{path.stem}" for path in FILES])
def test_a_recorded_file_is_brought_to_this_version(path: Path, tmp_path: Path):
    old = path.read_text()
    assert f"v{version_of(old)}" == path.parent.name
    migrated = migrate(old)
    fresh = tmp_path / f"Pulumi.{path.stem}.yaml"
    fresh.write_text(migrated.text)
    Settings.from_stack_file(fresh)  # add to the step in infra/settings/migrations.py what an old file lacks
    assert set(comments(old)) <= set(comments(migrated.text))
    gone = [line for line in old.splitlines() if line not in migrated.text.splitlines()]
    assert [line for line in gone if "penstock:schemaVersion:" not in line] == []
    again = migrate(migrated.text)
    assert (again.text, again.steps) == (migrated.text, ())


def test_an_old_file_is_refused_by_the_parser_with_the_command_that_helps(tmp_path: Path):
    path = tmp_path / "Pulumi.dev.yaml"
    path.write_text((RECORDED / "v1" / "dev.yaml").read_text())
    with pytest.raises(SettingsError, match=r"is missing, so the file is of version 1.*penstock migrate") as caught:
        Settings.from_stack_file(path)
    assert len(caught.value.problems) == 1


def test_a_file_of_the_future_is_left_alone():
    with pytest.raises(MigrationError, match=f"of version 99, and this checkout reads {SCHEMA_VERSION}"):
        migrate("config:\n  penstock:schemaVersion: 99\n")
    values = stack_file_values(RECORDED / "v1" / "dev.yaml") | {"schemaVersion": 99}
    with pytest.raises(SettingsError, match="99 is newer than this checkout"):
        Settings.parse(values)


@pytest.mark.parametrize("text", ["config: [", "config:\n  penstock:schemaVersion: two\n", "[]\n", ""])
def test_what_cannot_be_read_is_said(text: str):
    with pytest.raises(MigrationError):
        migrate(text)


OLD = """\
# above
config:
  # of the key
  penstock:schemaVersion: 1  # behind
  penstock:models:
    - name: a  # the first
      queue: {most: 1}
    # between
    - name: b
      queue:
        most: 2
  penstock:old: 3
  penstock:gone:
    deep: [1,
      2]
  # the end
"""


def renamed_and_removed(text: str) -> str:
    return remove(rename(text, "config.penstock:old", "penstock:new"), "config.penstock:gone")


def below_each_item(text: str) -> str:
    return add(text, "config.penstock:models[].queue.wait", "30", comment="seconds")


def with_a_block(text: str) -> str:
    return add(text, "config.penstock:extra", "a: null\nb:\n  - 1\n", comment="why")


CHAIN = {1: Step("one", renamed_and_removed), 2: Step("two", below_each_item), 3: Step("three", with_a_block)}


def test_steps_follow_each_other_and_keep_comments():
    done = migrate(OLD, CHAIN, 4)
    assert (done.was, done.now, len(done.steps)) == (1, 4, 3)
    assert (
        done.text
        == """\
# above
config:
  # of the key
  penstock:schemaVersion: 4  # behind
  penstock:models:
    - name: a  # the first
      queue: {most: 1, wait: 30}
    # between
    - name: b
      queue:
        most: 2
        # seconds
        wait: 30
  penstock:new: 3
  # why
  penstock:extra:
    a: null
    b:
      - 1
  # the end
"""
    )


def test_a_file_half_way_goes_on_from_where_it_is():
    half = migrate(OLD, CHAIN, 3)
    assert migrate(half.text, CHAIN, 4).text == migrate(OLD, CHAIN, 4).text


def test_a_step_that_fails_says_between_which_versions():
    with pytest.raises(MigrationError, match=r"From version 1 to 2: config\.penstock:none is missing"):
        migrate(OLD, {1: Step("x", lambda text: put(text, "config.penstock:none", "1"))}, 2)


def test_a_block_takes_another_shape_in_its_place():
    fresh = replace_block(OLD, "config.penstock:gone", "other: 1\n")
    assert yaml.safe_load(fresh)["config"]["penstock:gone"] == {"other": 1}
    assert fresh.index("penstock:gone") > fresh.index("penstock:old")


def test_null_has_no_keys_to_add_to_and_a_list_is_no_mapping():
    assert add("a: null\n", "a.b", "1") == "a: null\n"
    with pytest.raises(TextError, match="a is not a mapping"):
        add("a: [1]\n", "a.b", "1")


NAMES = st.sampled_from(["a", "b", "c", "dd", "key"])
VALUES = st.recursive(
    st.integers(0, 9) | st.sampled_from(["x", "two words", "10", ""]) | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(NAMES, VALUES, min_size=1), st.sampled_from([False, None]), st.booleans())
def test_adding_to_any_mapping_adds_that_key_alone(content: dict, flow: bool | None, first: bool):
    text = yaml.safe_dump({"top": content}, sort_keys=False, default_flow_style=flow)
    fresh = add(text, "top.fresh", "1", first=first)
    assert yaml.safe_load(fresh) == {"top": content | {"fresh": 1}}
    assert add(fresh, "top.fresh", "2", first=first) == fresh
    assert [line for line in text.splitlines() if "{" not in line and line not in fresh.splitlines()] == []


@given(st.dictionaries(NAMES, VALUES, min_size=1), st.data())
def test_a_key_that_is_renamed_and_removed_leaves_the_others(content: dict, data: st.DataObject):
    name = data.draw(st.sampled_from(sorted(content)))
    text = yaml.safe_dump({"top": {"first": 1, **content}}, sort_keys=False, default_flow_style=False)
    renamed = rename(text, f"top.{name}", "fresh")
    others = {key: value for key, value in content.items() if key != name}
    assert yaml.safe_load(renamed) == {"top": {"first": 1, **others, "fresh": content[name]}}
    assert yaml.safe_load(remove(renamed, "top.fresh")) == {"top": {"first": 1, **others}}
