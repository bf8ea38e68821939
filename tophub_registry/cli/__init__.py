"""The command line: one file per command, thin: parse, call, print.

`tophub --help` must be quick, so this module imports nothing but the standard library, and only the command
that is called is imported at all. Each command's module holds one function, `command`, whose signature is
its command line (Typer) and whose docstring is its help.
"""

from __future__ import annotations

import functools
import importlib
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from tophub_registry.cli import interrupts, terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tophub_registry.errors import TophubError

COMMANDS = {
    "extract": "Write the tuning tasks of a gluoncv model or an MXNet symbol file",
    "tune": "Tune a model's tasks on this machine and append the records to a log",
    "report": "Write a page for the browser that shows how tuning went",
    "gain": "Time a model's tasks with the default configs and with a log's, in pairs",
    "compile": "Compile a whole model with the best records, as a shared library",
    "bench": "Time a whole model with records against other frameworks, in turns",
    "merge": "Merge logs: for each target and workload the best record",
    "validate": "Say what is wrong with logs, line by line",
    "show": "Show what logs hold: records, speed, age, by target and task",
    "diff": "Say what changed between two logs",
    "audit": "Say what stands behind the records of logs: age, tool, spread, coverage",
    "convert": "Convert logs from log version 0.1, of TVM 0.6, to 0.2, or back",
    "release": "Publish a log as a package's next version in a registry",
    "yank": "Mark a published version as one that nobody should use, or undo that",
    "withdraw": "Take records out of a log for good, so that no merge brings them back",
    "import": "Take over somebody's packages into one's own registry",
    "fetch": "Bring packages into ~/.tvm/tophub, checked and cached",
    "list": "List the packages of a registry and what this machine has of them",
}
"""Every command and its one line in the overview."""

_HELP = """Usage: tophub COMMAND [ARGUMENTS]

TVM tuning logs: made, merged, released, fetched.

Commands:
{commands}

`tophub COMMAND --help` says more. `--version` prints the version.
Exit codes: 0 fine, 1 the input is at fault, 2 the command was misused, 3 the environment failed,
130 interrupted.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command, by default the one that this program was started with, and exit with its code."""
    if arguments is not None:
        _run([*arguments])
    with interrupts.of_program():
        _run(sys.argv[1:])


def _run(arguments: list[str]) -> NoReturn:
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help"):
        width = max(map(len, COMMANDS))
        lines = (f"  {command:<{width}}  {line}" for command, line in COMMANDS.items())
        terminal.out(_HELP.format(commands="\n".join(lines)))
        sys.exit(0 if arguments else 2)
    if name == "--version":
        from tophub_registry import __version__

        terminal.out(f"tophub {__version__}\n")
        sys.exit(0)
    if name not in COMMANDS:
        _unknown(name)
    module = importlib.import_module(f"tophub_registry.cli.{name}")
    import typer

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command(name)(_guarded(module.command, name, as_json="--json" in arguments))
    app(arguments[1:], prog_name=f"tophub {name}")
    sys.exit(0)


def _guarded(command: Callable[..., None], name: str, *, as_json: bool) -> Callable[..., None]:
    """Turn the project's errors, and missing extras, into one message and an exit code."""
    from tophub_registry.errors import TophubError

    @functools.wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            with interrupts.as_exception():
                command(*args, **kwargs)
        except TophubError as error:
            _fail(error, name, as_json=as_json)
        except ModuleNotFoundError as error:
            from tophub_registry.errors import MissingExtra
            from tophub_registry.extras import extra_with

            extra = extra_with(error.name)
            if extra is None:
                raise
            _fail(MissingExtra(extra, error), name, as_json=as_json)
        except KeyboardInterrupt:
            _interrupted()
        except BrokenPipeError:  # the reader of our output has seen enough
            sys.stderr.close()
            sys.exit(0)

    return guarded


def _fail(error: TophubError, name: str, *, as_json: bool) -> NoReturn:
    """Print an error and exit with its code."""
    from tophub_registry.errors import MissingExtra

    if isinstance(error, MissingExtra):
        error = MissingExtra(error.extra, error.cause, needed_by=f"`tophub {name}`")
    if as_json:
        import json

        fields = {"message": error.message, "file": error.file, "line": error.line, "remedy": error.remedy}
        terminal.out(json.dumps({"error": fields}) + "\n")
    else:
        terminal.err(f"tophub: error: {terminal.line(error)}\n")
    sys.exit(error.exit_code)


def _interrupted() -> NoReturn:
    terminal.err(interrupts.SAID)
    sys.exit(interrupts.CODE)


def _unknown(name: str) -> NoReturn:
    import difflib

    close = difflib.get_close_matches(name, COMMANDS, 1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    terminal.err(f"tophub: error: no such command: {name!r}{hint}; `tophub --help` lists them\n")
    sys.exit(2)
