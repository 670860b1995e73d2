from __future__ import annotations

from pytest_ccci.warm.realm_model import RealmLease, make_lease, owner_of, realm_body


def lease(*, kept: bool = True, run_id: str = "r1", domain: str = "warm-x.ci.test") -> RealmLease:
    return make_lease(
        recipe="x", run_id=run_id, domain=domain, zone="ci.test", base_url="https://keycloak.ci.test", kept=kept
    )


def test_kept_data_meets_the_same_issuer_client_and_people_again() -> None:
    first, second = lease(run_id="r1"), lease(run_id="r2")

    assert (first.issuer, first.client_id) == (second.issuer, second.client_id)
    assert [(u.username, u.sub, u.email, u.first_name, u.last_name) for u in first.users] == [
        (u.username, u.sub, u.email, u.first_name, u.last_name) for u in second.users
    ]


def test_passwords_and_client_secret_are_new_each_time() -> None:
    assert not set(lease().secrets) & set(lease().secrets)


def test_a_cold_run_has_a_realm_and_people_of_its_own() -> None:
    cold = lease(kept=False, run_id="r7", domain="x-abcdef.ci.test")

    assert cold.realm == "x-r7"
    assert not {user.sub for user in cold.users} & {user.sub for user in lease().users}


def test_there_are_two_people_that_tests_can_tell_apart() -> None:
    one, other = lease().users

    assert not {one.username, one.password, one.email, one.sub} & {
        other.username,
        other.password,
        other.email,
        other.sub,
    }


def test_no_secret_is_shown_by_repr() -> None:
    made = lease()

    assert not any(secret in repr(made) for secret in made.secrets)


def test_templates_see_issuer_and_client() -> None:
    seen = lease().context()

    assert seen["issuer"] == "https://keycloak.ci.test/realms/warm-x"
    assert {"client_id", "client_secret", "endpoints", "users"} <= seen.keys()


def test_the_import_brings_its_own_key_and_cheap_hashing() -> None:
    body = realm_body(lease(), owner={"run_id": "r1"}, redirect_uris=["https://warm-x.ci.test/cb"], key="PEM")

    keys = body["components"]["org.keycloak.keys.KeyProvider"]
    assert {key["providerId"] for key in keys} == {"rsa", "hmac-generated", "aes-generated"}
    assert "hashIterations(1)" in body["passwordPolicy"]


def test_the_import_names_people_by_the_ids_that_were_promised() -> None:
    made = lease()

    body = realm_body(made, owner={}, redirect_uris=[], key="PEM")

    assert [user["id"] for user in body["users"]] == [user.sub for user in made.users]


def test_the_owner_is_read_back_from_the_realm() -> None:
    body = realm_body(lease(), owner={"run_id": "r1", "lock": "/l"}, redirect_uris=[], key="PEM")

    assert owner_of(body) == {"run_id": "r1", "lock": "/l"}
    assert owner_of({"realm": "master"}) == {}


def test_a_public_client_has_no_secret_and_must_use_pkce() -> None:
    body = realm_body(lease(), owner={}, redirect_uris=[], public=True, key="PEM")

    (client,) = body["clients"]
    assert "secret" not in client
    assert client["attributes"]["pkce.code.challenge.method"] == "S256"
