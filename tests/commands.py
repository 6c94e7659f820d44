"""Commands of modules, as the command line asks them."""

from __future__ import annotations

import argparse
import json
from types import ModuleType


def asked(module: ModuleType, *arguments: object) -> str:
    """Return what a module's command prints."""
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    return module.run(parser.parse_args([str(argument) for argument in arguments]))


def recorded(module: ModuleType, *arguments: object) -> dict:
    """Return what it prints as JSON."""
    return json.loads(asked(module, *arguments, "--json"))
