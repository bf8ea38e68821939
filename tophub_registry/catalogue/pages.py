"""The catalogue's pages, rendered from templates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tophub_registry import spelling
from tophub_registry._version import __version__
from tophub_registry.catalogue import figures
from tophub_registry.catalogue.devices import devices
from tophub_registry.catalogue.models import ModelFiles, coverage
from tophub_registry.catalogue.tables import DataFile, data_files, sizes
from tophub_registry.report import html

if TYPE_CHECKING:
    from tophub_registry.catalogue.reading import Catalogue, ListedPackage, ListedVersion

_PACKAGE = "tophub_registry.catalogue"

_STYLE, _SCRIPT = "catalogue.css", "catalogue.js"

_POLICY = (
    "default-src 'none'; script-src 'self' file:; style-src 'self' file: 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)
"""Only the site's own scripts run. `file:` is for pages from a folder, which have no origin that 'self' could mean."""

_COMMENTS = 100
"""How many of a log's comments are shown."""


def files(
    catalogue: Catalogue, models: ModelFiles, title: str, *, progress: Callable[[str], None] = lambda _: None
) -> Iterator[DataFile]:
    """Yield all files of the site, each with its path in it.

    Parameters
    ----------
    models
        Files about models; without any, there is no page about models.
    title
        The registry's name, for the pages' headings.
    progress
        Called with what is being written.

    Raises
    ------
    MissingExtra
        Jinja is not installed.
    """
    page = _Renderer(catalogue, title, has_models=bool(models.tasks or models.measured))
    yield page.start()
    yield DataFile(_STYLE, html.text("tophub_registry.report", "page.css") + html.text(_PACKAGE, _STYLE))
    yield DataFile(_SCRIPT, "\n".join(html.text(_PACKAGE, name) for name in ("list.js", "plots.js", _SCRIPT)))
    yield page.devices()
    if page.has_models:
        yield page.models(models)
    for package in catalogue.packages:
        yield page.package(package)
        for number, version in enumerate(package.versions):
            progress(f"writing {package.name} {version.version}")
            following = package.versions[number + 1] if number + 1 < len(package.versions) else None
            yield page.version(package, version, following)
            yield from data_files(version)


class _Renderer:
    """Renders pages, with what all of them have in common."""

    def __init__(self, catalogue: Catalogue, title: str, *, has_models: bool) -> None:
        self._catalogue = catalogue
        self._title = title
        self.has_models = has_models
        versions = [version for package in catalogue.packages for version in package.versions]
        self._changes = {
            version.name: figures.change(version.changes) for version in versions if version.changes is not None
        }

    def start(self) -> DataFile:
        packages = self._catalogue.packages
        newest = [package.newest for package in packages if package.newest is not None]
        released = max((version.published.released for each in packages for version in each.versions), default="")
        top = [
            ("packages", f"{len(packages):,}"),
            ("versions", f"{sum(len(package.versions) for package in packages):,}"),
            ("records in the newest versions", f"{sum(each.published.records for each in newest):,}"),
            ("last release", released.partition("T")[0]),
        ]
        return self._page(
            "index.html",
            "start.html.jinja",
            here="start",
            top=top,
            packages=packages,
            searched=[version for version in newest if version.state == "published"],
            columns=_columns,
        )

    def package(self, package: ListedPackage) -> DataFile:
        return self._page(
            package_page(package.name),
            "package.html.jinja",
            here=package.name,
            package=package,
            most=max(version.published.records for version in package.versions),
        )

    def version(self, package: ListedPackage, version: ListedVersion, following: ListedVersion | None) -> DataFile:
        rates = figures.rates(version)
        return self._page(
            f"{version.name}.html",
            "version.html.jinja",
            here=package.name,
            package=package,
            version=version,
            following=following,
            rates=rates,
            targets=list(dict.fromkeys(each.target for each in rates)),
            scale=figures.scale(rates),
            comments=version.comments[:_COMMENTS],
        )

    def devices(self) -> DataFile:
        return self._page("devices.html", "devices.html.jinja", here="devices", devices=devices(self._catalogue))

    def models(self, models: ModelFiles) -> DataFile:
        return self._page(
            "models.html",
            "models.html.jinja",
            here="models",
            coverage=coverage(self._catalogue, models.tasks),
            measured=sorted(models.measured, key=lambda each: (each.model, each.target)),
            sizes=sizes,
        )

    def _page(self, path: str, template: str, **values: Any) -> DataFile:
        text = html.render(
            _PACKAGE,
            template,
            policy=_POLICY,
            style=_STYLE,
            script=_SCRIPT,
            title=self._title,
            index=self._catalogue.index,
            names=[package.name for package in self._catalogue.packages],
            has_models=self.has_models,
            page_of=package_page,
            changes=self._changes,
            days=spelling.days,
            made_by=f"tophub-registry {__version__}",
            **values,
        )
        return DataFile(path, text)


def package_page(name: str) -> str:
    """Return the file name of a package's page."""
    return f"package_{name}.html"


def _columns(versions: Sequence[ListedVersion]) -> list[tuple[float, str]]:
    """Return the heights of a small plot of records by version, as shares of the highest, and what each one is."""
    most = max(version.published.records for version in versions)
    return [(each.published.records / most, f"{each.version}: {each.published.records:,} records") for each in versions]
