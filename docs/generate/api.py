"""The page of the public names of Python, each of which mkdocstrings shows with its docstrings."""

from __future__ import annotations

from tables import sections

import plait

HEAD = """# Python

`import plait` has these names and no others that are stable. A name is imported when it is first used."""


def page() -> str:
    return sections([HEAD, *(f"::: plait.{name}" for name in plait.__all__)])
