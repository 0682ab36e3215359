"""A preview becomes steps, and steps a report: the recorded preview of `diff_edits`, secrets, comments."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from infra.local.wire import SECRET as SECRET_MARK
from infra.local.wire import SIGNATURE, UNKNOWN_TEXT
from infra.ops.changes import PropertyChange
from infra.ops.cli import cli, run
from infra.ops.context import Context
from infra.ops.diff.money import Figures
from infra.ops.diff.report import COMMENT_CHARACTERS, Report, markdown, marker
from infra.ops.diff.risk import judge
from infra.ops.diff.steps import SECRET, UNKNOWN, Step, parse
from infra.ops.errors import PenstockError

HERE = Path(__file__).parent
RECORDED, GOLDEN = HERE / "diff_preview.json", HERE / "diff_report.md"
BEFORE = Figures(2000.0, {"nodes on spot": 2000.0}, (), 2, 4, 6, {"gpu": 0, "gpuSpot": 3}, 5000)
AFTER = Figures(
    3200.5, {"nodes on spot": 2000.0, "nodes on demand": 1200.5}, ("rds:x",), 4, 4, 12, {"gpu": 2, "gpuSpot": 3}, 3000
)


def row(op, kind, name, old=None, new=None, **more):
    def state(inputs):
        return None if inputs is None else {"type": kind, "custom": True, "inputs": inputs}

    return {
        "op": op,
        "urn": f"urn:pulumi:dev::penstock::{kind}::{name}",
        "oldState": state(old),
        "newState": state(new),
        **more,
    }


def steps(*rows):
    return parse({"steps": list(rows)})


@pytest.fixture(scope="module")
def recorded():
    return tuple(judge(parse(json.loads(RECORDED.read_text()))))


def test_the_report_is_the_committed_one(recorded):
    text = markdown(Report("dev", "main (1a2b3c4d5)", recorded, BEFORE, AFTER, ("A remark.",)))
    if os.environ.get("PENSTOCK_WRITE_GOLDEN"):
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text(), "run the test with PENSTOCK_WRITE_GOLDEN=1 and review the difference"


def test_the_report_stops_where_something_is_at_risk(recorded):
    assert Report("dev", "main", recorded).stops
    harmless = judge(steps(row("create", "aws:cloudwatch/metricAlarm:MetricAlarm", "alarm", None, {})))
    assert not Report("dev", "main", tuple(harmless)).stops


def test_an_empty_report_says_so():
    assert "No change against main." in markdown(Report("dev", "main", ()))


def test_a_replacement_of_three_steps_is_one_change_with_its_order():
    kind = "aws:rds/instance:Instance"
    told = {
        "old": {"username": "a"},
        "new": {"username": "b"},
        "detailedDiff": {"username": {"kind": "update-replace"}},
    }
    three = [row(op, kind, "database", **told) for op in ("delete-replaced", "replace", "create-replacement")]
    (first,) = steps(*three)
    (last,) = steps(three[2], three[1], three[0])
    (alone,) = steps(three[1])
    assert (first.operation, first.deleted_first, first.replaced_by) == ("replace", True, ("username",))
    assert (last.deleted_first, alone.deleted_first) == (False, None)


def test_a_replacement_without_its_middle_step_is_still_one_change():
    found = steps(
        row("create-replacement", "a:b/c:D", "x", {"p": 1}, {"p": 2}), row("delete-replaced", "a:b/c:D", "x", {"p": 1})
    )
    assert [each.operation for each in found] == ["replace"]


def test_components_and_what_stays_are_left_out():
    component = row("create", "penstock:index:Cluster", "cluster", None, {})
    component["newState"]["custom"] = False
    assert steps(component, row("same", "a:b/c:D", "x", {}, {}), row("read", "a:b/c:D", "y", {}, {})) == []


def test_other_json_is_refused():
    with pytest.raises(PenstockError, match="has no list `steps`"):
        parse({"deployment": {}})


SECRETS = [
    ("aws:rds/instance:Instance", {"password": "hunter2"}, {"password": "hunter3"}),
    ("kubernetes:core/v1:Secret", {"data": {"k": "hunter2"}}, {"data": {"k": "hunter3"}}),
    ("kubernetes:core/v1:Secret", {"stringData": {"k": "hunter2"}}, {"stringData": {"k": "hunter3"}}),
    ("aws:secretsmanager/secretVersion:SecretVersion", {"secretString": "hunter2"}, {"secretString": "hunter3"}),
    ("aws:lb/listenerRule:ListenerRule",
     {"conditions": [{SIGNATURE: SECRET_MARK, "ciphertext": "hunter2"}]},
     {"conditions": [{SIGNATURE: SECRET_MARK, "ciphertext": "hunter3"}]}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "old", "new"), SECRETS)
def test_no_report_shows_a_secret_and_each_shows_that_it_changes(kind, old, new):
    key = next(iter(old))
    found = steps(row("update", kind, "x", old, new, detailedDiff={key: {"kind": "update"}}))
    report = Report("dev", "main", tuple(judge(found)))
    assert "hunter" not in markdown(report) + json.dumps(report.as_dict())
    assert found[0].properties == (PropertyChange(key, SECRET, SECRET),)


def test_a_value_that_is_not_known_yet_is_said_to_be_so():
    (step,) = steps(row("update", "a:b/c:D", "x", {"p": "1"}, {"p": f"arn:{UNKNOWN_TEXT}"}))
    assert step.properties == (PropertyChange("p", "1", UNKNOWN),)


def test_json_in_a_text_is_compared_by_its_parts():
    old, new = json.dumps({"a": 1, "b": [1]}), json.dumps({"b": [2], "a": 1})
    (step,) = steps(row("update", "kubernetes:core/v1:ConfigMap", "x", {"data": {"f": old}}, {"data": {"f": new}}))
    assert step.properties == (PropertyChange("data.f / b[0]", 1, 2),)


def test_what_a_fork_writes_into_a_value_stays_code():
    change = PropertyChange("p", "a", "`` @everyone\n# title <!-- penstock diff prod -->")
    text = markdown(Report("dev", "main", tuple(judge([Step("update", "a:b/c:D", "x", (change,))]))))
    line = next(line for line in text.splitlines() if "@everyone" in line)
    assert line.count("```") == 2
    assert text.count("<!--") == text.count(marker("dev")) + 1  # the one in code, which is no first line


def test_a_report_that_is_too_long_for_a_comment_is_cut():
    many = [Step("update", "a:b/c:D", f"x{n}", (PropertyChange("p", "o" * 200, "n" * 200),)) for n in range(3000)]
    text = markdown(Report("dev", "main", tuple(judge(many))))
    assert len(text) < COMMENT_CHARACTERS + 200
    assert "cut here" in text


def test_a_real_preview_is_reported_on(tmp_path):
    out = tmp_path / "out" / "report.md"
    options = ["diff", "--from-preview", str(RECORDED), "--stack", "dev", "--output", str(out)]
    done = CliRunner().invoke(cli, options, obj=Context(), catch_exceptions=False)
    assert (done.exit_code, done.stdout) == (0, "")
    text = out.read_text()
    assert text.startswith(marker("dev"))
    assert "Against the deployed stack." in text


def test_a_check_can_stop_at_the_exit_code():
    options = ["diff", "--from-preview", str(RECORDED), "--stack", "dev", "--exit-code", "--json"]
    done = CliRunner().invoke(cli, options, obj=Context(), catch_exceptions=False)
    assert done.exit_code == 4
    assert json.loads(done.stdout)["reports"][0]["counts"]["deleted"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "Name what to compare with"),
        (["--base", "main", "--json", "--markdown"], "exclude each other"),
        (["--from-preview", str(RECORDED)], "A preview is of one stack"),
        (["--base", "no-such-revision"], "This clone has no revision 'no-such-revision'"),
        (["--base", "--upload-pack=x"], "This clone has no revision"),
        (["--base", "HEAD", "--stack", "nowhere"], "There is no Pulumi.nowhere.yaml"),
    ],
)
def test_wrong_usage_is_said_in_a_sentence(options, message, capsys):
    assert run(["diff", *options]) == 2
    assert message in capsys.readouterr().err


def test_a_preview_that_failed_is_no_report_without_changes(tmp_path, capsys):
    file = tmp_path / "preview.json"
    file.write_text(json.dumps({"steps": [], "diagnostics": [{"severity": "error", "message": "no such image\n"}]}))
    assert run(["diff", "--from-preview", str(file), "--stack", "dev"]) == 1
    assert "The preview failed: no such image" in capsys.readouterr().err
