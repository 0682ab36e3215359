"""What holds for all tests."""

from __future__ import annotations

from hypothesis import settings

# How long an example takes says more of the machine than of the code: times are measured in bench/.
settings.register_profile(
    "penstock",
)
settings.load_profile("penstock")
