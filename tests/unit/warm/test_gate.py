from __future__ import annotations

import pytest

from pytest_ccci.recipe.schema import Policy
from pytest_ccci.recipe.tree import Note
from pytest_ccci.warm.alerts import AlertKind
from pytest_ccci.warm.gate import Cause, Decision, gate
from pytest_ccci.warm.release_notes import manual_steps

P, H, C = Decision.PASS, Decision.HOLD, Decision.CURRENT

PAIRS = [
    # ordinary updates pass
    ("1.0.0+26.7.0", "1.0.1+26.7.3", P),
    ("1.0.0+26.7.0", "1.1.0+26.8.0", P),
    ("1.0.0+26.7.0", "1.0.0+26.7.1", P),
    ("1.0.0+v3.7.13", "1.0.1+v3.7.15", P),
    ("1.0.0+v3.7.13", "1.0.1+3.7.15", P),
    ("10.4.1+26.5.0", "10.5.0+26.7.3", P),
    ("0.8.1+1.2.3", "0.9.0+1.3.0", P),
    ("0.1.0+0.4.0", "0.2.0+0.5.0", P),
    ("2.3.4+v1.6.870-0", "2.3.5+v1.6.870-1", P),
    ("2.3.4+v1.6.870-0", "2.3.5+v1.7.0-0", P),
    ("1.0.5+1.0.6-social-amd64", "1.0.6+1.0.7-social-amd64", P),
    ("1.2.0+15.4-alpine", "1.2.1+15.5-alpine", P),
    ("1.2.0+15-alpine", "1.3.0+15-alpine", P),
    ("3.0.0+9.1", "3.0.1+9.2", P),
    ("3.0.0+9.1", "3.0.1+9.1.1", P),
    ("3.0.0+9", "3.0.1+9.0.1", P),
    ("1.9.9+1.9.9", "1.10.0+1.10.0", P),
    ("1.0.0+1.9.9.9", "1.0.1+1.9.9.10", P),
    ("1.0.0+2.0.0-rc1", "1.0.1+2.0.0-rc2", P),
    ("1.0.0+2.0.0-rc2", "1.0.1+2.0.0", P),
    ("1.0.0+2.0.0rc2", "1.0.1+2.0.0", P),
    ("1.0.0+1.25.3-p1", "1.0.1+1.25.3-p2", P),
    ("1.0.0-rc1+1.0.0", "1.0.0+1.0.0", P),
    ("1.0.0+2024.1.0", "1.0.1+2024.2.0", P),
    ("1.0.0+2024-01-15", "1.0.1+2024-03-02", P),
    # what is there already
    ("1.0.0+26.7.0", "1.0.0+26.7.0", C),
    ("0.1.0+latest", "0.1.0+latest", C),
    # a major step of either half
    ("1.0.0+26.7.0", "2.0.0+26.7.0", H),
    ("1.0.0+26.7.0", "1.0.1+27.0.0", H),
    ("1.0.0+26.7.0", "2.0.0+27.0.0", H),
    ("10.9.0+26.7.3", "11.0.0+27.0.0", H),
    ("9.0.0+1.0.0", "10.0.0+1.0.0", H),
    ("0.9.0+1.0.0", "1.0.0+1.0.0", H),
    ("1.0.0+0.9.0", "1.0.1+1.0.0", H),
    ("1.0.0+15-alpine", "1.1.0+16-alpine", H),
    ("1.0.0+v2.11.0", "1.1.0+v3.0.0", H),
    ("1.0.0+9", "1.0.1+10", H),
    ("1.0.0+2024.1.0", "1.0.1+2025.1.0", H),
    ("1.0.0+1.6.870-0", "1.0.1+2.0.0-0", H),
    ("1.0.0+25.0.6", "1.0.1+26.7.3", H),
    # steps back
    ("1.0.1+26.7.3", "1.0.0+26.7.0", H),
    ("1.0.1+26.7.3", "1.0.2+26.7.0", H),
    ("2.0.0+26.7.3", "1.9.0+26.7.4", H),
    ("1.0.0+27.0.0", "1.0.1+26.7.3", H),
    ("1.0.0+2024.1.0", "1.0.1+1.0.0", H),
    ("1.0.0+1.0.0-1", "1.0.1+1.0.0-0", H),
    # what cannot be read
    ("1.0.0+26.7.0", "26.7.3", H),
    ("26.7.0", "1.0.1+26.7.3", H),
    ("", "1.0.1+26.7.3", H),
    ("1.0.0+26.7.0", "", H),
    ("", "", H),
    ("3f2c1ab", "1.0.1+26.7.3", H),
    ("1.0.0+3f2c1ab", "1.0.1+4a2c1ab", H),
    ("1.0.0+latest", "1.0.1+stable", H),
    ("1.0.0+latest", "1.0.1+26.7.3", H),
    ("1.0.0+stable-9823", "1.0.1+stable-9824", H),
    ("1.0.0+RELEASE.2024-01-01T00-00-00Z", "1.0.1+RELEASE.2024-02-01T00-00-00Z", H),
    ("1.0+26.7.0", "1.0.1+26.7.3", H),
    ("1.0.0+", "1.0.1+26.7.3", H),
    ("1.0.0+1.0.0 ", "1.0.1+1.0.1 beta", H),
    ("1.0.0+1.2.3", "1.0.1+1.2.4-rc1", H),
    ("1.0.0+15.4-alpine", "1.0.1+15.5-bookworm", H),
    ("1.0.0+15.4-alpine", "1.0.1+15.5", H),
    ("1.0.0+1.0.6-social-amd64", "1.0.1+1.0.6-amd64", H),
    ("one.two.three+1.0.0", "1.0.0+1.0.0", H),
    # an app half that names no version: the same words may bring another app
    ("1.0.0+latest", "1.0.1+latest", H),
    ("1.0.0+stable", "1.0.1+stable", H),
    ("1.0.0+main", "1.1.0+main", H),
    ("1.0.0+feature-oidc", "1.0.1+feature-oidc", H),
    ("1.0.0+2-latest", "1.0.1+2-latest", H),
    ("1.0.0+v3-nightly", "1.0.1+v3-nightly", H),
    ("1.0.0+release-1", "1.0.1+release-1", H),
    ("1.0.0+1.2.0-stable", "1.0.1+1.2.0-stable", P),
    ("1.0.0+3f2c1ab", "1.0.1+3f2c1ab", P),
    ("1.0.0+RELEASE.2024-01-01T00-00-00Z", "1.0.1+RELEASE.2024-01-01T00-00-00Z", P),
    ("1.0.0+stable-9823", "1.0.1+stable-9823", P),
    ("1.0.0+٣.0.0", "1.0.1+٤.0.0", H),
]


@pytest.mark.parametrize(("current", "target", "decision"), PAIRS)
def test_a_step_is_decided_as_an_operator_would(current: str, target: str, decision: Decision) -> None:
    assert gate(current, target).decision is decision


def test_the_table_is_as_long_as_promised() -> None:
    assert len(PAIRS) >= 60
    assert len(HARMLESS) + len(MANUAL) >= 40


@pytest.mark.parametrize(
    ("current", "target", "decision"),
    [
        ("1.0.0+2024.10.1", "1.1.0+2025.1.0", P),
        ("1.0.0+24.10", "1.1.0+25.04", P),
        ("1.0.0+2024-12-30", "1.1.0+2025-01-02", P),
        ("2.0.0+2024.10.1", "3.0.0+2025.1.0", H),
        ("1.0.0+2025.1.0", "1.1.0+2024.10.1", H),
        ("1.0.0+3.1.0", "1.1.0+4.0.0", H),
        ("1.0.0+9.1.0", "1.1.0+2025.1.0", H),
    ],
)
def test_a_year_is_no_major_step_where_the_recipe_says_so(current: str, target: str, decision: Decision) -> None:
    assert gate(current, target, policy=Policy(versions="calendar")).decision is decision


@pytest.mark.parametrize(
    ("policy", "target", "decision"),
    [
        (Policy(hold_app="minor"), "1.0.0+1.1.0", H),
        (Policy(hold_app="minor"), "1.0.0+1.0.1", P),
        (Policy(hold_app="patch"), "1.0.0+1.0.1", H),
        (Policy(hold_recipe="minor"), "1.1.0+1.0.0", H),
        (Policy(hold_recipe="minor"), "1.0.1+1.0.0", P),
    ],
)
def test_strictness_is_set_per_half(policy: Policy, target: str, decision: Decision) -> None:
    assert gate("1.0.0+1.0.0", target, policy=policy).decision is decision


HARMLESS = [
    "",
    "Keycloak 26.7.3: bug and security fixes. No manual migration needed.",
    "No manual steps required.",
    "There are no breaking changes in this release.",
    "The database is migrated automatically; nothing to do by hand.",
    "Database migrations run automatically on start. You do not need to run anything manually.",
    "You no longer need to migrate manually.",
    "Manual migration is not needed.",
    "Manual intervention is no longer required.",
    "Upgrades without manual intervention.",
    "## Manual migration\n\nNone.\n\n## Changes\n\n- faster",
    "Breaking changes: none\nManual steps: n/a",
    "Updated the user manual.",
    "The manual now covers upgrades.",
    "Users can now manually trigger a sync by hand.",
    "Allows admins to add users manually.",
    "Fixed: manually deleted items came back after an update.",
    "Make a backup before upgrading.",
    "Security fix. You should upgrade soon.",
    "Bump postgres to 15.5",
    "Adds an option to run the importer manually.",
    "fix: breaking out of the layout on small screens",
    "Migration of the settings page to Vue 3",
    "Die Datenbank wird automatisch umgestellt.",
    "chore: publish 1.0.1+26.7.3 release",
    "This doesn't require any manual\nmigration.",
    "Adds IMMIGRATION_MANUAL as a document type",
    "If you want the new theme, you need to set THEME=dark.",
    "You do not need to stop, export or run anything manually.",
    "The manual step after upgrading is no longer required.",
    "This does not change the automatic updates.",
    "No action required.",
    "No action is required for anybody, whatever storage you use.",
    "If you use the S3 storage, uploads are faster now.",
    "Only the new editor is affected by this change.",
]

MANUAL = [
    "Before upgrading, run manage.py migrate_x by hand.",
    "run manage.py migrate_x by hand before upgrading",
    "This release requires a manual migration of the database.",
    "Manual migration required!",
    "You must run `abra app run ... migrate` after the upgrade.",
    "You need to rotate the secret `db_password` first.",
    "Please run the following command after deploying:\n\n    occ db:add-missing-indices",
    "BREAKING CHANGE: the environment variable FOO was renamed to BAR",
    "Breaking changes\n\n- DOMAIN must be set",
    "Action required: insert the new secret oidc_rpcs",
    "Postgres 13 → 15: dump and restore the database",
    "Postgres 13 → 15: use pg_upgrade",
    "Do not upgrade without running the migration first.",
    "Don't forget to manually delete the old volume.",
    "Migrations are not run automatically.",
    "There is no automatic migration from 1.x.",
    "Follow the migration guide at https://example.org/migrate",
    "No new features. You have to manually recreate the index.",
    "Not optional: migrate the files manually.",
    "The schema changed and needs to be\nmigrated manually before the\nupgrade.",
    "Operators must edit the realm before deploying.",
    "- faster search\n- manual steps: delete the redis volume\n- new logo",
    "No manual migration is needed from 1.4, but from 1.3 you must run `migrate-data`.",
    "Stop the app before upgrading and delete the cache volume.",
    "Export your boards prior to upgrading.",
    "Admins have to re-generate the signing key.",
    "feat(api)!: drop the v1 endpoints",
    "Old tables are not automatically migrated.",
    "The index can't be rebuilt automatically.",
    "You must run `fixup`, which fixes rows so that users can log in.",
    "No new features, you have to manually recreate the index.",
    "You must run migrate; it is not done by the container.",
    # a denial with a condition is none
    "No action required unless you use the S3 storage.",
    "No action is required, unless you changed the default port.",
    "No manual migration is needed except for installations older than 1.2.",
    "No breaking changes, except the renamed variable FOO.",
    "Manual migration is not needed unless Redis is used.",
    "A manual migration is not required if you use the bundled database.",
    "No manual steps for most users.",
    "Normally no manual migration is needed.",
    "Manual steps: none, unless you run LDAP",
    "## Manual migration\n\nNone if you started with 2.0.",
    "Action is only required if you use LDAP.",
    "Nothing to do by hand in most cases.",
    "No action required, but only if you never enabled search.",
    "There should be no breaking changes for typical installations.",
]


@pytest.mark.parametrize("text", HARMLESS)
def test_a_note_that_asks_for_nothing_does_not_hold(text: str) -> None:
    assert manual_steps(text) == ()


@pytest.mark.parametrize("text", MANUAL)
def test_a_note_that_asks_for_a_hand_holds(text: str) -> None:
    assert manual_steps(text)


def test_notes_of_a_release_that_is_passed_over_hold_too() -> None:
    notes = (Note("1.0.1+26.7.1", "Manual migration required."), Note("1.0.2+26.7.3", "Bug fixes."))

    answer = gate("1.0.0+26.7.0", "1.0.2+26.7.3", notes=notes)

    assert answer.decision is H
    assert answer.alert is AlertKind.HELD_MANUAL_MIGRATION
    assert "1.0.1+26.7.1" in answer.reasons[0].text


def test_an_accepted_release_passes_and_still_says_why_it_was_held() -> None:
    answer = gate("1.0.0+26.7.0", "2.0.0+27.0.0", accepted="2.0.0+27.0.0")

    assert answer.decision is P
    assert [reason.cause for reason in answer.reasons] == [Cause.ACCEPTED, Cause.MAJOR, Cause.MAJOR]


def test_an_acceptance_is_for_that_very_version_only() -> None:
    assert gate("1.0.0+26.7.0", "2.0.1+27.0.1", accepted="2.0.0+27.0.0").decision is H


@pytest.mark.parametrize(
    ("target", "alert"),
    [
        ("2.0.0+26.7.0", AlertKind.HELD_MAJOR),
        ("nonsense", AlertKind.HELD_UNPARSABLE),
        ("0.9.0+26.7.0", AlertKind.HELD_UNPARSABLE),
        ("1.0.1+26.7.1", None),
    ],
)
def test_each_hold_has_its_kind_of_alert(target: str, alert: AlertKind | None) -> None:
    assert gate("1.0.0+26.7.0", target).alert is alert
