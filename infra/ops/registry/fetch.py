"""Where a version's files come from: a folder here, or a prefix of any bucket that the credentials may read."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from infra.ops.errors import RefusedError, UsageError
from infra.ops.progress import Progress
from infra.ops.registry.folder import MOST_FILES, PATH
from infra.ops.stacks import StackAccess

ROOM = 1.05
"""Free space for each byte."""


@contextmanager
def local_copy(access: StackAccess, source: str, progress: Progress) -> Generator[Path]:
    """The folder to add. Files of a bucket are downloaded for as long as the block lasts. Raises RefusedError."""
    if "://" not in source:
        yield Path(source)
        return
    scheme, _, rest = source.partition("://")
    bucket, _, prefix = rest.partition("/")
    if scheme != "s3" or not bucket:
        raise UsageError(f"{source} is no source.", "Give a folder, or s3://BUCKET/PREFIX.")
    session = access.session()
    client = session.boto.client("s3", endpoint_url=session.endpoint)
    folder = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=folder)
    sizes = {entry["Key"].removeprefix(folder): entry["Size"] for page in pages for entry in page.get("Contents", [])}
    sizes = {name: size for name, size in sizes.items() if name and not name.endswith("/")}
    if not sizes or len(sizes) > MOST_FILES:
        raise RefusedError(f"{source} holds {len(sizes)} files; allowed: 1 to {MOST_FILES}.")
    for name in sizes:
        if not PATH.fullmatch(name) or ".." in PurePosixPath(name).parts:
            raise RefusedError(f"The key {name!r} is not allowed; allowed: A-Z, a-z, 0-9, '.', '_' and '-'.")
    with tempfile.TemporaryDirectory(prefix="penstock-model-") as made:
        free = shutil.disk_usage(made).free
        if sum(sizes.values()) * ROOM > free:
            raise RefusedError(
                f"{source} has {sum(sizes.values()) >> 20} MiB, and {made} has {free >> 20} MiB free.",
                "Name a larger disk by the variable TMPDIR.",
            )
        with progress.step(f"Downloading {len(sizes)} files"):
            for name in sizes:
                target = Path(made) / name
                target.parent.mkdir(parents=True, exist_ok=True)
                progress.detail(name)
                client.download_file(bucket, f"{folder}{name}", str(target))
        yield Path(made)
