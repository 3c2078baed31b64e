"""Which of a cluster's servers is asked."""

from __future__ import annotations

from ._outcome import Answer, Outcome
from ._settings import Address

_FAILING = (502, 503, 504)
"""Statuses with which another server may do better."""


class Servers:
    """One of them is asked, the first to begin with, until it fails, and then the next.

    Here, and nowhere else, is chosen which. Safe for threads, as each step of it is one assignment.
    """

    def __init__(self, addresses: tuple[Address, ...]) -> None:
        self.all = addresses
        self.current = addresses[0]

    def after(self, one: Address) -> Address:
        """Whose turn it is when the given one has failed."""
        return self.all[(self.all.index(one) + 1) % len(self.all)]

    def stay(self, one: Address) -> None:
        """This one answered, and is asked from now on."""
        self.current = one

    def leave(self, one: Address) -> None:
        """This one failed."""
        if self.current is one:
            self.current = self.after(one)

    def judge(self, one: Address, outcome: Outcome) -> Outcome:
        """Leave a server by which an attempt failed, and say then that there is another."""
        if len(self.all) == 1 or not _failed(outcome):
            return outcome
        self.leave(one)
        return outcome._replace(elsewhere=True)


def _failed(outcome: Outcome) -> bool:
    return outcome.status in _FAILING if isinstance(outcome, Answer) else not (outcome.permanent or outcome.given_up)
