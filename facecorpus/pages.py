"""HTML pages from templates beside their modules, every value escaped, styles included."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Any

import jinja2


def page_template(package: str, **filters: Callable[..., Any]) -> jinja2.Template:
    """`page.html.j2` of that package; its filters are `visible`, `count` (1,234) and those given."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(package, ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update({"visible": visible, "count": lambda value: f"{value:,}", **filters})
    return environment.get_template("page.html.j2")


def visible(text: str) -> str:
    """The text with control and formatting characters (which could reorder or hide a name) as `\\u202e`."""
    hidden = ("Cc", "Cf", "Cs", "Zl", "Zp")
    return "".join(f"\\u{ord(c):04x}" if unicodedata.category(c) in hidden else c for c in text)
