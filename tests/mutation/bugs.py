"""All mutants."""

from __future__ import annotations

from tests.mutation import core, hosts, net, requests
from tests.mutation.mutant import Mutant

MUTANTS: tuple[Mutant, ...] = (*core.MUTANTS, *net.MUTANTS, *requests.MUTANTS, *hosts.MUTANTS)
