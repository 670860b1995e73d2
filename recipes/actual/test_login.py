"""Signing in."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit


def test_the_web_app_is_served(app):
    page = app.http.get(f"{app.url}/")
    assert page.status_code == 200
    assert "<title>Actual</title>" in page.text


def test_login_is_offered_at_the_issuer_with_pkce(visitor, app, keycloak_realm):
    offered = visitor.answer("GET", "/account/login-methods")["methods"]
    assert [each["method"] for each in offered] == ["openid"]
    ask = {"loginMethod": "openid", "returnUrl": app.url}
    where = visitor.answer("POST", "/account/login", json=ask)["data"]["returnUrl"]
    query = parse_qs(urlsplit(where).query)
    assert where.startswith(keycloak_realm.endpoints.authorization)
    assert query["client_id"] == [keycloak_realm.client_id]
    assert query["code_challenge_method"] == ["S256"]
    assert query["redirect_uri"] == [f"{app.url}/openid/callback"]


def test_a_person_is_signed_in_as_themselves(alice, bob, keycloak_realm):
    hers, his = (each.answer("GET", "/account/validate")["data"] for each in (alice, bob))
    assert hers["userName"] == keycloak_realm.users[0].username
    assert his["userName"] == keycloak_realm.users[1].username
    assert (hers["permission"], his["permission"]) == ("ADMIN", "BASIC")


def test_a_stranger_sees_nothing(visitor, alice, name):
    budget = alice.upload(name)
    assert visitor.send("GET", "/sync/list-user-files").status_code == 401
    asked = visitor.send("GET", "/sync/download-user-file", headers={"X-ACTUAL-FILE-ID": budget.id})
    assert asked.status_code == 401
    visitor.http.headers["X-ACTUAL-TOKEN"] = "made up"
    assert visitor.send("GET", "/sync/list-user-files").status_code == 401


def test_nobody_else_can_take_the_server_over(visitor):
    answer = visitor.send("POST", "/account/bootstrap", json={"password": "mine now"})
    assert answer.status_code == 400
    assert answer.json()["reason"] == "already-bootstrapped"
