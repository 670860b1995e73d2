"""The pytest plugin. Inert and light until a folder with a recipe.toml is collected.

An older pytest than we need may be installed after us. Then suites without recipes must not notice that we are there,
so nothing of ours that uses a newer pytest's names is imported.
"""

from __future__ import annotations

import pytest

__all__: list[str] = []  # hooks, for pytest alone

if getattr(pytest, "version_tuple", (0,)) >= (9, 1):
    from pytest_ccci.plugin.entry import pytest_addhooks as pytest_addhooks
    from pytest_ccci.plugin.entry import pytest_addoption as pytest_addoption
    from pytest_ccci.plugin.entry import pytest_collect_directory as pytest_collect_directory
    from pytest_ccci.plugin.entry import pytest_configure as pytest_configure
    from pytest_ccci.plugin.entry import pytest_load_initial_conftests as pytest_load_initial_conftests
    from pytest_ccci.plugin.entry import pytest_report_header as pytest_report_header
    from pytest_ccci.plugin.entry import pytest_runtest_setup as pytest_runtest_setup
    from pytest_ccci.plugin.entry import pytest_sessionstart as pytest_sessionstart
elif hasattr(pytest, "version_tuple"):
    from pytest_ccci.plugin.old_pytest import pytest_addoption as pytest_addoption
    from pytest_ccci.plugin.old_pytest import pytest_collect_file as pytest_collect_file
    from pytest_ccci.plugin.old_pytest import pytest_pycollect_makemodule as pytest_pycollect_makemodule
