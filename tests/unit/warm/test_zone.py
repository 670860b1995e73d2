from __future__ import annotations

from pytest_ccci.warm.zone import Zone


def test_the_address_is_the_one_a_browser_shows() -> None:
    assert Zone().url("keycloak.ci.test") == "https://keycloak.ci.test"
    assert Zone(https_port=8443).url("keycloak.ci.test") == "https://keycloak.ci.test:8443"


def test_names_of_the_zone_are_reached_at_its_address_and_others_are_not() -> None:
    route = Zone(name="ci.test", address="10.0.0.1").route

    assert route.resolve("keycloak.ci.test", 443) == ("10.0.0.1", 443)
    assert route.resolve("example.org", 443) == ("example.org", 443)
