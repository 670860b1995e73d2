"""Puts in place what the use of the plugin needs, once: with the first recipe, fixture of ours, or xdist worker."""

from __future__ import annotations

import importlib
import os

import pytest

from pytest_ccci.plugin.collection import UNDISTURBED
from pytest_ccci.plugin.options import SETTINGS
from pytest_ccci.plugin.run_events import BOARD, Board, Printer, Sender
from pytest_ccci.plugin.summary import Stops
from pytest_ccci.plugin.timeouts import WATCH
from pytest_ccci.plugin.xdist_support import Controller, relay_of

__all__ = ["activate"]

# By name, so that it is the module that is imported now: of an earlier session in this process (pytester's), of which
# pytest has forgotten the modules, the package still has those of then as its attributes.
_PARTS = ("real_backend", "collection", "redaction", "reporting", "summary", "timeouts")
_OBJECTS = {"ccci-undisturbed": UNDISTURBED, "ccci-clock": WATCH}


def activate(config: pytest.Config) -> Board:
    """The board of this pytest process. With the first call the parts are registered.

    pytest looks a hook's implementations up at each call: a call that is under way goes on without ours, all that come
    later have them.
    """
    known = config.stash.get(BOARD, None)
    if known is not None:
        return known
    board = config.stash[BOARD] = Board(config.stash[SETTINGS], pid=os.getpid())
    config.add_cleanup(board.funnel.restore)
    relay = relay_of(config)
    if relay is not None:
        board.outlet = Sender(relay, str(config.workerinput["workerid"]))  # type: ignore[attr-defined]  # xdist adds it
    elif not hasattr(config, "workerinput"):
        board.outlet = Printer(config)
    for part in _PARTS:
        config.pluginmanager.register(importlib.import_module(f"pytest_ccci.plugin.{part}"), f"ccci-{part}")
    for name, plugin in _OBJECTS.items():
        config.pluginmanager.register(plugin, name)
    config.pluginmanager.register(Stops(board), "ccci-stops")
    if config.pluginmanager.hasplugin("dsession"):
        config.pluginmanager.register(Controller(config), "ccci-controller")
    return board
