"""The command ``completion``: a script by which a shell completes the commands, written by shtab from the command line's own parser."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

SHELLS = ("bash", "zsh")
# What an argument names, by what the parser calls it; others are names of cells and measures, and numbers, which no shell knows.
FILES = {"study", "qrels", "a", "b", "pilot", "device"}
FOLDERS = {"folder", "outputs", "collection"}
STEMS = {"base": "params/bases/*.yaml", "names": "notebooks/*.ipynb"}  # names of the project's own files, without their endings
_PREAMBLE = {
    "bash": """
_rd_{name}() {{
  local path
  for path in {pattern}; do
    path="${{path##*/}}"
    if [[ "${{path%.*}}" == "$1"* && "$path" != "*."* ]]; then echo "${{path%.*}}"; fi
  done
}}
""",
    "zsh": """
_rd_{name}() {{ compadd -- {pattern}(N:t:r) }}
""",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to a parser."""
    parser.add_argument("shell", choices=SHELLS, help="bash: source what is printed; zsh: save it as _rd in a folder of $fpath")


def run(options: argparse.Namespace) -> int:
    """Print the script."""
    print(script(options.shell))
    return 0


def script(shell: str) -> str:
    """Return the script that completes ``rd`` in a shell: commands, options, choices, files, bases and notebooks."""
    import shtab

    from rd_utils.__main__ import VERBS, command_line
    from rd_utils.exchange.export import FORMATS

    parser = command_line(*VERBS, named="rd")
    for name, command in commands(parser).items():
        for of, action in _actions(command):
            if (name, of, action.dest) == ("export", "groups", "to"):
                action.choices = [*FORMATS]
            elif action.choices is None and action.nargs != 0 and (kind := _kind(name, action)):
                action.complete = {"file": shtab.FILE, "folder": shtab.DIRECTORY}.get(  # pyright: ignore[reportAttributeAccessIssue]
                    kind, dict.fromkeys(SHELLS, f"_rd_{kind}")
                )
    preamble = "".join(_PREAMBLE[shell].format(name=name, pattern=pattern) for name, pattern in STEMS.items())
    return shtab.complete(parser, shell, preamble=preamble)


def commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the parsers of the commands, by name."""
    return next(dict(action.choices) for action in parser._actions if isinstance(action, argparse._SubParsersAction))


def _actions(command: argparse.ArgumentParser, of: str = "") -> Iterator[tuple[str, argparse.Action]]:
    """Yield a command's arguments, those of what it can be asked for with its name."""
    for action in command._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, part in action.choices.items():
                yield from _actions(part, name)
        else:
            yield of, action


def _kind(command: str, action: argparse.Action) -> str | None:
    """Return what an argument is completed with: a file, a folder, or one of :data:`STEMS`; None where no shell knows."""
    if action.dest in STEMS:
        return action.dest
    if action.dest in FOLDERS and (command, action.dest) != ("export", "collection"):  # which is a label
        return "folder"
    return "file" if action.dest in FILES or (action.dest == "to" and command != "export") else None
