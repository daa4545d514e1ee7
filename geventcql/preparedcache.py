"""The answers to PREPARE that may be used again (layer: driver). Nothing in here waits or switches.

An application that prepares the same text in each request of its own pays for one PREPARE only. What is kept are answers;
each call of ``prepare`` makes its own statement of one, so that what is set on it is nobody else's.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Hashable

from geventcql.protocol.responses import Prepared

__all__ = ["PreparedCache"]

log = logging.getLogger(__name__)


class PreparedCache:
    """The answers for the texts that were prepared last, until the schema changes.

    :param size: how many; 0 keeps none
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.generation = 0
        """Counts the changes that made what was kept void."""
        self._answers: OrderedDict[Hashable, Prepared] = OrderedDict()
        self._has_warned = False

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, key: Hashable) -> Prepared | None:
        """The answer for a text, if it is known."""
        answer = self._answers.get(key)
        if answer is not None:
            self._answers.move_to_end(key)
        return answer

    def put(self, key: Hashable, answer: Prepared, generation: int) -> bool:
        """Keep an answer.

        :param generation: what it was when the text was sent; it is not kept if the schema has changed since
        :returns: whether others had to make room for the first time: an application is preparing ever new texts
        """
        if generation != self.generation or self.size <= 0:
            return False
        self._answers[key] = answer
        if len(self._answers) <= self.size:
            return False
        self._answers.popitem(last=False)
        first, self._has_warned = not self._has_warned, True
        return first

    def clear(self) -> None:
        """The schema, or what user types are read as, has changed."""
        self.generation += 1
        self._answers.clear()
