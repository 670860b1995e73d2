"""What an update may do and must not do, played for real: each scene tells what it saw, as claims that hold or not."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence

from silence import listen_to

from pytest_ccci.engine.containers import exec_in
from pytest_ccci.results.model import RunResult
from pytest_ccci.warm.alerts import Alert, acknowledge, open_alerts
from pytest_ccci.warm.infra_recipe import Good, last_good
from pytest_ccci.warm.keycloak import open_keycloak
from pytest_ccci.warm.keycloak_marker import log_in, schema_record
from pytest_ccci.warm.realm_model import RealmLease, make_lease, realm_body, signing_key
from pytest_ccci.warm.reconcile import Outcome, Reconciled, Wish, reconcile_app
from pytest_ccci.warm.update import Update, in_progress, mark_stuck
from tests.proofs.infra.dependent import run_dependent, write_dependent
from tests.proofs.infra.ground import Edit, Ground
from tests.proofs.infra.shown import Shown

__all__ = ["BROKEN", "BROKEN_TRAEFIK", "SCENES", "Scene", "make_person", "play"]

_CALLBACK = "https://ccci-marker.invalid/callback"
_ROWS = 'psql -qAt -U "$POSTGRES_USER" -d "$POSTGRES_DB" -c "select name from realm order by name"'
_MANUAL = "Before upgrading, run kc.sh migrate-x by hand.\n"


Scene = Callable[[Ground, Shown], None]


def play(ground: Ground, name: str) -> Shown:
    """Play one scene on fresh apps."""
    shown = Shown(name)
    with shown.played():
        SCENES[name](ground, shown)
    return shown


def make_person(ground: Ground) -> RealmLease:
    """A realm with people, made by hand: data that every update must leave alone."""
    keycloak = open_keycloak(ground.site)
    ident = secrets.token_hex(3)
    person = make_lease(
        recipe="people", run_id=ident, domain=ident, zone=ground.settings.zone, base_url=keycloak.url, kept=False
    )
    keycloak.create_realm(realm_body(person, owner={}, redirect_uris=[_CALLBACK], key=signing_key()))
    return person


def _logs_in(ground: Ground, person: RealmLease) -> bool:
    return log_in(ground.site, person) == person.user.sub


def _reconcile(ground: Ground, app: str, wish: Wish | None = None) -> Reconciled:
    return reconcile_app(ground.site, app, wish or Wish())


def _rows(ground: Ground) -> list[str]:
    return exec_in(ground.site.engine, ground.stack("keycloak"), "db", ["sh", "-c", _ROWS]).stdout.split()


def _new_alerts(ground: Ground) -> tuple[Alert, ...]:
    found = open_alerts(ground.state)
    for path, _ in found:
        acknowledge(ground.state, path)
    return tuple(alert for _, alert in found)


def _seen(result: RunResult) -> str:
    return f"{result.mode} {result.verdict} {result.mode_reason}"


def healthy(ground: Ground, shown: Shown) -> None:
    """A healthy update of the real Keycloak commits last-good, and people log in before and after."""
    ground.clear("keycloak")
    ground.release("keycloak", "1.0.0+26.7.0")
    ground.front_door()
    ground.up("keycloak")
    person = make_person(ground)
    shown.claim("a person logs in before", _logs_in(ground, person))
    ground.release("keycloak", "1.0.1+26.7.3")
    with listen_to(ground.site, "keycloak") as heard:
        done = _reconcile(ground, "keycloak")
    shown.claim("the outcome is upgraded", done.outcome is Outcome.UPGRADED, done)
    shown.claim("last-good is the new release", last_good(ground.state, "keycloak").release == "1.0.1+26.7.3")
    shown.claim("the running server says 26.7.3", open_keycloak(ground.site).version() == "26.7.3")
    shown.claim("the same person logs in after", _logs_in(ground, person))
    shown.claim("nobody is alerted", _new_alerts(ground) == ())
    again = _reconcile(ground, "keycloak")
    shown.claim("a second reconcile finds it current", again.outcome is Outcome.CURRENT, again)
    shown.numbers.append(f"update {done.seconds:.1f} s, {heard}")


BROKEN: dict[str, Edit] = {
    "no such image": lambda text: text.replace("quay.io/keycloak/keycloak:", "quay.io/keycloak/no-such-keycloak:"),
    "never starts": lambda text: text.replace('["bash", "/ccci-entrypoint.sh"]', '["bash", "-c", "exit 3"]'),
    "wrong issuer": lambda text: text.replace("- KC_HOSTNAME\n", "- KC_HOSTNAME=https://elsewhere.invalid\n"),
    "never ready": lambda text: _hasty(
        text.replace("- KC_CACHE=local", "- KC_CACHE=local\n      - KC_HTTP_MANAGEMENT_PORT=9999")
    ),
}


def _hasty(text: str) -> str:
    """A check that gives up sooner, so that the proof does not wait for minutes."""
    return text.replace("start_period: 3m", "start_period: 20s").replace("retries: 30", "retries: 5", 1)


def broken(ground: Ground, shown: Shown) -> None:
    """A broken latest is rolled back with data, proved, alerted; dependents do not notice."""
    ground.clear("keycloak")
    ground.release("keycloak", "1.0.0+26.7.3")
    ground.front_door()
    ground.up("keycloak")
    person, folder = make_person(ground), ground.recipes.parent / f"dependent-{secrets.token_hex(3)}"
    cold = run_dependent(ground, write_dependent(folder), "--cold", "--ccci-ref", "latest").result
    shown.claim("a dependent's cold run makes a known-good", cold.verdict == "pass", _seen(cold))
    for number, (name, edit) in enumerate(BROKEN.items(), 1):
        _break(ground, shown, f"1.0.{number}+26.7.3", name, edit)
        shown.claim(f"{name}: the person logs in", _logs_in(ground, person))
        quick = run_dependent(ground, folder, "--quick").result
        green = quick.verdict == "pass" and quick.mode == "quick"
        shown.claim(f"{name}: a dependent's quick run is green", green, _seen(quick))
        again = _reconcile(ground, "keycloak")
        untouched = again.outcome in {Outcome.HELD, Outcome.ROLLED_BACK} and not again.touched
        shown.claim(f"{name}: the next reconcile does not roll it out again", untouched, again)
        shown.claim(f"{name}: and alerts nobody anew", _new_alerts(ground) == ())
        ground.withdraw("keycloak", f"1.0.{number}+26.7.3")


def _break(ground: Ground, shown: Shown, tag: str, name: str, edit: Edit) -> None:
    rows = _rows(ground)
    ground.release("keycloak", tag, edit=edit)
    with listen_to(ground.site, "keycloak") as heard:
        done = _reconcile(ground, "keycloak")
    shown.claim(f"{name}: the outcome is rolled-back", done.outcome is Outcome.ROLLED_BACK, done)
    shown.claim(f"{name}: last-good stays", last_good(ground.state, "keycloak").release == "1.0.0+26.7.3")
    shown.claim(f"{name}: the old release runs", done.now == "1.0.0+26.7.3", done.now)
    shown.claim(f"{name}: the database's realms are the same", _rows(ground) == rows, _rows(ground))
    alerts = [(alert.kind, alert.attempted, alert.recovered) for alert in _new_alerts(ground)]
    shown.claim(f"{name}: one alert says so", alerts == [("rolled-back", tag, True)], alerts)
    shown.numbers.append(f"{name}: {done.seconds:.1f} s in all, {heard}")


def migration(ground: Ground, shown: Shown) -> None:
    """A forward migration goes back with its data; taking the data step out is noticed."""
    ground.clear("keycloak")
    ground.release("keycloak", "1.0.0+25.0.6")
    ground.front_door()
    ground.up("keycloak")
    person, schema, rows = make_person(ground), schema_record(ground.site, ground.stack("keycloak")), _rows(ground)
    ground.release("keycloak", "2.0.0+26.7.3", edit=BROKEN["wrong issuer"])
    held = _reconcile(ground, "keycloak")
    shown.claim("a major step is held", held.outcome is Outcome.HELD, held)
    _new_alerts(ground)
    met: list[object] = []

    def migrated(step: str) -> None:
        if step == "undo":
            met.append(schema_record(ground.site, ground.stack("keycloak")))

    accept = Wish(accept="2.0.0+26.7.3", stepped=migrated)
    with listen_to(ground.site, "keycloak") as heard:
        done = _reconcile(ground, "keycloak", accept)
    shown.claim("accepted and unhealthy: rolled-back", done.outcome is Outcome.ROLLED_BACK, done)
    shown.claim("the new version had migrated the schema", bool(met) and met[0] is not None and met[0] != schema, met)
    now = schema_record(ground.site, ground.stack("keycloak"))
    shown.claim("migration_model is what it was", now == schema and now is not None, f"{schema} → {met} → {now}")
    shown.claim("the realms' rows are what they were", _rows(ground) == rows, _rows(ground))
    shown.claim("the person logs in", _logs_in(ground, person))
    shown.claim("the server says 25.0.6", open_keycloak(ground.site).version() == "25.0.6")
    shown.numbers.append(f"there and back {done.seconds:.1f} s, {heard}")
    _new_alerts(ground)
    _without_data(ground, shown, schema, person)


def _without_data(ground: Ground, shown: Shown, schema: list[str] | None, person: RealmLease) -> None:
    """The same with the data step taken out: the old version starts on the new schema, and that must be seen."""
    done = _reconcile(ground, "keycloak", Wish(accept="2.0.0+26.7.3", restore=lambda *_: None))
    now = schema_record(ground.site, ground.stack("keycloak"))
    shown.claim("without the data step: rollback-failed", done.outcome is Outcome.ROLLBACK_FAILED, done)
    shown.claim("without the data step: the schema differs", now != schema, now)
    kinds = [alert.kind for alert in _new_alerts(ground)]
    shown.claim("without the data step: alerted", kinds == ["rollback-failed"], kinds)
    fixed = _reconcile(ground, "keycloak", Wish(again=True))
    now = schema_record(ground.site, ground.stack("keycloak"))
    shown.claim("tried again with it: the schema is back", now == schema, f"{fixed.outcome} {now}")
    shown.claim("tried again with it: the person logs in", _logs_in(ground, person))
    _new_alerts(ground)


HELD: Sequence[tuple[str, str, str, str]] = (
    ("major of the recipe", "2.0.0+26.7.3", "", "held-major"),
    ("major of the app", "1.1.0+27.0.0", "", "held-major"),
    ("manual migration", "1.1.0+26.7.3", _MANUAL, "held-manual-migration"),
    ("unparsable", "1.1.0+nightly", "", "held-unparsable"),
)


def held(ground: Ground, shown: Shown) -> None:
    """What needs a person is held: nothing is deployed, one alert has the notes; a patch right after passes."""
    ground.clear("keycloak")
    ground.release("keycloak", "1.0.0+26.7.3")
    ground.front_door()
    ground.up("keycloak")
    for name, tag, notes, kind in HELD:
        before = ground.tasks("keycloak")
        ground.release("keycloak", tag, notes=notes or f"Notes of {tag}.\n")
        outcomes = [_reconcile(ground, "keycloak").outcome for _ in range(3)]
        shown.claim(f"{name}: held, three times", outcomes == [Outcome.HELD] * 3, outcomes)
        shown.claim(f"{name}: service versions and task ids unchanged", ground.tasks("keycloak") == before)
        alerts = _new_alerts(ground)
        shown.claim(f"{name}: one alert of its kind", [alert.kind for alert in alerts] == [kind], alerts)
        told = all((notes or f"Notes of {tag}").strip() in alert.notes for alert in alerts)
        shown.claim(f"{name}: with the notes", told, alerts)
        ground.withdraw("keycloak", tag)
    skipped = _skipped(ground)
    shown.claim("notes of a release that is passed over hold too", skipped.outcome is Outcome.HELD, skipped)
    _new_alerts(ground)
    for tag in ("1.0.1+26.7.3", "1.0.2+26.7.3"):
        ground.withdraw("keycloak", tag)
    ground.release("keycloak", "1.0.3+26.7.3")
    done = _reconcile(ground, "keycloak")
    shown.claim("a patch right after is not held", done.outcome is Outcome.UPGRADED, done)


def _skipped(ground: Ground) -> Reconciled:
    ground.release("keycloak", "1.0.1+26.7.3", notes=_MANUAL)
    ground.release("keycloak", "1.0.2+26.7.3")
    return _reconcile(ground, "keycloak")


def traefik(ground: Ground, shown: Shown) -> None:
    """Traefik: a healthy update and a broken one; how long its ports did not answer is measured."""
    ground.clear("traefik")
    ground.release("traefik", "1.0.0+v3.7.13")
    ground.up("traefik")
    ground.release("traefik", "1.0.1+v3.7.15")
    with listen_to(ground.site, "traefik") as heard:
        done = _reconcile(ground, "traefik")
    shown.claim("a healthy update stays", done.outcome is Outcome.UPGRADED, done)
    shown.numbers.append(f"healthy: {done.seconds:.1f} s, {heard}")
    for number, (name, edit) in enumerate(BROKEN_TRAEFIK.items(), 2):
        tag = f"1.0.{number}+v3.7.15"
        ground.release("traefik", tag, edit=edit)
        with listen_to(ground.site, "traefik") as heard:
            done = _reconcile(ground, "traefik")
        good = last_good(ground.state, "traefik").release
        shown.claim(f"{name}: rolled-back", done.outcome is Outcome.ROLLED_BACK, done)
        shown.claim(f"{name}: the old version runs and is last-good", done.now == good == "1.0.1+v3.7.15", good)
        kinds = [alert.kind for alert in _new_alerts(ground)]
        shown.claim(f"{name}: one alert says so", kinds == ["rolled-back"], kinds)
        shown.numbers.append(f"{name}: {done.seconds:.1f} s, {heard}")
        ground.withdraw("traefik", tag)
    shown.claim("nothing is left half done", in_progress(ground.state, "traefik") is None)


BROKEN_TRAEFIK: dict[str, Edit] = {
    "exits at once": lambda text: text.replace(
        "image: traefik:v3.7.15\n", 'image: traefik:v3.7.15\n    command: ["traefik", "--no-such-option"]\n'
    ),
    "no such image": lambda text: text.replace("image: traefik:v3.7.15", "image: no-such-traefik:v3.7.15"),
}


def fallback(ground: Ground, shown: Shown) -> None:
    """While the warm Keycloak waits for a person, a dependent run has one of its own, and says so."""
    ground.clear("keycloak")
    ground.any_keycloak()
    good = last_good(ground.state, "keycloak")
    update = Update("keycloak", "planted", good, Good("9.9.9+99.9.9", "f" * 40), data=True)
    mark_stuck(ground.state, update, "planted: its rollback could not be proved")
    before = ground.tasks("keycloak")
    folder = write_dependent(ground.recipes.parent / f"dependent-{secrets.token_hex(3)}")
    run = run_dependent(ground, folder, "--cold").result
    shown.claim("the dependent's run is green", run.verdict == "pass", _seen(run))
    shown.claim("it says so", any("cold Keycloak of its own" in line for line in run.warnings), run.warnings)
    kinds = [alert.kind for alert in _new_alerts(ground)]
    shown.claim("an operator is alerted", kinds == ["unavailable"], kinds)
    shown.claim("the warm one is left alone", ground.tasks("keycloak") == before)
    stacks = ground.stacks()
    shown.claim("nothing of its own Keycloak is left", not any(name.startswith("keyc-") for name in stacks), stacks)
    again = _reconcile(ground, "keycloak")
    shown.claim("reconcile says that a person must look", again.outcome is Outcome.ROLLBACK_FAILED, again)
    trusted = _reconcile(ground, "keycloak", Wish(trust=True))
    shown.claim("trusted again, it is current", trusted.outcome is Outcome.CURRENT, trusted)


SCENES: dict[str, Scene] = {
    "healthy": healthy,
    "broken": broken,
    "migration": migration,
    "held": held,
    "traefik": traefik,
    "fallback": fallback,
}
"""By name, in the order of what they show."""
