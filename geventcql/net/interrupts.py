"""What is raised in a greenlet of the driver's but is no error of it (layer: net): KeyboardInterrupt, SystemExit, and what
else a signal's handler or an application's code raises that no ``except Exception`` is meant to catch.

It is for the main greenlet, which gets it from any greenlet that ends by it, and from the hub. So the driver makes sure that
nobody waits for ever because of it, and passes it on.
"""

from __future__ import annotations

import gevent

__all__ = ["is_interrupt", "report"]


def is_interrupt(error: BaseException) -> bool:
    """Whether ``error`` is to be passed on. A kill concerns the greenlet alone, and a Timeout is an error of who set it."""
    return not isinstance(error, (Exception, gevent.Timeout, gevent.GreenletExit))


def report(context: object, error: BaseException) -> None:
    """Have the hub tell of an error where it cannot be raised, because others come next. KeyboardInterrupt and SystemExit are
    raised in the main greenlet, which runs first: this may switch.

    :param context: what raised it
    """
    gevent.get_hub().handle_error(context, type(error), error, error.__traceback__)
