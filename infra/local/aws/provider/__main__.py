"""`python -m infra.local.aws.provider [ENGINE]`: serves the provider to one Pulumi command."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from infra.local.plugin import serve

if TYPE_CHECKING:
    from infra.local.aws.provider.servicer import Servicer


def make() -> Servicer:
    from infra.local.aws.provider.servicer import Servicer

    return Servicer(os.environ)


if __name__ == "__main__":
    serve(make)
