"""Check a contribution, offline and without its device, and release it once its contributor has measured a part again.

python tools/accept.py BUNDLE                       check it: exit code 1 and the reasons if it is refused
python tools/accept.py BUNDLE --challenge           and write BUNDLE.challenge.json, to be sent to the contributor
python tools/accept.py BUNDLE --answer FILE         check the answer, and release the next version of the package
python tools/accept.py BUNDLE --answer FILE --dry-run    and change nothing

`--registry DIR` names the registry, by default this repository's.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tophub_registry.errors import TophubError
from tophub_registry.proof.acceptance import Accepted, accept, check, check_answer, refused
from tophub_registry.publishing.bundle import Bundle, open_bundle
from tophub_registry.publishing.challenge import DAYS, RECORDS, challenge, read_answer, read_challenge, write
from tophub_registry.publishing.repository_release import Repository
from tophub_registry.records.finding import Finding

REPOSITORY = Path(__file__).resolve().parents[1]


def main() -> None:
    """Parse, call, print."""
    parser = argparse.ArgumentParser(description="Check a contribution, and release it.")
    parser.add_argument("bundle", type=Path, help="what `tophub contribute` wrote")
    parser.add_argument("--registry", type=Path, metavar="DIR", help="the registry's folder")
    parser.add_argument("--changelog", type=Path, metavar="FILE", help="gets a line; by default this repository's")
    parser.add_argument("--challenge", action="store_true", help="draw records that the contributor measures again")
    parser.add_argument("--records", type=int, default=RECORDS, metavar="N", help=f"how many, by default {RECORDS}")
    parser.add_argument("--days", type=float, default=DAYS, help=f"how long an answer is accepted, by default {DAYS}")
    parser.add_argument("--answer", type=Path, metavar="FILE", help="what `tophub contribute --answer` wrote")
    parser.add_argument("--asked", type=Path, metavar="FILE", help="the challenge, by default BUNDLE.challenge.json")
    parser.add_argument("--dry-run", action="store_true", help="release nothing")
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON")
    given = parser.parse_args()
    if given.challenge and given.answer:
        parser.error("--challenge comes before --answer")
    try:
        with open_bundle(given.bundle) as bundle:
            code = run(bundle, given)
    except TophubError as error:
        if given.json:
            fields = {"message": error.message, "file": error.file, "line": error.line, "remedy": error.remedy}
            print(json.dumps({"error": fields}))
        else:
            sys.stderr.write(f"accept: error: {shown(error)}\n")
        code = error.exit_code
    sys.exit(code)


def run(bundle: Bundle, given: argparse.Namespace) -> int:
    """Do what was asked, print it, and return the exit code."""
    ours = given.registry is None
    registry = REPOSITORY / "registry_data" if ours else given.registry
    asked = given.asked or Path(f"{bundle.path}.challenge.json")
    outcome: dict[str, object] = {"bundle": str(bundle.path), "sha256": bundle.digest.sha256}
    findings = check(bundle, registry)
    if given.answer is not None and not refused(findings):
        answer = read_answer(given.answer)
        findings += check_answer(answer, read_challenge(asked), bundle, given.answer)
    outcome |= {"refused": bool(refused(findings)), "findings": [asdict(finding) for finding in findings]}
    tell(findings, given)
    if reasons := refused(findings):
        said = f"refused, for {len(reasons)} reasons" if reasons[1:] else "refused"
    elif given.challenge:
        write(asked, drawn := challenge(bundle, count=given.records, days=given.days))
        outcome["challenge"] = str(asked)
        records = f"{len(drawn.drawn)} record{'s' if drawn.drawn[1:] else ''}"
        said = f"{records} drawn, to be measured again until {drawn.expires}; send {asked} to the contributor"
    elif given.answer is not None:
        changelog = REPOSITORY / "CHANGELOG.md" if ours and given.changelog is None else given.changelog
        done = accept(bundle, answer, Repository(registry, changelog), dry_run=given.dry_run)
        outcome |= fields(done)
        said = told(done, bundle, given)
    else:
        said = "no reason to refuse it; --challenge has a part of it measured again"
    print(json.dumps(outcome, indent=1) if given.json else shown(f"{bundle.path}: {said}"))
    return 1 if refused(findings) else 0


def tell(findings: Sequence[Finding], given: argparse.Namespace) -> None:
    """Print findings, unless they are printed as JSON."""
    for each in findings if not given.json else ():
        place = each.file + (f":{each.line}" if each.line else "")
        remedy = f" ({each.remedy})" if each.remedy else ""
        print(shown(f"{place}: {each.severity}: {each.message}{remedy} [{each.rule}]"))


def told(done: Accepted, bundle: Bundle, given: argparse.Namespace) -> str:
    """Say what was released; print what was left out."""
    for line, reason in sorted(done.left_out.items()) if not given.json else ():
        print(shown(f"{bundle.place('records.log')}:{line}: left out: {reason}"))
    release = done.release
    if release.release is None:
        return f"nothing to release: {release.package} {release.version} has all of it, or better records"
    if given.json:
        return ""
    for edit in release.edits:
        print(edit.diff(), end="")
    ranks = ", ".join(f"{count} {rank}" for rank, count in counted(done).items())
    what = "would be released" if given.dry_run else "is released"
    return f"{release.package} {release.version} {what}: {ranks}"


def counted(done: Accepted) -> dict[str, int]:
    """Return how many of the contributed records have each rank, the highest first."""
    ranks = [rank for line, rank in done.ranks.items() if line not in done.left_out]
    return {str(rank): ranks.count(rank) for rank in sorted(set(ranks), reverse=True)}


def fields(done: Accepted) -> dict[str, object]:
    """Return what was released, for JSON."""
    release = done.release
    return {
        "package": release.package,
        "version": str(release.version),
        "released": release.release is not None,
        "ranks": counted(done),
        "left_out": {str(line): reason for line, reason in done.left_out.items()},
    }


def shown(text: object) -> str:
    """Return a text without control characters: a bundle is untrusted."""
    return "".join(each if each.isprintable() else "\ufffd" for each in str(text))


if __name__ == "__main__":
    main()
