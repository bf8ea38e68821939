"""A terminal for the tests: what stands on its screen after a command has run in it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Sequence
from pathlib import Path

_TOKEN = re.compile(r"\x1b\[\??(\d*)(?:;\d+)*([A-Za-z])|([\r\n])|([^\x1b\r\n]+)")


def screen_after(command: Sequence[str | Path], *, columns: int = 80) -> list[str]:
    """Run a command in a terminal and return the lines that stand there in the end, without trailing blanks."""
    return _screen(written_by(command, columns=columns))


def written_by(command: Sequence[str | Path], *, columns: int = 80, **variables: str) -> str:
    """Run a command in a terminal and return all that it writes, control sequences included."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 200, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": str(columns), **variables}
    with subprocess.Popen([*map(str, command)], stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as run:
        os.close(theirs)
        written = b""
        try:
            while chunk := os.read(ours, 1 << 16):
                written += chunk
        except OSError:  # how Linux says that nobody has the other end any more
            pass
        run.wait(60)
    os.close(ours)
    return written.decode()


def _screen(written: str) -> list[str]:
    """Do what a terminal does with what is written to it: enough for status lines and bars."""
    lines, row, column = [""], 0, 0
    for count, letter, control, text in _TOKEN.findall(written):
        if letter == "K":  # erase the line
            lines[row] = ""
        elif letter == "A":  # cursor up
            row = max(0, row - int(count or 1))
        elif control == "\r":
            column = 0
        elif control == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif text:
            before = lines[row].ljust(column)
            lines[row] = before[:column] + text + before[column + len(text) :]
            column += len(text)
    return [line.rstrip() for line in lines if line.strip()]
