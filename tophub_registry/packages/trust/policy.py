"""What the user asked for: a root to start from, or to do without signatures."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tophub_registry.errors import InputError, UsageError
from tophub_registry.packages.patience import LocationFailure

VARIABLE = "TOPHUB_TRUST"
"""The environment variable that names the root to start from."""


class Untrusted(LocationFailure):  # it is what the answer is
    """A location's answer is not what its registry signed, or is not signed where it must be.

    It may have been damaged on its way, and is asked for again.
    """

    passing = True


class Expired(Untrusted):
    """A registry's signatures have expired: it is no longer maintained, or someone holds newer ones back."""

    passing = False


@dataclass(frozen=True)
class Trust:
    """Whom to trust.

    Attributes
    ----------
    anchor
        A file with the root metadata to start from; None for the one that is known for the location, else the
        installation's, else the one that the location serves at first.
    insecure
        Whether signatures are ignored.
    """

    anchor: Path | None = None
    insecure: bool = False

    @staticmethod
    def of(
        anchor: str | Path | None = None, *, insecure: bool = False, environment: Mapping[str, str] = os.environ
    ) -> Trust:
        """Return the given policy; without a file, the one in $TOPHUB_TRUST.

        Raises
        ------
        UsageError
            A root is given, and signatures are to be ignored.
        """
        if anchor is not None and insecure:
            raise UsageError("--trust demands signatures and --insecure ignores them", remedy="give one of the two")
        given = anchor or (None if insecure else environment.get(VARIABLE))
        return Trust(Path(given) if given else None, insecure)

    def anchor_bytes(self) -> bytes | None:
        """Return the content of the given root file.

        Raises
        ------
        InputError
            It can't be read, or is not root metadata.
        """
        if self.anchor is None:
            return None
        remedy = f"name a root.json with --trust or ${VARIABLE}"
        try:
            data = self.anchor.read_bytes()
        except OSError as error:
            why = f"the root to trust can't be read: {error.strerror or error}"
            raise InputError(why, file=self.anchor, remedy=remedy) from error
        try:
            is_root = json.loads(data)["signed"]["_type"] == "root"
        except (ValueError, RecursionError, LookupError, TypeError):
            is_root = False
        if not is_root:
            raise InputError("the root to trust is not root metadata", file=self.anchor, remedy=remedy)
        return data
