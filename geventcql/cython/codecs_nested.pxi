# Collections, tuples, user types, vectors, and the wrappers of class names.

cdef object _SortedSet = SortedSet
cdef Py_ssize_t sortedset_items = slot_offset(SortedSet._items)
cdef Py_ssize_t sortedset_ordered = slot_offset(SortedSet._ordered)


cdef struct Cells:
    # What is left of a value that consists of [bytes] elements.
    const char *p
    Py_ssize_t left


cdef inline Py_ssize_t next_cell(Cells *cells, const char **p) except -2:
    """Step over the next element: its length, -1 for null; `p` points to its bytes."""
    cdef int32_t n
    if cells.left < 4:
        raise BadCell("ends within the length of an element")
    n = <int32_t>load32(cells.p)
    cells.p += 4
    cells.left -= 4
    if n < 0:
        return -1
    if n > cells.left:
        raise BadCell(f"an element of {n} bytes, {cells.left} are left")
    p[0] = cells.p
    cells.p += n
    cells.left -= n
    return n


cdef inline object next_value(Cells *cells, CqlType cql_type):
    """The value of the next element, None for null."""
    cdef const char *p = NULL
    cdef Py_ssize_t n = next_cell(cells, &p)
    if n < 0:
        return None
    return cql_type.read(p, n)


cdef Py_ssize_t element_count(Cells *cells, int smallest) except -1:
    """The count that begins a collection; not more than elements of `smallest` bytes each fit into what is left."""
    cdef int32_t count
    if cells.left < 4:
        raise BadCell("ends within the number of elements")
    count = <int32_t>load32(cells.p)
    cells.p += 4
    cells.left -= 4
    if count < 0 or count > cells.left // smallest:
        raise BadCell(f"{count} elements in {cells.left} bytes")
    return count


cdef int no_more(Cells *cells) except -1:
    if cells.left:
        raise BadCell(f"{cells.left} bytes after the last element")
    return 0


cdef list read_elements(CqlType element, const char *p, Py_ssize_t n):
    """The elements of a list or set."""
    cdef Cells cells
    cdef Py_ssize_t count, i
    cells.p, cells.left = p, n
    count = element_count(&cells, 4)
    items = PyList_New(count)
    for i in range(count):
        value = next_value(&cells, element)
        Py_INCREF(value)
        PyList_SET_ITEM(items, i, value)
    no_more(&cells)
    return items


cdef int write_cell(Writer *w, CqlType cql_type, object value) except -1:
    """Append `value` as a [bytes] element: length and bytes, length -1 for None."""
    cdef Py_ssize_t start
    if value is None:
        store32(advance(w, 4), <uint32_t>-1)
        return 0
    if value is _unset:
        raise ValueError("UNSET inside a value")
    advance(w, 4)
    start = w.size
    cql_type.write(w, value)
    store32(w.data + start - 4, <uint32_t>(w.size - start))
    return 0


cdef inline int write_item(Writer *w, CqlType cql_type, object value) except -1:
    """As :func:`write_cell`, in a collection, which can hold no null: None is an empty value, as cassandra-driver has it."""
    if value is None:
        store32(advance(w, 4), 0)
        return 0
    return write_cell(w, cql_type, value)


cdef int write_elements(Writer *w, CqlType element, object value) except -1:
    """The elements of a list or set, from any iterable that is not a str."""
    cdef Py_ssize_t start
    cdef uint32_t count = 0
    if not (PyList_CheckExact(value) or PyTuple_CheckExact(value)):
        if PyUnicode_Check(value):
            raise TypeError("a str where a sequence is wanted")
        value = list(value)
    advance(w, 4)
    start = w.size
    if PyList_CheckExact(value):
        for item in <list>value:
            write_item(w, element, item)
            count += 1
    else:
        for item in <tuple>value:
            write_item(w, element, item)
            count += 1
    store32(w.data + start - 4, count)
    return 0


@cython.final
cdef class ListType(CqlType):
    """list<element>: list; from any iterable but a str."""

    cdef CqlType element

    def __cinit__(self, CqlType element not None):
        self.contain((element,))
        self.element = element
        self.describe(f"list<{element.name}>", f"ListType({element.cass_name})", 0x20, 0)
        self.hashable = False
        self.distinct = False

    cdef object read(self, const char *p, Py_ssize_t n):
        return read_elements(self.element, p, n) if n else None

    cdef int write(self, Writer *w, object value) except -1:
        return write_elements(w, self.element, value)


@cython.final
cdef class SetType(CqlType):
    """set<element>: util.SortedSet; from any iterable but a str."""

    cdef CqlType element

    def __cinit__(self, CqlType element not None):
        self.contain((element,))
        self.element = element
        self.describe(f"set<{element.name}>", f"SetType({element.cass_name})", 0x22, 0)
        self.hashable = False
        self.distinct = False

    cdef object read(self, const char *p, Py_ssize_t n):
        cdef list items
        cdef bint ordered = self.element.depth == 1  # sets and tuples have an order, but not a total one
        if n == 0:
            return None
        items = read_elements(self.element, p, n)
        try:
            PyList_Sort(items)
        except TypeError:  # null, or a type without order
            ordered = False
        else:
            if not self.element.distinct:
                items = [item for i, item in enumerate(items) if i == 0 or item != items[i - 1]]
        value = new_instance(_SortedSet)
        set_slot(value, sortedset_items, items)
        set_slot(value, sortedset_ordered, ordered)
        return value

    cdef int write(self, Writer *w, object value) except -1:
        return write_elements(w, self.element, value)


@cython.final
cdef class MapType(CqlType):
    """map<key, value>: dict, or util.OrderedMapSerializedKey if keys cannot be hashed, or were made to have one hash; from any
    mapping.
    """

    cdef CqlType key
    cdef CqlType element

    def __cinit__(self, CqlType key not None, CqlType value not None):
        self.contain((key, value))
        self.key = key
        self.element = value
        self.describe(f"map<{key.name}, {value.name}>", f"MapType({key.cass_name},{value.cass_name})", 0x21, 0)
        self.hashable = False
        self.distinct = False

    cdef object read(self, const char *p, Py_ssize_t n):
        cdef Cells cells
        cdef Py_ssize_t count
        cdef dict result
        if n == 0:
            return None
        cells.p, cells.left = p, n
        count = element_count(&cells, 8)
        if not self.key.hashable or count > FEW and not self.is_spread() and self.is_crowded(cells, count):
            return self.read_ordered(&cells, count)
        result = {}
        for _ in range(count):
            key = next_value(&cells, self.key)
            PyDict_SetItem(result, key, next_value(&cells, self.element))
        no_more(&cells)
        return result

    cdef bint is_spread(self):
        """Whether hashes of keys are secret, or no more than a few values can have the same."""
        return self.key.fixed in (4, 8) or isinstance(self.key, (UTF8Type, AsciiType, BytesType))

    cdef bint is_crowded(self, Cells cells, Py_ssize_t count) except -1:
        """Whether so many keys have one hash (numbers that differ by 2**61 - 1 do, and UUIDs, which are numbers) that a dict of
        them would take a time that grows with the square of their number.
        """
        global absent
        cdef Py_ssize_t before = absent
        cdef const char *p = NULL
        hashes = []
        for _ in range(count):
            hashes.append(hash(next_value(&cells, self.key)))
            next_cell(&cells, &p)
        absent = before
        return max(Counter(hashes).values()) > FEW

    cdef object read_ordered(self, Cells *cells, Py_ssize_t count):
        cdef const char *p = NULL
        cdef Py_ssize_t n
        result = OrderedMapSerializedKey(self.key)
        for _ in range(count):
            n = next_cell(cells, &p)
            key = self.key.read(p, n) if n >= 0 else None
            flat_key = PyBytes_FromStringAndSize(p, n) if n >= 0 else None
            result._insert_unchecked(key, flat_key, next_value(cells, self.element))
        no_more(cells)
        return result

    cdef int write(self, Writer *w, object value) except -1:
        cdef Py_ssize_t start
        cdef uint32_t count = 0
        advance(w, 4)
        start = w.size
        if PyDict_CheckExact(value):
            for key, item in (<dict>value).items():
                write_item(w, self.key, key)
                write_item(w, self.element, item)
                count += 1
        else:
            try:
                pairs = value.items()
            except AttributeError:
                raise TypeError("must be a mapping") from None
            for key, item in pairs:
                write_item(w, self.key, key)
                write_item(w, self.element, item)
                count += 1
        store32(w.data + start - 4, count)
        return 0


cdef Py_ssize_t absent = 0  # elements that values lack, since the decoding of an answer began; code in here does not switch
cdef Py_ssize_t absent_allowed = 0


cdef int allow_absent(Py_ssize_t size) noexcept:
    """A value of `size` bytes begins to be decoded.

    Tuples may lack their last elements, which are None then: 8 bytes can stand for a tuple of 65,535, half a megabyte. So there
    is a limit, which types that have grown do not come near.
    """
    global absent, absent_allowed
    absent = 0
    absent_allowed = absent_limit(size)
    return 0


cpdef Py_ssize_t absent_limit(Py_ssize_t size) noexcept:
    """How many elements the tuples in `size` bytes may lack."""
    return FREE_ABSENT + ABSENT_PER_BYTE * size


cdef class TupleType(CqlType):
    """frozen<tuple<...>>: tuple; from any iterable but a str, the last elements may be missing (null)."""

    def __cinit__(self, tuple subtypes not None, *args, **kwargs):
        cdef CqlType element
        self.contain(subtypes)
        names = ", ".join([element.name for element in subtypes])
        classes = ",".join([element.cass_name for element in subtypes])
        self.describe(f"frozen<tuple<{names}>>", f"TupleType({classes})", 0x31, 0)
        self.leaf = True
        for element in subtypes:
            self.hashable = self.hashable and element.hashable
            self.leaf = self.leaf and element.leaf
        self.distinct = False

    cdef object read_into(self, object result, const char *p, Py_ssize_t n):
        """Fill the places of `result`, a new tuple. Elements that the type does not know (newer ones) are ignored."""
        global absent
        cdef Cells cells
        cdef Py_ssize_t i = 0, count = PyTuple_GET_SIZE(self.subtypes)
        cells.p, cells.left = p, n
        while i < count and cells.left:
            value = next_value(&cells, <CqlType>PyTuple_GET_ITEM(self.subtypes, i))
            Py_INCREF(value)
            PyTuple_SET_ITEM(result, i, value)
            i += 1
        absent += count - i
        if absent > absent_allowed:
            raise BadCell(f"more than {absent_allowed} elements are left out")
        while i < count:
            Py_INCREF(None)
            PyTuple_SET_ITEM(result, i, None)
            i += 1
        if self.leaf:
            PyObject_GC_UnTrack(<void *>result)
        return result

    cdef object read(self, const char *p, Py_ssize_t n):
        if n == 0:
            return None
        return self.read_into(PyTuple_New(PyTuple_GET_SIZE(self.subtypes)), p, n)

    cdef int write(self, Writer *w, object value) except -1:
        cdef Py_ssize_t i
        if PyUnicode_Check(value):
            raise TypeError("a str where a tuple is wanted")
        value = tuple(value)
        if PyTuple_GET_SIZE(value) > PyTuple_GET_SIZE(self.subtypes):
            raise ValueError(f"{len(value)} values for a tuple of {len(self.subtypes)}")
        for i in range(PyTuple_GET_SIZE(value)):
            write_cell(w, <CqlType>PyTuple_GET_ITEM(self.subtypes, i), <object>PyTuple_GET_ITEM(value, i))
        return 0


cdef dict _tuple_classes = {}  # (name, field names) -> named tuple class or None; making one takes longer than a query
cdef Py_ssize_t _tuple_fields = 0  # of all those


cdef object tuple_class(str name, tuple field_names):
    """The named tuple of a user type: fields that Python has no names for are called field_<position>_.

    None, meaning plain tuples, if `name` is no identifier, two fields have one name, or there are more than 4,096.
    """
    global _tuple_fields
    key = name, field_names
    if key not in _tuple_classes:
        if len(field_names) > MOST_FIELDS:
            return None
        _tuple_fields += len(field_names)
        if len(_tuple_classes) >= 1024 or _tuple_fields > MOST_CLASS_FIELDS:  # schemas that change must not fill the memory
            _tuple_classes.clear()
            _tuple_fields = len(field_names)
        usable = [
            f"field_{i}_" if not field.isidentifier() or iskeyword(field) or field.startswith("_") else field
            for i, field in enumerate(field_names)
        ]
        try:
            _tuple_classes[key] = namedtuple(name, usable)
        except (ValueError, SyntaxError):  # the second: names that are one to Python, such as 'fi' and its ligature
            _tuple_classes[key] = None
    return _tuple_classes[key]


@cython.final
cdef class UserType(TupleType):
    """A user defined type: `user_class(**fields)` if one is registered, else a named tuple (see `tuple_class`).

    From a mapping by field name, a sequence by position, or any object by attribute; what is missing is null.
    """

    cdef readonly str keyspace
    cdef readonly str type_name
    cdef readonly tuple field_names
    cdef readonly object user_class
    cdef readonly object row_class

    def __cinit__(
        self, tuple subtypes not None, str keyspace not None, str type_name not None, tuple field_names not None,
        user_class=None,
    ):
        cdef CqlType element
        if len(field_names) != len(subtypes):
            raise ValueError(f"{len(field_names)} names for {len(subtypes)} fields")
        self.keyspace = keyspace
        self.type_name = type_name
        self.field_names = field_names
        self.user_class = user_class
        self.row_class = tuple_class(type_name, field_names)
        self.hashable = self.hashable and user_class is None
        self.leaf = self.leaf and user_class is None
        fields = "".join([
            f",{field.encode().hex()}:{element.cass_name}" for field, element in zip(field_names, subtypes)
        ])
        self.describe(f"frozen<{type_name}>", f"UserType({keyspace},{type_name.encode().hex()}{fields})", 0x30, 0)

    cdef object read(self, const char *p, Py_ssize_t n):
        cdef Py_ssize_t count = PyTuple_GET_SIZE(self.subtypes)
        if n == 0:
            return None
        if self.user_class is not None:
            return self.user_class(**dict(zip(self.field_names, self.read_into(PyTuple_New(count), p, n))))
        if self.row_class is None:
            return self.read_into(PyTuple_New(count), p, n)
        return self.read_into(new_tuple_instance(self.row_class, count), p, n)

    cdef int write(self, Writer *w, object value) except -1:
        cdef Py_ssize_t i
        for i, item in enumerate(self.fields_of(value)):
            write_cell(w, <CqlType>PyTuple_GET_ITEM(self.subtypes, i), item)
        return 0

    cdef object fields_of(self, object value):
        """The fields of `value` in their order, as many as there are; TypeError, ValueError."""
        if PyDict_CheckExact(value) or isinstance(value, Mapping):
            unknown = [key for key in value if key not in self.field_names]
            if unknown:
                raise ValueError(f"{self.type_name} has no fields {unknown}")
            return [value.get(field) for field in self.field_names]
        if isinstance(value, str):
            raise TypeError("a str where a user type is wanted")
        if hasattr(value, "__getitem__") and hasattr(value, "__len__"):
            given = len(value)  # asked once: it may say something else the next time
            if given > len(self.field_names):
                raise ValueError(f"{given} values for {len(self.field_names)} fields")
            return [value[i] for i in range(given)] + [None] * (len(self.field_names) - given)
        if not any([hasattr(value, field) for field in self.field_names]):
            raise TypeError(f"has none of the fields of {self.type_name}")
        return [getattr(value, field, None) for field in self.field_names]


@cython.final
cdef class VectorType(CqlType):
    """vector<element, dimension>: list; from any iterable of that length but a str (fast: an array of floats).

    Elements of a fixed size stand one after the other, others behind an unsigned vint with their length
    (Cassandra: db.marshal.VectorType).
    """

    cdef CqlType element
    cdef readonly int dimension

    def __cinit__(self, CqlType element not None, dimension):
        if not 0 < dimension <= LONGEST:
            raise ValueError(f"a vector of dimension {dimension}")
        if element.fixed > LONGEST // dimension:
            raise ValueError("a vector of more than 256 MiB")
        self.contain((element,))
        self.element = element
        self.dimension = dimension
        self.describe(
            f"vector<{element.name}, {dimension}>", f"VectorType({element.cass_name}, {dimension})", 0,
            element.fixed * dimension,
        )
        self.hashable = False
        self.distinct = False

    cdef object read(self, const char *p, Py_ssize_t n):
        cdef uint64_t size = self.element.fixed
        cdef Py_ssize_t taken, i
        if n == 0:
            return None
        # An element of variable size takes one byte at least.
        if n != self.fixed if self.fixed else n < self.dimension:
            raise BadCell(f"{self.name}: {n} bytes")
        items = PyList_New(self.dimension)
        for i in range(self.dimension):
            if not self.fixed:
                taken = read_vint(p, n, &size)
                if taken == 0 or size > <uint64_t>(n - taken):
                    raise BadCell(f"{self.name}: ends within element {i}")
                p += taken
                n -= taken
            value = self.element.read(p, size)
            Py_INCREF(value)
            PyList_SET_ITEM(items, i, value)
            p += size
            n -= size
        if n:
            raise BadCell(f"{self.name}: {n} bytes after the last element")
        return items

    cdef int write(self, Writer *w, object value) except -1:
        cdef Py_ssize_t count = 0
        if PyUnicode_Check(value):
            raise TypeError("a str where a vector is wanted")
        if not PyList_CheckExact(value):
            if PyObject_CheckBuffer(value) and self.write_array(w, value):
                return 0
            value = list(value)
        self.check_count(PyList_GET_SIZE(value))
        for item in <list>value:
            count += 1
            if item is None or item is _unset:
                raise ValueError(f"{item} inside a vector")
            if self.fixed:
                self.element.write(w, item)
            else:
                self.write_variable(w, item)
        return self.check_count(count)  # the elements' own code may have changed the list

    cdef int check_count(self, Py_ssize_t count) except -1:
        if count != self.dimension:
            raise ValueError(f"{count} elements for a vector of {self.dimension}")
        return 0

    cdef int write_array(self, Writer *w, object value) except -1:
        """Append the numbers of an array.array, numpy.ndarray or the like; 0, nothing done if they are not so simple."""
        cdef Py_buffer view
        cdef Py_ssize_t i
        cdef char kind
        cdef double number = 0
        cdef float single = 0
        try:
            PyObject_GetBuffer(value, &view, PyBUF_ND | PyBUF_FORMAT)
        except (BufferError, ValueError):
            return 0  # its numbers do not stand side by side
        try:
            kind = view.format[0] if view.format != NULL and strlen(view.format) == 1 else 0
            if (
                view.ndim != 1 or view.shape[0] != self.dimension
                or not (kind == c"f" and view.itemsize == 4 or kind == c"d" and view.itemsize == 8)
                or not isinstance(self.element, (FloatType, DoubleType))
            ):
                return 0
            for i in range(self.dimension):
                if kind == c"f":
                    memcpy(&single, <char *>view.buf + 4 * i, 4)
                    number = single
                else:
                    memcpy(&number, <char *>view.buf + 8 * i, 8)
                if self.element.fixed == 4:
                    write_float(w, number)
                else:
                    store64(advance(w, 8), bits_of_double(number))
        finally:
            PyBuffer_Release(&view)
        return 1

    cdef int write_variable(self, Writer *w, object item) except -1:
        """An element behind its length, which is known only once it is written: it moves if that takes more bytes."""
        cdef Py_ssize_t start = w.size, size
        cdef int length
        self.element.write(w, item)
        size = w.size - start
        length = vint_length(size)
        advance(w, length)
        memmove(w.data + start + length, w.data + start, size)
        w.size = start
        write_vint(w, size)
        w.size += size
        return 0


cdef class FrozenType(CqlType):
    """frozen<element> in a class name or CQL text: its element in all but name."""

    cdef CqlType element

    def __cinit__(self, CqlType element not None):
        self.contain((element,))
        self.element = element
        self.describe(f"frozen<{element.name}>", f"FrozenType({element.cass_name})", element.code, element.fixed)
        self.hashable = element.hashable
        self.distinct = element.distinct
        self.leaf = element.leaf

    cdef object read(self, const char *p, Py_ssize_t n):
        return self.element.read(p, n)

    cdef int write(self, Writer *w, object value) except -1:
        return self.element.write(w, value)


@cython.final
cdef class ReversedType(FrozenType):
    """A clustering column in descending order, in a class name: its element in all but name."""

    def __cinit__(self, CqlType element not None):
        self.describe(
            f"'{CASS_PREFIX}ReversedType({element.cass_name})'", f"ReversedType({element.cass_name})", element.code,
            element.fixed,
        )


@cython.final
cdef class CompositeType(CqlType):
    """Several values in one, of tables without CQL schema: tuple; the last elements may be missing.

    Each element: [short bytes] and one byte that says whether it is the end of a range (Cassandra: CompositeType).
    """

    def __cinit__(self, tuple subtypes not None):
        cdef CqlType element
        self.contain(subtypes)
        classes = ",".join([element.cass_name for element in subtypes])
        self.describe(f"'{CASS_PREFIX}CompositeType({classes})'", f"CompositeType({classes})", 0, 0)
        for element in subtypes:
            self.hashable = self.hashable and element.hashable
        self.distinct = False

    cdef object read(self, const char *p, Py_ssize_t n):
        cdef list values = []
        cdef Py_ssize_t size
        if n == 0:
            return None
        for subtype in self.subtypes:
            if n == 0:
                break
            if n < 2:
                raise BadCell("ends within the length of an element")
            size = load16(p)
            if size + 3 > n:
                raise BadCell(f"an element of {size} bytes, {n - 2} are left")
            values.append((<CqlType>subtype).read(p + 2, size))
            p += size + 3
            n -= size + 3
        return tuple(values)

    cdef int write(self, Writer *w, object value) except -1:
        cdef Py_ssize_t start, size
        value = tuple(value)
        if len(value) > len(self.subtypes):
            raise ValueError(f"{len(value)} values for {len(self.subtypes)} elements")
        for subtype, item in zip(self.subtypes, value):
            advance(w, 2)
            start = w.size
            (<CqlType>subtype).write(w, item)
            size = w.size - start
            if size > 0xFFFF:
                raise ValueError("an element of more than 65,535 bytes")
            store16(w.data + start - 2, <uint16_t>size)
            advance(w, 1)[0] = 0
        return 0
