"""What people do with the hub."""

from __future__ import annotations

import secrets


def test_a_token_acts_for_its_person_until_it_is_revoked(bob, program):
    me = program.whoami()
    assert me["name"] == bob.name
    assert not me["admin"]
    tokens = bob.send("GET", f"/users/{bob.name}/tokens", status=200)["api_tokens"]
    mine = max((each for each in tokens if each["note"] == "a test's"), key=lambda each: each["created"])
    bob.send("DELETE", f"/users/{bob.name}/tokens/{mine['id']}", status=204)
    assert program.send("GET", "/hub/api/user").status_code == 403


def test_the_administrator_puts_people_in_groups(alice, bob, program):
    group = f"course-{secrets.token_hex(4)}"
    alice.send("POST", f"/groups/{group}", status=201)
    alice.send("POST", f"/groups/{group}/users", status=200, users=[alice.name, bob.name])
    assert group in program.whoami()["groups"]
    assert program.send("POST", f"/hub/api/groups/{group}-of-bob").status_code == 403


def test_a_file_is_there_when_its_owners_server_is_started_again(app, bob, program, server):
    name, text = f"notes-{secrets.token_hex(4)}.txt", f"Remember {secrets.token_hex(8)}."
    written = program.send("PUT", f"{server}/api/contents/{name}", type="file", format="text", content=text)
    assert written.status_code == 201, written.text
    assert program.send("GET", f"{server}/api/contents/{name}").json()["content"] == text
    kept = app.exec("app", ["cat", f"/srv/people/{bob.name}/{name}"])
    assert kept.stdout == text
