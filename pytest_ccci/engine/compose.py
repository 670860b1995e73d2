"""Compose files as Docker's own loader reads them; nothing is interpreted by us."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from pytest_ccci import process
from pytest_ccci.engine.client import Engine
from pytest_ccci.errors import ProgramFailed, RecipeInvalid

__all__ = ["compose_arguments", "stack_config", "write_compose"]

_TIMEOUT = 60.0


def stack_config(engine: Engine, files: Sequence[Path], env: Mapping[str, str]) -> dict[str, Any]:
    """What ``docker stack config`` makes of ``files``, interpolated from ``env`` alone.

    Raises:
        RecipeInvalid: Docker rejects the files; its own words are shown.
    """
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise RecipeInvalid(
            f"{', '.join(file.name for file in missing)} does not exist",
            where=str(missing[0].parent),
            advice="check COMPOSE_FILE in .env.sample and in recipe.toml [env]",
        )
    try:
        done = process.run(
            [engine.cli, "stack", "config", *compose_arguments(files)],
            env=engine.docker_env(env),
            cwd=files[0].parent,
            timeout=_TIMEOUT,
        )
    except ProgramFailed as error:
        raise RecipeInvalid(
            "Docker rejects the compose files",
            where=", ".join(file.name for file in files),
            seen=error.tail,
            advice="run 'docker stack config' on them",
        ) from error
    loaded = yaml.safe_load(done.stdout)
    return loaded if isinstance(loaded, dict) else {}


def compose_arguments(files: Sequence[Path]) -> list[str]:
    """``--compose-file`` for each file, in order."""
    return [word for file in files for word in ("--compose-file", str(file))]


def write_compose(path: Path, content: Mapping[str, Any]) -> None:
    """Write a compose file that says literally what ``content`` says: every ``$`` is doubled for the interpolation."""
    text = yaml.safe_dump(dict(content), sort_keys=False).replace("$", "$$")
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
