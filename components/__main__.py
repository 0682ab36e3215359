"""Hosts the components as a package for programs in other languages (`pulumi package add`)."""

import sys
from pathlib import Path

from pulumi.provider import main

if __name__ == "__main__":
    # Run as a plug-in, Python starts in this folder; the components import each other from the one above.
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from components.package import Package

    main(Package(), sys.argv[1:])
