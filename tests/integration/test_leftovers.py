"""What an app makes through the engine's socket under other names is found, told, and removed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from page import COMPOSE, TOML, write_page
from realruns import PAGE_TEST, Pytest, own_name

from pytest_ccci.engine.client import Engine
from pytest_ccci.engine.objects import engine_things
from pytest_ccci.errors import Verdict
from pytest_ccci.statedir import StateDir

MAKES = '''
import json

PERL = """
use IO::Socket::UNIX;
my ($path, $body) = @ARGV;
my $s = IO::Socket::UNIX->new(Peer => "/engine.sock") or die "no engine: $!";
my $end = "\\r\\n";
my @head = ("POST $path HTTP/1.0", "Content-Type: application/json", "Content-Length: " . length($body));
print $s join($end, @head, "", $body);
my $first = <$s>;
$first =~ / 20[01] / or die $first, <$s>;
"""


def test_it_makes_things_of_other_names(app):
    made = {
        "/containers/create?name=@NAME@-box": {"Image": "nginx:1.22", "Cmd": ["true"]},
        "/volumes/create": {"Name": "@NAME@-data"},
        "/networks/create": {"Name": "@NAME@-net"},
        "/secrets/create": {"Name": "@NAME@-key", "Data": "eA=="},
    }
    for path, body in made.items():
        done = app.exec("app", ["perl", "-e", PERL, path, json.dumps(body)])
        assert done.rc == 0, done.stderr
'''


def planted(folder: Path, engine: Engine, name: str) -> Path:
    assert engine.socket_path is not None
    volumes = f"volumes: [content:/usr/share/nginx/html, {engine.socket_path}:/engine.sock]"
    compose = COMPOSE.replace("volumes: [content:/usr/share/nginx/html]", volumes)
    assert compose != COMPOSE
    toml = TOML.replace("canonical = true\n", "")
    return write_page(folder, tests=MAKES.replace("@NAME@", name), compose=compose, toml=toml)


@pytest.mark.alone
def test_what_an_app_made_through_the_engines_socket_fails_the_run_and_is_removed(
    user_pytest: Pytest, warm_state: StateDir, engine: Engine, tmp_path: Path
) -> None:
    if not engine.facts.private:
        reason = "others may use this engine: what an app left there is not removed for having been alone"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    name = f"stray{os.urandom(3).hex()}"
    recipe = planted(tmp_path / "recipes" / f"sock-{os.urandom(3).hex()}", engine, name)
    before = {thing for thing in engine_things(engine) if not thing.stack}
    done = user_pytest("--cold", recipe)
    settle = done.tier("settle")
    assert done.result.custom[0].verdict == Verdict.PASS
    assert settle.verdict == Verdict.FAIL
    wanted = (f"container {name}-box", f"volume {name}-data", f"network {name}-net", f"secret {name}-key")
    for each in wanted:
        assert each in settle.reason
        assert any(left.startswith(each) for left in done.result.leftovers)
    assert not [thing for thing in engine_things(engine) if thing.name.startswith(name)]
    assert {thing for thing in engine_things(engine) if not thing.stack} <= before
    kept = warm_state.run(done.result.run_id)
    assert (kept / "backup").is_dir()
    assert str(kept / "backup") in done.out.replace("\n", "")

    (recipe / "test_page.py").write_text(PAGE_TEST, encoding="utf-8")
    again = user_pytest("--cold", recipe)
    assert again.rc == 0
    assert again.result.leftovers == ()
    left = {path.name for path in warm_state.run(again.result.run_id).iterdir()}
    assert not left & {"trees", "backup"}


def test_the_diff_takes_hardly_any_of_a_runs_time(user_pytest: Pytest, page_recipe: Path) -> None:
    done = user_pytest("--cold", page_recipe)
    steps = {step.name: step.seconds for tier in done.result.tiers for step in tier.steps}
    assert steps["snapshot before"] + steps["diff"] < sum(tier.seconds for tier in done.result.tiers) / 10


@pytest.mark.alone
def test_two_runs_at_once_do_not_take_each_others_things_for_left(
    user_pytest: Pytest, warm_state: StateDir, tmp_path: Path
) -> None:
    assert warm_state.root.is_dir()
    recipes = [write_page(tmp_path / own_name(), tests=PAGE_TEST) for _ in range(2)]
    done = user_pytest("-n", "2", "--cold", *recipes)
    assert done.rc == 0
    assert [result.leftovers for result in done.results] == [(), ()]
    assert not [text for result in done.results for text in result.warnings if "something new" in text]
