"""The base of a diff from any clone, and the stack files that need no key."""

import subprocess
from pathlib import Path

import pytest
import yaml

from infra.ops.diff import kept, revisions, run
from infra.ops.diff.engine import without_ciphers
from infra.ops.diff.money import Figures
from infra.ops.errors import PenstockError, UsageError
from infra.ops.progress import Progress


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(folder: Path, name: str) -> str:
    (folder / name).write_text(name)
    git(folder, "add", name)
    git(folder, "commit", "-q", "-m", name)
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path):
    """A branch `work` that left `main` at `common`; both have moved on."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    common = commit(folder, "common")
    git(folder, "checkout", "-q", "-b", "work")
    commit(folder, "mine")
    git(folder, "checkout", "-q", "main")
    tip = commit(folder, "theirs")
    git(folder, "checkout", "-q", "work")
    return folder, common, tip


def test_a_branch_stands_for_where_it_was_left(repository, tmp_path):
    folder, common, _ = repository
    base = revisions.find_base(folder, "main")
    assert (base.commit, base.remarks) == (common, ())
    revisions.unpack(folder, base, tmp_path / "base")
    assert sorted(each.name for each in (tmp_path / "base").iterdir()) == ["common"]


def test_a_branch_that_only_the_remote_has_is_found(repository, tmp_path):
    folder, common, _ = repository
    subprocess.run(["git", "clone", "-q", "-b", "work", str(folder), str(tmp_path / "clone")], check=True)
    assert revisions.find_base(tmp_path / "clone", "main").commit == common


def test_a_shallow_clone_is_compared_with_the_tip_and_says_so(repository, tmp_path):
    folder, _, tip = repository
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", "--depth=1", "-b", "work", folder.as_uri(), str(clone)], check=True)
    git(clone, "fetch", "-q", "--depth=1", "origin", "main")
    base = revisions.find_base(clone, "FETCH_HEAD")
    assert base.commit == tip
    assert "compared with its tip" in base.remarks[0]


@pytest.mark.parametrize("name", ["nothing", "--upload-pack=touch x", "-"])
def test_a_revision_that_is_not_there_is_refused_with_the_way_to_get_it(repository, name):
    with pytest.raises(UsageError, match=r"no revision .*git fetch"):
        revisions.find_base(repository[0], name)


def test_another_lock_is_said(tmp_path):
    base, head = tmp_path / "a", tmp_path / "b"
    for folder in (base, head):
        folder.mkdir()
        (folder / "requirements.lock").write_text("pulumi==1")
    assert revisions.lock_remark(base, head) is None
    (head / "requirements.lock").write_text("pulumi==2")
    assert "this checkout's packages" in (revisions.lock_remark(base, head) or "")


def test_a_stack_file_needs_no_key_and_a_changed_secret_still_shows():
    def read(cipher):
        text = yaml.safe_dump(
            {
                "secretsprovider": "awskms://alias/state",
                "encryptedkey": "k",
                "encryptionsalt": "v1:s",
                "config": {"penstock:token": {"secure": cipher}, "penstock:aws": {"region": "eu-central-1"}},
            }
        )
        return yaml.safe_load(without_ciphers(text))

    first, second = read("one"), read("two")
    assert set(first) == {"config"}
    assert first["config"]["penstock:aws"] == {"region": "eu-central-1"}
    assert isinstance(first["config"]["penstock:token"], str)
    assert first["config"]["penstock:token"] != second["config"]["penstock:token"]
    assert "one" not in first["config"]["penstock:token"]


class FakeBench:
    def __init__(self, folder):
        self.folder, self.calls = folder, []

    def prepare(self):
        self.calls.append("prepare")

    def update(self, sources, stack, text):
        self.calls.append(f"update {(sources / f'Pulumi.{stack}.yaml').read_text()}{text}")
        for part in ("backend", "base"):
            (self.folder / part).mkdir(parents=True)
            (self.folder / part / "state").write_text("recorded")
        (self.folder / "base" / "infra").symlink_to(sources)

    def preview(self, sources, stack, text):
        self.calls.append(f"preview {text}")
        return {"steps": []}


def test_the_base_is_recorded_with_its_own_stack_file_and_the_head_previewed_with_its_own(tmp_path, monkeypatch):
    before, after = tmp_path / "before", tmp_path / "after"
    for folder, text in ((before, "old"), (after, "new")):
        folder.mkdir()
        (folder / "Pulumi.dev.yaml").write_text(text)
    figures = Figures(1.0, {}, (), 1, 1, 1, {}, 1)
    monkeypatch.setattr(run.money, "figures", lambda _: figures)
    monkeypatch.setattr(run.money, "figures_of_base", lambda *_: (None, "Not known."))
    bench = FakeBench(tmp_path / "bench")
    base = revisions.Base("main", "1a2b3c4d5e6f")

    report = run._one(bench, before, after, "dev", base, ("A remark.",), Progress(quiet=True))  # ty: ignore

    assert bench.calls == ["prepare", "update oldold", "preview new"]
    second = FakeBench(tmp_path / "second")
    run._one(second, before, after, "dev", base, (), Progress(quiet=True))  # ty: ignore
    assert second.calls == ["prepare", "preview new"], "the recorded base was kept"
    assert (second.folder / "backend" / "state").read_text() == "recorded"
    assert not (second.folder / "base" / "infra").exists(), "links would lead to a folder that is gone"
    assert (report.against, report.remarks) == ("main (1a2b3c4d5)", ("A remark.", "Not known."))


def test_a_stack_that_the_base_does_not_have_is_new(tmp_path):
    (tmp_path / "Pulumi.dev.yaml").write_text("new")
    (tmp_path / "base").mkdir()
    base = revisions.Base("main", "1a2b3c4d5e6f")
    with pytest.raises(PenstockError, match="the stack is new"):
        run._one(FakeBench(tmp_path / "bench"), tmp_path / "base", tmp_path, "dev", base, (), Progress(quiet=True))  # ty: ignore


def test_a_recorded_base_is_kept_for_its_commit_its_packages_and_what_records_it(tmp_path):
    recorder = tmp_path / "infra" / "ops" / "diff" / "recording.py"
    recorder.parent.mkdir(parents=True)
    names = []
    for lock, code, commit, stack in ("aaaa", "baaa", "abaa", "aaba", "aaab"):
        (tmp_path / "requirements.lock").write_text(lock)
        recorder.write_text(code)
        names.append(kept.key(tmp_path, commit, stack))
    assert len(set(names)) == 5


def test_only_so_many_recorded_bases_are_kept(tmp_path):
    bench = FakeBench(tmp_path / "bench")
    (tmp_path / "Pulumi.dev.yaml").write_text("")
    bench.update(tmp_path, "dev", "")
    for number in range(kept.MOST + 3):
        kept.keep(tmp_path / "shelf", f"dev-{number:02}", bench.folder)
    assert len(list((tmp_path / "shelf").iterdir())) == kept.MOST
    assert not kept.take(tmp_path / "shelf", "never", tmp_path / "other")
