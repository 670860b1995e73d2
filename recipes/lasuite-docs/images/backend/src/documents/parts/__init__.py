"""What a document has beyond title and content. Each version of the application may add a module here.

A part is an abstract model called ``Part`` with ``before_save(self)`` and ``described(self) -> dict``.
"""

from importlib import import_module
from pkgutil import iter_modules

PARTS = tuple(import_module(f"{__name__}.{module.name}").Part for module in sorted(iter_modules(__path__)))
