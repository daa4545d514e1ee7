# Rows of a result, parameters of a statement.


cdef class RowDecoder:
    """Decodes the rows of results that have `columns`; made once per result metadata.

    `raw`: the bytes that `columns` were read from (what caches are keyed by). `names`, `types`: of the columns.
    """

    cdef readonly tuple columns
    cdef readonly tuple names
    cdef readonly tuple types
    cdef readonly bytes raw
    cdef readonly Py_ssize_t absent  # elements of tuples that the rows of the last call lacked
    cdef bint leaves  # whether all types are
    cdef object row_class  # the last one that was accepted

    def __cinit__(self, tuple columns not None, bytes raw not None=b""):
        cdef CqlType cql_type
        for column in columns:
            cql_type = column.type
            if cql_type is None:
                raise TypeError(f"column {column.name!r} has no type")
        self.columns = columns
        self.names = tuple([column.name for column in columns])
        self.types = tuple([column.type for column in columns])
        self.raw = raw
        self.leaves = all([(<CqlType>cql_type).leaf for cql_type in self.types])

    def __repr__(self):
        columns = ", ".join([f"{name} {cql_type.name}" for name, cql_type in zip(self.names, self.types)])
        return f"<RowDecoder {columns}>"

    def decode_rows(self, bytes body not None, Py_ssize_t pos, Py_ssize_t count, row_class=None):
        """The next `count` rows at `pos` of `body`, a list, and the position behind them.

        `row_class`: None for plain tuples, or a subclass of tuple (a named tuple's class with as many fields as there
        are columns), whose constructor does not run. DecodeError, naming column and type, if a cell is wrong; also if
        the bytes end before `count` rows. TypeError, ValueError: `row_class` does not fit.
        """
        cdef Py_ssize_t size = PyBytes_GET_SIZE(body), width = PyTuple_GET_SIZE(self.types)
        cdef Py_ssize_t column = 0
        cdef const char *p
        if row_class is not self.row_class:
            self.accept(row_class)
        if not 0 <= pos <= size or not 0 <= count <= size or count * 4 * width > size - pos:
            raise DecodeError(self.names[0] if width else "", self.types[0].name if width else "", None,
                              f"{count} rows of {width} columns in {size - pos} bytes")
        p = PyBytes_AS_STRING(body) + pos
        allow_absent(size - pos)
        try:
            rows = self.read_rows(&p, PyBytes_AS_STRING(body) + size, count, row_class, &column)
            self.absent = absent
        except MemoryError:
            raise
        except Exception as exc:
            raise decode_error(self.names[column], self.types[column], exc) from exc
        return rows, p - PyBytes_AS_STRING(body)

    cdef int accept(self, object row_class) except -1:
        """Check a class of rows, once for all pages that come with it."""
        if row_class is not None:
            if not (isinstance(row_class, type) and issubclass(row_class, tuple)):
                raise TypeError(f"{row_class!r} is no subclass of tuple")
            if len(getattr(row_class, "_fields", self.names)) != len(self.names):
                raise ValueError(f"{row_class!r} for {len(self.names)} columns")
        self.row_class = row_class
        return 0

    cdef list read_rows(
        self, const char **start, const char *end, Py_ssize_t count, object row_class, Py_ssize_t *column
    ):
        """The hot loop; `column`: the one that is being read, for errors."""
        cdef Py_ssize_t width = PyTuple_GET_SIZE(self.types)
        cdef Py_ssize_t r, c
        cdef int32_t n
        cdef const char *p = start[0]
        cdef tuple types = self.types
        # Rows that cannot be part of a cycle are kept from the garbage collector: it would visit each again and again.
        cdef bint untracked = self.leaves and (row_class is None or not has_dict(row_class))
        rows = PyList_New(count)
        for r in range(count):
            row = PyTuple_New(width) if row_class is None else new_tuple_instance(row_class, width)
            for c in range(width):
                column[0] = c
                if end - p < 4:
                    raise BadCell("the body ends within the length of a cell")
                n = <int32_t>load32(p)
                p += 4
                if n < 0:
                    value = None
                else:
                    if n > end - p:
                        raise BadCell(f"a cell of {n} bytes, {end - p} are left")
                    value = (<CqlType>PyTuple_GET_ITEM(types, c)).read(p, n)
                    p += n
                Py_INCREF(value)
                PyTuple_SET_ITEM(row, c, value)
            if untracked:
                PyObject_GC_UnTrack(<void *>row)
            Py_INCREF(row)
            PyList_SET_ITEM(rows, r, row)
        start[0] = p
        return rows


cdef class BindEncoder:
    """Encodes the values of a prepared statement's parameters, `columns`; made once per statement.

    `routing_indexes`: positions of the partition key's parts among them, in the key's order, () if some are missing.
    `protocol_version`: UNSET and missing values are for 4 and later. `n`: the number of parameters.
    """

    cdef readonly tuple columns
    cdef readonly tuple routing_indexes
    cdef readonly int protocol_version
    cdef readonly Py_ssize_t n
    cdef tuple types
    cdef bytes key_part  # for each parameter whether it is part of the partition key

    def __cinit__(self, tuple columns not None, routing_indexes, int protocol_version):
        cdef CqlType cql_type
        self.columns = columns
        self.routing_indexes = tuple(routing_indexes)
        self.protocol_version = protocol_version
        self.n = len(columns)
        if self.n > 0xFFFF:
            raise ValueError(f"{self.n} parameters")
        for index in self.routing_indexes:
            if not 0 <= index < self.n:
                raise ValueError(f"parameter {index} of {self.n} as part of the partition key")
        for column in columns:
            cql_type = column.type
            if cql_type is None:
                raise TypeError(f"column {column.name!r} has no type")
        self.types = tuple([column.type for column in columns])
        self.key_part = bytes([index in self.routing_indexes for index in range(self.n)])

    def __repr__(self):
        return f"<BindEncoder {', '.join([f'{column.name} {column.type.name}' for column in self.columns])}>"

    def encode(self, values):
        """`values` as <n><value 1>...<value n> of QUERY, EXECUTE and BATCH (protocol section 4.1.4).

        A sequence by position, the last ones may be missing, or a mapping by parameter name, whose other keys are
        ignored; None for no values. What is missing is UNSET; on v3 it is an error (ValueError for sequences, KeyError
        for mappings), and so is UNSET itself (ValueError). Also ValueError: too many values; null or UNSET for a part
        of the partition key. EncodeError (a TypeError and a ValueError) if a value does not fit its type.
        """
        cdef Writer w
        cdef char[INLINE] data
        w.data, w.size, w.room, w.owned = data, 0, INLINE, False
        try:
            self.write(&w, values if PyTuple_CheckExact(values) else self.sequence(values))
            return PyBytes_FromStringAndSize(w.data, w.size)
        finally:
            if w.owned:
                free(w.data)

    cdef tuple sequence(self, object values):
        """The values that there are, by position."""
        if PyList_CheckExact(values):
            return tuple(values)
        if values is None:
            return ()
        if isinstance(values, (str, bytes)):
            raise TypeError(f"{type(values).__name__} as the values of {self.n} parameters: a sequence is wanted")
        if not PyDict_CheckExact(values) and not isinstance(values, Mapping):
            return tuple(values)
        if self.protocol_version >= 4:
            return tuple([values[column.name] if column.name in values else _unset for column in self.columns])
        for column in self.columns:
            if column.name not in values:
                raise KeyError(f"Column name `{column.name}` not found in bound dict.")
        return tuple([values[column.name] for column in self.columns])

    cdef int write(self, Writer *w, tuple values) except -1:
        cdef Py_ssize_t given = PyTuple_GET_SIZE(values), start, i
        cdef object value
        if given > self.n:
            raise ValueError(f"Too many arguments provided to bind() (got {given}, expected {self.n})")
        if given < self.n and self.protocol_version < 4:
            raise ValueError(f"Too few arguments provided to bind() (got {given}, expected {self.n}): no value for "
                             + ", ".join([repr(column.name) for column in self.columns[given:]]))
        store16(advance(w, 2), <uint16_t>self.n)
        for i in range(self.n):
            value = <object>PyTuple_GET_ITEM(values, i) if i < given else _unset
            advance(w, 4)
            start = w.size
            if value is None or value is _unset:
                self.check_absent(i, value)
                store32(w.data + start - 4, <uint32_t>-1 if value is None else <uint32_t>-2)
                continue
            try:
                (<CqlType>PyTuple_GET_ITEM(self.types, i)).write(w, value)
            except MemoryError:
                raise
            except Exception as exc:
                raise EncodeError(self.columns[i].name, self.types[i].name, value, reason_of(exc)) from exc
            store32(w.data + start - 4, <uint32_t>(w.size - start))
        return 0

    cdef int check_absent(self, Py_ssize_t i, object value) except -1:
        """None and UNSET: ValueError where there must be a value."""
        if PyBytes_AS_STRING(self.key_part)[i]:
            what = "null" if value is None else "UNSET_VALUE"
            raise ValueError(f"Cannot bind {what} as a part of the routing key '{self.columns[i].name}'")
        if value is not None and self.protocol_version < 4:
            raise ValueError(f"Attempt to bind UNSET_VALUE while using unsuitable protocol version "
                             f"({self.protocol_version} < 4)")
        return 0

    cdef Py_ssize_t find(self, bytes payload, Py_ssize_t index, const char **p) except -2:
        """Where the value of a parameter is in `payload`: its length, -1 if there is none."""
        cdef const char *at = PyBytes_AS_STRING(payload) + 2
        cdef Py_ssize_t left = PyBytes_GET_SIZE(payload) - 2, n = -1, i
        for i in range(index + 1):
            if left < 4:
                raise ValueError("the payload is not of this statement")
            n = <int32_t>load32(at)
            p[0] = at + 4
            at += 4 + max(n, 0)
            left -= 4 + max(n, 0)
            if left < 0:
                raise ValueError("the payload is not of this statement")
        return max(n, -1)

    cdef Py_ssize_t key(self, bytes payload, Writer *w, const char **p) except -2:
        """The partition key: its length, -1 if there is none; `p` points to it, into `payload` or `w`."""
        cdef Py_ssize_t n, index
        if PyTuple_GET_SIZE(self.routing_indexes) == 1:
            index = <object>PyTuple_GET_ITEM(self.routing_indexes, 0)
            return self.find(payload, index, p)
        for item in self.routing_indexes:
            n = self.find(payload, item, p)
            if n < 0:
                return -1
            if n > 0xFFFF:
                raise ValueError("a part of the partition key of more than 65,535 bytes")
            store16(advance(w, 2), <uint16_t>n)
            append(w, p[0], n)
            advance(w, 1)[0] = 0
        p[0] = w.data
        return w.size if w.size else -1

    def routing_key(self, bytes payload not None):
        """The partition key in `payload`, which `encode` made: one part as it is, several as a CompositeType.

        None if the statement does not have the whole key as parameters.
        """
        return self.with_key(payload, False)

    def token(self, bytes payload not None):
        """The Murmur3 token of the partition key in `payload`, which `encode` made; None as in `routing_key`."""
        return self.with_key(payload, True)

    cdef object with_key(self, bytes payload, bint hashed):
        cdef Writer w
        cdef char[INLINE] data
        cdef const char *p = NULL
        cdef Py_ssize_t n
        w.data, w.size, w.room, w.owned = data, 0, INLINE, False
        try:
            n = self.key(payload, &w, &p)
            if n < 0:
                return None
            return PyLong_FromLongLong(murmur3(p, n)) if hashed else PyBytes_FromStringAndSize(p, n)
        finally:
            if w.owned:
                free(w.data)


def murmur3_token(key):
    """The token that Cassandra's Murmur3Partitioner has for a partition key, bytes-like: -2**63 + 1 to 2**63 - 1."""
    cdef bytes data = key if type(key) is bytes else bytes(memoryview(key))
    return murmur3(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
