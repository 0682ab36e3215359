"""Files that a reader never sees half written."""

from __future__ import annotations

from pathlib import Path


def write_whole(path: Path, content: bytes | str, mode: int = 0o644) -> None:
    """Writes aside, for the owner alone, and renames into place with `mode`. Raises OSError."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)  # one that a crash left would keep its own mode
    fresh.touch(mode=0o600)
    fresh.write_bytes(content.encode() if isinstance(content, str) else content)
    fresh.chmod(mode)
    fresh.replace(path)
