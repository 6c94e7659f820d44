"""Picture the head of a study's report for the README: ``python -m docs.picture outputs/tour/report.html`` writes docs/report.png.

Needs Chromium; what is pictured is what a reader sees first, at the width of a README.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

WIDTH, HEIGHT, SCALE, COLOURS = 1000, 896, 1.5, 64


def main(report: str) -> None:
    """Write the picture, in few colours so that it stays small."""
    target = Path(__file__).with_name("report.png")
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        size = [f"--window-size={WIDTH},{HEIGHT}", f"--force-device-scale-factor={SCALE}", "--hide-scrollbars"]
        look = [*size, "--virtual-time-budget=20000", f"--screenshot={shot}"]
        subprocess.run(["chromium", "--headless", "--no-sandbox", *look, Path(report).resolve().as_uri()], check=True, capture_output=True)
        Image.open(shot).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(target, optimize=True)
    print(f"{target}: {target.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(*sys.argv[1:])
