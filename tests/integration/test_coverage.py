"""Data that no snapshot reaches: refused with its name, or called disposable and shown in every result."""

from __future__ import annotations

from pathlib import Path

from realruns import Pytest

from pytest_ccci.statedir import StateDir

OUTSIDE = "postgres://page:s3cret@db.example.org/page"
WAIVED = '[[disposable]]\nhost = "db.example.org"\nreason = "a test database"\n'


def test_a_canonical_whose_data_are_outside_is_refused_by_name_until_they_are_called_disposable(
    user_pytest: Pytest, page_recipe: Path, warm_state: StateDir
) -> None:
    compose = page_recipe / "releases" / "2-1.1.0+1.22" / "compose.yml"
    text = compose.read_text("utf-8").replace('environment: {RELEASE: "', f'environment: {{DB: "{OUTSIDE}", RELEASE: "')
    compose.write_text(text, "utf-8")
    refused = user_pytest("--ccci-ref", "latest", page_recipe)
    assert refused.rc == 1
    assert "app:DB (a Postgres database that is no service of the stack" in refused.tier("settle").reason
    assert not (warm_state.canonical(page_recipe.name) / "canonical.json").exists()
    blocking = [path for path in refused.result.coverage if path.blocks]
    assert [(path.service, path.target, path.source) for path in blocking] == [("app", "DB", "db.example.org")]
    assert "s3cret" not in refused.out
    toml = page_recipe / "recipe.toml"
    toml.write_text(f"{toml.read_text('utf-8')}{WAIVED}", "utf-8")
    kept = user_pytest("--ccci-ref", "latest", page_recipe)
    assert (kept.rc, kept.result.known_good.action) == (0, "seeded")
    assert [(each.place, each.reason) for each in kept.result.disposable] == [("db.example.org", "a test database")]
    assert "db.example.org: a test database" in kept.out
    covered = {(path.target, path.kind) for path in kept.result.coverage if path.covered}
    assert ("/usr/share/nginx/html", "named volume") in covered
