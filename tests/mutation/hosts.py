"""Bugs in the supervisors of hosts."""

from __future__ import annotations

from tests.mutation.mutant import Mutant

KEEPING = "geventcql/keeping.py"
SUPERVISOR = "geventcql/supervisor.py"

MUTANTS = (
    Mutant(
        "an attempt that was cancelled when it had succeeded leaks its connection",
        KEEPING,
        "        if self._is_cancelled:\n            self.cancel()\n",
        "",
        ("tests/driver/test_supervisors.py::test_an_attempt_that_succeeds_though_it_was_given_up",),
    ),
    Mutant(
        "a supervisor is not scheduled for the next attempt",
        SUPERVISOR,
        "        return min(due) if due else None",
        "        return None",
        ("tests/driver/test_hosts.py::test_pauses_of_nothing_leave_the_hub_time",),
    ),
    Mutant(
        "a host that has left is connected to all the same",
        SUPERVISOR,
        "        self._ended = True\n        self._cancel_attempt()\n        for keyspace in list(self._kept):",
        "        self._ended = True\n        for keyspace in list(self._kept):",
        ("tests/driver/test_supervisors.py::test_a_host_that_leaves_is_looked_at_no_more",),
    ),
    Mutant(
        "connections to the former address of a host are kept",
        SUPERVISOR,
        "                    pool.succeed(connection)\n",
        "                    pass\n",
        ("tests/driver/test_supervisors.py::test_connections_follow_a_host_that_moves",),
    ),
    Mutant(
        "requests that wait for a host that is not used any more are not told",
        SUPERVISOR,
        "        self._registry.drain(kept.pool)\n        self._cluster._on_unreachable()\n",
        "        self._registry.drain(kept.pool)\n",
        ("tests/driver/test_supervisors.py::test_who_waits_for_a_host_that_is_not_used_any_more_is_told",),
    ),
    Mutant(
        "a silent connection is closed by word alone",
        SUPERVISOR,
        "        if self.said_down and connection.suspect:",
        "        if self.said_down:",
        ("tests/driver/test_topology.py::test_a_node_that_is_said_to_be_down_and_is_not",),
    ),
    Mutant(
        "a pool of a keyspace that nobody is in is closed with requests in flight",
        SUPERVISOR,
        "                or any(connection.in_flight for connection in pool.open_connections)\n",
        "",
        ("tests/driver/test_keyspaces.py::test_pools_of_keyspaces_that_nobody_is_in_are_closed",),
    ),
    Mutant(
        "the word that a host is up wakes nobody",
        SUPERVISOR,
        "        self.said_down = not is_up\n        self._wake.set()\n",
        "        self.said_down = not is_up\n",
        ("tests/driver/test_topology.py::test_word_that_a_node_is_up_shortens_the_wait",),
    ),
    Mutant(
        "a lost connection wakes nobody who would replace it",
        SUPERVISOR,
        "            self.backoff.lost()\n        self._wake.set()\n",
        "            self.backoff.lost()\n",
        ("tests/driver/test_host_life.py::test_the_last_connection_is_replaced_at_once_whatever_became_of_the_others",),
    ),
    Mutant(
        "a host that its policy leaves out while it is down is never looked at again",
        SUPERVISOR,
        "        if self._attempt is None and self._is_to_be_probed():\n            due.append(self.backoff.due)\n",
        "",
        ("tests/driver/test_host_life.py::test_a_remote_host_that_its_policy_leaves_out_while_it_is_down_comes_back",),
    ),
    Mutant(
        "a keyspace that is not there makes its host one that cannot be connected to",
        SUPERVISOR,
        "            kept.refusals.failed()\n        else:\n            self.backoff.failed()\n",
        "            self.backoff.failed()\n        else:\n            self.backoff.failed()\n",
        ("tests/driver/test_hosts.py::test_a_pool_that_cannot_be_filled_keeps_no_other_waiting",),
    ),
    Mutant(
        "a host whose word was lost in a flood of events is down at its next silence",
        SUPERVISOR,
        "        self._is_word_old = True\n        self.said_down = False\n",
        "        self._is_word_old = True\n",
        (
            "tests/driver/test_suspects.py"
            "::test_a_host_that_is_up_again_in_a_flood_of_events_is_not_down_at_its_next_silence",
        ),
    ),
)
