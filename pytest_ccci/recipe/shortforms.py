"""Compose's short forms: durations, labels, ports and mounts, each as one plain shape."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["labels", "mount_fields", "parse_duration", "port_fields", "seconds"]

_UNITS = {"ns": 1e-9, "us": 1e-6, "\u00b5s": 1e-6, "\u03bcs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(" + "|".join(_UNITS) + ")", re.ASCII)
_MOUNT_PARTS = 2


def parse_duration(text: str) -> float:
    """Seconds of a duration like ``1m30s``, ``500ms`` or ``5m``.

    Raises:
        ValueError: it is none.
    """
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is no duration; write one like 30s, 5m or 1h30m")
    return float(sum(float(number) * _UNITS[unit] for number, unit in parts))


def seconds(raw: object) -> float | None:
    """Seconds of a duration as Docker prints it (text, or nanoseconds as a number); ``None`` if there is none."""
    if isinstance(raw, bool) or raw is None:
        return None
    if isinstance(raw, int | float):
        return float(raw) * 1e-9
    try:
        return parse_duration(str(raw))
    except ValueError:
        return None


def labels(raw: object) -> dict[str, str]:
    """Labels given as a mapping or as a list of ``key=value``."""
    if isinstance(raw, Mapping):
        return {str(key): _text(value) for key, value in raw.items()}
    rows = raw if isinstance(raw, list | tuple) else ()
    pairs = (str(row).partition("=") for row in rows)
    return {key: value for key, _, value in pairs}


def port_fields(raw: object) -> dict[str, str]:
    """``80``, ``8080:80/udp``, ``127.0.0.1:1:2`` or the long form, as target, published, protocol, mode."""
    if isinstance(raw, Mapping):
        return {
            "target": str(raw.get("target") or ""),
            "published": str(raw.get("published") or ""),
            "protocol": str(raw.get("protocol") or "tcp"),
            "mode": str(raw.get("mode") or "ingress"),
        }
    ports, _, protocol = str(raw).partition("/")
    published, _, target = ports.rpartition(":")
    return {
        "target": target,
        "published": published.rpartition(":")[2],
        "protocol": protocol or "tcp",
        "mode": "ingress",
    }


def mount_fields(raw: object) -> dict[str, Any]:
    """``data:/srv:ro``, ``/host:/srv``, ``/anonymous`` or the long form, as kind, source, target, read_only."""
    if isinstance(raw, Mapping):
        return {
            "kind": str(raw.get("type") or "volume"),
            "source": str(raw.get("source") or ""),
            "target": str(raw.get("target") or ""),
            "read_only": bool(raw.get("read_only")),
        }
    parts = str(raw).split(":")
    if len(parts) < _MOUNT_PARTS:
        return {"kind": "volume", "source": "", "target": parts[0], "read_only": False}
    kind = "bind" if parts[0].startswith(("/", ".", "~")) else "volume"
    options = parts[2].split(",") if len(parts) > _MOUNT_PARTS else []
    return {"kind": kind, "source": parts[0], "target": parts[1], "read_only": "ro" in options}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
