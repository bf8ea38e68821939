"""Trying again: several sources of a file in turn, each several times, and one time limit for all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from tophub_registry.errors import EnvironmentFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tophub_registry.packages.web import Deadline

Source = TypeVar("Source")
Result = TypeVar("Result")

TRIES = 3
"""How often each source is tried, unless more and more of the file arrives."""

PAUSE = 0.2
"""Seconds before the second try; before each further one three times as many."""


class LocationFailure(EnvironmentFailure):
    """A location does not serve a file; another one may.

    Attributes
    ----------
    passing
        Whether it may work when it is tried again.
    progress
        Whether much of the file has arrived, so that it is worth going on.
    """

    passing = False
    progress = False


class PassingFailure(LocationFailure):
    """A location does not respond, or its response breaks off; it may work when it is tried again."""

    passing = True


def first_success(
    sources: Sequence[Source], attempt: Callable[[Source, Deadline], Result], deadline: Deadline
) -> Result:
    """Return what an attempt returns, with the first source where it succeeds.

    The sources are tried in order. When all have failed, those whose failure may pass are tried again, after a pause.
    Each try gets an equal share of the time that is left, so that no source can use up all of it.

    Parameters
    ----------
    sources
        At least one.
    attempt
        Called with a source and the time at which it must be done.
    deadline
        When to give up.

    Raises
    ------
    LocationFailure
        All have failed. It is the first source's last failure, and tells of the others'.
    """
    left = list(sources)
    failures: dict[int, LocationFailure] = {}
    tries = 0
    while left and tries < TRIES and (deadline.left or not failures):
        if tries:
            deadline.pause(PAUSE * 3 ** (tries - 1))
        tries += 1
        turn = tuple(left)
        for number, source in enumerate(turn):
            try:
                return attempt(source, deadline.share(len(turn) - number))
            except LocationFailure as error:  # noqa: PERF203  # each try is one by itself
                failures[sources.index(source)] = error
                tries = 1 if error.progress else tries
                if not error.passing:
                    left.remove(source)
    raise _told(failures)


def _told(failures: dict[int, LocationFailure]) -> LocationFailure:
    first, *others = (failures[number] for number in sorted(failures))
    if not others:
        return first
    also = "; ".join(f"{other.file}: {other.message}" for other in others)
    told = type(first)(f"{first.message}; {also}", file=first.file, line=first.line, remedy=first.remedy)
    told.__cause__ = first
    return told
