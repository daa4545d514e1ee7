# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""The wire's hot half (layer: core): stream ids, the frame and segment splitter, request frames, result pages.

Sans-IO: bytes go in and come out, nothing here knows of sockets, greenlets or time. Runs in whichever greenlet calls it:
the splitter in a connection's reader, frames in the caller of ``execute``, segments in the hub's flush, row decoding
(:meth:`Page.rows`) in the greenlet that looks at the rows.

Sources: the CQL native protocol v3, v4 and v5, sections 2 (framing) and 4.2.5.2 (Rows).
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.buffer cimport PyBuffer_FillInfo
from cpython.list cimport PyList_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memmove

import uuid
from zlib import crc32

from geventcql.cython.codecs import RowDecoder, read_columns, skip_columns
from geventcql.errors import CrcMismatchException, DecodeError, FrameError

cdef enum:
    HEADER = 9
    OP_ERROR = 0x00
    OP_RESULT = 0x08
    OP_EVENT = 0x0C
    FLAG_COMPRESSED = 0x01
    FLAG_TRACING = 0x02
    FLAG_PAYLOAD = 0x04
    FLAG_WARNING = 0x08
    KIND_VOID = 1
    KIND_ROWS = 2
    ROWS_HAS_MORE = 0x02
    ROWS_NO_METADATA = 0x04
    ROWS_METADATA_CHANGED = 0x08
    MAX_PAYLOAD = 131071
    MAX_STREAMS = 32768

MAX_SEGMENT_PAYLOAD = MAX_PAYLOAD
MAX_STREAM_IDS = MAX_STREAMS
DEFAULT_MAX_FRAME = 256 * 1024 * 1024
RECEIVE_BUFFER = 256 * 1024

cdef double NEVER = float("inf")
cdef uint32_t CRC32_START = crc32(b"\xfa\x2d\x55\xca")


# ---------------------------------------------------------------------------------------------------------------------
# integers on the wire

cdef inline uint32_t be32(const uint8_t* p) noexcept nogil:
    return (<uint32_t> p[0] << 24) | (<uint32_t> p[1] << 16) | (<uint32_t> p[2] << 8) | p[3]


cdef inline void put32(uint8_t* p, uint32_t v) noexcept nogil:
    p[0] = v >> 24
    p[1] = (v >> 16) & 0xFF
    p[2] = (v >> 8) & 0xFF
    p[3] = v & 0xFF


cdef inline uint64_t little(const uint8_t* p, int n) noexcept nogil:
    cdef uint64_t v = 0
    cdef int i
    for i in range(n):
        v |= <uint64_t> p[i] << (8 * i)
    return v


cdef inline void put_little(uint8_t* p, uint64_t v, int n) noexcept nogil:
    cdef int i
    for i in range(n):
        p[i] = (v >> (8 * i)) & 0xFF


# ---------------------------------------------------------------------------------------------------------------------
# checksums of v5 segments (protocol v5, section 2)

cdef uint32_t CRC24_TABLE[256]


cdef void fill_crc24_table() noexcept:
    cdef uint32_t i, c
    cdef int bit
    for i in range(256):
        c = i << 16
        for bit in range(8):
            c <<= 1
            if c & 0x1000000:
                c ^= 0x1974F0B
        CRC24_TABLE[i] = c & 0xFFFFFF


fill_crc24_table()


cdef inline uint32_t crc24_of(const uint8_t* p, int n) noexcept nogil:
    cdef uint32_t c = 0x875060
    cdef int i
    for i in range(n):
        c = ((c << 8) ^ CRC24_TABLE[((c >> 16) ^ p[i]) & 0xFF]) & 0xFFFFFF
    return c


def crc24(bytes header not None) -> int:
    """The 24-bit checksum of a segment header (polynomial 0x1974F0B, start 0x875060)."""
    return crc24_of(<const uint8_t*> PyBytes_AS_STRING(header), <int> PyBytes_GET_SIZE(header))


cdef uint32_t crc32_of(const uint8_t* p, Py_ssize_t n) except? 0:
    return crc32(PyMemoryView_FromMemory(<char*> p, n, 0x100), CRC32_START)


# ---------------------------------------------------------------------------------------------------------------------
# stream ids

cdef object FREE = None
cdef object ORPHAN = object()


cdef class InFlight:
    """The stream ids of one connection and what waits on each of them.

    A stream id is free, in flight (a target waits for its reply) or orphaned (nobody waits any more, the server still
    owes the reply: the id must not be used again before it came; protocol section 2.3).

    :param limit: how many requests may be in flight at once, 1 to 32,768; orphaned ids do not count
    """

    cdef list targets
    cdef list decoders
    cdef double* deadlines
    cdef int32_t* free_ids
    cdef int n_free
    cdef int capacity
    cdef readonly int limit
    cdef readonly int in_flight
    cdef readonly int orphaned
    cdef readonly long long late_replies
    cdef readonly double earliest
    """The earliest deadline that may be in the table (a lower bound); inf when there is none."""

    def __cinit__(self, int limit=2048):
        if not 1 <= limit <= MAX_STREAMS:
            raise ValueError(f"limit of requests in flight must be 1 to {MAX_STREAMS}, not {limit}")
        self.limit = limit
        self.targets = []
        self.decoders = []
        self.earliest = NEVER
        self.grow(64)

    def __dealloc__(self):
        PyMem_Free(self.deadlines)
        PyMem_Free(self.free_ids)

    cdef int grow(self, int size) except -1:
        cdef int i
        cdef void* p = PyMem_Realloc(self.deadlines, size * sizeof(double))
        if p == NULL:
            raise MemoryError()
        self.deadlines = <double*> p
        p = PyMem_Realloc(self.free_ids, size * sizeof(int32_t))
        if p == NULL:
            raise MemoryError()
        self.free_ids = <int32_t*> p
        self.targets.extend([None] * (size - self.capacity))
        self.decoders.extend([None] * (size - self.capacity))
        for i in range(size - 1, self.capacity - 1, -1):  # the lowest new id is taken first
            self.free_ids[self.n_free] = i
            self.n_free += 1
            self.deadlines[i] = NEVER
        self.capacity = size
        return 0

    @property
    def room(self) -> int:
        """How many more requests may be sent now."""
        cdef int by_limit = self.limit - self.in_flight
        cdef int by_ids = MAX_STREAMS - self.in_flight - self.orphaned
        return by_limit if by_limit < by_ids else by_ids

    cpdef int acquire(self, target, decoder=None, double deadline=NEVER) except -2:
        """Take a stream id for ``target``.

        :param target: what the reply belongs to; not None
        :param decoder: the row decoder that the reply is read with, pinned here
        :param deadline: monotonic seconds
        :returns: the stream id, or -1 when there is no room
        """
        cdef int stream
        if self.in_flight >= self.limit:
            return -1
        if self.n_free == 0:
            if self.capacity >= MAX_STREAMS:
                return -1
            self.grow(self.capacity * 2)
        self.n_free -= 1
        stream = self.free_ids[self.n_free]
        self.targets[stream] = target
        self.decoders[stream] = decoder
        self.deadlines[stream] = deadline
        if deadline < self.earliest:
            self.earliest = deadline
        self.in_flight += 1
        return stream

    cdef inline void release(self, int stream) noexcept:
        self.deadlines[stream] = NEVER
        self.free_ids[self.n_free] = stream
        self.n_free += 1

    cdef object pop_target(self, int stream):
        """The target of a reply that arrived, its id free again; None for an orphan's late reply."""
        cdef object target
        if stream < 0 or stream >= self.capacity:
            raise FrameError(f"a reply came on stream {stream}, on which nothing was ever sent")
        target = self.targets[stream]
        if target is None:
            raise FrameError(f"a reply came on stream {stream}, on which no request is open (a duplicate?)")
        self.targets[stream] = None
        self.release(stream)
        if target is ORPHAN:
            self.orphaned -= 1
            self.late_replies += 1
            return None
        self.in_flight -= 1
        return target

    def pop(self, int stream):
        """What waited on ``stream``; the id is free again. None for an orphan's late reply.

        :raises FrameError: nothing was open on that stream
        """
        cdef object target = self.pop_target(stream)
        self.decoders[stream] = None
        return target

    def orphan(self, int stream, target) -> bool:
        """Nobody waits for ``target``'s reply any more; its id stays taken until the reply comes.

        :returns: False if the stream belongs to something else by now
        """
        if stream < 0 or stream >= self.capacity or self.targets[stream] is not target or target is None:
            return False
        self.targets[stream] = ORPHAN
        self.decoders[stream] = None
        self.deadlines[stream] = NEVER
        self.in_flight -= 1
        self.orphaned += 1
        return True

    def expire(self, double now) -> list:
        """Orphan every request whose deadline has passed; :attr:`earliest` is exact afterwards.

        :param now: monotonic seconds
        :returns: the targets, in order of stream id
        """
        cdef list out = []
        cdef int i
        cdef double earliest = NEVER
        for i in range(self.capacity):
            if self.deadlines[i] == NEVER:
                continue
            if self.deadlines[i] <= now:
                out.append(self.targets[i])
                self.targets[i] = ORPHAN
                self.decoders[i] = None
                self.deadlines[i] = NEVER
                self.in_flight -= 1
                self.orphaned += 1
            elif self.deadlines[i] < earliest:
                earliest = self.deadlines[i]
        self.earliest = earliest
        return out

    def waiting(self) -> list:
        """The targets in flight, in order of stream id."""
        return [t for t in self.targets if t is not None and t is not ORPHAN]

    def drain(self) -> list:
        """The connection has ended: forget everything.

        :returns: the targets that were in flight
        """
        cdef list out = self.waiting()
        cdef int i
        self.n_free = 0
        for i in range(self.capacity - 1, -1, -1):
            self.targets[i] = None
            self.decoders[i] = None
            self.release(i)
        self.in_flight = 0
        self.orphaned = 0
        self.earliest = NEVER
        return out

    def check(self) -> None:
        """Assert that every id is exactly one of free, in flight and orphaned (for tests)."""
        cdef set free = {self.free_ids[i] for i in range(self.n_free)}
        assert len(free) == self.n_free, "a stream id is free twice"
        assert all(self.targets[i] is None for i in free), "a free stream id has a target"
        assert sum(t is ORPHAN for t in self.targets) == self.orphaned, "orphaned count is off"
        assert len(self.waiting()) == self.in_flight, "in-flight count is off"
        assert self.n_free + self.orphaned + self.in_flight == self.capacity, "a stream id is lost"

    def __repr__(self) -> str:
        return f"<InFlight in_flight={self.in_flight} orphaned={self.orphaned} limit={self.limit}>"


# ---------------------------------------------------------------------------------------------------------------------
# requests

cdef class RequestTemplate:
    """All of a QUERY, EXECUTE or BATCH request that does not change from one execution to the next.

    :param version: protocol version
    :param opcode: of the request
    :param flags: header flags (tracing, custom payload, beta)
    :param prefix: the body up to the values, a custom payload first
    :param suffix: the body behind the values
    :param timestamp_at: where in ``suffix`` the 8 bytes of the client's timestamp go; -1 for none
    """

    cdef readonly int version
    cdef readonly int opcode
    cdef readonly int flags
    cdef readonly bytes prefix
    cdef readonly bytes suffix
    cdef readonly int timestamp_at

    def __init__(self, int version, int opcode, int flags, bytes prefix not None, bytes suffix not None, int timestamp_at=-1):
        if timestamp_at > len(suffix):
            raise ValueError("the timestamp lies behind the suffix")
        self.version = version
        self.opcode = opcode
        self.flags = flags
        self.prefix = prefix
        self.suffix = suffix
        self.timestamp_at = timestamp_at

    cpdef bytes frame(self, int stream, bytes values, int64_t timestamp=0):
        """The whole request frame.

        :param stream: its stream id
        :param values: encoded values, ``<n><value>...`` (b'' where the request has none)
        :param timestamp: microseconds since the epoch; used if the template has a place for it
        """
        cdef Py_ssize_t a = PyBytes_GET_SIZE(self.prefix)
        cdef Py_ssize_t b = PyBytes_GET_SIZE(values)
        cdef Py_ssize_t c = PyBytes_GET_SIZE(self.suffix)
        cdef Py_ssize_t ts = 8 if self.timestamp_at >= 0 else 0
        cdef Py_ssize_t n = a + b + c + ts
        cdef bytes out
        cdef uint8_t* p
        if n > DEFAULT_MAX_FRAME:
            raise FrameError(f"a request of {n} bytes is over the protocol's limit of {DEFAULT_MAX_FRAME}")
        out = PyBytes_FromStringAndSize(NULL, HEADER + n)
        p = <uint8_t*> PyBytes_AS_STRING(out)
        p[0] = self.version
        p[1] = self.flags
        p[2] = (stream >> 8) & 0xFF
        p[3] = stream & 0xFF
        p[4] = self.opcode
        put32(p + 5, <uint32_t> n)
        p += HEADER
        memcpy(p, PyBytes_AS_STRING(self.prefix), a)
        p += a
        memcpy(p, PyBytes_AS_STRING(values), b)
        p += b
        if ts:
            memcpy(p, PyBytes_AS_STRING(self.suffix), self.timestamp_at)
            p += self.timestamp_at
            put32(p, <uint32_t> ((<uint64_t> timestamp) >> 32))
            put32(p + 4, <uint32_t> ((<uint64_t> timestamp) & 0xFFFFFFFF))
            p += 8
            memcpy(p, PyBytes_AS_STRING(self.suffix) + self.timestamp_at, c - self.timestamp_at)
        else:
            memcpy(p, PyBytes_AS_STRING(self.suffix), c)
        return out

    def __repr__(self) -> str:
        return f"<RequestTemplate v{self.version} opcode={self.opcode:#04x} {len(self.prefix)}+{len(self.suffix)} bytes>"


cdef bytes plain_segment(const uint8_t* payload, Py_ssize_t n, bint self_contained):
    cdef bytes out = PyBytes_FromStringAndSize(NULL, n + 10)
    cdef uint8_t* p = <uint8_t*> PyBytes_AS_STRING(out)
    put_little(p, <uint64_t> n | (<uint64_t> self_contained << 17), 3)
    put_little(p + 3, crc24_of(p, 3), 3)
    memcpy(p + 6, payload, n)
    put_little(p + 6 + n, crc32_of(p + 6, n), 4)
    return out


cdef bytes packed_segment(const uint8_t* payload, Py_ssize_t n, bint self_contained, compress):
    cdef bytes raw = PyBytes_FromStringAndSize(<const char*> payload, n)
    cdef bytes packed = compress(raw)
    cdef Py_ssize_t stated = n
    if len(packed) >= n:
        packed = raw
        stated = 0
    cdef Py_ssize_t m = len(packed)
    cdef bytes out = PyBytes_FromStringAndSize(NULL, m + 12)
    cdef uint8_t* p = <uint8_t*> PyBytes_AS_STRING(out)
    put_little(p, <uint64_t> m | (<uint64_t> stated << 17) | (<uint64_t> self_contained << 34), 5)
    put_little(p + 5, crc24_of(p, 5), 3)
    memcpy(p + 8, PyBytes_AS_STRING(packed), m)
    put_little(p + 8 + m, crc32_of(p + 8, m), 4)
    return out


def pack_segments(bytes data not None, list sizes not None, compress=None) -> bytes:
    """Wrap request frames into v5 segments.

    Whole frames share self-contained segments of at most 131,071 bytes; a longer frame gets segments of its own.

    :param data: the frames, one behind the other
    :param sizes: their lengths in bytes, in order
    :param compress: LZ4 block compression without a length prefix, or None
    """
    cdef list out = []
    cdef const uint8_t* p = <const uint8_t*> PyBytes_AS_STRING(data)
    cdef Py_ssize_t start = 0, end = 0, size, cut
    for size in sizes:
        if end > start and (end - start + size > MAX_PAYLOAD):
            out.append(one_segment(p + start, end - start, True, compress))
            start = end
        end += size
        if size > MAX_PAYLOAD:
            while start < end:
                cut = min(<Py_ssize_t> MAX_PAYLOAD, end - start)
                out.append(one_segment(p + start, cut, False, compress))
                start += cut
    if end > start:
        out.append(one_segment(p + start, end - start, True, compress))
    return out[0] if len(out) == 1 else b"".join(out)


cdef bytes one_segment(const uint8_t* payload, Py_ssize_t n, bint self_contained, compress):
    if compress is None:
        return plain_segment(payload, n, self_contained)
    return packed_segment(payload, n, self_contained, compress)


# ---------------------------------------------------------------------------------------------------------------------
# replies

cdef class Frame:
    """One reply that is not a plain page: an error, an event, a handshake message, a prepared statement ...

    The body is whole and no longer compressed; :func:`geventcql.protocol.responses.decode` reads it.
    """

    cdef readonly int version
    cdef readonly int flags
    cdef readonly int stream
    cdef readonly int opcode
    cdef readonly bytes body

    def __repr__(self) -> str:
        return f"<Frame v{self.version} stream={self.stream} opcode={self.opcode:#04x} {len(self.body)} bytes>"


cdef struct Cursor:
    const uint8_t* start
    Py_ssize_t pos
    Py_ssize_t end


cdef int need(Cursor* c, Py_ssize_t n, what) except -1:
    if n < 0 or c.end - c.pos < n:
        raise FrameError(f"a reply ends inside {what}: {n} bytes wanted at offset {c.pos}, {c.end - c.pos} left")
    return 0


cdef int32_t read_int(Cursor* c, what) except? -1:
    need(c, 4, what)
    c.pos += 4
    return <int32_t> be32(c.start + c.pos - 4)


cdef int read_short(Cursor* c, what) except? -1:
    need(c, 2, what)
    c.pos += 2
    return (<int> c.start[c.pos - 2] << 8) | c.start[c.pos - 1]


cdef bytes read_exactly(Cursor* c, Py_ssize_t n, what):
    need(c, n, what)
    c.pos += n
    return PyBytes_FromStringAndSize(<const char*> c.start + c.pos - n, n)


cdef str read_string(Cursor* c, what):
    cdef int n = read_short(c, what)
    need(c, n, what)
    c.pos += n
    return PyUnicode_DecodeUTF8(<const char*> c.start + c.pos - n, n, "replace")


cdef object page_error(str reason):
    return DecodeError("(the whole page)", "rows", None, reason)


cdef class Page:
    """The answer to one request: no rows (void) or one page of them, as they came.

    The rows stay bytes until :meth:`rows` is called. Nothing but the prefix of the body has been read.
    """

    cdef readonly int version
    cdef readonly int kind
    """1 void, 2 rows (protocol section 4.2.5)."""
    cdef readonly int flags
    """The flags of the Rows metadata."""
    cdef readonly int column_count
    cdef readonly bytes body
    cdef readonly object decoder
    """The row decoder that the request was sent with; the body's own metadata, if it has any, goes before it."""
    cdef readonly bytes paging_state
    cdef readonly bytes new_metadata_id
    """Set when the server says that the statement's result columns have changed (v5)."""
    cdef readonly object tracing_id
    cdef readonly list warnings
    cdef readonly dict custom_payload
    cdef Py_ssize_t pos
    cdef bint started
    cdef Py_ssize_t left

    @staticmethod
    def void() -> "Page":
        """An answer without rows that no server sent."""
        cdef Page page = Page.__new__(Page)
        page.kind = KIND_VOID
        page.body = b""
        return page

    @property
    def has_metadata(self) -> bool:
        """Whether the body carries the description of its own columns."""
        return self.kind == KIND_ROWS and not (self.flags & ROWS_NO_METADATA)

    def start(self, cache) -> "RowDecoder":
        """Find the decoder and the first row; called once before :meth:`rows`, harmless to call again.

        :param cache: ``Callable[[bytes, int, int, int], tuple[RowDecoder, int]]``: (body, offset, flags, columns) to a
            decoder made from the metadata there and the offset behind it
        :raises DecodeError: the body has no metadata and none is known, or it does not make sense
        """
        cdef Cursor c
        cdef bytes raw
        cdef Py_ssize_t n
        if self.started:
            return self.decoder
        if self.kind != KIND_ROWS:
            raise page_error("the answer has no rows")
        c.start = <const uint8_t*> PyBytes_AS_STRING(self.body)
        c.pos = self.pos
        c.end = PyBytes_GET_SIZE(self.body)
        decoder = self.decoder
        if self.flags & ROWS_NO_METADATA:
            if decoder is None:
                raise page_error("the server left out the column metadata, and none is known")
            if self.column_count != len(decoder.columns):
                raise page_error(f"{self.column_count} columns arrived, {len(decoder.columns)} were announced")
        else:
            if decoder is not None:
                raw = decoder.raw
                n = PyBytes_GET_SIZE(raw) - 1
                if n < 0 or raw[0] != (self.flags & 1) or len(decoder.columns) != self.column_count \
                        or c.end - c.pos < n or memcmp(c.start + c.pos, PyBytes_AS_STRING(raw) + 1, n) != 0:
                    decoder = None
                else:
                    c.pos += n
            if decoder is None:
                decoder, c.pos = cache(self.body, c.pos, self.flags, self.column_count)
        self.left = read_int(&c, "the number of rows")
        if self.left < 0 or (self.column_count and self.left > (c.end - c.pos) // 4):
            raise page_error(f"the answer claims {self.left} rows in {c.end - c.pos} bytes")
        self.pos = c.pos
        self.decoder = decoder
        self.started = True
        return decoder

    @property
    def rows_left(self) -> int:
        """How many rows :meth:`rows` has not given yet; 0 before :meth:`start`."""
        return self.left

    def rows(self, Py_ssize_t most, row_class=None) -> list:
        """Decode the next rows.

        :param most: at most this many rows
        :param row_class: a tuple subclass for the rows, or None for plain tuples
        :raises DecodeError: a cell does not decode; the same every time
        """
        cdef Py_ssize_t n = most if most < self.left else self.left
        out, pos = self.decoder.decode_rows(self.body, self.pos, n, row_class)
        self.pos = pos
        self.left -= n
        return out

    def __repr__(self) -> str:
        if self.kind == KIND_VOID:
            return "<Page void>"
        return f"<Page {self.column_count} columns, {len(self.body)} bytes{', more' if self.paging_state else ''}>"


cdef object new_page(int version, int flags, bytes body, decoder):
    """A Page for a Void or Rows result; None for the other kinds."""
    cdef Cursor c
    cdef Page page
    cdef int kind, n
    c.start = <const uint8_t*> PyBytes_AS_STRING(body)
    c.pos = 0
    c.end = PyBytes_GET_SIZE(body)
    page = Page.__new__(Page)
    page.version = version
    if flags & (FLAG_TRACING | FLAG_WARNING | FLAG_PAYLOAD):
        page.tracing_id, page.warnings, page.custom_payload = read_prefix(&c, flags)
    kind = read_int(&c, "the kind of result")
    if kind == KIND_VOID:
        page.kind = kind
        page.body = b""
        return page
    if kind != KIND_ROWS:
        return None
    page.kind = kind
    page.body = body
    page.decoder = decoder
    page.flags = read_int(&c, "the flags of the rows")
    page.column_count = read_int(&c, "the number of columns")
    if page.column_count < 0:
        raise FrameError(f"a reply claims {page.column_count} columns")
    if page.flags & ROWS_HAS_MORE:
        n = read_int(&c, "the paging state")
        page.paging_state = None if n < 0 else read_exactly(&c, n, "the paging state")
    if page.flags & ROWS_METADATA_CHANGED and version >= 5:
        n = read_short(&c, "the new metadata id")
        page.new_metadata_id = read_exactly(&c, n, "the new metadata id")
    page.pos = c.pos
    return page


cdef tuple read_prefix(Cursor* c, int flags):
    """What stands before the message proper: tracing id, warnings, custom payload (protocol section 2.2)."""
    cdef int n
    cdef int32_t size
    tracing_id = None
    warnings = None
    payload = None
    if flags & FLAG_TRACING:
        tracing_id = uuid.UUID(bytes=read_exactly(c, 16, "the tracing id"))
    if flags & FLAG_WARNING:
        warnings = [read_string(c, "the warnings") for n in range(read_short(c, "the warnings"))]
    if flags & FLAG_PAYLOAD:
        payload = {}
        for n in range(read_short(c, "the custom payload")):
            key = read_string(c, "the custom payload")
            size = read_int(c, "the custom payload")
            payload[key] = None if size < 0 else read_exactly(c, size, "the custom payload")
    return tracing_id, warnings, payload


def read_envelope(int flags, bytes body not None) -> tuple:
    """Read what the header's flags announce before the message.

    :param flags: of the frame header
    :returns: (tracing id, warnings, custom payload, offset of the message); None for what is not there
    :raises FrameError: the body ends inside
    """
    cdef Cursor c
    c.start = <const uint8_t*> PyBytes_AS_STRING(body)
    c.pos = 0
    c.end = PyBytes_GET_SIZE(body)
    tracing_id, warnings, payload = read_prefix(&c, flags)
    return tracing_id, warnings, payload, c.pos


cdef class FrameSplitter:
    """Cuts what a connection receives into replies, wherever the bytes were cut on their way.

    It is a writable buffer: ``n = sock.recv_into(splitter)``, then :meth:`received`, then :meth:`take` until
    :attr:`more` is false. Bytes of a large body are received straight into it.

    :param in_flight: the stream ids of the connection; each reply frees its own
    :param version: the protocol version asked for
    :param max_frame: the longest body that is accepted, bytes
    """

    cdef InFlight table
    cdef readonly int version
    cdef readonly Py_ssize_t max_frame
    cdef readonly bint more
    """Whether :meth:`take` stopped at its limit and has something left."""
    cdef readonly bint segmented
    cdef public bint negotiating
    """While true, replies of other protocol versions are let through: they say which versions the server speaks."""
    cdef public object decompress
    """``Callable[[bytes], bytes]`` for the bodies of v3 and v4."""
    cdef object decompress_block
    cdef uint8_t* buf
    cdef Py_ssize_t size
    cdef Py_ssize_t filled       # bytes in buf
    cdef Py_ssize_t used         # of them, consumed
    cdef const uint8_t* region   # envelope bytes that are being cut: inside buf or inside `plain`
    cdef Py_ssize_t region_left
    cdef bytes plain             # a decompressed segment
    cdef uint8_t header[HEADER]
    cdef int header_len
    cdef bytes body              # being filled
    cdef Py_ssize_t body_len
    cdef bint direct             # recv_into goes into the body
    cdef int header_size         # of a segment

    def __cinit__(self, InFlight in_flight not None, int version, Py_ssize_t max_frame=DEFAULT_MAX_FRAME,
                  Py_ssize_t size=RECEIVE_BUFFER):
        self.table = in_flight
        self.version = version
        self.max_frame = max_frame
        self.negotiating = True
        if size < MAX_PAYLOAD + 12:
            size = MAX_PAYLOAD + 12
        self.buf = <uint8_t*> PyMem_Malloc(size)
        if self.buf == NULL:
            raise MemoryError()
        self.size = size

    def __dealloc__(self):
        PyMem_Free(self.buf)

    def enable_segments(self, decompress_block=None) -> None:
        """From the next byte on, v5 segments (protocol v5, section 2).

        :param decompress_block: ``Callable[[bytes, int], bytes]`` (block, its size when decompressed), or None if no
            compression was agreed on
        """
        self.segmented = True
        self.decompress_block = decompress_block
        self.header_size = 6 if decompress_block is None else 8
        if self.region_left:  # what is behind the handshake's last message is segments already
            self.used = self.filled - self.region_left
            self.region_left = 0

    # -- bytes in

    def __getbuffer__(self, Py_buffer* buffer, int flags):
        cdef uint8_t* p
        cdef Py_ssize_t n
        if self.more:
            raise BufferError("what was received before has not been taken yet")
        self.direct = self.body is not None and not self.segmented and self.filled == self.used
        if self.direct:
            p = <uint8_t*> PyBytes_AS_STRING(self.body) + self.body_len
            n = PyBytes_GET_SIZE(self.body) - self.body_len
        else:
            self.compact()
            p = self.buf + self.filled
            n = self.size - self.filled
        PyBuffer_FillInfo(buffer, self, p, n, 0, flags)

    def __releasebuffer__(self, Py_buffer* buffer):
        pass

    cdef void compact(self) noexcept:
        if self.used and not self.region_left:
            memmove(self.buf, self.buf + self.used, self.filled - self.used)
            self.filled -= self.used
            self.used = 0

    def received(self, Py_ssize_t n) -> None:
        """``n`` bytes have been written into the buffer."""
        if self.direct:
            self.body_len += n
            self.direct = False
        else:
            self.filled += n
        self.more = True

    def feed(self, data, list out=None) -> list:
        """Take bytes that came by another way than ``recv_into`` and cut all of them.

        :param out: as with :meth:`take`
        """
        cdef const uint8_t[::1] view = data
        cdef Py_ssize_t at = 0, n
        if out is None:
            out = []
        while at < view.shape[0]:
            self.compact()
            n = min(self.size - self.filled, view.shape[0] - at)
            memcpy(self.buf + self.filled, &view[at], n)
            self.filled += n
            at += n
            self.more = True
            while self.more:
                self.take(256, out)
        return out

    # -- replies out

    def take(self, int limit=256, list out=None) -> list:
        """Cut at most ``limit`` frames.

        :param out: the list to append to; after an error it still holds the replies that were cut before
        :returns: ``out``: pairs (target, :class:`Page` or :class:`Frame`); the target is None for what the server pushes (events);
            late replies to orphaned requests free their stream id and are left out
        :raises FrameError: the bytes are not CQL frames, or answer nothing that was asked
        :raises CrcMismatchException: a segment was damaged
        """
        if out is None:
            out = []
        while limit > 0:
            if self.body is not None and self.body_len == PyBytes_GET_SIZE(self.body):
                self.finish(out)  # filled by recv_into
                limit -= 1
            elif self.region_left or self.next_region():
                limit -= self.cut(out)
            else:
                self.more = False
                return out
        return out

    cdef bint next_region(self) except -1:
        """Make the next envelope bytes current: everything received, or the payload of the next whole segment."""
        cdef const uint8_t* p = self.buf + self.used
        cdef Py_ssize_t left = self.filled - self.used
        cdef Py_ssize_t n, stated = 0
        cdef uint64_t head
        cdef int k = self.header_size
        if not self.segmented:
            self.region = p
            self.region_left = left
            self.used = self.filled
            return left > 0
        if left < k:
            return False
        if crc24_of(p, k - 3) != little(p + k - 3, 3):
            raise CrcMismatchException("the checksum of a segment's header is wrong: the stream is damaged or out of step")
        head = little(p, k - 3)
        n = head & 0x1FFFF
        if left < k + n + 4:
            return False
        if crc32_of(p + k, n) != little(p + k + n, 4):
            raise CrcMismatchException("the checksum of a segment's payload is wrong: the stream is damaged")
        if k == 8:
            stated = (head >> 17) & 0x1FFFF
        self.used += k + n + 4
        if stated:
            self.plain = self.decompress_block(PyBytes_FromStringAndSize(<const char*> p + k, n), stated)
            self.region = <const uint8_t*> PyBytes_AS_STRING(self.plain)
            self.region_left = PyBytes_GET_SIZE(self.plain)
        else:
            self.region = p + k
            self.region_left = n
        return True

    cdef int cut(self, list out) except -1:
        """Cut one frame, or take in what there is of it; 1 if it was completed."""
        cdef Py_ssize_t n
        cdef const uint8_t* head
        cdef uint32_t length
        if self.body is None:
            if self.header_len == 0 and self.region_left >= HEADER:
                head = self.region
                self.advance(HEADER)
            else:
                n = min(<Py_ssize_t> (HEADER - self.header_len), self.region_left)
                memcpy(self.header + self.header_len, self.region, n)
                self.header_len += n
                self.advance(n)
                if self.header_len < HEADER:
                    if not self.segmented and self.header_len and self.header[0] & 0x80 == 0:
                        self.refuse(self.header, self.header_len)
                    return 0
                head = self.header
            self.header_len = 0
            length = self.check_header(head)
            if head != self.header:
                memcpy(self.header, head, HEADER)
            if length <= self.region_left:
                self.body = PyBytes_FromStringAndSize(<const char*> self.region, length)
                self.advance(length)
                self.finish(out)
                return 1
            self.body = PyBytes_FromStringAndSize(NULL, length)
            self.body_len = 0
        n = min(PyBytes_GET_SIZE(self.body) - self.body_len, self.region_left)
        memcpy(PyBytes_AS_STRING(self.body) + self.body_len, self.region, n)
        self.body_len += n
        self.advance(n)
        if self.body_len < PyBytes_GET_SIZE(self.body):
            return 0
        self.finish(out)
        return 1

    cdef inline void advance(self, Py_ssize_t n) noexcept:
        self.region += n
        self.region_left -= n

    cdef uint32_t check_header(self, const uint8_t* head) except? 0:
        cdef uint32_t length = be32(head + 5)
        if head[0] != (0x80 | self.version) and not (self.negotiating and 0x81 <= head[0] <= 0xC2):
            self.refuse(head, HEADER)
        if length > <uint64_t> self.max_frame:
            raise FrameError(f"a reply claims a body of {length} bytes; the limit is {self.max_frame}")
        return length

    cdef int refuse(self, const uint8_t* head, Py_ssize_t n) except -1:
        seen = PyBytes_FromStringAndSize(<const char*> head, n)
        hint = "; that is an HTTP server" if seen.startswith(b"HTTP"[:len(seen)]) else ""
        raise FrameError(
            f"what came back is not a CQL v{self.version} reply: it starts with {seen!r}{hint}. Is this the native protocol port, "
            "and does the server want TLS?")

    cdef int finish(self, list out) except -1:
        """A whole frame stands in header and body: find its target."""
        cdef bytes body = self.body
        cdef int flags = self.header[1]
        cdef int stream = (<int> self.header[2] << 8) | self.header[3]
        cdef int opcode = self.header[4]
        cdef object target, decoder, page
        cdef Frame frame
        self.body = None
        if flags & FLAG_COMPRESSED and not self.segmented:
            if self.decompress is None:
                raise FrameError("a reply is compressed, but no compression was agreed on")
            body = self.decompress(body)
        if stream >= 0x8000:
            target = None
        else:
            decoder = self.table.decoders[stream] if stream < self.table.capacity else None
            target = self.table.pop_target(stream)
            self.table.decoders[stream] = None
            if target is None:
                return 0  # late; nobody waits
            if opcode == OP_RESULT:
                try:
                    page = new_page(self.version, flags, body, decoder)
                except FrameError:
                    page = None  # it concerns this request alone: whoever reads the frame meets the error again
                if page is not None:
                    out.append((target, page))
                    return 0
        frame = Frame.__new__(Frame)
        frame.version = self.header[0] & 0x7F
        frame.flags = flags
        frame.stream = stream if stream < 0x8000 else stream - 0x10000
        frame.opcode = opcode
        frame.body = body
        out.append((target, frame))
        return 0


def decoder_from(bytes body not None, Py_ssize_t pos, int flags, int count, user_types=None) -> tuple:
    """Compile a row decoder from the metadata at ``pos`` of a Rows body.

    :returns: (decoder, offset behind the metadata); the decoder's ``raw`` is the byte ``flags & 1`` and the metadata's own
        bytes, which is what :meth:`Page.start` compares
    """
    columns, end = read_columns(body, pos, flags, count, user_types)
    return RowDecoder(columns, bytes((flags & 1,)) + body[pos:end]), end


def metadata_end(bytes body not None, Py_ssize_t pos, int flags, int count) -> int:
    """Where the column metadata at ``pos`` ends, without reading it into objects."""
    return skip_columns(body, pos, flags, count)
