"""Two people in one document at the same time."""

from __future__ import annotations


def test_two_people_see_each_others_edits_and_the_text_is_kept(alice, bob, open_editor, eventually, keycloak_realm):
    document = alice.create("Together", "Once upon a time")["id"]
    alice.share(document, keycloak_realm.users[1].email, "editor")
    hers, his = open_editor(alice, document), open_editor(bob, document)
    assert his.sees("Once upon a time")
    assert hers.sees("Once upon a time")

    hers.type(" there was a recipe,")
    assert his.sees("there was a recipe,")
    his.type(" and it came up.")
    assert hers.sees("and it came up.")

    whole = "Once upon a time there was a recipe, and it came up."
    eventually(lambda: alice.read(document)["content"] == whole, "the edited text to be kept")


def test_a_stranger_cannot_join(alice, bob, open_editor):
    document = alice.create("Alone", "Just me.")["id"]
    assert open_editor(alice, document).allowed
    assert not open_editor(bob, document).allowed
