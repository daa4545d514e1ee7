"""Bugs in what carries a request through: executions, attempts, queues, futures, preparing."""

from __future__ import annotations

from tests.mutation.mutant import Mutant

ADMISSION = "geventcql/admission.py"
ATTEMPTS = "geventcql/attempts.py"
EXECUTION = "geventcql/execution.py"
FLIGHTS = "geventcql/flights.py"
PREPARING = "geventcql/preparing.py"
RESPONSE = "geventcql/response.py"
RETRYING = "geventcql/retrying.py"
THROTTLE = "geventcql/throttle.py"
WAITING = "geventcql/waiting.py"

MUTANTS = (
    # -- executions
    Mutant(
        "a request that is cancelled keeps its stream id in flight",
        EXECUTION,
        "        self._orphan()\n        self._fail(Cancelled(",
        "        self._fail(Cancelled(",
        ("tests/driver/test_waiting.py::test_rows_of_a_killed_request_reach_nobody",),
    ),
    Mutant(
        "a request that is cancelled while it waits is counted as waiting",
        EXECUTION,
        "is gone\"))\n        self._wait_no_more()",
        "is gone\"))",
        ("tests/driver/test_admission.py::test_those_who_left_do_not_count",),
    ),
    Mutant(
        "a host that has answered with an error is asked again in the same plan",
        EXECUTION,
        "if host in answered or host in looked_at or host in self._left:",
        "if host in looked_at or host in self._left:",
        ("tests/driver/test_execution.py::test_a_single_host_is_not_its_own_next_host",),
    ),
    Mutant(
        "a policy that takes its time has the request sent behind its deadline",
        EXECUTION,
        "            if self._over():  # while the policy let others run\n                return\n",
        "",
        ("tests/driver/test_deadlines.py::test_while_the_first_plan_is_made",),
    ),
    Mutant(
        "room that came while the policy was asked is not looked at before queueing up",
        EXECUTION,
        "        if any(self.try_pool(pool) for pool in pools):  # there has been room since the policy gave that host\n"
        "            return\n",
        "",
        ("tests/driver/test_admission.py::test_room_that_comes_while_the_policy_goes_on",),
    ),
    Mutant(
        "changed columns are not heeded",
        EXECUTION,
        "        if page.new_metadata_id is not None:\n",
        "        if page.new_metadata_id is not None and self.attempts > 1:\n",
        ("tests/driver/test_preparing.py::test_columns_change_under_prepared_statements",),
    ),
    Mutant(
        "a statement that the server has forgotten is not prepared again",
        EXECUTION,
        "if isinstance(error, PreparedQueryNotFound) and",
        "if isinstance(error, PreparedQueryNotFound) and self.retries and",
        ("tests/driver/test_preparing.py::test_forgotten",),
    ),
    Mutant(
        "a statement is prepared again once for a request, and not when it is forgotten once more",
        EXECUTION,
        "if self.prepared_again[error.info] >= MAX_ATTEMPTS:",
        "if self.prepared_again[error.info]:",
        ("tests/driver/test_preparing.py::test_a_node_that_forgets_what_it_has_just_prepared",),
    ),
    Mutant(
        "behind a PREPARE the request goes on with the columns from before it",
        EXECUTION,
        "        self.resolved = self.resolved.current()\n",
        "",
        ("tests/driver/test_preparing.py::test_what_is_told_when_it_is_prepared_again_counts_at_once",),
    ),
    Mutant(
        "the host that should be asked again has answered, so it is left out when it has room",
        EXECUTION,
        "        self._forgiven |= {self.host}\n        self._left",
        "        self._left",
        ("tests/driver/test_retries.py::test_the_same_host_without_room_is_waited_for",),
    ),
    Mutant(
        "a host that loses connections is asked again each time",
        EXECUTION,
        "        if self.host not in self._lost_once:\n",
        "        if self.host is not None:\n",
        ("tests/driver/test_retries.py::test_who_loses_each_connection_is_asked_twice",),
    ),
    Mutant(
        "a write is retried at the level of a Paxos read",
        EXECUTION,
        "if consistency is not None and (serial(self.resolved.consistency) or not serial(consistency)):",
        "if consistency is not None:",
        ("tests/driver/test_execution.py::test_the_level_of_a_paxos_read_is_none_of_a_write",),
    ),
    Mutant(
        "a pause that ends behind the deadline is waited for",
        EXECUTION,
        "        if monotonic() + seconds >= self.deadline:\n            self._fail(error)\n            return False\n",
        "",
        ("tests/driver/test_retries.py::test_a_pause_beyond_the_deadline_is_not_waited_for",),
    ),
    Mutant(
        "each further page is the first one again",
        EXECUTION,
        "resolved = self.resolved.from_page(paging_state)",
        "resolved = self.resolved.from_page(None)",
        ("tests/driver/test_response.py::test_start_fetching_next_page_by_hand",),
    ),
    Mutant(
        "the deadline does not end a cold path",
        EXECUTION,
        "        if self.deadline < NEVER:\n            self._limit",
        "        if self.deadline < self.started:\n            self._limit",
        ("tests/driver/test_deadlines.py::test_while_a_retry_policy_thinks",),
    ),
    Mutant(
        "the timer of a cold path outlives it",
        EXECUTION,
        "        if self._limit is not None:\n            self._limit.cancel()\n",
        "",
        ("tests/driver/test_deadlines.py::test_the_cold_path_keeps_no_timer",),
    ),
    Mutant(
        "a cold path whose greenlet is killed leaves its request without an end",
        EXECUTION,
        "        elif greenlet.value is not None:  # killed, perhaps before it began\n            self.given_up()\n",
        "",
        ("tests/driver/test_response.py::test_a_lost_connection_and_a_shutdown_in_one_turn",),
    ),
    Mutant(
        "a write that may not be sent twice leaves a silent host",
        EXECUTION,
        "if self.only_host is not None or not self.resolved.is_idempotent:",
        "if self.only_host is not None:",
        ("tests/driver/test_suspects.py::test_others_wait_for_their_deadline",),
    ),
    Mutant(
        "a request leaves a silent host though no other is well",
        EXECUTION,
        "        if is_other and connection.orphan(self.stream, self):",
        "        if connection.orphan(self.stream, self):",
        ("tests/driver/test_suspects.py::test_a_request_stays_with_a_silent_host_when_no_other_is_well",),
    ),
    Mutant(
        "an error in a request that was given up does not name the host",
        EXECUTION,
        "error.host = getattr(error, \"host\", None) or self.host",
        "error.host = getattr(error, \"host\", None)",
        ("tests/driver/test_execution.py::test_each_error_is_what_cassandra_driver_raises",),
    ),
    # -- retries
    Mutant(
        "a lost connection has what is not idempotent sent again",
        RETRYING,
        "AMBIGUOUS = (ServerError, TruncateError, WriteTimeoutErrorMessage, ConnectionException)",
        "AMBIGUOUS = (ServerError, TruncateError, WriteTimeoutErrorMessage)",
        ("tests/driver/test_retries.py::test_a_counter_whose_answer_is_lost_is_counted_once",),
    ),
    Mutant(
        "a write timeout has what is not idempotent sent again",
        RETRYING,
        "AMBIGUOUS = (ServerError, TruncateError, WriteTimeoutErrorMessage, ConnectionException)",
        "AMBIGUOUS = (ServerError, TruncateError, ConnectionException)",
        ("tests/driver/test_retries.py::test_what_reached_the_batch_log_is_replayed",),
    ),
    Mutant(
        "a refused batch of counters is sent again",
        RETRYING,
        "in (BatchType.UNLOGGED, BatchType.COUNTER)",
        "in (BatchType.UNLOGGED,)",
        ("tests/driver/test_retries.py::test_a_refused_batch_may_have_been_applied_in_part",),
    ),
    Mutant(
        "a delete of several partitions counts as one of a single partition",
        RETRYING,
        'if first in ("update", "delete"):',
        'if first == "update":',
        ("tests/driver/test_retries.py::test_a_refused_batch_may_have_been_applied_in_part",),
    ),
    Mutant(
        "the pause of a retry policy is not made",
        RETRYING,
        "(pause[0] or 0.0) if pause else 0.0",
        "0.0",
        ("tests/driver/test_retries.py::test_a_node_that_recovers_while_the_request_waits",),
    ),
    # -- several attempts at once
    Mutant(
        "attempts that have lost stay in flight",
        ATTEMPTS,
        "        for attempt in running:\n            attempt.retire()\n",
        "",
        ("tests/driver/test_attempts.py::test_the_first_result_wins",),
    ),
    Mutant(
        "an attempt that is not needed keeps its place in the queue",
        ATTEMPTS,
        "        self._orphan()\n        self._wait_no_more()\n",
        "        self._orphan()\n",
        ("tests/driver/test_attempts.py::test_attempts_that_wait_for_room",),
    ),
    Mutant(
        "an error ends the request though another attempt is under way",
        ATTEMPTS,
        "if late or refused or not self.running or head.session.is_shutdown:",
        "if True:",
        ("tests/driver/test_attempts.py::test_an_error_ends_the_request_only_when_nothing_else_is_under_way",),
    ),
    Mutant(
        "what a server has done is done elsewhere, too",
        ATTEMPTS,
        "            self._of.settled = True\n",
        "            pass\n",
        ("tests/driver/test_attempts.py::test_what_a_server_has_done_is_not_done_elsewhere",),
    ),
    Mutant(
        "a speculative attempt goes to a host that is asked already",
        ATTEMPTS,
        "            if host in self.asked:\n                continue\n",
        "",
        ("tests/driver/test_attempts.py::test_no_more_than_there_are_hosts",),
    ),
    Mutant(
        "an attempt that has been sent again meanwhile is given up as slow",
        ATTEMPTS,
        "if self.over or slow not in self.running or slow.sent_at != sent_at:",
        "if self.over or slow not in self.running:",
        ("tests/driver/test_attempts.py::test_an_attempt_that_is_sent_again_while_the_policy_is_asked_is_not_slow",),
    ),
    Mutant(
        "an attempt that was answered is given up as slow",
        ATTEMPTS,
        "        self.stop_timer()\n        super()._decide(work, *args)",
        "        super()._decide(work, *args)",
        ("tests/driver/test_attempts.py::test_an_attempt_that_pauses_is_not_slow",),
    ),
    Mutant(
        "attempts retry on hosts that others are asking",
        ATTEMPTS,
        "return super()._answered() | {other.host for other in self._of.running if other is not self}",
        "return super()._answered()",
        ("tests/driver/test_attempts.py::test_attempts_retry_on_hosts_that_no_other_asks",),
    ),
    # -- the queue
    Mutant(
        "a request that finds no room is dropped from the queue",
        ADMISSION,
        "            queue.appendleft(entry)\n            self._entries += 1\n            return None\n",
        "            return None\n",
        ("tests/driver/test_admission.py::test_who_waits_longest_is_admitted_first",),
    ),
    Mutant(
        "a request that finds no room goes to the end of the queue",
        ADMISSION,
        "            queue.appendleft(entry)\n",
        "            queue.append(entry)\n",
        ("tests/driver/test_admission.py::test_who_waits_longest_is_admitted_first",),
    ),
    Mutant(
        "a request that was sent counts as waiting",
        ADMISSION,
        "                execution.end_waiting()\n",
        "",
        ("tests/driver/test_admission.py::test_who_waited_and_was_sent_gets_no_answer",),
    ),
    Mutant(
        "only the first deadline in a queue is kept",
        ADMISSION,
        "        if self._heap:\n            self._arm(self._heap[0][0])\n",
        "",
        ("tests/driver/test_admission.py::test_a_deadline_that_passes_in_the_queue",),
    ),
    Mutant(
        "an earlier deadline in a queue is kept late",
        ADMISSION,
        "        if execution.deadline < self._armed:\n",
        "        if self._timer is None:\n",
        ("tests/driver/test_admission.py::test_a_deadline_in_the_queue_that_is_earlier_than_those_before",),
    ),
    Mutant(
        "one request more than allowed may wait",
        ADMISSION,
        "        if waiting >= self.limit:\n",
        "        if waiting > self.limit:\n",
        ("tests/driver/test_admission.py::test_busy_at_the_bound",),
    ),
    Mutant(
        "the error of a request that cannot be sent is swallowed",
        ADMISSION,
        "            execution._fail(error)\n            return True\n",
        "            return True\n",
        ("tests/driver/test_admission.py::test_the_end_of_one_is_the_end_of_others_in_the_queue",),
    ),
    Mutant(
        "queues are not served by age",
        ADMISSION,
        "    heapq.heapify(heads)\n    while heads:",
        "    while heads:",
        ("tests/driver/test_admission.py::test_queues_that_share_a_host_are_served_by_age",),
    ),
    Mutant(
        "the timer of a queue that is empty keeps its Session",
        ADMISSION,
        "        self._waiting.discard(self)\n        self._deadlines.clear()\n",
        "        self._waiting.discard(self)\n",
        ("tests/driver/test_admission.py::test_deadlines_of_those_who_wait_no_more_are_forgotten",),
    ),
    Mutant(
        "a request that is late in the queue is sent all the same",
        ADMISSION,
        "        if execution.deadline <= monotonic():  # the timer is late\n            execution.expire()\n"
        "            return True\n",
        "",
        ("tests/driver/test_admission.py::test_room_that_comes_late",),
    ),
    Mutant(
        "requests that wait their turn in a throttle are started by the last one's timer only",
        THROTTLE,
        "        if self._queue:\n            self._arm()\n        else:\n            self._deadlines.clear()\n",
        "        if not self._queue:\n            self._deadlines.clear()\n",
        ("tests/driver/test_throttle.py::test_the_rate_is_kept_in_order",),
    ),
    # -- futures
    Mutant(
        "an error wakes nobody",
        RESPONSE,
        "        if self._waiter is not None:\n            self.session._waker.wake(self)\n",
        "",
        ("tests/driver/test_execution.py::test_rethrow",),
    ),
    Mutant(
        "two greenlets park on one future, and one of them for ever",
        RESPONSE,
        "if timeout is not None or self._waiter is not None:",
        "if timeout is not None:",
        ("tests/driver/test_response.py::test_several_waiters_by_every_way_of_waiting",),
    ),
    Mutant(
        "whoever leaves by a timeout is switched to when the reply comes",
        WAITING,
        "    finally:\n        future._waiter = None",
        "    finally:\n        pass",
        ("tests/driver/test_waiting.py::test_a_throw_and_the_reply_in_one_turn_of_the_hub",),
    ),
    # -- preparing
    Mutant(
        "another statement id is taken for the same statement",
        PREPARING,
        "        if prepared.query_id != statement.query_id:",
        "        if prepared.query_id == b\"\":",
        ("tests/driver/test_preparing.py::test_the_id_is_another_one",),
    ),
    Mutant(
        "a refusal that is older than the PREPARE has it sent again",
        PREPARING,
        "or since is None or outcome[0] < since:",
        "or since is None or outcome[0] > since:",
        ("tests/driver/test_preparing.py::test_who_hears_late_that_it_was_forgotten_does_not_tell_it_again",),
    ),
    Mutant(
        "a statement of the same text keeps the columns of an earlier schema",
        PREPARING,
        "        if statement is not asked_for:",
        "        if statement is None:",
        ("tests/driver/test_preparing.py::test_another_statement_of_the_same_text_is_looked_at_too",),
    ),
    Mutant(
        "all that was ever prepared again is remembered",
        PREPARING,
        "        while (oldest := next(iter(self._done))) != key and self._done[oldest][0] < now - REMEMBERED:\n"
        "            del self._done[oldest]\n",
        "",
        ("tests/driver/test_preparing.py::test_what_was_prepared_again_long_ago_is_forgotten",),
    ),
    Mutant(
        "a statement is prepared again in no keyspace",
        PREPARING,
        "keyspace = statement.keyspace if connection.version >= ProtocolVersion.V5 else None",
        "keyspace = None",
        ("tests/driver/test_preparing.py::test_it_is_prepared_again_in_its_own_keyspace",),
    ),
    Mutant(
        "whoever waits for work whose greenlet was killed waits for ever",
        FLIGHTS,
        "            if not flight.ready():",
        "            if not flight.ready() and not greenlet.successful():",
        ("tests/driver/test_flights.py::test_work_that_is_killed",),
    ),
)
