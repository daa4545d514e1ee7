"""Bugs in the compiled core.

They are built together, each behind a condition (`switch.py`). So what one of them takes the place of is an expression, or
whole statements to the end of their last line, and none overlaps another.
"""

from __future__ import annotations

from tests.mutation.mutant import Mutant

BUFFER = "geventcql/cython/codecs_buffer.pxi"
NESTED = "geventcql/cython/codecs_nested.pxi"
PARSE = "geventcql/cython/codecs_parse.pxi"
ROWS = "geventcql/cython/codecs_rows.pxi"
SCALAR = "geventcql/cython/codecs_scalar.pxi"
TIME = "geventcql/cython/codecs_time.pxi"
INFLIGHT = "geventcql/cython/wire_inflight.pxi"
PAGES = "geventcql/cython/wire_pages.pxi"
REQUESTS = "geventcql/cython/wire_requests.pxi"
TELLING = "geventcql/cython/wire_telling.pxi"
SPLITTER = "geventcql/cython/wire_splitter.pxi"

WIRE_MUTANTS = (
    Mutant(
        "an error of a target is swallowed",
        REQUESTS,
        "        if errors:\n            raise gravest(errors)\n",
        "",
        ("tests/net/test_connection_end.py::test_a_target_that_raises_on_its_reply",),
    ),
    Mutant(
        "what an interrupt kept from beginning is not called again",
        TELLING,
        "    if not isinstance(error, Exception):\n        try:\n            method(*args)\n"
        "        except BaseException as another:\n            errors.append((method, another))\n",
        "",
        ("tests/net/test_interrupted.py::test_a_target_whose_time_has_passed",),
    ),
    Mutant(
        "in the child of a fork those are woken who were to be behind the one that has forked",
        REQUESTS,
        "            if self.process != generation:  # one of those that it woke may have forked: this is the child\n"
        "                return\n",
        "",
        ("tests/driver/test_forks.py::test_the_first_of_those_that_are_woken_forks",),
    ),
    # -- stream ids
    Mutant(
        "a stream id is free while the server still owes its reply",
        INFLIGHT,
        "                self.targets[i] = ORPHAN\n                self.readers[i] = None\n"
        "                self.deadlines[i] = NEVER\n"
        "                self.in_flight -= 1\n                self.orphaned += 1\n",
        "                self.targets[i] = None\n                self.readers[i] = None\n                self.release(i)\n"
        "                self.in_flight -= 1\n",
        ("tests/cython/test_wire_inflight.py::test_expire_leaves_what_is_beyond_its_limit",),
    ),
    Mutant(
        "an orphan that is answered is counted for ever",
        INFLIGHT,
        "            self.orphaned -= 1\n            self.late_replies += 1\n",
        "            self.late_replies += 1\n",
        ("tests/cython/test_wire_inflight.py::test_orphans_do_not_count_for_the_limit_but_take_ids",),
    ),
    Mutant(
        "a request that was given up expires again",
        INFLIGHT,
        "        self.deadlines[stream] = NEVER\n        self.in_flight -= 1\n        self.orphaned += 1\n",
        "        self.in_flight -= 1\n        self.orphaned += 1\n",
        ("tests/cython/test_wire_inflight.py::test_a_request_that_was_given_up_does_not_expire",),
    ),
    Mutant(
        "a deadline that is due this moment is not",
        INFLIGHT,
        "self.deadlines[i] <= now",
        "self.deadlines[i] < now",
        ("tests/cython/test_wire_inflight.py::test_expire_finds_the_earliest_of_those_it_leaves",),
    ),
    Mutant(
        "the deadlines beyond one pass are forgotten",
        INFLIGHT,
        "self.deadlines[i] < earliest",
        "self.deadlines[i] > now and self.deadlines[i] < earliest",
        ("tests/cython/test_wire_inflight.py::test_expire_leaves_what_is_beyond_its_limit",),
    ),
    # -- the splitter
    Mutant(
        "the checksum of a segment's header is not looked at",
        SPLITTER,
        "crc24_of(p, k - 3) != little(p + k - 3, 3)",
        "False",
        ("tests/cython/test_wire_segments.py::test_every_damaged_bit_is_found",),
    ),
    Mutant(
        "the checksum of a compressed segment's payload is not looked at",
        SPLITTER,
        "crc32_of(p + k, n) != little(p + k + n, 4)",
        "k == 6 and crc32_of(p + k, n) != little(p + k + n, 4)",
        ("tests/cython/test_wire_segments.py::test_every_damaged_bit_is_found",),
    ),
    Mutant(
        "what comes from a client is taken for a reply",
        SPLITTER,
        "head[0] != (0x80 | self.version)",
        "head[0] & 0x7F != self.version",
        ("tests/cython/test_wire_splitter.py::test_what_is_no_cql_is_refused_at_its_first_bytes",),
    ),
    Mutant(
        "bytes of a segment, head and checksum, are received into a body",
        SPLITTER,
        "self.body is not None and not self.segmented",
        "self.body is not None",
        ("tests/cython/test_wire_cuts.py::test_both_ways_in_by_turns",),
    ),
    # -- pages
    Mutant(
        "a paging state is dropped",
        PAGES,
        '        page.paging_state = None if n < 0 else read_exactly(&c, n, "the paging state")\n',
        '        read_exactly(&c, n, "the paging state")\n',
        ("tests/cython/test_wire_pages.py::test_paging_state_and_new_metadata_id",),
    ),
    Mutant(
        "rows without metadata are read with columns of another number",
        PAGES,
        "self.column_count != len(decoder.columns)",
        "self.column_count > len(decoder.columns)",
        ("tests/cython/test_wire_pages.py::test_wrong_number_of_columns",),
    ),
    Mutant(
        "the first of several pages passes for the whole result",
        PAGES,
        "self.paging_state is not None or self.error is not None",
        "self.error is not None",
        ("tests/cython/test_wire_pages.py::test_a_short_page_that_is_the_last_one",),
    ),
    # -- requests
    Mutant(
        "a request that waits for room goes to a silent connection",
        REQUESTS,
        "not connection.suspect",
        "True",
        ("tests/driver/test_suspects.py::test_who_waits_for_room_is_not_sent_to_a_silent_host",),
    ),
    Mutant(
        "an earlier deadline behind a later one is kept late",
        REQUESTS,
        "deadline < self.armed",
        "self.armed == NEVER",
        ("tests/net/test_connection.py::test_an_earlier_deadline_behind_a_later_one",),
    ),
    Mutant(
        "a request that cannot be made keeps its stream id",
        REQUESTS,
        "            self.table.pop(stream)\n",
        "",
        ("tests/net/test_connection_end.py::test_a_request_that_cannot_be_made_leaves_nothing_behind",),
    ),
    Mutant(
        "a draining connection takes requests",
        REQUESTS,
        "not self.draining",
        "True",
        ("tests/net/test_pool.py::test_suspect_ones_last",),
    ),
    Mutant(
        "a payload that does not shrink is said to be compressed",
        REQUESTS,
        "        stated = 0\n",
        "",
        ("tests/cython/test_wire_segments.py::test_a_payload_that_does_not_shrink_travels_as_it_is",),
    ),
    Mutant(
        "stream ids that are orphaned count as room",
        INFLIGHT,
        "self.in_flight + self.orphaned < MAX_STREAMS",
        "True",
        ("tests/net/test_connection_end.py::test_no_stream_id_left_for_a_call",),
    ),
    Mutant(
        "a segment is read before its checksum has come",
        SPLITTER,
        "left < k + n + 4",
        "left < k + n",
        ("tests/cython/test_wire_cuts.py::test_cuts_near_the_seams",),
    ),
    Mutant(
        "the reader of a reply's rows is kept with its stream id",
        SPLITTER,
        "            self.table.readers[stream] = None\n",
        "",
        ("tests/cython/test_wire_pages.py::test_a_reply_takes_its_reader_with_it",),
    ),
    Mutant(
        "metadata with one table for all is taken for metadata with a table for each column",
        PAGES,
        "raw[0] != (self.flags & 1)",
        "False",
        ("tests/cython/test_wire_pages.py::test_the_bytes_of_metadata_with_one_table_for_all_may_begin_one_with_a_table_for_each_column",),
    ),
    Mutant(
        "a number of rows that the body has no room for is believed",
        PAGES,
        "(self.column_count and self.left > (c.end - c.pos) // (4 * self.column_count))",
        "False",
        ("tests/cython/test_wire_pages.py::test_wrong_number_of_rows",),
    ),
    Mutant(
        "rows that two greenlets read at once come twice",
        PAGES,
        "        if self.left != left or (self.made is None) != first:\n"
        "            return 0  # an application's code has let another greenlet run, which has read these rows too\n",
        "",
        ("tests/driver/test_shared_pages.py::test_values_that_switch",),
    ),
    Mutant(
        "more than fifty greenlets that are to be woken in one turn are not",
        REQUESTS,
        "        if ended:\n            self.schedule(self._run)\n        else:\n            self.scheduled = False\n",
        "        self.scheduled = False\n",
        ("tests/driver/test_waiting.py::test_a_thousand_waiters_wake_in_the_order_in_which_they_ended",),
    ),
    Mutant(
        "two of the frames that share a segment overflow it by a byte",
        REQUESTS,
        "end - start + size > MAX_PAYLOAD",
        "end - start + size > MAX_PAYLOAD + 1",
        ("tests/cython/test_wire_segments.py::test_pack_segments_agrees_with_the_independent_codec",),
    ),
    Mutant(
        "a part of a long frame is said to be self-contained",
        REQUESTS,
        "one_segment(p + start, cut, False, compress)",
        "one_segment(p + start, cut, True, compress)",
        ("tests/cython/test_wire_segments.py::test_pack_segments_agrees_with_the_independent_codec",),
    ),
    Mutant(
        "a token at the end of a range belongs to the next one",
        REQUESTS,
        "self.tokens[middle] < token",
        "self.tokens[middle] <= token",
        ("tests/cython/test_wire_routes.py::test_a_range_ends_at_the_first_token_that_is_not_below",),
    ),
    Mutant(
        "requests go by a route of hosts that are no more",
        REQUESTS,
        "route is None or route.stale",
        "route is None",
        ("tests/driver/test_routing.py::test_replicas_follow_the_tokens",),
    ),
    Mutant(
        "an element of a tuple is never freed",
        NESTED,
        "            value = next_value(&cells, <CqlType>PyTuple_GET_ITEM(self.subtypes, i))\n            Py_INCREF(value)\n",
        "            value = next_value(&cells, <CqlType>PyTuple_GET_ITEM(self.subtypes, i))\n            Py_INCREF(value)\n"
        "            Py_INCREF(value)\n",
        ("tests/cython/test_fuzz_corpus.py::test_nothing_is_left_of_them",),
    ),
)

CODECS_MUTANTS = (
    Mutant(
        "tinyint has no sign",
        SCALAR,
        "PyLong_FromLong(<int8_t>p[0])",
        "PyLong_FromLong(<uint8_t>p[0])",
        ("tests/cython/test_codecs_values.py::test_golden_bytes",),
    ),
    Mutant(
        "smallint takes what its two bytes cannot hold",
        SCALAR,
        "integer(value, -0x8000, 0x7FFF)",
        "integer(value, -0x8000, 0xFFFF)",
        ("tests/cython/test_codecs_familiar.py::test_refuses_what_they_refuse",),
    ),
    Mutant(
        "a varint loses its sign at the end of a byte",
        SCALAR,
        "number >> (8 * n - 1) != 0 and number >> (8 * n - 1) != -1",
        "number >> (8 * n) != 0 and number >> (8 * n) != -1",
        ("tests/cython/test_codecs_values.py::test_golden_bytes",),
    ),
    Mutant(
        "an unsigned vint has at most eight bytes",
        BUFFER,
        "extra < 8",
        "extra < 7",
        ("tests/cython/test_codecs_values.py::test_golden_bytes",),
    ),
    Mutant(
        "the tail of a partition key has no sign in its token",
        BUFFER,
        "<uint64_t><int64_t><signed char>p[0] << shift",
        "<uint64_t><unsigned char>p[0] << shift",
        ("tests/cython/test_murmur3.py::test_golden_tokens",),
    ),
    Mutant(
        "a collection is believed how many elements it has",
        NESTED,
        "count > cells.left // smallest",
        "False",
        ("tests/cython/test_codecs_properties.py::test_a_list_that_claims_more_than_its_bytes_is_refused_at_once",),
    ),
    Mutant(
        "a cell may end a byte behind the body",
        ROWS,
        "n > end - p",
        "n > end - p + 1",
        ("tests/cython/test_codecs_rows.py::test_cut_rows_are_refused",),
    ),
    Mutant(
        "a value that is not set is written as null, which deletes what is there",
        ROWS,
        "<uint32_t>-1 if value is None else <uint32_t>-2",
        "<uint32_t>-1",
        ("tests/cython/test_codecs_rows.py::test_missing_values",),
    ),
    Mutant(
        "a part of the partition key may be null",
        ROWS,
        "PyBytes_AS_STRING(self.key_part)[i]",
        "PyBytes_AS_STRING(self.key_part)[i] and value is not None",
        ("tests/cython/test_codecs_rows.py::test_the_partition_key_must_have_values",),
    ),
    Mutant(
        "the microseconds of a time zone's offset do not count",
        TIME,
        "            micros -= timedelta_microseconds(offset)\n",
        "",
        ("tests/cython/test_codecs_values.py::test_aware_datetimes_at_the_ends_of_time",),
    ),
    Mutant(
        "metadata that is skipped may nest without end",
        PARSE,
        "    for _ in range(children):\n        skip_type(cursor, depth + 1)\n",
        "    for _ in range(children):\n        skip_type(cursor, depth)\n",
        ("tests/cython/test_codecs_metadata.py::test_nesting_ends_at_64_levels",),
    ),
    Mutant(
        "the fields of a user type are read in another order than they are stored",
        NESTED,
        "[value.get(field) for field in self.field_names]",
        "[value.get(field) for field in sorted(self.field_names)]",
        ("tests/cython/test_codecs_values.py::test_user_types_from",),
    ),
    Mutant(
        "an element may end a byte behind its collection",
        NESTED,
        "n > cells.left",
        "n > cells.left + 1",
        ("tests/cython/test_codecs_values.py::test_an_element_that_lacks_its_last_byte",),
    ),
    Mutant(
        "an element of a composite may lack its last byte",
        NESTED,
        "size + 3 > n",
        "size + 2 > n",
        ("tests/cython/test_codecs_values.py::test_an_element_that_lacks_its_last_byte",),
    ),
    Mutant(
        "an element of a vector may end behind it",
        NESTED,
        "size > <uint64_t>(n - taken)",
        "size > <uint64_t>n",
        ("tests/cython/test_codecs_values.py::test_an_element_that_lacks_its_last_byte",),
    ),
)

MUTANTS = (*WIRE_MUTANTS, *CODECS_MUTANTS)
