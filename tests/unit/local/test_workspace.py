from pathlib import Path

import pytest

from infra.local.layout import Layout
from infra.local.pulumi_command import belongs_to
from infra.local.toolchain.find import Toolchain
from infra.local.workspace import Workspace

STACK_FILE = "# the local stack\nconfig:\n  penstock:edge:\n    port: 8080  # HTTP\n"
SALT = "encryptionsalt: v1:abc=:v1:def:ghi\n"


@pytest.fixture
def workspace(tmp_path):
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    (checkout / "Pulumi.yaml").write_text("name: penstock\n")
    (checkout / "Pulumi.local.yaml").write_text(STACK_FILE)
    layout = Layout(checkout=checkout, state=checkout / ".penstock" / "local", slot=10)
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "pulumi").touch()
    (tools / "pulumi-language-python-exec").touch()
    made = Workspace(layout, Toolchain((tools,)))
    made.prepare()
    return made


def user_file(workspace: Workspace) -> Path:
    return workspace.layout.checkout / "Pulumi.local.yaml"


def copy(workspace: Workspace) -> Path:
    return workspace.layout.workspace / "Pulumi.local.yaml"


def test_the_salt_that_pulumi_writes_never_reaches_the_users_file(workspace):
    copy(workspace).write_text(STACK_FILE + SALT)
    workspace.write_back()
    assert user_file(workspace).read_text() == STACK_FILE


def test_the_salt_outlives_an_edit_of_the_users_file(workspace):
    copy(workspace).write_text(STACK_FILE + SALT)
    user_file(workspace).write_text(STACK_FILE.replace("8080", "9090"))
    workspace.prepare()
    assert copy(workspace).read_text() == STACK_FILE.replace("8080", "9090") + SALT


def test_what_pulumi_config_set_changes_is_taken_back(workspace):
    copy(workspace).write_text(STACK_FILE.replace("8080", "9090") + SALT)
    workspace.write_back()
    assert user_file(workspace).read_text() == STACK_FILE.replace("8080", "9090")


def test_a_file_that_both_changed_keeps_the_users_version(workspace, capsys):
    user_file(workspace).write_text(STACK_FILE.replace("8080", "7070"))
    copy(workspace).write_text(STACK_FILE.replace("8080", "9090"))
    workspace.write_back()
    assert "7070" in user_file(workspace).read_text()
    assert "changed by two at a time" in capsys.readouterr().err


def test_preparing_twice_changes_nothing(workspace):
    before = {path: path.lstat().st_mtime_ns for path in workspace.layout.workspace.iterdir()}
    workspace.prepare()
    assert {path: path.lstat().st_mtime_ns for path in workspace.layout.workspace.iterdir()} == before


def test_secrets_of_the_platform_are_readable_by_their_owner_alone(workspace):
    assert workspace.layout.passphrase_file.stat().st_mode & 0o077 == 0
    assert workspace.layout.backend.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("folder", "arguments", "ours"),
    [
        (".", ["preview"], True),
        ("infra", ["stack"], True),
        ("examples/typescript", ["preview"], False),
        (".", ["--cwd", "elsewhere", "preview"], False),
        (".", ["--cwd=elsewhere", "preview"], False),
    ],
)
def test_plain_pulumi_is_ours_only_in_the_checkout(folder, arguments, ours):
    checkout = Path("/checkout")
    assert belongs_to(checkout, checkout / folder, arguments) is ours
