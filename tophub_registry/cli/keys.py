"""`tophub keys`: a group of commands."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tophub_registry.cli import terminal
from tophub_registry.cli.registry_option import Registry, find_registry
from tophub_registry.cli.signing_option import PassphraseFile, passphrase, read_signers, state_of
from tophub_registry.errors import UsageError
from tophub_registry.publishing.keys import VARIABLE as PASSPHRASE
from tophub_registry.publishing.metadata import Store


class _InOrder(TyperGroup):
    """The commands in the order in which they are needed."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002  # Click's signature
        """Return the commands in the order of this file."""
        return [*self.commands]


group = typer.Typer(
    cls=_InOrder,
    help="Make keys, sign a registry, and say who may sign what.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")]
Keys = Annotated[
    list[Path], typer.Option("--key", metavar="FILE", help="A private key (repeatable).", show_default=False)
]
Public = Annotated[
    list[Path] | None, typer.Option("--key", metavar="FILE", help="A public key (repeatable).", show_default=False)
]
Threshold = Annotated[int | None, typer.Option(min=1, help="How many of the keys must sign.", show_default=False)]


def _print(fields: Mapping[str, object], text: str, *, as_json: bool) -> None:
    terminal.out((json.dumps(fields, indent=1) if as_json else terminal.clean(text)) + "\n")


@group.command("make")
def make(
    name: Annotated[Path, typer.Argument(help="NAME, for the files NAME.pem and NAME.pub.", show_default=False)],
    passphrase_file: PassphraseFile = None,
    no_passphrase: Annotated[
        bool, typer.Option("--no-passphrase", help="Leave the private key unencrypted, for a server that signs alone.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a key pair (Ed25519).

    NAME.pem is to keep, NAME.pub to give to whoever lists the keys.
    """
    from tophub_registry.publishing.keys import make_keys

    secret = None if no_passphrase else passphrase(passphrase_file, "A passphrase for the key", confirm=True)
    if not (secret or no_passphrase):
        raise UsageError(
            "no passphrase is given", remedy=f"--passphrase-file, ${PASSPHRASE}, or --no-passphrase for none"
        )
    made = make_keys(name, secret)
    fields = {"private": str(made.private), "public": str(made.public), "key": made.identifier}
    _print(fields, f"{made.private}\n{made.public}\nkey {made.identifier}", as_json=as_json)


@group.command("start")
def start(
    root: Annotated[list[Path], typer.Option(metavar="FILE", help="A public key of root (repeatable).")],
    targets: Annotated[list[Path], typer.Option(metavar="FILE", help="A public key of targets (repeatable).")],
    online: Annotated[
        list[Path], typer.Option(metavar="FILE", help="The public key of the machine that serves the registry.")
    ],
    registry: Registry = None,
    threshold: Annotated[int, typer.Option(min=1, help="How many of root's, and of targets' keys must sign.")] = 2,
    address: Annotated[
        list[str] | None,
        typer.Option(help="An address that a root inside an installation is for (repeatable).", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Begin to sign a registry, and say whose keys sign what.

    The first metadata is staged. Nothing changes for clients until enough of the keys have signed it with `tophub keys
    sign`.
    """
    from tophub_registry.publishing import roles
    from tophub_registry.publishing.keys import read_public

    folder = find_registry(registry)
    root_keys, targets_keys, online_keys = ([read_public(path) for path in each] for each in (root, targets, online))
    first = roles.FirstKeys(root_keys, targets_keys, online_keys, threshold)
    roles.start(folder, first, locations=address or ())
    _staged(folder, as_json=as_json)


@group.command("sign")
def sign(
    key: Keys,
    registry: Registry = None,
    file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Sign this staged file only, away from its registry (REGISTRY/.staged/targets.json, say).",
            show_default=False,
        ),
    ] = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Sign what waits for these keys.

    If it is complete and the online key is among them, it is published.
    """
    from tophub_registry.publishing import signing

    signers = read_signers(key, passphrase_file)
    if file is not None:
        if registry is not None:
            raise UsageError("--file is signed away from its registry: give one of the two")
        keys = signing.sign_file(file, signers)
        _print(
            {"file": str(file), "keys": [*keys]}, f"{file} signed by {', '.join(k[:8] for k in keys)}", as_json=as_json
        )
        return
    _done(signing.sign(find_registry(registry), signers), as_json=as_json)


@group.command("refresh")
def refresh(
    key: Keys, registry: Registry = None, passphrase_file: PassphraseFile = None, as_json: AsJson = False
) -> None:
    """Publish what is signed, and renew snapshot and timestamp.

    Run it every day where the registry is served.
    """
    from tophub_registry.publishing import signing

    _done(signing.refresh(find_registry(registry), read_signers(key, passphrase_file)), as_json=as_json)


@group.command("show")
def show(registry: Registry = None, as_json: AsJson = False) -> None:
    """Show roles, keys and expiries, and what waits for whom.

    The identifiers of all keys stand at the end, as a whole. What waits is shown with what it changes: files, keys and
    delegations.
    """
    from tophub_registry.publishing.summary import summary_of

    found = summary_of(find_registry(registry))
    lines = [
        f"{role.role:<12} {'-' if role.version is None else role.version:>4}  expires {role.expires or '-':<20}  "
        f"{role.threshold} of {', '.join(key[:8] for key in role.keys)}"
        + (
            f"  {role.package}: {', '.join(role.models) if role.models is not None else 'all devices'}"
            if role.package
            else ""
        )
        for role in found.roles
    ]
    for each in found.waiting:
        needs = f"needs {each.needed} more of {', '.join(key[:8] for key in each.missing)}"
        lines.append(
            f"waiting: {each.role} {each.version}, signed by {', '.join(key[:8] for key in each.signed) or 'nobody'}, "
            + (needs if each.needed else "complete")
        )
        lines += [*(f"  new: {file}" for file in each.files), *(f"  {change}" for change in each.changes)]
    keys: dict[str, list[str]] = {}
    for role in found.roles:
        for key in role.keys:
            keys.setdefault(key, []).append(role.role)
    lines += [f"key {key}: {', '.join(roles)}" for key, roles in keys.items()]
    _print(found.fields(), "\n".join(lines), as_json=as_json)


@group.command("change")
def change(
    role: Annotated[str, typer.Argument(help="root, targets or online.")],
    add: Annotated[list[Path] | None, typer.Option(metavar="FILE", help="A public key to add (repeatable).")] = None,
    remove: Annotated[
        list[str] | None, typer.Option(metavar="KEY", help="A key to remove: its file, or how its identifier begins.")
    ] = None,
    threshold: Threshold = None,
    registry: Registry = None,
    as_json: AsJson = False,
) -> None:
    """Replace keys: stage a root with others.

    Enough of the former root's keys and of the new one's must sign it.
    """
    from tophub_registry.publishing import roles
    from tophub_registry.publishing.keys import read_public

    folder = find_registry(registry)
    added = [read_public(path) for path in add or ()]
    if not (added or remove or threshold):
        raise UsageError("nothing is to be changed", remedy="give --add, --remove or --threshold")
    removed = [read_public(Path(key)).keyid if key.endswith(".pub") else key for key in remove or ()]
    roles.change_keys(folder, role, add=added, remove=removed, threshold=threshold)
    _staged(folder, as_json=as_json)


@group.command("renew")
def renew(
    role: Annotated[str, typer.Argument(help="root, targets, or the name of a delegated role.")],
    registry: Registry = None,
    as_json: AsJson = False,
) -> None:
    """Stage a role's metadata with a new expiry.

    It is a year from now.
    """
    from tophub_registry.publishing import roles

    folder = find_registry(registry)
    roles.renew(folder, role)
    _staged(folder, as_json=as_json)


@group.command("delegate")
def delegate(
    package: Annotated[str, typer.Argument(help="The package.", show_default=False)],
    key: Public = None,
    device: Annotated[
        list[str] | None,
        typer.Option(help="A device, as targets name it in -model (repeatable).", show_default="all of the package's"),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="The role's name.", show_default="the package's and the first device's")
    ] = None,
    threshold: Annotated[int, typer.Option(min=1, help="How many of the keys must sign.")] = 1,
    end: Annotated[bool, typer.Option("--end", help="End the delegation of this name.")] = False,
    registry: Registry = None,
    as_json: AsJson = False,
) -> None:
    """Let a device's owner sign a package's next versions.

    With --device for these devices alone.
    """
    from tophub_registry.publishing import roles
    from tophub_registry.publishing.keys import read_public

    if end == bool(key):
        raise UsageError("give the owner's --key, or --end")
    folder = find_registry(registry)
    keys = [read_public(path) for path in key or ()]
    roles.delegate(folder, package, keys, name=name, models=device, threshold=threshold)
    _staged(folder, as_json=as_json)


@group.command("discard")
def discard(registry: Registry = None, as_json: AsJson = False) -> None:
    """Discard what waits for signatures.

    The published registry stays as it is.
    """
    from tophub_registry.publishing.registry import changing

    folder = find_registry(registry)
    Store(folder).known_root()
    with changing(folder):
        there = Store(folder).discard()
    _print({"discarded": there}, "discarded" if there else "nothing waits for signatures", as_json=as_json)


def _staged(folder: Path, *, as_json: bool) -> None:
    from tophub_registry.publishing.signing import Signing, waiting_in

    _done(Signing((), waiting_in(folder), ()), as_json=as_json)


def _done(done: Any, *, as_json: bool) -> None:
    fields = {
        "signed": [*done.signed],
        "waiting": [vars(each) for each in done.waiting],
        "published": [*done.published],
        "unused": [*done.unused],
    }
    unused = f"nothing waited for the signature of {', '.join(key[:8] for key in done.unused)}\n" if done.unused else ""
    _print(fields, unused + state_of(done), as_json=as_json)
