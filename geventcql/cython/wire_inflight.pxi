# Stream ids, what waits on each, and the deadlines of what waits.

cdef object FREE = None
cdef object ORPHAN = object()


cdef class InFlight:
    """The stream ids of one connection and what waits on each of them.

    A stream id is free, in flight (a target waits for its reply) or orphaned (nobody waits any more, the server still
    owes the reply: the id must not be used again before it came; protocol section 2.3).

    :param limit: how many requests may be in flight at once, 1 to 32,768; orphaned ids do not count
    """

    cdef list targets
    cdef list readers
    cdef double* deadlines
    cdef int32_t* free_ids
    cdef int n_free
    cdef int capacity
    cdef readonly int limit
    cdef readonly int in_flight
    cdef readonly int orphaned
    cdef readonly long long late_replies
    cdef readonly double earliest
    """The earliest deadline that the last :meth:`expire` left; inf if it left none."""

    def __cinit__(self, int limit=2048):
        if not 1 <= limit <= MAX_STREAMS:
            raise ValueError(f"limit of requests in flight must be 1 to {MAX_STREAMS}, not {limit}")
        self.limit = limit
        self.targets = []
        self.readers = []
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
        self.readers.extend([None] * (size - self.capacity))
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

    cdef inline bint has_room(self) noexcept:
        return self.in_flight < self.limit and self.in_flight + self.orphaned < MAX_STREAMS

    cpdef int acquire(self, target, reader=None, double deadline=NEVER) except -2:
        """Take a stream id for ``target``.

        :param target: what the reply belongs to; not None
        :param reader: the :class:`RowReader` that the reply is read with, pinned here
        :param deadline: monotonic seconds
        :returns: the stream id, or -1 when there is no room
        """
        return -1 if self.in_flight >= self.limit else self.take(target, reader, deadline)

    cdef int take(self, target, reader, double deadline) except -2:
        """As :meth:`acquire`, beyond the limit too, while there is a free id."""
        cdef int stream
        if self.n_free == 0:
            if self.capacity >= MAX_STREAMS:
                return -1
            self.grow(self.capacity * 2)
        self.n_free -= 1
        stream = self.free_ids[self.n_free]
        self.targets[stream] = target
        self.readers[stream] = reader
        self.deadlines[stream] = deadline
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
        self.readers[stream] = None
        return target

    def orphan(self, int stream, target) -> bool:
        """Nobody waits for ``target``'s reply any more; its id stays taken until the reply comes.

        :returns: False if the stream belongs to something else by now
        """
        if stream < 0 or stream >= self.capacity or self.targets[stream] is not target or target is None:
            return False
        self.targets[stream] = ORPHAN
        self.readers[stream] = None
        self.deadlines[stream] = NEVER
        self.in_flight -= 1
        self.orphaned += 1
        return True

    def expire(self, double now, Py_ssize_t most=MAX_STREAMS) -> list:
        """Orphan the requests whose deadline has passed, and find the :attr:`earliest` of the others.

        :param now: monotonic seconds
        :param most: how many; the others are left
        :returns: the targets, in order of stream id
        """
        cdef list out = []
        cdef int i
        cdef double earliest = NEVER
        for i in range(self.capacity):
            if self.deadlines[i] == NEVER:
                continue
            if self.deadlines[i] <= now and PyList_GET_SIZE(out) < most:
                out.append(self.targets[i])
                self.targets[i] = ORPHAN
                self.readers[i] = None
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
            self.readers[i] = None
            self.release(i)
        self.in_flight = 0
        self.orphaned = 0
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


