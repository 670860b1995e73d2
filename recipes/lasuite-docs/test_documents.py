"""Documents of one's own, and shared ones."""

from __future__ import annotations


def test_a_document_is_there_when_its_owner_comes_back(app, alice, keycloak_realm):
    created = alice.create("Minutes", "We met.\nWe parted.")
    later = type(alice)(app, app.new_http()).sign_in(keycloak_realm.users[0])
    assert later.read(created["id"]) == created
    assert created["id"] in {each["id"] for each in later.get("/documents/").json()["results"]}


def test_another_person_does_not_see_it(alice, bob):
    created = alice.create("Diary", "Dear diary.")
    assert bob.get(f"/documents/{created['id']}/").status_code == 404
    assert bob.send("PATCH", f"/documents/{created['id']}/", content="Hello from Bob.").status_code == 404
    assert alice.read(created["id"])["content"] == "Dear diary."


def test_a_shared_document_can_be_read_and_then_edited_by_another_person(alice, bob, keycloak_realm):
    created = alice.create("Plan", "Step one.")
    address = keycloak_realm.users[1].email
    alice.share(created["id"], address, "reader")
    assert bob.read(created["id"])["content"] == "Step one."
    assert bob.send("PATCH", f"/documents/{created['id']}/", content="Step two.").status_code == 403
    alice.share(created["id"], address, "editor")
    assert bob.send("PATCH", f"/documents/{created['id']}/", content="Step two.").status_code == 200
    assert alice.read(created["id"])["content"] == "Step two."
