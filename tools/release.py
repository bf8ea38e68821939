"""Release this repository's data in one step.

python tools/release.py llvm NEW.log                      validate, merge, next number, index, changelog
python tools/release.py llvm NEW.log --dry-run            show all of it and change nothing
python tools/release.py llvm NEW.log --prove              and leave out what loses against what is there without it
python tools/release.py llvm NEW.log --again AGAIN.log    with the current version's records measured again
python tools/release.py llvm NEW.log --alone              without the current version's records
python tools/release.py llvm NEW.log --tvm-tree ~/tvm     and let that TVM's tophub.py ask for the new version
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from tophub_registry.errors import TophubError
from tophub_registry.publishing.repository_release import Repository, RepositoryRelease, release_in_repository
from tophub_registry.records.record import Record
from tophub_registry.templates.transfer import for_everybody
from tophub_registry.templates.validation import check_space

REPOSITORY = Path(__file__).resolve().parents[1]


def main() -> None:
    """Parse, call, print."""
    parser = argparse.ArgumentParser(description="Release this repository's data in one step.")
    parser.add_argument("package", help="for example llvm")
    parser.add_argument("new", nargs="+", type=Path, help="the logs with the new records")
    parser.add_argument("--tvm-tree", type=Path, metavar="DIR", help="a TVM whose tophub.py is to ask for the version")
    parser.add_argument(
        "--again",
        type=Path,
        action="append",
        default=[],
        metavar="LOG",
        help="what `tophub validate CURRENT.log --level replay -o LOG` wrote: its costs stand for the claimed ones",
    )
    parser.add_argument("--alone", action="store_true", help="leave out the current version's records")
    parser.add_argument("--min-gain", type=float, metavar="PERCENT", help="by how much a new record must be better")
    parser.add_argument(
        "--prove",
        action="store_true",
        help="time new records against the default config and the current version's; leave out what loses",
    )
    parser.add_argument("--registry", type=Path, default=REPOSITORY / "registry_data", help=argparse.SUPPRESS)
    parser.add_argument("--changelog", type=Path, default=REPOSITORY / "CHANGELOG.md", help=argparse.SUPPRESS)
    parser.add_argument("--model", type=Path, metavar="FILE", help="a cost model to publish with it: `tophub learn`")
    parser.add_argument("--dry-run", action="store_true", help="show all of it and change nothing")
    given = parser.parse_args()
    try:
        if given.model is not None:
            from tophub_registry.cost_model.model import check_beside  # which needs the extra [compile]

            check_beside(given.model, given.new[0])
        done = release_in_repository(
            given.package,
            given.new,
            Repository(given.registry, given.changelog, given.tvm_tree),
            again=given.again,
            alone=given.alone,
            min_gain=given.min_gain,
            checks=[check_space],
            addressed=for_everybody,
            prove=unproven if given.prove else None,
            model=given.model,
            dry_run=given.dry_run,
        )
    except TophubError as error:
        sys.stderr.write(f"release: error: {error}\n")
        sys.exit(error.exit_code)
    show(done, dry_run=given.dry_run)


def unproven(log: Path, before: Path | None) -> Iterator[Record]:
    """Time what a log claims beyond the one before, and yield the records that lose."""
    from tophub_registry.proof.claims import claims, prove

    for loss in prove(claims(log, before)):
        print(f"left out: {loss}")
        yield loss.claim.record


def show(done: RepositoryRelease, *, dry_run: bool) -> None:
    """Print what was done, or what would be."""
    for validation in done.validations:
        for finding in validation.findings:
            print(f"{finding.file}:{finding.line}: {finding.severity}: {finding.message} [{finding.rule}]")
    if done.nothing_to_do:
        print(f"nothing to do: {done.package} {done.version} has all of it")
        return
    merged = done.merged
    dropped = [f"{count} {reason}" for reason, count in dataclasses.asdict(merged.dropped).items() if count]
    print(
        f"{merged.added} added, {merged.improved} improved, {merged.kept} kept, dropped: {', '.join(dropped) or 'none'}"
    )
    if done.release is not None:
        entry = {str(done.version): done.release.published.model_dump()}
        print(f"{done.release.path}, serial {done.release.serial}: {json.dumps(entry, indent=1)}")
    for edit in done.edits:
        print(edit.diff(), end="")
    print("a dry run: nothing was changed" if dry_run else f"{done.package} {done.version} is released")


if __name__ == "__main__":
    main()
