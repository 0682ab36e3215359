"""Comments and issues in place, the report on drift, the bill of materials."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from infra.ops.ci import drift, github, sbom
from infra.ops.errors import ExitCode

REPOSITORY = Path(__file__).parents[3]
TOKEN = "a-token"


class Hub(ThreadingHTTPServer):
    """As much of GitHub as is called: lists what is in `rows`, notes what is written."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.rows, self.written, self.refuses = [], [], 0


class Answer(BaseHTTPRequestHandler):
    def answer(self):
        hub = self.server
        assert isinstance(hub, Hub)
        size = int(self.headers.get("Content-Length") or 0)
        content = json.loads(self.rfile.read(size)) if size else None
        assert self.headers["Authorization"] == f"Bearer {TOKEN}"
        url = urlsplit(self.path)
        if hub.refuses and self.command != "GET":
            self.send_response(hub.refuses)
            self.end_headers()
            return
        if self.command != "GET":
            hub.written.append((self.command, url.path.removeprefix("/repos/a/b"), content))
        page = int(url.query.rpartition("page=")[2] or 1)
        rows = hub.rows[(page - 1) * 100 : page * 100] if self.command == "GET" else {}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(rows).encode())

    do_GET = do_POST = do_PATCH = answer  # noqa: N815 - the names that the server looks for

    def log_message(self, format, *args):  # noqa: A002 - the base's name
        pass


@pytest.fixture
def hub(monkeypatch):
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    monkeypatch.setenv("GITHUB_API_URL", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    monkeypatch.setenv("GITHUB_REPOSITORY", "a/b")
    yield server
    server.shutdown()
    server.server_close()
    thread.join(2)


def row(number, text, **more):
    return {"id": number, "number": number, "body": text, "title": text, "user": {"type": "Bot"}, **more}


@pytest.fixture
def report(tmp_path):
    file = tmp_path / "report.md"
    file.write_text("<!-- penstock diff dev -->\nnew\n")
    return file


def comment(report):
    return github.main(["comment", "--number", "7", "--file", str(report)])


def test_a_report_is_a_comment_of_its_own_the_first_time(hub, report):
    hub.rows = [row(1, "<!-- penstock diff prod -->\nanother stack's"), row(2, "hello")]
    assert comment(report) == 0
    assert hub.written == [("POST", "/issues/7/comments", {"body": report.read_text()})]


def test_a_report_takes_the_place_of_the_one_before_wherever_it_stands(hub, report):
    hub.rows = [*(row(n, "hello") for n in range(150)), row(151, "<!-- penstock diff dev -->\nold")]
    assert comment(report) == 0
    assert hub.written == [("PATCH", "/issues/comments/151", {"body": report.read_text()})]


def test_a_strangers_comment_with_the_marker_is_left_alone(hub, report):
    marked = "<!-- penstock diff dev -->\nmine"
    hub.rows = [row(1, marked, user={"type": "User"}, author_association="NONE")]
    assert comment(report) == 0
    assert [method for method, _, _ in hub.written] == ["POST"]


@pytest.mark.parametrize(("status", "code"), [(403, 0), (404, 0), (500, 1)])
def test_a_token_that_may_not_write_is_no_failure(hub, report, status, code, capsys):
    hub.refuses = status
    assert comment(report) == code
    assert TOKEN not in "".join(capsys.readouterr())


def test_a_file_without_a_marker_is_refused(hub, report, capsys):
    report.write_text("hello")
    assert comment(report) == 1
    assert "marker" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["GITHUB_TOKEN", "GITHUB_REPOSITORY"])
def test_what_is_not_set_is_named(hub, report, monkeypatch, capsys, name):
    monkeypatch.delenv(name)
    assert comment(report) == 1
    assert name in capsys.readouterr().err


def issue(report):
    return github.main(["issue", "--title", "Drift in dev", "--file", str(report)])


@pytest.mark.parametrize(
    ("rows", "first", "expected"),
    [
        ([], "<!-- penstock drift dev -->", [("POST", "/issues")]),
        ([row(3, "Drift in dev")], "<!-- penstock drift dev -->", [("PATCH", "/issues/3")]),
        ([row(3, "Drift in dev-eu")], "<!-- penstock drift dev -->", [("POST", "/issues")]),
        ([row(3, "Drift in dev")], "<!-- penstock drift dev clean -->", [("PATCH", "/issues/3")]),
        ([], "<!-- penstock drift dev clean -->", []),
    ],
)
def test_an_issue_is_opened_edited_and_closed_by_its_title(hub, report, rows, first, expected):
    hub.rows = rows
    report.write_text(f"{first}\ntext\n")
    assert issue(report) == 0
    assert [written[:2] for written in hub.written] == expected
    if rows and "clean" in first:
        assert hub.written[0][2]["state"] == "closed"


def step(op, name, old=None, new=None):
    urn = f"urn:pulumi:dev::penstock::penstock:index:A$aws:s3/bucket:Bucket::{name}"
    return {"op": op, "urn": urn, "oldState": old, "newState": new}


def told(*steps):
    return json.dumps({"steps": list(steps)})


def test_drift_is_what_differs_and_no_value_of_it():
    same, other = {"outputs": {"a": "hunter2"}}, {"outputs": {"a": "hunter3"}}
    output = told(
        step("refresh", "as-it-was", same, same), step("refresh", "changed", same, other), step("delete", "gone")
    )
    code, text = drift.report("dev", output, failed=False)
    assert code == ExitCode.REFUSED
    assert "- delete `aws:s3/bucket:Bucket` `gone`" in text
    assert "`changed`" in text
    assert "as-it-was" not in text
    assert "hunter" not in text


def test_no_drift_closes_the_issue():
    code, text = drift.report("dev", told(step("refresh", "x", {"outputs": {}}, {"outputs": {}})), failed=False)
    assert (code, text.partition("\n")[0].endswith(github.CLEAN)) == (ExitCode.OK, True)


@pytest.mark.parametrize(("output", "failed"), [("", True), ("no JSON", False), (told(), True)])
def test_a_look_that_failed_is_not_taken_for_no_drift(output, failed):
    code, text = drift.report("dev", output, failed=failed)
    assert code == ExitCode.FAILURE
    assert not text.partition("\n")[0].endswith(github.CLEAN)
    assert "Nobody knows" in text


def test_the_bill_names_every_package_of_the_lock_with_its_hashes():
    lock = (REPOSITORY / "requirements.lock").read_text()
    made = sbom.bill(lock, "penstock", "1.0")
    names = {component["name"] for component in made["components"]}
    locked = {
        line.partition("==")[0].partition("[")[0] for line in lock.splitlines() if "==" in line and line[0].isalnum()
    }
    assert names == locked
    assert all(component["hashes"] for component in made["components"])
    assert len(made["dependencies"][0]["dependsOn"]) == len(made["components"])


def test_the_bill_of_the_image_is_shorter_and_the_same_each_time(capsys, monkeypatch):
    texts = []
    for what in ("image", "package", "image"):
        monkeypatch.setattr("sys.argv", ["sbom", what])
        assert sbom.main() == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[2]
    count = [len(json.loads(text)["components"]) for text in texts]
    assert 20 < count[0] < count[1]
