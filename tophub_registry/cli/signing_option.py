"""Signing from the command line: the option `--sign`, passphrases, and what is said of what waits for signatures."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tophub_registry.cli import terminal
from tophub_registry.errors import InputError, UsageError
from tophub_registry.publishing.keys import VARIABLE as PASSPHRASE
from tophub_registry.publishing.metadata import is_signed

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner

    from tophub_registry.publishing.signing import Signing, Waiting

Sign = Annotated[
    list[Path] | None,
    typer.Option(
        "--sign",
        metavar="KEY",
        help="A private key to sign the change with (repeatable); if all needed ones are given, it is published "
        "(extra [sign]).",
        show_default=False,
    ),
]

PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        help="The file with the private keys' passphrase, in its first line.",
        show_default=f"${PASSPHRASE}, else a prompt",
    ),
]


def passphrase(file: Path | None, question: str, *, confirm: bool = False) -> bytes | None:
    """Return the passphrase from a file, the environment or a prompt; None if there is nobody to ask."""
    if file is not None:
        try:
            return file.read_bytes().partition(b"\n")[0].rstrip(b"\r")
        except OSError as error:
            raise InputError(f"can't be read: {error.strerror or error}", file=file) from error
    if (given := os.environ.get(PASSPHRASE)) is not None:
        return given.encode()
    if not sys.stdin.isatty():
        return None
    answer: str = typer.prompt(question, hide_input=True, confirmation_prompt=confirm, err=True)
    return answer.encode()


def read_signers(paths: Sequence[Path], file: Path | None = None) -> "list[CryptoSigner]":
    """Read private keys, and ask for passphrases where they have one."""
    from tophub_registry.publishing.keys import read_signer

    def ask(path: Path) -> bytes:
        found = passphrase(file, f"Passphrase of {path}")
        if found is None:
            raise UsageError("the key has a passphrase", file=path, remedy=f"--passphrase-file, or ${PASSPHRASE}")
        return found

    return [read_signer(path, ask) for path in paths]


def check_option(folder: Path, keys: Sequence[Path] | None) -> None:
    """Raise UsageError if a registry that is not signed is to be signed."""
    if keys and not is_signed(folder):
        raise UsageError("the registry is not signed", file=folder, remedy="`tophub keys start` begins it")


def sign_change(folder: Path, keys: Sequence[Path] | None) -> "Signing | None":
    """Sign a change with the given keys, and say what it waits for; None if the registry is not signed."""
    if not is_signed(folder):
        return None
    from tophub_registry.publishing.signing import Signing, sign, waiting_in

    done = sign(folder, read_signers(keys)) if keys else Signing((), waiting_in(folder), ())
    terminal.err(f"tophub: note: {terminal.line(state_of(done))}\n")
    return done


def fields_of(done: "Signing | None") -> dict[str, object]:
    """Return what `--json` says of a change's signatures; nothing if the registry is not signed."""
    if done is None:
        return {}
    waiting = [vars(each) for each in done.waiting]
    return {"signing": {"signed": [*done.signed], "waiting": waiting, "published": [*done.published]}}


def state_of(done: "Signing") -> str:
    """Say what was published, or what waits for whom."""
    if done.published and not done.waiting:
        return f"signed and published: {', '.join(done.published)}"
    if not done.waiting:
        return "nothing waits for signatures"
    if not any(each.needed for each in done.waiting):
        return "all is signed; `tophub keys refresh --registry DIR --key ONLINE_KEY` publishes it"
    wanted = "; ".join(_missing(each) for each in done.waiting if each.needed)
    said = f"not published yet, clients see the registry as before: {wanted}"
    return f"{said} (`tophub keys sign --registry DIR --key KEY`)"


def _missing(waiting: "Waiting") -> str:
    keys = ", ".join(key[:8] for key in waiting.missing)
    return (
        f"{waiting.role} {waiting.version} needs {waiting.needed} more signature{'s'[: waiting.needed - 1]} of {keys}"
    )
