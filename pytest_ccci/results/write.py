"""results.json: written whole or not at all, read back as the same value; and its JSON Schema."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from pytest_ccci.errors import StoreDamaged
from pytest_ccci.redact import SECRETS
from pytest_ccci.results.model import RunResult
from pytest_ccci.statedir import write_atomic

__all__ = ["load_result", "schema_text", "write_result"]

# Words of ours, times and digests: none is a secret, and a result without them cannot be read back.
_CHOSEN = frozenset(
    {"action", "commit", "digest", "image_id", "level", "mode", "origin", "recipe", "requested_mode", "run_id"}
    | {"snapshot_after", "snapshot_before", "started", "tier", "verdict"}
)
_ADVICE = "run it anew; what the run did stands in journal.jsonl beside it"


def write_result(result: RunResult, path: Path) -> Path:
    """Write ``result`` to ``path`` (0600), without secrets: after a crash there is the old file or the new one."""
    shown = SECRETS.scrub_all(result.model_dump(mode="json"), but=_CHOSEN)
    write_atomic(path, f"{json.dumps(shown, indent=2, ensure_ascii=False)}\n".encode())
    return path


def load_result(path: Path) -> RunResult:
    """The result in ``path``.

    Raises:
        StoreDamaged: there is none, or it is not one of ours.
    """
    try:
        return RunResult.model_validate_json(path.read_bytes())
    except OSError as error:
        raise StoreDamaged(
            "the run left no result", where=str(path), seen=error.strerror or str(error), advice=_ADVICE
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        seen = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise StoreDamaged("the run's result cannot be read", where=str(path), seen=seen, advice=_ADVICE) from error


def schema_text() -> str:
    """The JSON Schema of results.json, as it is kept in ``schema.json`` beside this module."""
    schema = RunResult.model_json_schema(mode="serialization")
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"
