"""A scheduler's configuration: its constructor's arguments, saved as diffusers' `scheduler_config.json`."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar, cast

import numpy as np

from genfuse.names import unknown_name
from genfuse.schedulers.entries import check_entry

Init = TypeVar("Init", bound=Callable[..., None])
Self = TypeVar("Self", bound="Configured")


class FrozenConfig(dict[str, Any]):
    """A dictionary whose entries are attributes too, and that cannot be changed."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"config has no entry {name!r}") from None

    def _frozen(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(
            "config is frozen; build a changed scheduler: type(scheduler).from_config(config, name=value)"
        )

    def __reduce__(self) -> tuple[type[FrozenConfig], tuple[dict[str, Any]]]:
        return type(self), (dict(self),)  # copies are built at once, not entry by entry

    __setattr__ = __setitem__ = __delattr__ = __delitem__ = _frozen
    update = pop = popitem = setdefault = clear = _frozen


def register_to_config(init: Init) -> Init:
    """Decorates a scheduler's __init__: its arguments become `self.config`.

    TypeError for an unknown one; errors of `check_entry` for what an entry may not be.
    """
    signature = inspect.signature(init)
    names = list(signature.parameters)[1:]

    @functools.wraps(init)
    def registered(self: Configured, *args: Any, **kwargs: Any) -> None:
        for name in kwargs.keys() - set(names):
            raise TypeError(unknown_name(f"argument of {type(self).__name__}", name, names))
        bound = signature.bind(self, *args, **kwargs)
        given = list(bound.arguments)
        bound.apply_defaults()
        for name in names:
            check_entry(signature.parameters[name], bound.arguments[name])
        config = {name: bound.arguments[name] for name in names}
        config["_use_default_values"] = [name for name in names if name not in given]
        self._internal_dict = FrozenConfig(config)
        init(self, *args, **kwargs)

    return cast(Init, registered)


class Configured:
    """What diffusers' ConfigMixin offers, for local folders."""

    config_name = "scheduler_config.json"
    _internal_dict: FrozenConfig

    @property
    def config(self) -> FrozenConfig:
        """Every argument of the constructor by name, and what else the configuration it came from held."""
        return self._internal_dict

    @classmethod
    def config_names(cls) -> list[str]:
        """Names of the constructor's arguments."""
        return list(inspect.signature(cls.__init__).parameters)[1:]

    @classmethod
    def from_config(
        cls: type[Self], config: Mapping[str, Any], return_unused_kwargs: bool = False, **overrides: Any
    ) -> Any:
        """A scheduler of this class from another one's configuration, genfuse's or diffusers', of any class.

        Entries that this class does not know are kept in `config` and not read; so are not those that the
        other scheduler had by default. `overrides` replace entries; TypeError for one that is unknown, unless
        return_unused_kwargs, which returns (scheduler, unused).
        """
        if not isinstance(config, Mapping):
            raise TypeError(
                f"config is {type(config).__name__}, expected a mapping; from_pretrained takes a folder"
            )
        names = cls.config_names()
        unused = {name: value for name, value in overrides.items() if name not in names}
        if unused and not return_unused_kwargs:
            raise TypeError(unknown_name(f"argument of {cls.__name__}", next(iter(unused)), names))
        by_default = {*config.get("_use_default_values", ()), "_use_default_values", "_class_name"}
        chosen = {name: value for name, value in config.items() if name not in by_default}
        own = {name: value for name, value in {**chosen, **overrides}.items() if name in names}
        scheduler = cls(**own)
        scheduler._internal_dict = FrozenConfig({**chosen, **scheduler.config})
        return (scheduler, unused) if return_unused_kwargs else scheduler

    @classmethod
    def load_config(cls, path: str | Path, subfolder: str | None = None, **kwargs: Any) -> dict[str, Any]:
        """The dictionary in a folder's `scheduler_config.json` (or a file's). OSError where there is none."""
        file = Path(path) / (subfolder or "")
        if file.is_dir():
            file = file / cls.config_name
        if not file.is_file():
            raise OSError(
                f"{file} is not a file; {cls.__name__} loads {cls.config_name} from a local folder "
                "(download a repository first)"
            )
        try:
            config = json.loads(file.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise OSError(f"{file} is not valid JSON: {error}") from error
        if not isinstance(config, dict):
            raise OSError(f"{file} holds a JSON {type(config).__name__}, expected an object")
        return config

    @classmethod
    def from_pretrained(
        cls: type[Self],
        pretrained_model_name_or_path: str | Path,
        subfolder: str | None = None,
        return_unused_kwargs: bool = False,
        **overrides: Any,
    ) -> Any:
        """`from_config` of a local folder's `scheduler_config.json`; OSError where there is none."""
        local = {name: value for name, value in overrides.items() if name not in _HUB_ARGUMENTS}
        config = cls.load_config(pretrained_model_name_or_path, subfolder)
        return cls.from_config(config, return_unused_kwargs, **local)

    def save_config(self, save_directory: str | Path, push_to_hub: bool = False, **kwargs: Any) -> None:
        """Write `scheduler_config.json` into a folder, made where missing. ValueError for push_to_hub."""
        if push_to_hub:
            raise ValueError("push_to_hub is True, expected False: genfuse saves to local folders only")
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / self.config_name).write_text(self.to_json_string(), encoding="utf-8")

    save_pretrained = save_config

    def to_json_string(self) -> str:
        """The configuration as JSON, its class beside it."""
        config = {name: value for name, value in self.config.items() if name != "_use_default_values"}
        config["_class_name"] = type(self).__name__
        return json.dumps(config, indent=2, sort_keys=True, default=_plain) + "\n"

    def __repr__(self) -> str:
        return f"{type(self).__name__} {self.to_json_string()}"


_HUB_ARGUMENTS = {
    "cache_dir",
    "force_download",
    "proxies",
    "token",
    "revision",
    "local_files_only",
    "local_dir",
}


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"config holds {value!r} of type {type(value).__name__}, which JSON cannot hold")
