"""Signing in."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit


def test_login_is_offered_at_the_issuer_with_pkce(app, keycloak_realm):
    page = app.http.get(f"{app.url}/hub/login")
    assert "Sign in with" in page.text
    answer = app.http.get(f"{app.url}/hub/oauth_login", allow_redirects=False)
    query = parse_qs(urlsplit(answer.headers["Location"]).query)
    assert answer.headers["Location"].startswith(keycloak_realm.endpoints.authorization)
    assert query["client_id"] == [keycloak_realm.client_id]
    assert query["code_challenge_method"] == ["S256"]
    assert query["redirect_uri"] == [f"{app.url}/hub/oauth_callback"]


def test_a_person_is_signed_in_as_themselves_and_the_administrator_is_one(alice, bob):
    assert alice.name in alice.get("/hub/home").text
    assert alice.get("/hub/admin").status_code == 200
    assert bob.name in bob.get("/hub/home").text
    assert bob.get("/hub/admin").status_code == 403


def test_who_signs_out_is_a_stranger(bob, app):
    bob.get("/hub/logout")
    assert bob.http.get(f"{app.url}/hub/home", allow_redirects=False).status_code == 302


def test_a_stranger_sees_nothing(visitor, bob):
    assert visitor.get("/hub/api/users").status_code == 403
    assert visitor.get(f"/hub/api/users/{bob.name}").status_code == 403
    assert visitor.http.get(f"{visitor.app.url}/user/{bob.name}/", allow_redirects=False).status_code == 302
