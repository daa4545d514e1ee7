"""Reads the address of a server that is there already, as people give it on a command line.

Layer: testing. Pure.
"""

from __future__ import annotations

import ipaddress
import re

_FORM = re.compile(r"(?:(?P<name>[\w.-]+)|\[(?P<bracketed>.+)\])(?::(?P<port>\d{1,5}))?", re.ASCII)


class AddressError(ValueError):
    """A text is no address of a server."""


def parse_address(text: str, port: int = 9042) -> tuple[str, int]:
    """(host, port) of "10.0.0.5", "db.example.org:9142", "::1" or "[::1]:9142"; `port` if the text names none.

    Raises AddressError.
    """
    if _is_ipv6(text):
        return text, port
    found = _FORM.fullmatch(text)
    if found and (found["name"] or _is_ipv6(found["bracketed"])) and 0 < int(found["port"] or port) < 65536:
        return found["name"] or found["bracketed"], int(found["port"] or port)
    raise AddressError(f"{text!r} is no address: HOST or HOST:PORT is one, and [ADDRESS]:PORT for IPv6")


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
