"""The bill of materials of what is released, from `requirements.lock`: CycloneDX 1.6, the same bytes each time.

python -m infra.ops.ci.sbom image > dist/gateway.cdx.json
python -m infra.ops.ci.sbom package > dist/penstock.cdx.json
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from app.gateway.image import select

CHECKOUT = Path(__file__).resolve().parents[3]
WHAT = {"image": "penstock-gateway", "package": "penstock"}
_ENTRY = re.compile(r"^([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?==([^\s;\\]+)((?:[^\n]*\\\n)*[^\n]*)", re.MULTILINE)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def bill(lock: str, name: str, version: str) -> dict[str, Any]:
    """CycloneDX of a lock file's packages, which `name` of `version` is made of. Pure."""
    components = [
        {
            "type": "library",
            "bom-ref": f"pkg:pypi/{package.lower()}@{number}",
            "name": package,
            "version": number,
            "purl": f"pkg:pypi/{package.lower()}@{number}",
            "hashes": [{"alg": "SHA-256", "content": found} for found in sorted(set(_HASH.findall(rest)))],
        }
        for package, number, rest in _ENTRY.findall(lock)
    ]
    root = f"pkg:pypi/{name}@{version}"
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "application", "bom-ref": root, "name": name, "version": version}},
        "components": sorted(components, key=lambda each: each["bom-ref"]),
        "dependencies": [{"ref": root, "dependsOn": sorted(each["bom-ref"] for each in components)}],
    }


def main() -> int:
    if len(sys.argv) != 2 or sys.argv[1] not in WHAT:
        print(f"usage: python -m infra.ops.ci.sbom {'|'.join(WHAT)}", file=sys.stderr)
        return 2
    from importlib import metadata

    lock = (CHECKOUT / "requirements.lock").read_text(encoding="utf-8")
    chosen = select(lock) if sys.argv[1] == "image" else lock
    json.dump(bill(chosen, WHAT[sys.argv[1]], metadata.version("penstock")), sys.stdout, indent=2)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
