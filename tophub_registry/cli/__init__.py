"""The command line: one file per command, thin: parse, call, print.

Each command's module holds one function, `command`, whose signature is its command line (Typer) and whose
docstring is its help. `tophub --help` must be quick, so this module imports nothing but the standard library.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tophub_registry.cli import interrupts, terminal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

COMMANDS = {
    "extract": "List the tuning tasks of a model",
    "tune": "Tune a model's tasks on this machine and append the records to a log",
    "learn": "Learn a cost model from the trials of tuning",
    "report": "Write a page for the browser that shows how tuning went",
    "gain": "Time a model's kernels with the default configs and with a log's records",
    "compile": "Compile a whole model with the best records, as a shared library",
    "misses": "List the layers of your models that had no record, to tune or to send them",
    "bench": "Time a whole model with records against other frameworks",
    "merge": "Merge logs: for each target and workload the best record",
    "validate": "Check logs, line by line",
    "show": "Show what logs contain: records, speed, age, by target and task",
    "diff": "Compare two logs",
    "audit": "Show the evidence for the records of logs: age, tool, spread, coverage",
    "convert": "Convert a log from log version 0.1, of TVM 0.6, to 0.2, or back",
    "contribute": "Make one file of a log and the evidence for it, for a maintainer",
    "release": "Publish a log as a package's next version in a registry",
    "yank": "Mark a published version as not to be used, or undo that",
    "withdraw": "Remove records from a log for good, so that no merge brings them back",
    "import": "Import packages into a registry",
    "keys": "Make keys, sign a registry, and say who may sign what",
    "mirror": "Keep a verified copy of a registry in a folder",
    "fetch": "Fetch packages into ~/.tvm/tophub, checked and cached",
    "lock": "Write the packages that a project uses, with versions and hashes, into tophub.lock",
    "verify": "Hash the files in ~/.tvm/tophub again, and fetch damaged ones anew",
    "doctor": "Check this installation: root, location, versions, devices, threads",
    "site": "Write a registry's catalogue as static pages, with search",
    "list": "List the packages of a registry, and which of them are on this machine",
}
"""Every command and its one line in the overview."""

_OVERVIEW = """Usage: tophub COMMAND [ARGUMENTS]

TVM tuning logs: made, merged, released, fetched.

Commands:
{commands}

Options:
  --version             Print the version
  --install-completion  Install tab completion for the current shell
  --show-completion     Print the completion script of the current shell

`tophub COMMAND --help` says more.
Exit codes: 0 fine, 1 the input is at fault, 2 the command was misused, 3 the environment failed,
130 interrupted.
"""


def overview() -> str:
    """Return the help of `tophub` itself."""
    width = max(map(len, COMMANDS))
    return _OVERVIEW.format(commands="\n".join(f"  {name:<{width}}  {line}" for name, line in COMMANDS.items()))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command, by default the one that this program was started with, and exit with its code."""
    if arguments is not None:
        _run([*arguments])
    with interrupts.of_program():
        _run(sys.argv[1:])


def _run(arguments: list[str]) -> NoReturn:
    if arguments[:1] in (["-h"], ["--help"]):  # importing Typer would take several times as long
        terminal.out(overview())
        sys.exit(0)
    from tophub_registry.cli.application import application

    application(arguments, prog_name="tophub")
    sys.exit(0)
