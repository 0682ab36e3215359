import pytest

from infra.local.files import write_whole


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755])
def test_a_file_has_its_content_and_mode_and_nothing_stays_beside_it(tmp_path, mode):
    path = tmp_path / "platform.json"
    write_whole(path, "before", 0o777)
    write_whole(path, "after", mode)
    assert path.read_text() == "after"
    assert path.stat().st_mode & 0o777 == mode
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_crash_left_does_not_lend_its_mode(tmp_path):
    left = tmp_path / "key.new"
    left.touch()
    left.chmod(0o666)
    write_whole(tmp_path / "key", b"secret", 0o600)
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
