"""Bugs in geventcql/net."""

from __future__ import annotations

from tests.mutation.mutant import Mutant

CONNECTION = "geventcql/net/connection.py"
HEARTBEAT = "geventcql/net/heartbeat.py"
OPENING = "geventcql/net/opening.py"
POOL = "geventcql/net/pool.py"
SCHEDULER = "geventcql/net/scheduler.py"
TRANSPORT = "geventcql/net/transport.py"
TLS = "geventcql/net/tls.py"

MUTANTS = (
    Mutant(
        "a connection that ends does not tell its targets",
        CONNECTION,
        "            self._lose(lost, on_close, cause, errors)\n",
        "            self.table.drain()\n            if on_close is not None:\n                on_close(self, cause)\n",
        ("tests/net/test_connection_end.py::test_close",),
    ),
    Mutant(
        "the pool does not hear of an orderly close",
        CONNECTION,
        "self._lose(lost, on_close, cause, errors)",
        "self._lose(lost, None if cause is None else on_close, cause, errors)",
        ("tests/net/test_pool.py::test_too_many_orphans_replace_a_connection_once",),
    ),
    Mutant(
        "the timer of a deadline outlives its connection",
        CONNECTION,
        "            self._deadline_timer.cancel()\n            self._deadline_timer = None",
        "            self._deadline_timer = None",
        ("tests/net/test_connection_end.py::test_a_connection_is_collected",),
    ),
    Mutant(
        "the write watcher outlives its connection",
        CONNECTION,
        "but for its targets.\"\"\"\n        self._stop_write_watcher()\n",
        "but for its targets.\"\"\"\n",
        ("tests/net/test_connection_end.py::test_anything_that_ends_a_resumed_write",),
    ),
    Mutant(
        "a flush overtakes what the kernel has not taken yet",
        CONNECTION,
        "        if self._unsent is not None:\n            return  # the write watcher goes on with what is there, in order\n",
        "",
        ("tests/net/test_connection.py::test_a_peer_that_does_not_read",),
    ),
    Mutant(
        "a flush drops its frames while the TLS peer renegotiates",
        CONNECTION,
        "                self.pending = frames\n",
        "",
        ("tests/net/test_transfer.py::test_new_keys_during_an_upload",),
    ),
    Mutant(
        "what waits for the next flush does not count against a peer that does not read",
        CONNECTION,
        "self.unsent_bytes = len(self._unsent) + sum(map(len, self.pending))",
        "self.unsent_bytes = len(self._unsent)",
        ("tests/net/test_connection.py::test_a_peer_that_does_not_read",),
    ),
    Mutant(
        "what was requested while the socket was full is never flushed",
        CONNECTION,
        "            if self._unsent is None:\n                self._flush()\n",
        "            if self._unsent is None:\n",
        ("tests/net/test_connection.py::test_requests_arrive_in_order",),
    ),
    Mutant(
        "nobody hears that a full socket has taken data",
        CONNECTION,
        "                if self.on_room is not None and not self.closed:\n                    self.on_room(self)\n"
        "        except",
        "        except",
        ("tests/net/test_connection.py::test_who_waits_hears_that_a_full_socket_has_taken_data",),
    ),
    Mutant(
        "nobody hears of the room of a request that was given up",
        CONNECTION,
        "            self._tell_room()  # at once",
        "            pass  # at once",
        ("tests/net/test_connection.py::test_requests_given_up_make_room_at_once",),
    ),
    Mutant(
        "a draining connection stays open when its last request is given up",
        CONNECTION,
        "        done = self.table.orphan(stream, target)\n        if done and self.draining:",
        "        done = self.table.orphan(stream, target)\n        if done and self.closed:",
        ("tests/net/test_connection_end.py::test_drain_ends_though_the_server_never_answers",),
    ),
    Mutant(
        "a draining connection stays open when its last request expires",
        CONNECTION,
        "DEADLINE_GRAIN))\n        if self.draining:",
        "DEADLINE_GRAIN))\n        if self.closed:",
        ("tests/net/test_connection_end.py::test_drain_ends_though_the_server_never_answers",),
    ),
    Mutant(
        "only the first deadline is kept",
        CONNECTION,
        "        if self.table.earliest < self.armed and not self.closed:\n"
        "            self._arm(max(self.table.earliest, now + DEADLINE_GRAIN))\n",
        "",
        ("tests/net/test_connection.py::test_deadlines_are_kept",),
    ),
    Mutant(
        "behind a deadline the timer passes for one that is set still",
        CONNECTION,
        "        self._deadline_timer = None\n        self.armed = NEVER\n        now",
        "        self._deadline_timer = None\n        now",
        ("tests/net/test_connection.py::test_a_deadline_behind_one_that_has_come",),
    ),
    Mutant(
        "deadlines wait for as long as the peer goes on sending",
        CONNECTION,
        "if self._postponed < MAX_POSTPONED and (",
        "if (",
        ("tests/net/test_connection.py::test_deadlines_hold_though_the_socket_is_never_empty",),
    ),
    Mutant(
        "a connection puts off its deadlines ten times in its life",
        CONNECTION,
        "        self._postponed = 0\n        errors",
        "        errors",
        ("tests/net/test_connection.py::test_deadlines_hold_though_the_socket_is_never_empty",),
    ),
    Mutant(
        "what was cut in front of damaged bytes reaches nobody",
        CONNECTION,
        "        try:\n            self._splitter.take(MAX_TURN_FRAMES, batch)\n"
        "        finally:  # what was cut before an error has left the "
        "table and must reach its targets\n            self._deliver(batch)\n",
        "        self._splitter.take(MAX_TURN_FRAMES, batch)\n        self._deliver(batch)\n",
        ("tests/net/test_connection_end.py::test_replies_that_answer_nothing",),
    ),
    Mutant(
        "a silent connection that speaks again stays suspect",
        CONNECTION,
        "                self.suspect = False\n",
        "                pass\n",
        ("tests/net/test_heartbeat.py::test_any_byte_clears_the_suspicion",),
    ),
    Mutant(
        "behind the handshake a server may change to another version",
        CONNECTION,
        "        self._splitter.negotiating = False\n",
        "",
        ("tests/net/test_opening.py::test_other_versions_are_refused_behind_the_handshake",),
    ),
    Mutant(
        "a request on a closed connection waits for ever",
        CONNECTION,
        "        if self.closed:\n            raise ConnectionShutdown(f\"connection to {self.endpoint} is closed: "
        "{self.cause or 'shut down'}\", self.endpoint)\n",
        "",
        ("tests/net/test_connection_end.py::test_the_server_closes",),
    ),
    Mutant(
        "a call that is abandoned stays in flight",
        CONNECTION,
        "            self.orphan(stream, call)\n",
        "            pass\n",
        ("tests/net/test_connection_end.py::test_a_call_that_is_abandoned_is_an_orphan",),
    ),
    Mutant(
        "compression that lengthens a request is kept",
        CONNECTION,
        "    if len(body) + 9 >= len(frame):\n        return frame\n",
        "",
        ("tests/net/test_transfer.py::test_requests_that_compression_would_lengthen_go_as_they_are",),
    ),
    Mutant(
        "a heartbeat that is not answered closes nothing",
        HEARTBEAT,
        "        elif waited >= self._timeout:\n            connection.defunct(",
        "        elif waited >= self._timeout and not connection.suspect:\n            connection.defunct(",
        ("tests/net/test_heartbeat.py::test_a_full_table_does_not_hide_a_dead_peer",),
    ),
    Mutant(
        "the hub was busy behind the question, and the peer is blamed",
        HEARTBEAT,
        "                if late > self._period:\n                    probe.asked = now\n",
        "",
        ("tests/net/test_heartbeat.py::test_busy_between_the_question_and_its_sending",),
    ),
    Mutant(
        "a probe that is given up stays in flight, and its late answer ends the next one",
        HEARTBEAT,
        "                connection.orphan(probe.stream, probe)\n",
        "",
        ("tests/net/test_heartbeat.py::test_the_late_answer_to_a_question_that_was_given_up",),
    ),
    Mutant(
        "a connection is asked again before it has answered",
        HEARTBEAT,
        "if connection.closed or connection.probe is not None or connection.drain_socket():",
        "if connection.closed or connection.drain_socket():",
        ("tests/net/test_heartbeat.py::test_who_has_been_asked_is_not_asked_again_before_the_answer",),
    ),
    Mutant(
        "requests in flight do not hasten the question",
        HEARTBEAT,
        "(min(SUSPECT_AFTER, self._interval) if waiting else self._interval)",
        "self._interval",
        ("tests/net/test_heartbeat.py::test_silent_with_requests_in_flight",),
    ),
    Mutant(
        "orphans are not counted",
        POOL,
        "if connection.table.orphaned >= MAX_ORPHANS and not connection.draining:",
        "if connection.table.in_flight >= MAX_ORPHANS and not connection.draining:",
        ("tests/net/test_pool.py::test_too_many_orphans_replace_a_connection_once",),
    ),
    Mutant(
        "a closed connection stays in its pool",
        POOL,
        "        if connection in self.connections:\n            self.connections.remove(connection)\n",
        "",
        ("tests/net/test_pool.py::test_a_lost_connection_is_reported",),
    ),
    Mutant(
        "a connection that closes before its successor is there is counted as leaving for ever",
        POOL,
        "        self._leaving.discard(connection)\n        if connection in self.connections:",
        "        if connection in self.connections:",
        ("tests/net/test_pool.py::test_a_connection_that_ends_before_its_successor_is_there",),
    ),
    Mutant(
        "a connection that is to be replaced is reported with each reply",
        POOL,
        "if connection in self.connections and connection not in self._leaving:",
        "if connection in self.connections:",
        ("tests/net/test_pool.py::test_a_connection_that_ends_before_its_successor_is_there",),
    ),
    Mutant(
        "nobody watches a connection that is being drained",
        POOL,
        "        self._draining.add(connection)\n",
        "",
        ("tests/net/test_pool.py::test_shutdown",),
    ),
    Mutant(
        "the error of a connection that has been replaced is told of later ones",
        POOL,
        "        self.last_error = None\n        self.opening = True\n        if",
        "        self.opening = True\n        if",
        ("tests/net/test_pool.py::test_a_lost_connection_is_reported",),
    ),
    Mutant(
        "cancelled timers that have come are counted for ever",
        SCHEDULER,
        "                self._dead -= 1\n",
        "",
        ("tests/net/test_scheduler.py::test_cancel",),
    ),
    Mutant(
        "a heap that was emptied leaves its watcher running",
        SCHEDULER,
        "            if not self._heap:\n                self._disarm()\n",
        "",
        ("tests/net/test_scheduler.py::test_an_idle_scheduler_has_no_watcher",),
    ),
    Mutant(
        "each message of the handshake has the whole time",
        OPENING,
        "connection.start_call(call, opcode, body, None if deadline is None else max(0.001, deadline - monotonic()))",
        "connection.start_call(call, opcode, body, settings.connect_timeout)",
        ("tests/net/test_opening.py::test_answers_slowly",),
    ),
    Mutant(
        "a socket whose TLS handshake failed is leaked",
        TRANSPORT,
        "    except BaseException:\n        sock.close()\n        raise",
        "    except BaseException:\n        raise",
        ("tests/net/test_opening.py::test_tls_to_a_server_without",),
    ),
    Mutant(
        "the name in the certificate is not checked",
        TLS,
        'context.check_hostname = bool(given.get("check_hostname", False))',
        "context.check_hostname = False",
        ("tests/net/test_tls_options.py::test_the_name_is_checked_on_request",),
    ),
    Mutant(
        "what a renegotiation held up is not sent when it has ended",
        TLS,
        "if self._outgoing.pending or self._held_up:",
        "if self._outgoing.pending:",
        ("tests/net/test_transfer.py::test_the_end_of_what_held_output_up_is_told",),
    ),
    Mutant(
        "replies that TLS has taken from the socket do not count as having come",
        TLS,
        "return bool(self._incoming.pending or self._tls.pending()) or super().pending()",
        "return super().pending()",
        ("tests/net/test_transfer.py::test_what_tls_has_taken_from_the_socket_has_come",),
    ),
    Mutant(
        "whatever a server answers to USE, the connection counts as being in the keyspace",
        OPENING,
        "            if not isinstance(message, responses.SetKeyspace):",
        "            if message is None:",
        ("tests/net/test_opening.py::test_use_is_answered_by_something_else",),
    ),
)
