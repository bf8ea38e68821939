"""The application: a lazy group, which imports only the command that is called, and the place where errors are printed.

Shell completion is Typer's: `tophub --install-completion`.
"""

from __future__ import annotations

import difflib
import importlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from tophub_registry._version import __version__
from tophub_registry.cli import COMMANDS, interrupts, overview, terminal
from tophub_registry.errors import EnvironmentFailure, MissingExtra, TophubError, UsageError
from tophub_registry.extras import extra_with

_MISUSE: Any = typer.BadParameter.__base__
"""Click's error for options and arguments that do not fit, which Typer does not name."""


class LazyGroup(TyperGroup):
    """The commands of `COMMANDS`, each imported on demand."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002  # Click's signature
        """Return the commands in the order of the overview."""
        return [*COMMANDS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002  # Click's signature
        """Return a Click command; None if there is no such command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"tophub_registry.cli.{cmd_name}")
        if hasattr(module, "group"):  # of commands of its own
            return typer.main.get_command(module.group)
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(cmd_name, short_help=COMMANDS[cmd_name])(module.command)
        return typer.main.get_command(single)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that is called and its arguments; UsageError if there is no such command."""
        name = args[0]
        if name not in COMMANDS and not ctx.resilient_parsing:
            close = difflib.get_close_matches(name, COMMANDS, 1)
            remedy = f"did you mean {close[0]!r}?" if close else "`tophub --help` lists the commands"
            raise UsageError(f"no such command: {name!r}", remedy=remedy)
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002  # Click's signature
        """Write the overview, which imports none of the commands."""
        formatter.write(overview())

    def invoke(self, ctx: Any) -> Any:
        """Run the command; the project's errors become one message and an exit code."""
        name = (ctx._protected_args or [""])[0]  # noqa: SLF001  # Click's place for the command that comes next
        with _errors_printed(name, as_json="--json" in ctx.args), interrupts.as_exception():
            if "" in ctx.args:  # as a path it would mean this folder
                raise UsageError("an argument is empty", remedy="is a variable of the shell not set?")
            return super().invoke(ctx)


@contextmanager
def _errors_printed(name: str, *, as_json: bool) -> Iterator[None]:
    try:
        yield
    except TophubError as error:
        _fail(error, name, as_json=as_json)
    except _MISUSE as error:  # before the command runs
        message = error.format_message().rstrip(".")
        remedy = f"`tophub {name} --help` says more"
        _fail(UsageError(message[:1].lower() + message[1:], remedy=remedy), name, as_json=as_json)
    except ModuleNotFoundError as error:
        extra = extra_with(error.name)
        if extra is None:
            raise
        _fail(MissingExtra(extra, error), name, as_json=as_json)
    except KeyboardInterrupt:
        interrupts.told()
    except BrokenPipeError:  # the reader of our output has closed the pipe
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:  # a name that is too long, a disk that can't be read, …
        _fail(EnvironmentFailure(error.strerror or str(error), file=error.filename), name, as_json=as_json)
    finally:
        if not sys.stderr.closed:
            terminal.status("")


def _fail(error: TophubError, name: str, *, as_json: bool) -> NoReturn:
    """Print an error and exit with its code."""
    if isinstance(error, MissingExtra):
        error = MissingExtra(error.extra, error.cause, needed_by=f"`tophub {name}`")
    if as_json:
        fields = {"message": error.message, "file": error.file, "line": error.line, "remedy": error.remedy}
        terminal.out(json.dumps({"error": fields}) + "\n")
    else:
        terminal.err(f"tophub: error: {terminal.line(error)}\n")
    sys.exit(error.exit_code)


application = typer.Typer(
    cls=LazyGroup,
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        terminal.out(f"tophub {__version__}\n")
        raise typer.Exit


@application.callback()
def _without_command(
    context: typer.Context,
    _version: Annotated[bool, typer.Option("--version", is_eager=True, callback=_print_version)] = False,
) -> None:
    if context.invoked_subcommand is None:
        terminal.out(overview())
        raise typer.Exit(2)
