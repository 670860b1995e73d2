"""Tests Co-op Cloud recipes on a real Docker Swarm, the way an operator lives with them."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
