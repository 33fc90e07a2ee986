"""Settings as plain data: one JSON text, the name that follows from it, and the way back.

    frozen dataclass ── asdict ──► plain data ── canonical ──► bytes ── SHA-256 ──► identity
                     ◄── build ──

`build` trusts nothing: plain data may come from a file that somebody wrote.
"""

import hashlib
import json
import sys
from dataclasses import fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints


def canonical(value: Any) -> bytes:
    """Return the one JSON text of a value: sorted keys, no spaces; NaN is an error."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True).encode()


def identity(config: Any, versions: dict[str, int]) -> str:
    """Return the first 16 digits of the SHA-256 of a configuration and the versions it depends on."""
    return hashlib.sha256(canonical({"config": config, "versions": versions})).hexdigest()[:16]


def read_json(content: bytes) -> Any:
    """Return what JSON bytes in UTF-8 hold.

    Raises:
        ValueError: they are none.
    """
    try:
        return json.loads(content.decode())
    except RecursionError:
        raise ValueError("expected JSON, got too many brackets") from None


Config = TypeVar("Config")


def build(cls: type[Config], data: Any, where: str = "config") -> Config:
    """Build a frozen dataclass from what JSON made of it.

    Raises:
        ValueError: a key is unknown or missing, or a value has the wrong type; one line.
    """
    if not isinstance(data, dict):
        raise ValueError(f"{where}: expected {cls.__name__}, got {type(data).__name__}")
    hints = _hints(cls)
    unknown = sorted(set(map(str, data)) - set(hints))
    if unknown:
        raise ValueError(f"{where}: expected only {', '.join(hints)}, got {unknown[0][:40]!r}")
    missing = [field.name for field in fields(cls) if field.name not in data]
    if missing:
        raise ValueError(f"{where}.{missing[0]} is missing")
    return cls(**{name: _convert(hints[name], value, f"{where}.{name}") for name, value in data.items()})


_hints = cache(get_type_hints)


def _convert(hint: Any, value: Any, where: str) -> Any:
    options = get_args(hint) if get_origin(hint) in (UnionType,) else (hint,)
    for option in options:
        if option is type(None) and value is None:
            return None
        if option in (int, str, bool) and type(value) is option:
            return value
        if option is float and (type(value) is float or (type(value) is int and abs(value) <= sys.float_info.max)):
            return float(value)
        if get_origin(option) is tuple and isinstance(value, (list, tuple)):
            kinds = get_args(option)
            if kinds[1:] == (...,):
                kinds = kinds[:1] * len(value)
            if len(kinds) == len(value):
                return tuple(_convert(kind, part, where) for kind, part in zip(kinds, value, strict=True))
        if is_dataclass(option) and isinstance(value, dict) and set(value) == {part.name for part in fields(option)}:
            return build(option, value, where)
    expected = " or ".join(getattr(option, "__name__", str(option)) for option in options)
    raise ValueError(f"{where}: expected {expected}, got {str(value)[:40]!r}")
