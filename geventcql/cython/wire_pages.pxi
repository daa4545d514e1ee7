# Replies as objects: frames, result pages and their rows.

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


cdef enum:
    BY_HANDLER = 0   # an application's own decoding: it gets the Page and its decoder
    BY_PAGE = 1      # an application's own factory: it gets a page whole, and what it returns need not be a list
    BY_SLICES = 2    # a factory that may be given a page in parts
    AS_TUPLES = 3
    AS_CLASS = 4     # rows are instances of a tuple subclass, made by the decoder itself


cdef class RowReader:
    """How the rows of one statement are read. Pinned with each request, so that what was sent and how the answer is read
    belong together.

    :param factory: ``factory(column_names, rows)``
    :param kind: 'tuples', 'class' (``factory(column_names)`` gives a tuple subclass), 'slices' or 'page' (the factory makes
        the rows, of parts of a page or of whole pages only), 'handler' (``factory(page, decoder)`` does it all)
    :param cache: ``cache(body, offset, flags, columns)`` gives the decoder for metadata in a body and the offset behind it
    :param decoder: for bodies without metadata; None if there is none
    """

    cdef readonly object factory
    cdef readonly object cache
    cdef readonly object decoder
    cdef int kind
    cdef object class_of
    cdef object row_class

    def __init__(self, factory, str kind, cache, decoder=None):
        self.factory = factory
        self.kind = {"handler": BY_HANDLER, "page": BY_PAGE, "slices": BY_SLICES, "tuples": AS_TUPLES, "class": AS_CLASS}[kind]
        self.cache = cache
        self.decoder = decoder

    cdef object read(self, Page page, decoder, Py_ssize_t most, Py_ssize_t* end):
        """Up to ``most`` rows at the page's position, made; ``end``: where they end. Changes nothing in the page."""
        if self.kind == AS_CLASS:
            if decoder is not self.class_of:
                self.row_class = self.factory(decoder.names)
                self.class_of = decoder
            return decode(decoder, page, most, self.row_class, end)
        if self.kind == BY_HANDLER:
            return as_rows(self.factory(page, decoder))
        rows = decode(decoder, page, most, None, end)
        return rows if self.kind == AS_TUPLES else as_rows(self.factory(list(decoder.names), rows))


cdef object as_rows(made):
    """What an application's own factory or handler made of a page, as rows: what is not several rows is one."""
    if isinstance(made, Mapping):
        return [made] if made else []
    if hasattr(made, "__next__"):
        return list(made)  # an iterator could be read only once
    return made if made is None or hasattr(made, "__iter__") else [made]


cdef class Page:
    """The answer to one request: no rows (void) or one page of them, as they came.

    The rows stay bytes until somebody looks at them, in the greenlet that does; what has been decoded is kept. Nothing but
    the prefix of the body has been read before. A body that does not decode raises the same DecodeError every time.
    """

    cdef readonly int version
    cdef readonly int kind
    """1 void, 2 rows (protocol section 4.2.5)."""
    cdef readonly int flags
    """The flags of the Rows metadata."""
    cdef readonly int column_count
    cdef readonly bytes body
    cdef readonly RowReader reader
    """What the request was sent with; the body's own metadata, if it has any, goes before its decoder."""
    cdef readonly bytes paging_state
    cdef readonly bytes new_metadata_id
    """Set when the server says that the statement's result columns have changed (v5)."""
    cdef readonly object tracing_id
    cdef readonly list warnings
    cdef readonly dict custom_payload
    cdef public object host
    """Where it came from, for errors."""
    cdef Py_ssize_t pos
    cdef Py_ssize_t left
    cdef Py_ssize_t total
    cdef Py_ssize_t absent     # elements of tuples that the rows so far lack; see codecs_nested.pxi
    cdef object found          # the decoder of this body
    cdef object made           # the rows so far, or what the application's factory returned
    cdef object error

    @staticmethod
    def void():
        """An answer without rows that no server sent."""
        cdef Page page = Page.__new__(Page)
        page.kind = KIND_VOID
        page.body = b""
        return page

    @property
    def has_rows(self) -> bool:
        """Whether it is of the kind that has rows, be they none."""
        return self.kind == KIND_ROWS

    @property
    def by_slices(self) -> bool:
        """Whether :meth:`more_rows` may be asked for part of the page."""
        return self.reader is None or self.reader.kind > BY_PAGE

    @property
    def rows_offset(self) -> int:
        """Where in the body the next row begins; known once :meth:`decoder` has been asked for."""
        return self.pos

    @property
    def row_count(self) -> int:
        """How many rows the page has."""
        self.decoder()
        return self.total

    @property
    def decoded(self) -> object:
        """The rows decoded so far; None before the first."""
        return self.made

    @property
    def finished(self) -> bool:
        """Whether all rows are decoded."""
        return self.kind != KIND_ROWS or (self.found is not None and self.left == 0 and self.made is not None)

    def decoder(self) -> object:
        """The decoder of this body.

        :raises DecodeError: the body has no metadata and none is known, or it does not make sense
        """
        if self.found is None:
            self.guarded(0, False)
        return self.found

    def more_rows(self, Py_ssize_t most) -> object:
        """Decode up to ``most`` more rows (all of them where the factory wants whole pages).

        :returns: all rows so far
        :raises DecodeError: a cell does not decode
        """
        return self.guarded(most if self.by_slices else self.left_at_most(), True)

    cpdef object first(self):
        """The first row, or None."""
        if self.kind != KIND_ROWS:
            return None
        if not self.by_slices:
            return next(iter(self.all()), None)  # of an application's own kind, which may have neither length nor index
        rows = self.made if self.made is not None else self.guarded(1, True)
        return rows[0] if rows else None

    cpdef object all(self):
        """All rows: a list, or whatever an application's own row factory returns; [] for a void result."""
        if self.kind != KIND_ROWS:
            return []
        while not self.finished:
            self.guarded(self.left_at_most(), True)
        return self.made

    def whole(self, Py_ssize_t most) -> object:
        """All rows, if there is no page behind this one and they are no more than ``most``; else None.

        None also where they do not decode: the error is kept, and raised by whatever looks at the rows.
        """
        if self.paging_state is not None or self.error is not None:
            return None
        if self.kind != KIND_ROWS:
            return []
        try:
            if self.found is None:
                self.guarded(0, False)
            if self.total > most or not self.by_slices:
                return None
            return self.all()
        except DecodeError:
            return None

    cdef Py_ssize_t left_at_most(self) except -1:
        if self.found is None:
            self.guarded(0, False)
        return self.left

    cdef object guarded(self, Py_ssize_t most, bint make):
        if self.error is not None:
            raise self.error
        try:
            if self.found is None:
                self.start()
            if make:
                self.extend(most)
            return self.made
        except (DecodeError, FrameError) as caught:
            error = caught if isinstance(caught, DecodeError) else page_error(str(caught))  # damaged metadata
            if self.host is not None:
                error.host = self.host
            self.error = error
            raise error

    cdef int extend(self, Py_ssize_t most) except -1:
        cdef Py_ssize_t left = self.left, end = self.pos
        cdef Py_ssize_t n = most if most < left else left
        cdef bint first = self.made is None
        if not first and n == 0:
            return 0
        rows = decode(self.found, self, n, None, &end) if self.reader is None else self.reader.read(self, self.found, n, &end)
        if rows is None:
            raise TypeError(f"{self.reader.factory!r} returned None instead of rows")
        if self.left != left or (self.made is None) != first:
            return 0  # an application's code has let another greenlet run, which has read these rows too
        self.pos = end
        self.left = left - n
        if first:
            self.made = rows
        else:
            self.made.extend(rows)
        return 0

    cdef int start(self) except -1:
        """Find the decoder and where the rows begin."""
        cdef Cursor c
        cdef bytes raw
        cdef Py_ssize_t n
        cdef object decoder = None
        if self.kind != KIND_ROWS:
            raise page_error("the answer has no rows")
        c.start = <const uint8_t*> PyBytes_AS_STRING(self.body)
        c.pos = self.pos
        c.end = PyBytes_GET_SIZE(self.body)
        if self.reader is not None:
            decoder = self.reader.decoder
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
                find = decoder_from if self.reader is None else self.reader.cache
                decoder, c.pos = find(self.body, c.pos, self.flags & 1, self.column_count)
        if c.end - c.pos < 4:
            raise page_error("the answer ends before the number of rows")
        self.left = read_int(&c, "the number of rows")
        if self.left < 0 or (self.column_count and self.left > (c.end - c.pos) // (4 * self.column_count)):
            raise page_error(f"the answer claims {self.left} rows in {c.end - c.pos} bytes")
        if self.column_count == 0 and self.left > 0:
            raise page_error(f"the answer claims {self.left} rows without columns")
        self.pos = c.pos
        self.total = self.left
        self.found = decoder
        return 0

    def __repr__(self) -> str:
        if self.kind == KIND_VOID:
            return "<Page void>"
        return f"<Page {self.column_count} columns, {len(self.body)} bytes{', more' if self.paging_state else ''}>"


cdef list decode(decoder, Page page, Py_ssize_t n, row_class, Py_ssize_t* end):
    # Rows of collections are thousands of new containers, none of them garbage: what the collector would do between them
    # takes as long as the decoding. It makes up for it behind the slice.
    cdef bint collecting = PyGC_Disable() if n > 1 else False
    try:
        out, pos = decoder.decode_rows(page.body, page.pos, n, row_class)
    finally:
        if collecting:
            PyGC_Enable()
    if n > 1:  # one slice alone is within the limit
        page.absent += decoder.absent
        if page.absent > absent_limit(PyBytes_GET_SIZE(page.body)):
            raise page_error("the values of its tuples leave out more elements than is taken")
    end[0] = pos
    return out


cdef class PageView:
    """A request's rows as an application sees them, as far as the current page goes: the hot half of
    :class:`geventcql.resultset.ResultSet`.
    """

    cdef public object response_future
    """The future that this is the result of."""
    cdef public Page _page
    cdef public list _listed

    def __init__(self, response_future, page):
        self.response_future = response_future
        if type(page) is Page:
            self._page = page
        else:  # rows that no server sent: applications make results of their own for their tests
            self._page = Page.void()
            self._listed = list(page or ())

    def one(self) -> object:
        """The first row of the current page, or None; never asks for another page."""
        if self._listed is not None:
            return self._listed[0] if self._listed else None
        return self._page.first()


cdef class RowIterator:
    """Rows one after the other: the hot half of :class:`geventcql.resultset.Rows`. Several greenlets may draw from it."""

    cdef public list rows
    """The rows of the current page, as far as they are decoded."""
    cdef public Py_ssize_t at
    """How many of them have been given out."""

    def __init__(self):
        self.rows = []

    def __iter__(self):
        return self

    def __next__(self):
        while self.at >= PyList_GET_SIZE(self.rows):
            if not self.advance():
                raise StopIteration
        self.at += 1
        return self.rows[self.at - 1]

    def advance(self) -> bool:
        """Find more rows, which may wait; False if there are none."""
        raise NotImplementedError


cdef object new_page(int version, int flags, bytes body, RowReader reader):
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
        page.tracing_id, page.warnings, page.custom_payload = read_prefix(&c, flags if version >= 4 else flags & FLAG_TRACING)
    kind = read_int(&c, "the kind of result")
    if kind == KIND_VOID:
        page.kind = kind
        page.body = b""
        return page
    if kind != KIND_ROWS:
        return None
    page.kind = kind
    page.body = body
    page.reader = reader
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
