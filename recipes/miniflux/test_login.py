"""Who gets in."""

from __future__ import annotations


def test_a_stranger_sees_the_login_page_only(app):
    assert "/oauth2/oidc/redirect" in app.http.get(f"{app.url}/").text
    for path in ("/feeds", "/unread", "/settings", "/export"):
        assert app.http.get(app.url + path, allow_redirects=False).status_code == 302
    assert app.http.get(f"{app.url}/v1/feeds").status_code == 401


def test_a_person_signs_in_as_themselves(alice, keycloak_realm):
    assert keycloak_realm.user.username in alice.page("/settings").text


def test_a_person_who_signed_out_is_out(alice):
    assert alice.http.get(f"{alice.app.url}/feeds", allow_redirects=False).status_code == 200
    alice.sign_out()
    assert alice.http.get(f"{alice.app.url}/feeds", allow_redirects=False).status_code == 302
