"""Signing in."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit


def test_our_app_serves_the_page(app):
    page = app.http.get(f"{app.url}/")
    config = app.http.get(f"{app.url}/api/v1.0/config/").json()
    assert page.status_code == 200
    assert 'content="ccci-docs-standin"' in page.text
    assert config["application"] == "ccci-docs-standin"


def test_login_is_offered_at_the_issuer_with_pkce(app, keycloak_realm):
    answer = app.new_http().get(f"{app.url}/api/v1.0/authenticate/", allow_redirects=False)
    assert answer.status_code == 302, "SSO is not offered"
    asked = urlsplit(answer.headers["Location"])
    query = parse_qs(asked.query)
    assert answer.headers["Location"].startswith(keycloak_realm.endpoints.authorization)
    assert query["client_id"] == [keycloak_realm.client_id]
    assert query["response_type"] == ["code"]
    assert query["code_challenge_method"] == ["S256"]
    assert query["redirect_uri"] == [f"{app.url}/api/v1.0/callback/"]


def test_login_brings_a_person_in_as_themselves(alice, keycloak_realm):
    me = alice.get("/users/me/").json()
    user = keycloak_realm.users[0]
    assert me["sub"] == user.sub
    assert me["email"] == user.email


def test_logout_ends_the_session_here_and_at_keycloak(alice, keycloak_realm):
    token = alice.http.cookies["csrftoken"]
    headers = {"X-CSRFToken": token, "Origin": alice.app.url, "Referer": f"{alice.app.url}/"}
    answer = alice.http.post(f"{alice.app.url}/api/v1.0/logout/", headers=headers, allow_redirects=False)
    assert answer.headers["Location"].startswith(keycloak_realm.endpoints.logout)
    alice.http.get(answer.headers["Location"])
    assert alice.get("/users/me/").status_code == 401
    again = alice.http.get(f"{alice.app.url}/api/v1.0/authenticate/")
    assert again.url.startswith(keycloak_realm.issuer), "Keycloak still knows the person"


def test_an_anonymous_visitor_sees_nothing(visitor, alice, open_editor):
    document = alice.create("Private", "For my eyes only.")
    assert visitor.get("/users/me/").status_code == 401
    assert visitor.get("/documents/").status_code == 401
    assert visitor.get(f"/documents/{document['id']}/").status_code == 401
    assert visitor.http.get(f"{visitor.app.url}/internal/documents/{document['id']}/").status_code == 404
    assert not open_editor(visitor, document["id"]).allowed
