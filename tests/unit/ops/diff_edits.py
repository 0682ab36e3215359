"""A pull request with everything in it that a reviewer should see, as edits of the checkout's own text."""

import shutil
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
STACK = "dev"

BASE_STACK_FILE = (
    ('version: "1.36"', 'version: "1.35"'),
    ("kubeProxy: v1.36.0-eksbuild.25", "kubeProxy: v1.35.0-eksbuild.2"),
)
STACK_FILE = (
    # A version
    ('version: "1.35"', 'version: "1.36"'),
    # A group is scaled
    ("desiredNodes: 0\n      maxNodes: 1\n", "desiredNodes: 2\n      maxNodes: 4\n"),
    # A weight is shifted, to a colour that is made large enough, with another image
    ("weight: 100\n", "weight: 90\n"),
    ("weight: 0\n      gatewayImage: v0.1.0\n      gatewayReplicas: 0\n      engineImage: v0.32.0\n",
     "weight: 10\n      gatewayImage: v0.2.0\n      gatewayReplicas: 3\n      engineImage: v0.33.0\n"),
    ("qwen3-0.6b: 0", "qwen3-0.6b: 2"),
    # The trail goes, and its bucket with it
    ("trail: true", "trail: false"),
    # Addresses: the load balancer for everyone, the cluster's API for a network more
    ("allowedCidrs: [203.0.113.0/24]", "allowedCidrs: [0.0.0.0/0]"),
    ("publicEndpointCidrs: [203.0.113.0/24]", "publicEndpointCidrs: [203.0.113.0/24, 198.51.100.0/24]"),
)  # fmt: skip
PROGRAM = {
    # A right more for a controller
    "components/controller_policies.py": (('"Action": "ssm:GetParameter"', '"Action": ["ssm:GetParameter", "ssm:*"]'),),
    # Another name of the database's owner: RDS makes a new instance
    "components/databases.py": (('username="penstock"', 'username="owner"'),),
}


def edited(text: str, edits: tuple[tuple[str, str], ...]) -> str:
    """Raises AssertionError where an edit does not fit any more."""
    for old, new in edits:
        assert old in text, f"{old!r} is not there any more"
        text = text.replace(old, new)
    return text


def head(folder: Path) -> Path:
    """A copy of the program with the edits."""
    for part in ("infra", "components", "app"):
        shutil.copytree(REPOSITORY / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "Pulumi.yaml", folder)
    for path, edits in PROGRAM.items():
        file = folder / path
        file.write_text(edited(file.read_text(), edits))
    return folder
