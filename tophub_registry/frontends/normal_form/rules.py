"""The rules of the normal form, by the operators that they rewrite."""

from __future__ import annotations

from collections.abc import Mapping

from tophub_registry.frontends.normal_form import convolutions, elementwise, moving, products, windows
from tophub_registry.frontends.normal_form.rewriter import Rule

RULES: Mapping[str, Rule] = {
    **convolutions.RULES,
    **elementwise.RULES,
    **moving.RULES,
    **products.RULES,
    **windows.RULES,
}
