# Generated from src/lockserver_client/_async/_transport.py by tools/generate.py; change that one.
"""The seam between what is asked and how it gets there: nothing above it knows HTTP."""

from __future__ import annotations

from typing import Protocol

from .._contract import Operation
from .._outcome import Outcome


class Transport(Protocol):
    """Carries requests to the server and their answers back."""

    def send(
        self, operation: Operation, request: bytes, bound: float, *, again: bool = False, tag: object = None
    ) -> Outcome:
        """Make one attempt within `bound` seconds.

        `again`: the one before it failed, so nothing that it used is used again. `tag` names what `end` may end.
        """

    def end(self, tag: object) -> None:
        """End the attempt of this tag; may be called from another thread."""

    def close(self) -> None:
        """End attempts with a tag, and keep nothing open beyond the others."""
