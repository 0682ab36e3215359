"""Entry point of the Pulumi program."""

import gc
import os
from pathlib import Path

import pulumi

# The program lives for seconds; collecting what it makes takes a quarter of its CPU time (measured, 163 resources).
gc.disable()

from infra.policy import held  # noqa: E402

here = Path.cwd()
if reason := held.reason_against(os.environ, (here, here.parent)):
    raise pulumi.RunError(reason)
if why := os.environ.get(held.WITHOUT):
    pulumi.log.warn(f"No policy looks at this, for {held.WITHOUT} says: {why}")

from infra.program import deploy  # noqa: E402

deploy()
