"""The fixtures of the tests on a real engine, once for all folders.

A fixture that two folders' conftests import is two fixtures, each with a session of its own: a state directory inside
the other's, and tests that look for their runs in the one while their runs write into the other.
"""

from __future__ import annotations

from realfixtures import engine, machine, page_recipe, user_pytest, warm_state

__all__ = ["engine", "machine", "page_recipe", "user_pytest", "warm_state"]
