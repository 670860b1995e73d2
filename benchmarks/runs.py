"""How long a quick run takes, beside a bare script that does the same and beside a cold run: side by side, in one go.

python benchmarks/runs.py [--recipe recipes/lasuite-docs] [--rounds 3] [--only runs,lease,restore]

Engine and state directory are those of the settings (``DOCKER_HOST``, ``CCCI_STATE_DIR``, …). The state that is written
is a directory of its own beside them, with the same Traefik and Keycloak; it is removed at the end.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from floor import prepare_script

from pytest_ccci import locks, process
from pytest_ccci.engine.deploy import undeploy
from pytest_ccci.errors import DeadlineExceeded
from pytest_ccci.progress import received
from pytest_ccci.recipe.spec import load_spec
from pytest_ccci.results.model import RunResult
from pytest_ccci.results.write import load_result
from pytest_ccci.run.context import reap_dead_runs
from pytest_ccci.run.host import Machine, open_machine
from pytest_ccci.settings import Settings, current_environment, resolve
from pytest_ccci.statedir import StateDir, open_state
from pytest_ccci.waiting import Deadline, Stopwatch, until
from pytest_ccci.warm import realms
from pytest_ccci.warm.health import answers
from pytest_ccci.warm.infra_recipe import elsewhere, open_infra, roll_out
from pytest_ccci.warm.keycloak import open_keycloak

_CHECKOUT = Path(__file__).resolve().parent.parent
_SHARED = ("ca", "infra", "images", "engines")
_PARTS = ("runs", "lease", "restore")
_RUN = 900.0
_CALM = 30.0
_LEASES = 10
_PLUGINS = ("-p", "pytest_ccci.plugin", "-p", "xdist.plugin")
"""What a user has installed; other plugins of this environment would be timed, too."""
_RESTORE_MIB = (64, 256, 1024)

_NOT_IN_FLOOR = ("reset drift", "sentinels", "proof window", "pytest")

Steps = dict[str, list[float]]


def main() -> None:
    """Measure what was asked for; print as it comes."""
    options = _options()
    settings = resolve({}, {})
    print(f"load average {_load()}, {os.cpu_count()} cores")
    with _own_state(settings) as (state, host):
        environment = {**settings.environment, "DOCKER_HOST": host}
        ours = settings._replace(state_dir=state.root, environment=environment)
        machine = open_machine(ours, state, images=None)
        parts = {"runs": lambda: _runs(machine, options), "lease": lambda: _lease(machine), "restore": _restore}
        try:
            for part in options.only:
                parts[part]()
                print(f"load average {_load()}\n")
        finally:  # after Ctrl-C there may be something left; a run that ended left nothing
            reap_dead_runs(machine)
            realms.reap(machine.keycloak(), state)


# -- quick, cold and the bare script


def _runs(machine: Machine, options: argparse.Namespace) -> None:
    recipe = machine.state.root / f"bench-{os.urandom(3).hex()}"
    shutil.copytree(options.recipe, recipe, ignore=shutil.ignore_patterns("__pycache__"))
    _pytest(machine, recipe, "--cold", "--ccci-ref", "latest")  # makes images and the known-good; not measured
    totals, steps = _rounds(machine, recipe, options.rounds, options.patience)
    _print_runs(totals, steps)


def _rounds(machine: Machine, recipe: Path, rounds: int, patience: float) -> tuple[Steps, dict[str, Steps]]:
    totals: Steps = defaultdict(list)
    steps: dict[str, Steps] = {"floor": defaultdict(list), "quick": defaultdict(list), "cold": defaultdict(list)}
    spec = load_spec(recipe)
    for number in range(1, rounds + 1):
        script = prepare_script(machine, spec, "tip", machine.state.root / f"floor-{number}")
        loads = [_calm(patience)]
        totals["floor"].append(script.run())
        for name, seconds in script.seconds.items():
            steps["floor"][name].append(seconds)
        for kind, arguments in (("quick", ("--quick",)), ("cold", ("--cold", "--ccci-ref", "latest"))):
            loads.append(_calm(patience))
            seconds, result = _pytest(machine, recipe, *arguments)
            totals[kind].append(seconds)
            _add_steps(steps[kind], result, seconds)
        last = ", ".join(f"{kind} {taken[-1]:.1f}" for kind, taken in totals.items())
        print(f"round {number}: {last} s (before each: {'; '.join(loads)})", flush=True)
    return totals, steps


def _pytest(machine: Machine, recipe: Path, *arguments: str) -> tuple[float, RunResult]:
    """Pytest as a user starts it; wall seconds of the process, and its result."""
    before = {path.name for path in machine.state.runs.iterdir()}
    path = os.pathsep.join(filter(None, (str(_CHECKOUT), current_environment().get("PYTHONPATH"))))
    given = {"CCCI_STATE_DIR": str(machine.state.root), "DOCKER_HOST": machine.engine.host, "PYTHONPATH": path}
    given["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    done = process.run(
        [sys.executable, "-m", "pytest", *_PLUGINS, "-p", "no:cacheprovider", *arguments, recipe],
        timeout=_RUN,
        env={**current_environment(), **given},
        cwd=machine.state.root,
        check=False,
    )
    fresh = [path for path in machine.state.runs.iterdir() if path.name not in before]
    if done.rc != 0 or len(fresh) != 1:
        raise SystemExit(
            f"pytest {' '.join(arguments)} ended with {done.rc}:\n{done.stdout[-5000:]}{done.stderr[-2000:]}"
        )
    return done.seconds, load_result(fresh[0] / "results.json")


def _add_steps(steps: Steps, result: RunResult, wall: float) -> None:
    """Each step once per run, summed by name; what no step accounts for is told, too."""
    sums: defaultdict[str, float] = defaultdict(float)
    for tier in result.tiers:
        for step in tier.steps:
            sums[step.name] += step.seconds
    sums["custom"] = sum(test.seconds for test in result.custom)
    sums["pytest: start, collection, end"] = wall - result.seconds
    sums["between steps"] = wall - sum(sums.values())
    for name, seconds in sums.items():
        steps[name].append(seconds)


def _print_runs(totals: Steps, steps: dict[str, Steps]) -> None:
    rounds = len(totals["quick"])
    print(f"\nmedian seconds of {rounds} rounds\n{'step':44} {'floor':>7} {'quick':>7} {'cold':>7}")
    for name in dict.fromkeys(name for kind in steps.values() for name in kind):
        shown = [_cell(steps[kind].get(name)) for kind in ("floor", "quick", "cold")]
        print(f"{name:44} {' '.join(shown)}")
    medians = {kind: statistics.median(taken) for kind, taken in totals.items()}
    print(f"{'total, wall':44} {' '.join(f'{medians[kind]:7.1f}' for kind in ('floor', 'quick', 'cold'))}")
    print(
        f"quick ÷ cold  {_ratio(totals['quick'], totals['cold'])}   (aim 0.25; floor ÷ cold is the least there can be)"
    )
    print(f"floor ÷ cold  {_ratio(totals['floor'], totals['cold'])}")
    print(f"quick ÷ floor {_ratio(totals['quick'], totals['floor'])}   (aim 1.05)")
    extra = {name: statistics.median(taken) for name, taken in steps["quick"].items() if name.startswith(_NOT_IN_FLOOR)}
    print("in quick and not in the floor: " + ", ".join(f"{name} {seconds:.1f}" for name, seconds in extra.items()))


def _cell(seconds: Sequence[float] | None) -> str:
    return f"{statistics.median(seconds):7.2f}" if seconds else f"{'-':>7}"


def _ratio(above: Sequence[float], below: Sequence[float]) -> str:
    """The median of the rounds' own ratios, and their range: the machine's mood is the same within a round."""
    each = sorted(one / other for one, other in zip(above, below, strict=True))
    return f"{statistics.median(each):.2f} [{each[0]:.2f} … {each[-1]:.2f}]"


# -- a realm on the warm Keycloak, and a Keycloak of its own


def _lease(machine: Machine) -> None:
    keycloak = open_keycloak(machine.site)
    lock = machine.state.lock(f"bench.{machine.settings.zone}")
    taken, back = [], []
    with locks.hold(lock, wait=10, owner={"doing": "benchmark"}):
        for number in range(_LEASES):
            watch = Stopwatch()
            lease = realms.lease(
                keycloak,
                machine.state,
                recipe="bench",
                run_id=f"bench-{os.getpid()}-{number}",
                domain=f"bench-{number}.{machine.settings.zone}",
                zone=machine.settings.zone,
                kept=False,
                redirect_uris=["https://bench.invalid/*"],
                lock=lock,
            )
            taken.append(watch.seconds)
            watch = Stopwatch()
            realms.give_back(keycloak, machine.state, lease)
            back.append(watch.seconds)
    cold, middle = _cold_keycloak(machine), statistics.median(taken)
    print(f"realm on the warm Keycloak  p50 of {_LEASES}: {middle:.2f} s ({min(taken):.2f} … {max(taken):.2f})")
    print(f"realm given back            p50 of {_LEASES}: {statistics.median(back):.2f} s")
    print(f"a Keycloak started cold     {cold:.1f} s   lease ÷ cold start: 1/{cold / middle:.0f} (aim 1/40)")


def _cold_keycloak(machine: Machine) -> float:
    """A Keycloak and its database, nothing there before, until it answers over its own route; removed again."""
    site = replace(machine.site, state=open_state(machine.state.root / "cold-keycloak"))
    domain = f"keycloak-bench.{machine.settings.zone}"
    recipe = elsewhere(open_infra(site, "keycloak"), domain)
    head = recipe.mirror.resolve("latest")
    deadline = Deadline(_RUN)
    try:
        watch = Stopwatch()
        roll_out(site, recipe, head)
        until(lambda: answers(site, "keycloak", domain) is None, deadline=deadline, what="Keycloak", every=0.1)
        return watch.seconds
    finally:
        undeploy(machine.engine, recipe.stack, volumes=True, deadline=Deadline(120))


# -- the known-good


def _restore() -> None:
    """Restore of a known-good that grows, by the store's own benchmark."""
    script = Path(__file__).with_name("store.py")
    for size in _RESTORE_MIB:
        done = process.run([sys.executable, script, "--sets", f"{size}x500"], timeout=_RUN)
        first, head, *lines = done.stdout.strip().splitlines()
        rows = [head, *(line for line in lines if line.startswith(("cp -a", "restore")))]
        print("\n".join((first, *(f"  {row}" for row in rows))), flush=True)


# -- around all of it


@contextmanager
def _own_state(settings: Settings) -> Iterator[tuple[StateDir, str]]:
    """A state directory of our own for canonicals, locks and results, removed at the end; and the machine's engine."""
    theirs = open_state(settings.state_dir)
    with received(print):
        warm = open_machine(settings, theirs, images=None)
        warm.keycloak()
    ours = open_state(theirs.root / f"bench-{os.getpid()}")
    for name in _SHARED:
        (theirs.root / name).mkdir(exist_ok=True, mode=0o700)
        (ours.root / name).symlink_to(theirs.root / name)
    try:
        yield ours, warm.engine.host
    finally:
        shutil.rmtree(ours.root)


def _calm(patience: float) -> str:
    """Wait up to ``patience`` seconds until nobody else wants the processors; say how it was then."""
    with suppress(DeadlineExceeded):
        until(lambda: _stalled() <= _CALM, deadline=Deadline(patience), what="a calm machine", every=1.0)
    return f"load {_load()}, {_stalled():.0f} % of the time somebody waited for a processor"


def _stalled() -> float:
    """Per cent of the last 10 s in which some task waited for a processor (Linux' PSI); 0 where it is not told."""
    try:
        return float(Path("/proc/pressure/cpu").read_text(encoding="ascii").split("avg10=")[1].split()[0])
    except (OSError, IndexError, ValueError):
        return 0.0


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f}"


def _parts(text: str) -> tuple[str, ...]:
    chosen = tuple(part for part in text.split(",") if part)
    if not chosen or set(chosen) - set(_PARTS):
        raise argparse.ArgumentTypeError(f"one or more of {', '.join(_PARTS)}")
    return chosen


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", type=Path, default=_CHECKOUT / "recipes" / "lasuite-docs")
    parser.add_argument("--rounds", type=int, default=3, help="about two minutes each")
    parser.add_argument("--patience", type=float, default=30, help="seconds to wait for a calm machine before each run")
    parser.add_argument("--only", type=_parts, default=_PARTS, help=f"one or more of {','.join(_PARTS)}")
    return parser.parse_args()


if __name__ == "__main__":
    main()
