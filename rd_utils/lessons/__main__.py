"""``python -m rd_utils.lessons`` writes the readers' notebooks; ``python -m rd_utils.lessons mark FOLDER`` marks those of a class."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rd_utils.lessons import marking, readers


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the readers' notebooks, or mark a folder; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m rd_utils.lessons", description="Write the readers' notebooks from the solved ones.")
    commands = parser.add_subparsers(dest="command")
    about = "run students' notebooks and count the checks that say right; prints a table with tabs"
    command = commands.add_parser("mark", help=about, description=about)
    command.add_argument("folder", metavar="FOLDER", type=Path, help="with their notebooks, in folders of their own or not")
    options = parser.parse_args(arguments)
    if options.command != "mark":
        readers.main()
        return 0
    try:
        print(marking.as_table(marking.folder(options.folder)))
    except marking.MarkingError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
