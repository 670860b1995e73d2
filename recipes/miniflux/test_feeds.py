"""Feeds and their articles."""

from __future__ import annotations


def test_a_person_subscribes_and_reads(alice, news):
    page = alice.page(alice.subscribe(news)).text
    assert "The general meeting" in page
    assert alice.feeds()[news] == "The Co-op's News"


def test_another_person_has_feeds_of_their_own(alice, bob, news):
    feed = alice.subscribe(news)
    assert news not in bob.feeds()
    assert bob.http.get(bob.app.url + feed).status_code == 404


def test_a_feed_that_was_removed_is_gone(alice, news):
    feed = alice.subscribe(news)
    alice.unsubscribe(feed)
    assert news not in alice.feeds()
