"""The env file by which abra knows an app that we leave deployed or kept: ``servers/default/<domain>.env``.

Written only where abra is set up for this machine (its folder of the server *default* is there), and only over a file
of our own: what an operator wrote stays.
"""

from __future__ import annotations

from pathlib import Path

from pytest_ccci.errors import InfrastructureFault
from pytest_ccci.recipe.appenv import AppEnv, env_file
from pytest_ccci.recipe.dotenv import write_env
from pytest_ccci.statedir import write_atomic

__all__ = ["write_abra_env"]

_MARK = "# Written by pytest-ccci, which writes it anew at each deploy of this app.\n"


def write_abra_env(abra: Path | None, env: AppEnv, *, recipe: str, version: str, domain: str) -> str:
    """Write the env file of the app at ``domain``; why it was not written, empty when it was or nobody wants one.

    ``abra`` is abra's own directory, ``None`` where there is none.
    """
    if abra is None or not (folder := abra / "servers" / "default").is_dir():
        return ""
    path = folder / f"{domain}.env"
    try:
        if path.is_file() and not path.read_text(encoding="utf-8", errors="replace").startswith(_MARK):
            return f"{path} is not one of ours and stays as it is"
        text = _MARK + write_env(env_file(env, recipe=recipe, version=version))
        write_atomic(path, text.encode())
    except ValueError as error:  # a value that the dialect cannot carry
        return f"{path} was not written: {error}"
    except OSError as error:
        return str(InfrastructureFault("the env file for abra could not be written", where=str(path), seen=str(error)))
    return ""
