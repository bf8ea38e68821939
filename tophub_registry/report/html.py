"""HTML pages from Jinja templates (`.html.jinja`), which are files of a package.

Everything that a template prints is escaped, and control characters are replaced: most of it comes from logs, which
are untrusted text. Needs the extra [report].
"""

from __future__ import annotations

import functools
from importlib import resources
from typing import TYPE_CHECKING, Any

from tophub_registry import spelling
from tophub_registry.errors import MissingExtra
from tophub_registry.report.spelling import printable, shortened

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

_MINIFIED: dict[str, object] = {"separators": (",", ":"), "allow_nan": False}


def check_installed() -> None:
    """Raise MissingExtra if Jinja or Plotly is not installed."""
    try:
        import jinja2  # noqa: F401
        import plotly  # noqa: F401
    except ImportError as error:
        raise MissingExtra("report", error) from error


def render(package: str, template: str, /, **values: Any) -> str:
    """Render a template.

    Parameters
    ----------
    package
        The package that has the template: 'tophub_registry.report'.
    template
        The file's name.
    values
        The template's variables.

    Raises
    ------
    MissingExtra
        Jinja is not installed.
    """
    return _environment(package).get_template(template).render(values)


@functools.lru_cache
def _environment(package: str) -> Environment:
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise MissingExtra("report", error) from error

    environment = Environment(
        loader=PackageLoader(package, "."),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = _MINIFIED
    for spelled in (spelling.number, spelling.percent, spelling.seconds, spelling.duration, spelling.size, shortened):
        environment.filters[spelled.__name__] = spelled
    return environment


def plotly() -> Markup:
    """Return Plotly's script with every line break as one character, which is what browsers hash."""
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    return Markup(get_plotlyjs().replace("\r\n", "\n").replace("\r", "\n"))  # noqa: S704  # Plotly's own file


def text(package: str, name: str) -> Markup:
    """Return one of our own files, such as a style sheet, as markup, which a template prints unescaped."""
    from markupsafe import Markup

    return Markup(resources.files(package).joinpath(name).read_text(encoding="utf-8"))  # noqa: S704  # our own file


def _printable(value: Any) -> Any:
    return value if hasattr(value, "__html__") else printable(str(value))
