"""Budgets, and the devices they are on."""

from __future__ import annotations

import secrets

import pytest


@pytest.fixture
def other_device(app, alice, keycloak_realm):
    """Another device of Alice's."""
    return type(alice)(app).sign_in(keycloak_realm.users[0])


def test_a_budget_comes_to_another_device_as_it_was_uploaded(alice, other_device, name):
    budget = alice.upload(name)
    assert other_device.budgets()[budget.id] == name
    assert other_device.download(budget.id) == budget.content


def test_what_one_device_changes_the_others_get(alice, other_device, name):
    budget = alice.upload(name)
    rent, coffee = (f"{what} {secrets.token_hex(8)}" for what in ("rent", "coffee"))
    assert alice.sync(budget.id, budget.group, rent) == []
    assert other_device.sync(budget.id, budget.group, coffee) == [rent]
    assert sorted(alice.sync(budget.id, budget.group)) == sorted([rent, coffee])


def test_another_person_sees_a_budget_once_it_is_shared(alice, bob, name):
    budget = alice.upload(name)
    assert budget.id not in bob.budgets()
    his = bob.answer("GET", "/account/validate")["data"]["userId"]
    alice.answer("POST", "/admin/access", json={"fileId": budget.id, "userId": his})
    assert bob.budgets()[budget.id] == name


def test_a_budget_can_be_deleted(alice, name):
    budget = alice.upload(name)
    alice.answer("POST", "/sync/delete-user-file", json={"fileId": budget.id})
    assert budget.id not in alice.budgets()
