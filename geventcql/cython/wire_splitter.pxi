# What a connection receives, cut into replies.

cdef class FrameSplitter:
    """Cuts what a connection receives into replies, wherever the bytes were cut on their way.

    It is a writable buffer: ``n = sock.recv_into(splitter)``, then :meth:`received`, then :meth:`take` until
    :attr:`more` is false. Bytes of a large body are received straight into it.

    :param in_flight: the stream ids of the connection; each reply frees its own
    :param version: the protocol version asked for
    :param max_frame: the longest body that is accepted, bytes, also decompressed; of what is no result and no error, and of anything while
        :attr:`negotiating`, a megabyte is enough
    """

    cdef InFlight table
    cdef readonly int version
    cdef readonly Py_ssize_t max_frame
    cdef Py_ssize_t unasked      # the same for what is never long
    cdef readonly bint more
    """Whether :meth:`take` stopped at its limit and has something left."""
    cdef readonly bint segmented
    cdef public bint negotiating
    """While true, replies of other protocol versions are let through: they say which versions the server speaks."""
    cdef public object decompress
    """``Callable[[bytes, int], bytes]`` for the bodies of v3 and v4: the body, the most that it may become."""
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
        self.unasked = min(max_frame, MAX_MESSAGE)
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

    # -- bytes in

    def __getbuffer__(self, Py_buffer* buffer, int flags):
        cdef uint8_t* p
        cdef Py_ssize_t n
        if self.more:
            raise BufferError("what was received before has not been taken yet")
        self.direct = self.body is not None and not self.segmented
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
        if length > <uint64_t> self.unasked and length > <uint64_t> self.limit(head[4]):
            raise FrameError(f"a reply claims a body of {length} bytes; the limit is {self.limit(head[4])}")
        return length

    cdef Py_ssize_t limit(self, int opcode) noexcept:
        """The longest body of such a reply."""
        if opcode == OP_RESULT or opcode == OP_ERROR:  # which may quote a statement of any length
            return self.unasked if self.negotiating else self.max_frame
        return self.unasked

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
        cdef object target, reader, page
        cdef Frame frame
        self.body = None
        if flags & FLAG_COMPRESSED and not self.segmented:
            if self.decompress is None:
                raise FrameError("a reply is compressed, but no compression was agreed on")
            body = self.decompress(body, self.limit(opcode))
        if stream >= 0x8000:
            target = None
        else:
            reader = self.table.readers[stream] if stream < self.table.capacity else None
            target = self.table.pop_target(stream)
            self.table.readers[stream] = None
            if target is None:
                return 0  # late; nobody waits
            if opcode == OP_RESULT:
                try:
                    page = new_page(self.version, flags, body, reader)
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
