"""The type of a translator: a function from a site to the expression or expressions of its outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from tophub_registry.frontends.mxnet.site import Expression, Site

Translator: TypeAlias = Callable[[Site], "Expression | Sequence[Expression]"]
