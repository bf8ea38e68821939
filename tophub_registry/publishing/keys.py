"""Key pairs for signing: Ed25519, a private key as PEM (PKCS #8, encrypted or not) and its public key beside it.

Keys need `cryptography` (extra [sign]); whoever only verifies does not.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tophub_registry.errors import InputError
from tophub_registry.extras import require
from tophub_registry.files import atomic_write

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner, SSlibKey

VARIABLE = "TOPHUB_PASSPHRASE"
"""The environment variable with the passphrase of private keys."""

Passphrase = Callable[[Path], bytes]
"""Returns the passphrase of a private key's file; called only if it has one."""


class KeyPair(NamedTuple):
    """A key pair's files, and the identifier of its key."""

    private: Path
    public: Path
    identifier: str


def make_keys(path: Path, passphrase: bytes | None) -> KeyPair:
    """Make a key pair: `NAME.pem`, which only its owner can read, and `NAME.pub`.

    Parameters
    ----------
    path
        `NAME` or `NAME.pem`.
    passphrase
        Encrypts the private key; None leaves it readable for whoever has the file.

    Raises
    ------
    UsageError
        One of the files exists.
    EnvironmentFailure
        They can't be written.
    MissingExtra
        The extra [sign] is not installed.
    """
    require("sign")
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )
    from securesystemslib.signer import SSlibKey

    private = path if path.suffix == ".pem" else path.with_name(f"{path.name}.pem")
    public = private.with_suffix(".pub")
    key = Ed25519PrivateKey.generate()
    encryption = NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase)
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with atomic_write(public) as shown:  # neither without the other
        with atomic_write(private) as secret:
            os.fchmod(secret.fileno(), 0o600)
            secret.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
        shown.write(pem)
    return KeyPair(private, public, SSlibKey.from_crypto(key.public_key()).keyid)


def read_signer(path: Path, passphrase: Passphrase) -> CryptoSigner:
    """Read a private key.

    Raises
    ------
    InputError
        It is missing, not an Ed25519 key, or the passphrase is wrong.
    MissingExtra
        The extra [sign] is not installed.
    """
    require("sign")
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from securesystemslib.signer import CryptoSigner

    data = _read(path)
    try:
        try:
            key = load_pem_private_key(data, None)
        except TypeError:  # encrypted
            key = load_pem_private_key(data, passphrase(path))
    except ValueError as error:
        if b"ENCRYPTED" in data:
            raise InputError("wrong passphrase", file=path, remedy="try again") from error
        raise InputError("not a private key", file=path, remedy=_REMEDY) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError("not an Ed25519 key", file=path, remedy=_REMEDY)
    return CryptoSigner(key)


def read_public(path: Path) -> SSlibKey:
    """Read a public key.

    Raises
    ------
    InputError
        It is missing, or not an Ed25519 key.
    MissingExtra
        The extra [sign] is not installed.
    """
    require("sign")
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from securesystemslib.signer import SSlibKey

    data = _read(path)
    if b"PRIVATE KEY" in data:
        raise InputError("this is a private key", file=path, remedy=f"give its public key, {path.with_suffix('.pub')}")
    try:
        key = load_pem_public_key(data)
    except ValueError as error:
        raise InputError("not a public key", file=path, remedy=_REMEDY) from error
    if not isinstance(key, Ed25519PublicKey):
        raise InputError("not an Ed25519 key", file=path, remedy=_REMEDY)
    return SSlibKey.from_crypto(key)


_REMEDY = "`tophub keys make` makes a key pair"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"can't be read: {error.strerror or error}", file=path, remedy=_REMEDY) from error
