"""The error for a model's file that its library can't read.

Libraries say how they failed ("Wire format was corrupt"), not what is usually the matter: a copy or a download ended
early, or brought something else.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from tophub_registry.errors import InputError

_BEGINNINGS = [
    (rb"\Z", "the file is empty", "copy or export it again"),
    (rb"version https://git-lfs", "a pointer of Git LFS, not the file itself", "`git lfs pull` brings it"),
    (rb"\s*<(!doctype html|html)", "a web page, not {what}", "download the file itself"),
]
"""How some files begin that are often taken for a model, what they are, and what to do."""


def unreadable(
    path: Path, what: str, *, line: int | None = None, remedy: str = "copy, download or export it again"
) -> InputError:
    """Return the error for a file that is not `what`, such as `an ONNX model`, or not the whole of it.

    Parameters
    ----------
    line
        Where reading ended, for a file of text.
    remedy
        What to do if nothing more is known.
    """
    beginning = b"?"
    with suppress(OSError), path.open("rb") as stream:
        beginning = stream.read(100)
    for pattern, message, its_remedy in _BEGINNINGS:
        if re.match(pattern, beginning, re.IGNORECASE):
            return InputError(message.format(what=what), file=path, remedy=its_remedy)
    return InputError(f"not {what}, or only a part of one", file=path, line=line, remedy=remedy)
