"""Configurations as trees of dataclasses: settings by dotted names, from TOML, the command line or a checkpoint."""

from __future__ import annotations

import dataclasses
import sys
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from genfuse.names import unknown_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_Config = TypeVar("_Config")


def names(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of each setting, in order."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from names(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, value


def changed(config: _Config, changes: Mapping[str, Any]) -> _Config:
    """``config`` with other settings.

    Args:
        config: an instance of a dataclass, whose fields may be dataclasses themselves.
        changes: by dotted names ("model.width"), or nested as TOML has it; numbers, names, truth values, and lists for
            tuples.

    Raises:
        ValueError: there is no such setting, and the message names the nearest; a value of another type than the
            setting's; or what the dataclass itself refuses.
    """
    known = [name for name, _ in names(config)]
    return _replaced(config, _checked(changes, known), "")


@dataclasses.dataclass(frozen=True)
class Both:
    """What a system and what its run is told, as one tree: the run's settings are under "train."."""

    config: Any
    train: Any

    def changed(self, changes: Mapping[str, Any]) -> Both:
        """As :func:`changed`: the system's settings have no prefix."""
        known = [
            *(name for name, _ in names(self.config)),
            *(name for name, _ in names(self.train, "train.")),
        ]
        flat = _checked(changes, known)
        return Both(_replaced(self.config, flat, ""), _replaced(self.train, flat, "train."))


def from_toml(path: Path) -> dict[str, Any]:
    """What a TOML file says. ValueError where it is none."""
    try:
        found: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"config is {path}, which cannot be read as TOML ({error})") from error
    return found


def from_assignments(assignments: list[str]) -> dict[str, Any]:
    """``["model.width=32", "loss=hinge"]`` by name; values as TOML writes them, names without quotes too."""
    found = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name.strip():
            raise ValueError(f"set is {assignment!r}, expected name=value")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text.strip()
        found[name.strip()] = value
    return found


def _checked(changes: Mapping[str, Any], known: list[str]) -> dict[str, Any]:
    """Under dotted names. ValueError, naming the nearest, for one that is not known."""
    flat = dict(_flattened(changes, known))
    for name in flat:
        if name not in known:
            raise ValueError(unknown_name("setting", name, known))
    return flat


def _flattened(changes: Mapping[str, Any], known: list[str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in changes.items():
        if isinstance(value, Mapping) and prefix + name not in known:
            yield from _flattened(value, known, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _replaced(config: _Config, flat: Mapping[str, Any], prefix: str) -> _Config:
    assert dataclasses.is_dataclass(config) and not isinstance(config, type)
    hints = get_type_hints(type(config))
    values: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        name = prefix + field.name
        below = {other: value for other, value in flat.items() if other.startswith(f"{name}.")}
        if name in flat:
            values[field.name] = _typed(name, flat[name], hints[field.name])
        elif below:
            values[field.name] = _replaced(getattr(config, field.name), below, f"{name}.")
    return dataclasses.replace(config, **values) if values else config


def _typed(name: str, value: Any, expected: Any) -> Any:
    """The value as the annotation has it: whole numbers serve as floats, lists as tuples. ValueError else."""
    origin, arguments = get_origin(expected), get_args(expected)
    if origin in (Union, types.UnionType):
        return _of_union(name, value, arguments)
    if origin is Literal and value not in arguments:
        raise ValueError(unknown_name(name, value, [str(argument) for argument in arguments]))
    if origin is tuple:
        items = list(value) if isinstance(value, list | tuple) else None
        each = arguments[:1] * len(items or ()) if arguments[-1] is Ellipsis else arguments
        if items is None or len(items) != len(each):
            raise ValueError(f"{name} is {value!r}, expected a list{_count(arguments)}")
        return tuple(
            _typed(f"{name}[{i}]", item, of) for i, (item, of) in enumerate(zip(items, each, strict=True))
        )
    if expected is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(expected, type) and type(value) is not expected:
        raise ValueError(f"{name} is {value!r}, expected {_KINDS.get(expected, expected.__name__)}")
    return value


_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a name"}


def _of_union(name: str, value: Any, arguments: tuple[Any, ...]) -> Any:
    if type(None) in arguments and (value is None or value == "none"):
        return None
    problems = []
    for argument in arguments:
        if argument is not type(None):
            try:
                return _typed(name, value, argument)
            except ValueError as error:
                problems.append(error)
    raise problems[0]


def _count(arguments: tuple[Any, ...]) -> str:
    return "" if arguments[-1] is Ellipsis else f" of {len(arguments)}"
