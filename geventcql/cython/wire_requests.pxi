# Requests: their frames, the sending half of a connection, the hot half of an execution, v5 segments.

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


cdef class Sender:
    """The hot half of a connection: takes requests, gives them stream ids, gathers their frames for one flush, and tells their
    targets what became of them.

    A subclass sends what is in :attr:`pending` when its ``_flush`` is called, and calls ``_expire`` when a deadline has come
    that ``_arm`` was told of. Its ``_take_frame(target, frame)`` gets what is no page, ``_delivered()`` ends a batch.

    :param table: the stream ids
    :param schedule: ``schedule(callback)`` has the hub call ``callback()`` soon
    :param max_unsent: bytes not yet taken by the kernel from which on nothing more is taken
    """

    cdef readonly InFlight table
    cdef public list pending
    """Frames for the next flush."""
    cdef public Py_ssize_t unsent_bytes
    """Bytes handed over that the kernel has not taken yet."""
    cdef readonly Py_ssize_t max_unsent
    cdef public bint closed
    cdef public bint draining
    """A replacement is there: no new requests, to be closed when the last reply has come."""
    cdef public bint suspect
    """Asked and silent: avoided until something comes."""
    cdef public bint flush_due
    cdef public object compress_frame
    """``Callable[[bytes], bytes]`` for the frames of v3 and v4, or None."""
    cdef public double armed
    """The deadline that the timer is set to; inf if there is none."""
    cdef readonly long long sent
    """Requests taken so far, the driver's own left out."""
    cdef object schedule

    def __init__(self, InFlight table not None, schedule, Py_ssize_t max_unsent):
        self.table = table
        self.schedule = schedule
        self.max_unsent = max_unsent
        self.pending = []
        self.armed = NEVER

    @property
    def usable(self) -> bool:
        """Whether a request may be sent now."""
        return self.is_usable()

    cdef inline bint is_usable(self) noexcept:
        return not self.closed and not self.draining and self.unsent_bytes < self.max_unsent and self.table.has_room()

    cpdef int send(self, target, RequestTemplate template, bytes values, int64_t timestamp=0, reader=None,
                   double deadline=NEVER) except -2:
        """Send a request with the next flush; never blocks or switches.

        :param target: gets the reply, the timeout or the loss
        :param values: encoded values, b'' where the request has none
        :param timestamp: microseconds since the epoch
        :param reader: what the rows of the reply are read with
        :param deadline: monotonic seconds; then the target gets ``on_timeout`` and the stream id is orphaned
        :returns: the stream id; -1 if the connection has no room, is closed or draining: nothing was sent
        :raises FrameError: the request is longer than the protocol allows
        """
        if not self.is_usable():
            return -1
        self.sent += 1
        return self.submit(target, template, values, timestamp, reader, deadline)

    cpdef int submit(self, target, RequestTemplate template, bytes values, int64_t timestamp, reader,
                     double deadline) except -2:
        """As :meth:`send`, for the driver's own requests: draining and full connections take them too. -1: no free stream id."""
        cdef int stream = self.table.take(target, reader, deadline)
        cdef bytes frame
        if stream < 0:
            return -1
        try:
            frame = template.frame(stream, values, timestamp)
            if self.compress_frame is not None:
                frame = self.compress_frame(frame)
        except BaseException:
            self.table.pop(stream)
            raise
        self.unsent_bytes += PyBytes_GET_SIZE(frame)
        self.pending.append(frame)
        self.schedule_flush()
        if deadline < self.armed:
            self._arm(deadline)
        return stream

    cdef int schedule_flush(self) except -1:
        if not self.flush_due:
            self.flush_due = True
            self.schedule(self._run_flush)
        return 0

    def flush_soon(self) -> None:
        """Have the hub send what is pending."""
        self.schedule_flush()

    def _run_flush(self):
        self.flush_due = False
        try:
            self._flush()
        except BaseException:  # a signal's handler has raised, perhaps before anything was sent
            self.schedule_flush()
            raise

    def _deliver(self, list batch not None):
        """Hand out a batch of replies, all of them whatever one target does; nothing in here switches.

        :raises BaseException: what a target has raised; if several have, an interrupt goes first
        """
        cdef list errors = []
        for target, message in batch:
            if type(message) is not Page:
                tell(self._take_frame, (target, message), errors)
                continue
            try:
                target.on_page(message)
            except BaseException as error:
                tell_again(error, target.on_page, (message,), errors)
        if errors:
            raise gravest(errors)
        self._delivered()

    def _expire(self, double now, Py_ssize_t most, list errors not None) -> int:
        """Tell the targets whose deadline has passed.

        :param now: monotonic seconds
        :param most: how many; the others are left
        :param errors: gets what they raised, each with the method that did
        :returns: how many there were
        """
        cdef list due = self.table.expire(now, most)
        for target in due:
            tell(target.on_timeout, (self,), errors)
        return PyList_GET_SIZE(due)

    def _lose(self, lost, on_close, cause, list errors not None) -> None:
        """The connection has ended: tell all targets that they are ``lost``, then ``on_close(connection, cause)``.

        :param errors: gets what they raised, each with the method that did
        """
        for target in self.table.drain():
            tell(target.on_lost, (self, lost), errors)
        if on_close is not None:
            tell(on_close, (self, cause), errors)


cpdef object least_loaded(list connections):
    """The :class:`Sender` that has fewest requests in flight among the usable ones, suspect ones last; None if there is none.
    """
    cdef Sender best = None
    cdef Sender sender
    cdef int load, least = 0
    for item in connections:
        sender = <Sender?> item
        if sender.is_usable():
            load = sender.table.in_flight + (MAX_STREAMS if sender.suspect else 0)
            if best is None or load < least:
                best = sender
                least = load
    return best


cdef enum:
    BUSY = 10


cdef inline bint busier(int64_t load, int64_t other) noexcept:
    return load >= BUSY and load > 2 * other


def is_busier(int64_t load, int64_t other) -> bool:
    """Whether a host with ``load`` requests in flight is so much busier than the one with ``other`` that it is to be avoided.

    The driver counts its own requests only, and where all hosts are well their numbers go up and down without meaning.
    """
    return busier(load, other)


cpdef int64_t load_of(list connections) except -1:
    """The requests in flight on the least loaded of these :class:`Sender`; more than any has where all are suspect, full or
    closed.
    """
    cdef int64_t load, least = 2 * MAX_STREAMS
    cdef Sender sender
    for item in connections:
        sender = <Sender?> item
        if sender.is_usable():
            load = sender.table.in_flight + (MAX_STREAMS if sender.suspect else 0)
            least = min(least, load)
    return least


cdef inline Py_ssize_t draw(Py_ssize_t n) noexcept:
    """A number below ``n``, any as often as another (Knuth's MMIX generator)."""
    global drawn
    drawn = drawn * <uint64_t> 6364136223846793005 + <uint64_t> 1442695040888963407
    return <Py_ssize_t> ((drawn >> 33) % <uint64_t> n)


cdef class Choice:
    """Pools of which any may come first, by how busy they are, by chance or in turn.

    :param pools: in order
    :param spread: how many of the first ones share the load; 1: the very first has it
    :param avoid_busy: whether another one, drawn from all, may take the place of the one whose turn it is
    :param in_turn: whether they share the load in turn, beginning anywhere; else by chance
    """

    cdef readonly tuple pools
    cdef readonly Py_ssize_t spread
    cdef readonly bint avoid_busy
    cdef readonly bint in_turn
    cdef Py_ssize_t last

    def __init__(self, pools, Py_ssize_t spread=1, bint avoid_busy=False, bint in_turn=False):
        self.pools = tuple(pools)
        if not 1 <= spread <= len(self.pools) or len(self.pools) < 2:
            raise ValueError(f"no choice: {spread} of {self.pools}")
        self.spread = spread
        self.avoid_busy = avoid_busy
        self.in_turn = in_turn
        self.last = draw(spread)

    cpdef object pick(self):
        """The pool to try first."""
        cdef Py_ssize_t chosen = 0
        cdef Py_ssize_t other
        cdef int64_t load
        cdef object pool
        if self.in_turn:
            chosen = self.last = (self.last + 1) % self.spread
        elif self.spread > 1:
            chosen = draw(self.spread)
        pool = self.pools[chosen]
        if not self.avoid_busy:
            return pool
        load = load_of(pool.connections)
        if load < BUSY:
            return pool
        other = draw(len(self.pools) - 1)
        if other >= chosen:
            other += 1
        return self.pools[other] if busier(load, load_of(self.pools[other].connections)) else pool


cdef class Recipe:
    """What requests of one statement and profile have in common, as far as their bytes are concerned: the hot half of
    :class:`geventcql.resolve.Resolved`.
    """

    cdef public RequestTemplate template
    cdef public RowReader reader
    cdef public object encoder
    """What has ``token(values)``: the :class:`~geventcql.cython.codecs.BindEncoder` of a prepared statement; or None."""
    cdef public Histogram timer
    """What requests are timed with; None: they are not."""
    cdef public bint plain_policy
    """Whether its policy is one of ours, whose plans begin where a :class:`Route` says."""
    cdef public object watch
    """``watch(request)`` starts requests that may have several attempts in flight at once; None: they have one at a time."""
    cdef Route route


cdef object UNKNOWN = object()


cdef class TokenRing:
    """The Murmur3 tokens of a cluster.

    :param tokens: in ascending order; not empty
    """

    cdef int64_t* tokens
    cdef readonly Py_ssize_t size

    def __cinit__(self, list tokens not None):
        cdef Py_ssize_t i
        if not tokens:
            raise ValueError("a ring has at least one token")
        self.size = PyList_GET_SIZE(tokens)
        self.tokens = <int64_t*> PyMem_Malloc(self.size * sizeof(int64_t))
        if self.tokens == NULL:
            raise MemoryError()
        for i in range(self.size):
            self.tokens[i] = tokens[i]

    def __dealloc__(self):
        PyMem_Free(self.tokens)

    cpdef Py_ssize_t position(self, int64_t token) noexcept:
        """Where in the ring the range that holds ``token`` ends: at the first token that is not below it; behind the last
        one the first one's range begins.
        """
        cdef Py_ssize_t low = 0, high = self.size, middle
        while low < high:
            middle = (low + high) // 2
            if self.tokens[middle] < token:
                low = middle + 1
            else:
                high = middle
        return 0 if low == self.size else low


cdef class Route:
    """Which pool requests of one kind try first. A snapshot, shared by all statements of that kind.

    :param find: ``find(position)`` gives the pool of the replica for a position in the ring, a :class:`Choice` of several, or
        None; asked once for each
    :param ring: None if the pool is the same for all requests: ``find(0)``
    """

    cdef public bint stale
    """Hosts, pools or tokens are no longer what it was made from."""
    cdef readonly TokenRing ring
    cdef object find
    cdef list pools

    def __init__(self, find, TokenRing ring=None):
        self.find = find
        self.ring = ring
        self.pools = [UNKNOWN] * (1 if ring is None else ring.size)

    cpdef object first(self, encoder, bytes values):
        """The pool to try first; None if the policy has to be asked.

        :param encoder: ``encoder.token(values)`` gives their token, or None; not needed without a ring
        """
        cdef Py_ssize_t position = 0
        cdef object token, pool
        if self.ring is not None:
            token = encoder.token(values)
            if token is None:
                return None
            position = self.ring.position(token)
        pool = self.pools[position]
        if pool is UNKNOWN:
            pool = self.pools[position] = self.find(position)
        return (<Choice> pool).pick() if type(pool) is Choice else pool


cdef inline int tell_sink(sink, page, error) except -1:
    if error is None:
        sink.finish(page)
    else:
        sink.fail(error)
    return 0


cdef class Request:
    """What one request is while it is under way: the hot half of :class:`geventcql.execution.Execution`.

    A target of connections. The reader calls :meth:`on_page`, which does no more than hand the page to the sink; whatever
    is not that simple goes to the subclass.

    :param session: whose request it is
    :param resolved: statement and profile, resolved
    :param values: the encoded values, which all attempts reuse
    :param timestamp: the client's timestamp, microseconds, drawn once
    :param timeout: seconds for the request as a whole; None for no limit
    :param host: the only host to ask, or None for the policy's plan
    """

    cdef readonly object session
    cdef public Recipe resolved
    cdef readonly bytes values
    cdef readonly int64_t timestamp
    cdef readonly object timeout
    cdef readonly object only_host
    cdef public double started
    """Monotonic seconds."""
    cdef public double deadline
    """Monotonic seconds; inf without a limit."""
    cdef public object sink
    """What the end is told to: ``finish(page)`` or ``fail(error)``; None before the start and after the end."""
    cdef public bint done
    cdef public object host
    """The host that is being asked, or that answered."""
    cdef public object connection
    cdef readonly int stream
    cdef public int attempts
    cdef public int retries
    cdef uint64_t process

    def __init__(self, session, Recipe resolved not None, bytes values not None, int64_t timestamp, timeout, host=None):
        self.session = session
        self.resolved = resolved
        self.values = values
        self.timestamp = timestamp
        self.timeout = timeout
        self.only_host = host
        self.started = monotonic()
        self.deadline = NEVER if timeout is None else self.started + <double> timeout
        self.stream = -1
        self.process = generation

    @property
    def is_of_parent(self) -> bool:
        """Whether it was made in the process that this one was forked from, which gets the answer."""
        return self.process != generation

    cpdef start(self, sink):
        """Send the first attempt, or queue up for one.

        That no host could be asked reaches the sink; what a policy raises, and Busy, the caller.

        :param sink: what the end is told to
        :raises Busy: too many requests are waiting for room already
        """
        if self.resolved.watch is None or self.only_host is not None:
            self._begin(sink)
        else:
            self.sink = sink
            self.resolved.watch(self)

    def begin(self, sink) -> None:
        """As :meth:`start`, whether it is to be watched or not."""
        self._begin(sink)

    cdef int _begin(self, sink) except -1:
        cdef Recipe resolved = self.resolved
        cdef Route route
        cdef object pool = None
        self.sink = sink
        try:
            if resolved.plain_policy and self.only_host is None:
                route = resolved.route
                if route is None or route.stale:
                    route = resolved.route = self.session._router.route(resolved)
                pool = route.first(resolved.encoder, self.values)
            if pool is None or not self.try_pool(pool):
                self.try_plan()
        except BaseException as error:
            self.abandon(error)
            raise
        return 0

    def try_plan(self) -> None:
        """Go by the policy's plan: send to the next host that has room, wait for room, or end."""
        raise NotImplementedError

    def abandon(self, error) -> None:
        """It cannot be started: end with ``error``."""
        raise NotImplementedError

    cpdef bint try_pool(self, pool) except -1:
        """Try to send on the least loaded connection of a pool, though not on a suspect one.

        :returns: False if none has room
        """
        cdef Sender connection = least_loaded(pool.connections)
        return connection is not None and not connection.suspect and self.send_on(connection, pool.host)

    cpdef bint send_on(self, Sender connection, host) except -1:
        """Try to send on ``connection``, which leads to ``host``.

        :returns: False if it has no room
        """
        cdef Recipe resolved = self.resolved
        cdef int stream = connection.send(
            self, resolved.template, self.values, self.timestamp, resolved.reader, self.deadline)
        if stream < 0:
            return False
        self.stream = stream
        self.connection = connection
        if self.attempts:
            self.asked_before(self.host)
        self.attempts += 1
        self.host = host
        return True

    def asked_before(self, host) -> None:
        """Another attempt is sent; ``host`` was asked by the one before."""

    cpdef on_page(self, Page page):
        """A void result or a page of rows has come; in the reader."""
        cdef object sink = self.sink
        if self.done:
            return
        page.host = self.host
        self._end(page, None)  # first: whatever becomes of the rest, the request has ended
        if self.resolved.timer is not None and sink is not self:  # else it is one attempt of several, and its own sink
            self.record()
        if page.new_metadata_id is not None or page.tracing_id is not None or page.warnings is not None:
            self.on_announcement(page)

    def end(self, page, error) -> bool:
        """Tell the sink, unless it was told before: ``page``, or ``error`` if that is not None.

        :returns: whether it was told now
        """
        return self._end(page, error)

    cdef bint _end(self, page, error) except -1:
        cdef object sink = self.sink
        if self.done:
            return False
        self.done = True
        self.sink = None
        try:
            tell_sink(sink, page, error)
        except BaseException:  # a signal's handler has raised in it, perhaps before it began; twice is harmless
            tell_sink(sink, page, error)
            raise
        return True

    cdef int record(self) except -1:
        cdef double now = monotonic()
        self.resolved.timer.record(now - self.started, now)
        return 0

    def record_time(self) -> None:
        """It has ended otherwise than by a page."""
        if self.resolved.timer is not None:
            self.record()

    def on_announcement(self, Page page) -> None:
        """The page brings more than rows: changed metadata, a trace id or warnings; in the reader."""


cdef class WakeQueue:
    """Futures that have ended while a greenlet was parked on them; one callback of the hub wakes those greenlets.

    :param schedule: ``schedule(callback)`` has the hub call ``callback()`` soon
    :param handle_error: ``handle_error(context, type, value, traceback)``, the hub's
    :param most: how many greenlets are woken before the hub looks at its watchers again
    """

    cdef object schedule
    cdef object handle_error
    cdef object ended
    cdef bint scheduled
    cdef int most
    cdef readonly uint64_t process
    """That it was made in: in a fork's child nobody of the parent's is woken."""

    def __init__(self, schedule, handle_error, int most):
        self.process = generation
        self.schedule = schedule
        self.handle_error = handle_error
        self.most = most
        self.ended = deque()

    def wake(self, future) -> None:
        """Wake the greenlet parked on ``future``, if it still is when the hub comes to it."""
        self.ended.append(future)
        if not self.scheduled:
            self.scheduled = True
            self.schedule(self._run)

    def _run(self) -> None:
        cdef object ended = self.ended
        cdef int n
        for n in range(min(len(ended), self.most)):
            if self.process != generation:  # one of those that it woke may have forked: this is the child
                return
            waiter = ended.popleft()._waiter
            if waiter is not None:
                try:
                    waiter.switch()
                except BaseException as error:  # a raw greenlet that ends by an error throws it at whoever switched
                    self.handle_error(waiter, type(error), error, error.__traceback__)
        if ended:
            self.schedule(self._run)
        else:
            self.scheduled = False


cdef class MicrosecondClock:
    """Microseconds since 1970, each value greater than the one before: the hot half of
    :class:`geventcql.timestamps.MonotonicTimestampGenerator`.
    """

    cdef public int64_t last
    """The value given last."""

    def __call__(self) -> int:
        """The next value."""
        cdef int64_t now = <int64_t> time_ns() // 1000
        if now > self.last:
            self.last = now
            return now
        return self._drift(now)


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


def batch_entries(list queries not None) -> bytes:
    """The statements in a BATCH body (protocol section 4.1.7): of each its kind, its id or text, its values.

    :param queries: (is it prepared, its id or its text in UTF-8, ``<n><value>...`` or b'' for none), of each
    :raises ValueError: an id or a text is longer than the protocol has room for
    """
    cdef Py_ssize_t size = 0, n, m
    cdef bytes name, values, out
    cdef uint8_t* p
    for prepared, name, values in queries:
        n = PyBytes_GET_SIZE(name)
        m = PyBytes_GET_SIZE(values)
        if n > (0xFFFF if prepared else 0x7FFFFFFF):
            raise ValueError(f"the statement's {'id' if prepared else 'text'} has {n} bytes, more than the protocol has room for")
        size += 1 + (2 if prepared else 4) + n + (m if m else 2)
    out = PyBytes_FromStringAndSize(NULL, size)
    p = <uint8_t*> PyBytes_AS_STRING(out)
    for prepared, name, values in queries:
        n = PyBytes_GET_SIZE(name)
        m = PyBytes_GET_SIZE(values)
        if prepared:
            p[0] = 1
            p[1] = n >> 8
            p[2] = n & 0xFF
            p += 3
        else:
            p[0] = 0
            put32(p + 1, <uint32_t> n)
            p += 5
        memcpy(p, PyBytes_AS_STRING(name), n)
        p += n
        if m:
            memcpy(p, PyBytes_AS_STRING(values), m)
            p += m
        else:
            p[0] = p[1] = 0
            p += 2
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
