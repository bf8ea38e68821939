"""The documentation's reference pages, made from the code, and MkDocs' hook that adds them to the site.

python tools/reference.py FOLDER    write them, to look at

`mkdocs.yml` names this file as a hook: the pages exist only in the built site, so that they can't be out of date.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import tophub_registry
from tophub_registry import errors
from tophub_registry.cli import COMMANDS
from tophub_registry.proof.validation import LEVEL_OF, RULES

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "tophub_registry"

OF_THE_REPOSITORY = {"benchmarks/RESULTS.md": "results.md", "CHANGELOG.md": "changelog.md"}
"""Pages outside `docs/` that the site has too."""


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are not in `docs/` (MkDocs calls this)."""
    from mkdocs.structure.files import File

    for name, page in PAGES.items():
        files.append(File.generated(config, f"reference/{name}.md", content=page()))
    for source, name in OF_THE_REPOSITORY.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Point links to the repository's pages to their copies in the site (MkDocs calls this)."""
    for source, name in OF_THE_REPOSITORY.items():
        markdown = markdown.replace(f"](../{source}", f"]({name}")
    return markdown


def command_line() -> str:
    """Return the page of the command line: what `tophub COMMAND --help` says, for every command."""
    lines = ["# Command line", ""]
    lines += [f"- [`tophub {name}`](#tophub-{name}): {line}" for name, line in COMMANDS.items()]
    lines += ["", "Every command has `--help`; see [In the shell](../shell.md) for what they have in common."]
    for name in COMMANDS:
        module = importlib.import_module(f"tophub_registry.cli.{name}")
        lines += ["", f"## `tophub {name}`", ""]
        if not hasattr(module, "group"):
            lines += _command(name, module.command)
            continue
        lines.append(module.group.info.help)
        for each in module.group.registered_commands:
            lines += ["", f"### `tophub {name} {each.name}`", "", *_command(f"{name} {each.name}", each.callback)]
    return "\n".join(lines) + "\n"


def _command(name: str, command: Callable[..., object]) -> list[str]:
    """Return what a command's section says: how it is called, its help, and its arguments and options."""
    shown = [each for each in _parameters(command) if not each.hidden]
    words = [each.usage for each in shown if each.usage]
    lines = ["```text", " ".join(["tophub", name, *words, "[OPTIONS]"]), "```", ""]
    lines += [inspect.cleandoc(command.__doc__ or ""), "", "| | |", "| --- | --- |"]
    return lines + [f"| {each.names} | {_cell(each.help)}{each.default} |" for each in shown]


class _Parameter(NamedTuple):
    """An argument or option as the page shows it."""

    names: str
    usage: str
    help: str
    default: str
    hidden: bool


def _parameters(command: Callable[..., object]) -> Iterator[_Parameter]:
    """Yield a command's arguments, then its options, from the annotations that Typer reads."""
    from typer.models import ArgumentInfo, OptionInfo

    hints = get_type_hints(command, include_extras=True)
    signature = inspect.signature(command).parameters
    infos = [(name, hints[name].__metadata__[0], parameter) for name, parameter in signature.items()]
    for kind in (ArgumentInfo, OptionInfo):
        for name, info, parameter in infos:
            if not isinstance(info, kind):
                continue
            value = parameter.default
            required = value is inspect.Parameter.empty
            flag = isinstance(value, bool)
            metavar = info.metavar or name.strip("_").upper()
            names, usage = f"`{metavar}`", metavar if required else f"[{metavar}]"
            if isinstance(info, OptionInfo):
                first = [info.default] if isinstance(info.default, str) and info.default.startswith("-") else []
                declared = [*first, *(info.param_decls or ())] or [f"--{name.strip('_').replace('_', '-')}"]
                long = next((each for each in declared if each.startswith("--")), declared[0])
                names = ", ".join(f"`{each}`" for each in declared) + ("" if flag else f" `{metavar}`")
                usage = f"{long} {metavar}" if required else ""
            shown = info.show_default if isinstance(info.show_default, str) else value
            default = "" if required or shown in (None, True, False) else f" Default: {_cell(str(shown))}."
            yield _Parameter(names, usage, info.help or "", default, bool(info.hidden))


def python() -> str:
    """Return the page of the public API: every name of `tophub_registry.__all__`, with its docstring."""
    public = {name: getattr(tophub_registry, name) for name in tophub_registry.__all__ if not name.startswith("_")}
    kinds = {
        "Functions": [name for name, each in public.items() if inspect.isfunction(each)],
        "Types": [n for n, each in public.items() if inspect.isclass(each) and not issubclass(each, Exception)],
        "Errors": [n for n, each in public.items() if inspect.isclass(each) and issubclass(each, Exception)],
    }
    lines = ["# Python", "", "```python", "import tophub_registry as tophub", "```", ""]
    lines += ["See [Compatibility](../compatibility.md) for what stays as it is. The tests run the examples."]
    for title, names in kinds.items():
        lines += ["", f"## {title}"]
        for name in names:
            each = public[name]
            lines += ["", f"### `tophub.{name}`", ""]
            if inspect.isfunction(each):
                lines += ["```text", _signature(name, each), "```", ""]
            lines.append(docstring(inspect.getdoc(each) or ""))
            lines += _members(each) if title == "Types" else []
    return "\n".join(lines) + "\n"


def _signature(name: str, function: Callable[..., object]) -> str:
    found = inspect.signature(function)
    parts = [str(each).replace(f"'{each.annotation}'", str(each.annotation)) for each in found.parameters.values()]
    stars = [each.kind is inspect.Parameter.KEYWORD_ONLY for each in found.parameters.values()]
    if any(stars):
        parts.insert(stars.index(True), "*")
    arguments = "".join(f"\n    {part}," for part in parts)
    return f"tophub.{name}({arguments}\n) -> {found.return_annotation}"


def _members(kind: type) -> list[str]:
    """List a type's public methods and properties that it defines itself."""
    lines = []
    for name, member in vars(kind).items():
        function = getattr(member, "fget", None) or getattr(member, "func", None) or member
        doc = inspect.getdoc(function) if inspect.isfunction(function) else None
        if not name.startswith("_") and doc:
            call = "()" if function is member else ""
            lines.append(f"- `.{name}{call}`: {doc.splitlines()[0]}")
    return ["", *lines] if lines else []


def docstring(text: str) -> str:
    """Return a NumPy-style docstring in Markdown."""
    text = re.sub(r"(?m)^(\w[\w ]*)\n-{3,}$", r"\n**\1**\n", text)
    lines: list[str] = []
    example = items = False
    for line in text.splitlines():
        if line.startswith("**"):
            items = line != "**Examples**"
        if line.startswith(">>>") and not example:
            lines.append("```pycon")
            example = True
        if example and not line:
            lines.append("```")
            example = False
        if items and line and not line[0].isspace() and not line.startswith("**"):
            lines.append(f"- `{line}`:")
        else:
            lines.append(line)
    return "\n".join(lines + ["```"] * example)


def findings() -> str:
    """Return the page of rules: what each finding of `tophub validate` means, and what to do about it."""
    remedies: defaultdict[str, list[str]] = defaultdict(list)
    severities: defaultdict[str, set[str]] = defaultdict(set)
    for call in _calls("Finding", "RowError"):
        names = [ast.literal_eval(each) for each in call.args[:2] if isinstance(each, ast.Constant)]
        rule = next((name for name in names if name in RULES), None)
        if rule is None:
            continue
        arguments = dict(zip(("rule", "message", "severity", "remedy"), call.args, strict=False))
        arguments |= {each.arg: each.value for each in call.keywords if each.arg}
        severity = _text(arguments.get("severity")) if _name(call) == "Finding" else ""
        severities[rule].add(severity or "error")
        if (remedy := _text(arguments.get("remedy"))) and remedy not in remedies[rule]:
            remedies[rule].append(remedy)
    lines = [
        "# Findings",
        "",
        "What `tophub validate` reports: `FILE:LINE: SEVERITY: MESSAGE (WHAT TO DO) [RULE]`. With an error the exit",
    ]
    lines += ["code is 1, and the log can't be released.", "", "| rule | level | | meaning | what to do |"]
    lines += ["| --- | --- | --- | --- | --- |"]
    for rule, meaning in RULES.items():
        severity = ", ".join(sorted(severities[rule])) or "error"
        remedy = "; ".join(remedies[rule]) or "repair or delete the line"
        lines.append(f"| `{rule}` | {LEVEL_OF[rule]} | {severity} | {meaning} | {_cell(remedy)} |")
    return "\n".join(lines) + "\n"


def messages() -> str:
    """Return the page of error messages, by exit code, with what to do about each; `…` stands for what varies."""
    lines = [
        "# Error messages",
        "",
        "Every message of the commands and of the Python API, by exit code. `…` stands for",
    ]
    lines += ["what varies. An error says the file and the line before, and what to do in parentheses after it."]
    kinds = {"EnvironmentFailure": ("LocationFailure", "PassingFailure", "NotThere")}
    for kind in ("InputError", "UsageError", "EnvironmentFailure"):
        found: dict[str, str] = {}
        for call in _calls(kind, *kinds.get(kind, ())):
            message = _text(call.args[0]) if call.args else ""
            remedy = next((_text(each.value) for each in call.keywords if each.arg == "remedy"), "")
            if message.strip("… "):
                found[message] = remedy or found.get(message, "")
        code = getattr(errors, kind).exit_code
        lines += ["", f"## {code}: {(getattr(errors, kind).__doc__ or '').splitlines()[0]}", ""]
        lines += [f"`tophub_registry.{kind}`", "", "| message | what to do |", "| --- | --- |"]
        lines += [
            f"| {_cell(message)} | {_cell(remedy)} |" for message, remedy in sorted(found.items(), key=_by_letters)
        ]
    return "\n".join(lines) + "\n"


def _by_letters(item: tuple[str, str]) -> str:
    return item[0].lstrip("…'` ").lower()


def _calls(*names: str) -> Iterator[ast.Call]:
    """Yield the calls of these names in the package, with the strings that stand for variables put in."""
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        strings = _Strings(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and _name(node) in names:
                yield strings.visit(node)


class _Strings(ast.NodeTransformer):
    """Puts the last string that a variable was given above a line in its place."""

    def __init__(self, tree: ast.AST) -> None:
        self._given = [
            (node.lineno, node.targets[0].id, node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and _text(node.value)
        ]

    def visit_Name(self, node: ast.Name) -> ast.expr:  # ast's name
        """Return the string of a variable, or the variable."""
        given = [(line, value) for line, name, value in self._given if name == node.id and line < node.lineno]
        return max(given, key=lambda each: each[0])[1] if given else node


def _name(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _text(node: ast.expr | None) -> str:
    """Return a string in the code, with `…` for what varies."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(each) or "…" for each in node.values)
    if isinstance(node, ast.BinOp):
        return _text(node.left) + _text(node.right)
    if isinstance(node, ast.IfExp):
        return " / ".join(filter(None, (_text(node.body), _text(node.orelse))))
    return ""


def _cell(text: str) -> str:
    """Return a text for a cell of a table, in which nothing is markup except what stands between backquotes."""
    plain: Iterable[str] = re.split(r"(`[^`]*`)", " ".join(text.split()).replace("|", "\\|"))
    return "".join(each if each.startswith("`") else re.sub(r"([<>*_\[\]])", r"\\\1", each) for each in plain)


PAGES: dict[str, Callable[[], str]] = {
    "command-line": command_line,
    "python": python,
    "findings": findings,
    "messages": messages,
}
"""The pages by name."""


def main() -> None:
    """Write the pages into a folder."""
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):  # noqa: PLR2004  # the program and the folder
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (folder / f"{name}.md").write_text(page(), encoding="utf-8")
    print(json.dumps({"folder": str(folder), "pages": [*PAGES]}))


if __name__ == "__main__":
    main()
