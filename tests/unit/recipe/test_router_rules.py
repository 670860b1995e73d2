from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ccci.recipe.router_rules import confined_to, rule_problem


@pytest.mark.parametrize(
    "rule",
    [
        "Host(`notes.example.org`)",
        'Host("notes.example.org")',
        "host(`a`) || HOST(`b`)",
        "Host(`a`) && (PathPrefix(`/api`) || Path(`/x`)) && !Method(`POST`)",
        "(Host(`a`) || Host(`b`))&&!PathPrefix(`/x`)",
        "Header(`X-A`, `1`) && Query(`a`) && Query(`a`, `b`) && HeaderRegexp(`X`, `a|b`)",
        r"HostRegexp(`^[a-z]+\.example\.org$`) && PathRegexp(`\.(jpg|png)$`)",
        "ClientIP(`10.0.0.0/8`)",
    ],
)
def test_what_traefik_takes_is_no_problem(rule: str) -> None:
    assert rule_problem(rule) == ""


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("", "it is empty"),
        ("  ", "it is empty"),
        ("Host(`a`, `b`)", "Host() has 2 arguments and takes 1: write Host(`a`) || Host(`b`)"),
        ("Host(`a`) && PathPrefix(`/a`, `/b`)", "PathPrefix() has 2 arguments"),
        ("Host()", "Host() has 0 arguments"),
        ("Host(``)", "'' in Host() is no host name"),
        ("Host(`https://a`)", "is no host name"),
        ("Host(`a,b`)", "is no host name"),
        ("Host('a')", "stands in no backticks"),
        ("Host(`a)", "stands in no backticks"),
        ("Host(a)", "a stands in Host() where a text in backticks should"),
        ("Host(`a`", "its end stands where"),
        ("Host(`a`))", ") stands where && or || should"),
        ("Host(`a`) Host(`b`)", "Host stands where && or || should"),
        ("Host(`a`) ||", "its end stands where a matcher"),
        ("|| Host(`a`)", "|| stands where a matcher"),
        ("Host:a", ":a cannot be read"),
        ("Hots(`a`)", "Hots() is no matcher; there are Host"),
        ("Headers(`a`, `b`)", "in Traefik 3 it is Header"),
        ("HostSNI(`a`)", "HostSNI() is no matcher"),
        ("Header(`a`)", "Header() has 1 arguments and takes 2"),
        ("Host(`a`) or Host(`b`)", "or stands where && or || should"),
        ("(" * 200 + "Host(`a`)" + ")" * 200, "too many parentheses"),
    ],
)
def test_what_traefik_refuses_is_told_with_its_reason(rule: str, why: str) -> None:
    assert why in rule_problem(rule)


def test_tcp_routers_have_matchers_of_their_own() -> None:
    assert rule_problem("HostSNI(`*`)", tcp=True) == ""
    assert "Host() is no matcher" in rule_problem("Host(`a`)", tcp=True)


@given(st.text(alphabet="Host(`a`)&|!,\"' \\", max_size=60) | st.text())
def test_any_text_gets_an_answer(rule: str) -> None:
    assert isinstance(rule_problem(rule), str)


@pytest.mark.parametrize(
    ("rule", "confined"),
    [
        ("Host(`a.ci.test`)", True),
        ("host(`A.ci.test`) && PathPrefix(`/x`)", True),
        ("PathPrefix(`/x`) && (Host(`a.ci.test`) || Host(`b.a.ci.test`))", True),
        ("Host(`a.ci.test`) || Host(`keycloak.ci.test`)", False),
        ("Host(`a.ci.test`) && PathPrefix(`/x`) || PathPrefix(`/y`)", False),
        ("PathPrefix(`/y`) || PathPrefix(`/x`) && Host(`a.ci.test`)", False),
        ("!Host(`a.ci.test`)", False),
        ("!(Host(`a.ci.test`))", False),
        ("!!Host(`a.ci.test`)", False),
        ("PathPrefix(`/`)", False),
        ("HostRegexp(`.*`)", False),
        ("Host(`a.ci.test`, `keycloak.ci.test`)", False),
        ("Host(`a.ci.test`", False),
        ("", False),
    ],
)
def test_a_rule_is_confined_only_where_each_way_to_match_names_a_host_of_its_own(rule: str, confined: bool) -> None:
    assert confined_to(rule, lambda host: host.lower().endswith("a.ci.test")) is confined


def test_a_rule_for_tcp_is_confined_by_its_server_name() -> None:
    assert confined_to("HostSNI(`a`)", lambda host: host == "a", tcp=True)
    assert not confined_to("HostSNI(`*`)", lambda host: host == "a", tcp=True)
