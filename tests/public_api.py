"""The public interface as text: `python tests/public_api.py` writes `tests/public_api.txt` anew.

Names and signatures of what `genfuse.__all__` leads to, modules entered by their `__all__`, classes by their public
methods.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import genfuse

FILE = Path(__file__).with_suffix(".txt")


def signature(value: Any) -> str:
    """As declared, without what differs between runs."""
    try:
        text = str(inspect.signature(value))
    except (TypeError, ValueError):
        return ""
    text = text.replace(str(Path(genfuse.__file__).parent), "genfuse")
    return re.sub(r" at 0x[0-9a-f]+", "", text)


def lines(name: str, value: Any) -> Iterator[str]:
    """A line for a name, and for each below it."""
    if isinstance(value, ModuleType):
        yield f"{name}: module"
        for below in sorted(getattr(value, "__all__", ())):
            yield from lines(f"{name}.{below}", getattr(value, below))
    elif inspect.isclass(value):
        yield f"{name}{signature(value)}: class"
        for below, member in sorted(vars(value).items()):
            if not below.startswith("_") and (
                callable(member) or isinstance(member, (property, classmethod))
            ):
                unwrapped = member.__func__ if isinstance(member, classmethod) else member
                kind = ": property" if isinstance(member, property) else signature(unwrapped)
                yield f"{name}.{below}{kind}"
    elif callable(value):
        yield f"{name}{signature(value)}"
    else:
        yield f"{name}: {type(value).__name__}"


def listing() -> str:
    return "\n".join(sorted(set(lines("genfuse", genfuse)))) + "\n"


if __name__ == "__main__":
    FILE.write_text(listing(), encoding="utf-8")
