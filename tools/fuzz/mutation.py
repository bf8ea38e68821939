"""Changing JSON documents and lines of them where it hurts: values of another type, sizes at limits, keys that move.

Most mutations keep a document well-formed, so that they get past the parser; some do not.
"""

from __future__ import annotations

import copy
import gzip
import json
import random
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .harness import Raw

Path = tuple[Any, ...]

_GZIP = b"\x1f\x8b"
_MAX_UNPACKED = 1 << 18

_MOSTLY, _SELDOM = 0.9, 0.05

# Spelled as a number that Python does not turn into text by itself.
_HUGE = "a huge number"
_KEY = re.compile(rb'"([^"\\]*)": ?')

STRANGE: tuple[Any, ...] = (
    None, True, False, 0, 1, 2, -1, 255, 1 << 31, (1 << 53) + 1, 1 << 63, -(1 << 63) - 1, 10**25, 10**400, _HUGE,
    0.0, -0.0, 1.5, 0.1, 0.2, 1e9, 1e10, 1e-320, 1e308, -1e308, float("nan"), float("inf"), float("-inf"),
    "", " ", "0", "1", "NaN", "null", "direct", "\0", "\n", "\x1b[2J", "\x85", "\u2028", "\ufeff", "\ud800", "é", "٣",
    "😀", "..", "../x", "/", "'", '"', "\\", "x" * 3000,
    [], [[]], [None], {}, {"": {}}, ["TENSOR", [], "float32"], ["TENSOR", [0, -1], 3], [1] * 1000,
)  # fmt: skip

_STRANGE_WORDS = tuple(value for value in STRANGE if isinstance(value, str) and value != _HUGE)


def raw_mutation(chance: random.Random) -> Raw:
    """Return a mutation of bytes, where the fuzzer's own is not at hand."""

    def mutated(data: bytes, size: int) -> bytes:
        for _ in range(chance.randint(1, 4)):
            start = chance.randint(0, len(data))
            end = min(len(data), start + chance.choice([0, 1, 1, 2, 8, 100]))
            new = chance.choice([b"", chance.randbytes(1), chance.randbytes(4), data[start:end] * 2, b'"', b"\n", b"'"])
            data = data[:start] + new + data[end:]
        return data[:size]

    return mutated


def mutate_json(text: bytes, size: int, chance: random.Random, raw: Raw, words: Sequence[str], other: bytes) -> bytes:
    """Change a JSON document.

    Parameters
    ----------
    size
        The most bytes of the result.
    raw
        How the bytes are changed, now and then.
    words
        Keys and values that are worth a try.
    other
        Another document, parts of which may be put in.
    """
    value = _loaded(text)
    if value is None or chance.random() < _SELDOM:
        return raw(text, size)
    for _ in range(chance.choice([1, 1, 1, 2, 3, 6])):
        value = _changed(value, chance, words, other)
    return _spelled(value, chance)[:size]


def mutate_log(
    data: bytes, size: int, chance: random.Random, raw: Raw, words: Sequence[str], others: Sequence[bytes]
) -> bytes:
    """Change a log, which may be gzipped, or become so."""
    if data.startswith(_GZIP):
        plain = _unpacked(data) if chance.random() < _MOSTLY else None
        if plain is None:
            return raw(data, size)
        return gzip.compress(_mutate_lines(plain, 4 * size, chance, raw, words, others), 1, mtime=0)[:size]
    if chance.random() < _SELDOM:
        return gzip.compress(data, 1, mtime=0)[:size]
    return _mutate_lines(data, size, chance, raw, words, others)


def _mutate_lines(
    data: bytes, size: int, chance: random.Random, raw: Raw, words: Sequence[str], others: Sequence[bytes]
) -> bytes:
    """Change one of the lines, or their order."""
    lines = data.split(b"\n")
    place = chance.randrange(len(lines))
    match chance.randrange(14):
        case 0:
            return raw(data, size)
        case 1:
            lines.insert(place, chance.choice(lines))
        case 2:
            del lines[place]
        case 3:
            lines.insert(place, chance.choice(others))
        case 4:
            lines.insert(place, b"#" + chance.choice([b"", b" tophub", b"\xff", b"\0", lines[place]]))
        case 5:
            lines[place] = raw(lines[place] or b"{}", max(size // 2, 1))
        case 6:
            lines[place] = chance.choice([b"", b" ", b"\r", b"\x0c", b"\xef\xbb\xbf"]) + lines[place] + b"\r"
        case _:
            place = chance.choice([at for at, line in enumerate(lines) if line.strip()] or [place])
            lines[place] = mutate_json(lines[place], size, chance, raw, words, chance.choice(others))
    return b"\n".join(lines)[:size]


def _unpacked(data: bytes) -> bytes | None:
    try:
        return zlib.decompressobj(wbits=31).decompress(data, _MAX_UNPACKED)
    except zlib.error:
        return None


def _loaded(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


_WAYS: tuple[dict[str, Any], ...] = ({"separators": (",", ":")}, {"ensure_ascii": False}, {"sort_keys": True}, {}, {})


def _spelled(value: Any, chance: random.Random) -> bytes:
    """Write a document in one of the ways that JSON can be written."""
    try:
        text = json.dumps(value, **chance.choice(_WAYS)).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):
        return b"[" * 300
    text = text.replace(f'"{_HUGE}"'.encode(), b"9" * chance.choice([310, 4300, 4301, 20_000]))
    keys = list(_KEY.finditer(text)) if chance.random() < _SELDOM else []
    if keys:  # the same key twice
        one, other = chance.choice(keys), chance.choice(keys)
        text = text[: one.start(1)] + other[1] + text[one.end(1) :]
    return text


def _containers(value: Any) -> Iterator[Any]:
    """Yield every list and object of a document."""
    waiting = [value]
    while waiting:
        here = waiting.pop()
        if isinstance(here, (dict, list)):
            yield here
            waiting.extend(here.values() if isinstance(here, dict) else here)


def _any_value(value: Any, chance: random.Random) -> Any:
    """Return some value of a document."""
    place = chance.choice(list(_containers(value)) or [[value]])
    values = list(place.values() if isinstance(place, dict) else place)
    return copy.deepcopy(chance.choice(values or [place]))


def _changed(value: Any, chance: random.Random, words: Sequence[str], other: bytes) -> Any:
    places = list(_containers(value))
    if not places:
        return chance.choice([_any_value(_loaded(other), chance), [value], {chance.choice(words): value}])
    place = chance.choice(places)
    keys = list(place) if isinstance(place, dict) else list(range(len(place)))
    if not keys or chance.random() < _SELDOM:
        _insert(place, _new(value, chance, words, other), chance, words)
        return value
    key = chance.choice(keys)
    match chance.randrange(9):
        case 0:
            del place[key]
        case 1 if isinstance(place, dict):
            place[_word(chance, words)] = place.pop(key)
        case 2:
            place[key] = chance.choice([[place[key]], {_word(chance, words): place[key]}])
        case 3:
            for _ in range(chance.choice([1, 3, 60, 150, 250])):
                place[key] = [place[key]]
        case 4 | 5:
            place[key] = _new(value, chance, words, other)
        case 6:
            end = chance.choice(keys)
            place[key], place[end] = place[end], place[key]
        case _:
            place[key] = _varied(place[key], chance, words)
    return value


def _insert(place: Any, new: Any, chance: random.Random, words: Sequence[str]) -> None:
    if isinstance(place, dict):
        place[_word(chance, words)] = new
    else:
        place.insert(chance.randint(0, len(place)), new)


def _new(value: Any, chance: random.Random, words: Sequence[str], other: bytes) -> Any:
    ways: list[Callable[[], Any]] = [
        lambda: copy.deepcopy(chance.choice(STRANGE)),
        lambda: _word(chance, words),
        lambda: _any_value(value, chance),
        lambda: _any_value(_loaded(other), chance),
    ]
    return chance.choice(ways)()


def _word(chance: random.Random, words: Sequence[str]) -> str:
    return chance.choice(words) if chance.random() < _MOSTLY else chance.choice(_STRANGE_WORDS)


def _varied(value: Any, chance: random.Random, words: Sequence[str]) -> Any:
    """Return a value like another one."""
    if isinstance(value, bool) or value is None:
        return chance.choice([True, False, None, 0, 1])
    if isinstance(value, int):
        return chance.choice([value + 1, value - 1, -value, value * 2, float(value % 1000), str(value % 1000)])
    if isinstance(value, float):
        return chance.choice([-value, value * 10, value / 3, round(value) if abs(value) < 1e300 else 0])  # noqa: PLR2004
    if isinstance(value, str):
        start = chance.randint(0, len(value))
        end = min(len(value), start + chance.choice([0, 0, 1, 4, 50]))
        return value[:start] + chance.choice([_word(chance, words), "", " ", "'", "-", "=", ","]) + value[end:]
    if isinstance(value, list) and value:
        some = chance.randrange(len(value))
        return chance.choice([value[:some], value[some:], value + value[some:], value[::-1], value * 3])
    return copy.deepcopy(chance.choice(STRANGE))
