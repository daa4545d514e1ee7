# Types from metadata ([option]s), from class names and from CQL text; column specifications.

cdef dict _simple_classes = {}  # class name without its package -> type
cdef dict _simple_names = {}  # CQL name -> type
cdef dict _simple_codes = {}  # [option] id -> type
for _class in (
    AsciiType, LongType, BytesType, BooleanType, CounterColumnType, DecimalType, DoubleType, FloatType, Int32Type,
    TimestampType, UUIDType, UTF8Type, IntegerType, TimeUUIDType, InetAddressType, SimpleDateType, TimeType, ShortType,
    ByteType, DurationType,
):
    _type = _class()
    _simple_classes[_class.__name__] = _simple_names[_type.name] = _simple_codes[_type.code] = _type
_simple_names["varchar"] = _simple_codes[0x0A] = _simple_codes[0x0D]  # 0x0A: what text was before protocol v3
_simple_classes["DateType"] = _simple_classes["TimestampType"]  # its name before Cassandra 2.0
_simple_classes["LexicalUUIDType"] = _simple_classes["UUIDType"]

cdef enum:
    OPTION_CUSTOM = 0x00
    OPTION_LIST = 0x20
    OPTION_MAP = 0x21
    OPTION_SET = 0x22
    OPTION_UDT = 0x30
    OPTION_TUPLE = 0x31
    FLAG_GLOBAL_TABLE = 0x01


cdef class TypeText:
    """The tokens of a class name or of a CQL type, read from left to right."""

    cdef str text
    cdef str delimiters
    cdef Py_ssize_t at

    def __cinit__(self, str text not None, str delimiters not None):
        if len(text) > LONGEST_TYPE:
            raise ValueError(f"a type in {len(text)} characters: {LONGEST_TYPE} is the most")
        self.text = text
        self.delimiters = delimiters
        self.skip_blanks()

    cdef void skip_blanks(self):
        while self.at < len(self.text) and self.text[self.at] == " ":
            self.at += 1

    cdef str peek(self):
        """The next character, '' at the end."""
        return self.text[self.at] if self.at < len(self.text) else ""

    cdef bint take(self, str character):
        """Whether that character comes next; if so, step over it."""
        if self.peek() != character:
            return False
        self.at += 1
        self.skip_blanks()
        return True

    cdef int expect(self, str character) except -1:
        if not self.take(character):
            raise ValueError(f"{character!r} expected at {self.at} of {self.text[:200]!r}")
        return 0

    cdef str word(self):
        """All up to the next delimiter or blank; between quotes if it begins with one. Never empty: ValueError."""
        cdef Py_ssize_t start = self.at, end
        quote = self.peek()
        if quote == '"' or quote == "'":
            end = self.text.find(quote, start + 1) + 1
            if end == 0:
                raise ValueError(f"unfinished quote in {self.text[:200]!r}")
        else:
            end = start
            while end < len(self.text) and self.text[end] not in self.delimiters and self.text[end] != " ":
                end += 1
        if end == start:
            raise ValueError(f"a name expected at {start} of {self.text[:200]!r}")
        self.at = end
        self.skip_blanks()
        return self.text[start:end]

    cdef int end(self) except -1:
        if self.at < len(self.text):
            raise ValueError(f"unexpected {self.text[self.at :][:200]!r}")
        return 0


cdef dict _application_classes = {}  # class name without its package -> what gives the CassandraType of a class name


def register_class(str name not None, lookup):
    """Have columns of the server's class `name` (Cassandra's own without their package) read and written by a class of
    the application's.

    `lookup`: gives, for such a class name with its parameters, a :class:`geventcql.cqltypes.CassandraType`.
    """
    _application_classes[name] = lookup


def parse_type_class(text, user_types=None):
    """The type that Cassandra's class name `text` stands for; short names (without package) will do.

    `user_types`: (keyspace, type name) -> class that values of that user type become. Unknown classes: CustomType.
    ValueError if a known class has wrong parameters or types are nested deeper than 64 levels.
    """
    tokens = TypeText(text, "(),:=")
    cql_type = class_type(tokens, user_types, 1)
    tokens.end()
    return cql_type


cdef CqlType class_type(TypeText tokens, object user_types, int depth):
    cdef Py_ssize_t start = tokens.at
    cdef str name = tokens.word()
    cdef str short = name.removeprefix(CASS_PREFIX)
    if depth > DEEPEST:
        raise ValueError(f"types are nested deeper than {DEEPEST} levels")
    if short in _application_classes:
        if tokens.take("("):
            skip_parameters(tokens)
        name = tokens.text[start : tokens.at].rstrip()
        return ApplicationType(name, _application_classes[short](name))
    if short in _simple_classes:
        return _simple_classes[short]
    if not tokens.take("("):
        return CustomType(name)
    if short == "UserType":
        cql_type = user_type_of_class(tokens, user_types, depth)
    elif short == "VectorType":
        element = class_type(tokens, user_types, depth + 1)
        tokens.expect(",")
        cql_type = VectorType(element, int(tokens.word()))
    elif short in ("ListType", "SetType", "MapType", "TupleType", "FrozenType", "ReversedType", "CompositeType"):
        cql_type = type_of_elements(short, class_elements(tokens, user_types, depth))
    else:
        skip_parameters(tokens)
        return CustomType(tokens.text[start : tokens.at].rstrip())
    tokens.expect(")")
    return cql_type


cdef tuple class_elements(TypeText tokens, object user_types, int depth):
    elements = []
    if tokens.peek() != ")":
        elements.append(class_type(tokens, user_types, depth + 1))
        while tokens.take(","):
            elements.append(class_type(tokens, user_types, depth + 1))
    return tuple(elements)


cdef CqlType type_of_elements(str name, tuple elements):
    """The list, set, map, tuple, composite or wrapper of `elements`; ValueError if their number is wrong."""
    if name == "TupleType":
        return TupleType(elements)
    if name == "CompositeType":
        return CompositeType(elements)
    if len(elements) != (2 if name == "MapType" else 1):
        raise ValueError(f"{name} of {len(elements)} types")
    if name == "MapType":
        return MapType(elements[0], elements[1])
    if name == "ListType":
        return ListType(elements[0])
    if name == "SetType":
        return SetType(elements[0])
    if name == "ReversedType":
        return ReversedType(elements[0])
    return FrozenType(elements[0])


cdef CqlType user_type_of_class(TypeText tokens, object user_types, int depth):
    """UserType(keyspace,name,field:type,...), names but the keyspace's in hexadecimal."""
    keyspace = tokens.word()
    tokens.expect(",")
    name = bytes.fromhex(tokens.word()).decode()
    field_names = []
    field_types = []
    while tokens.take(","):
        field_names.append(bytes.fromhex(tokens.word()).decode())
        tokens.expect(":")
        field_types.append(class_type(tokens, user_types, depth + 1))
    return user_type(keyspace, name, field_names, field_types, user_types)


cdef CqlType user_type(str keyspace, str name, list field_names, list field_types, object user_types):
    user_class = user_types.get((keyspace, name)) if user_types else None
    return UserType(tuple(field_types), keyspace, name, tuple(field_names), user_class)


cdef int skip_parameters(TypeText tokens) except -1:
    """Step behind the parenthesis that ends the parameters of an unknown class."""
    cdef int depth = 1
    while depth:
        character = tokens.peek()
        if not character:
            raise ValueError(f"unfinished parameters in {tokens.text[:200]!r}")
        tokens.at += 1
        depth += (character == "(") - (character == ")")
    tokens.skip_blanks()
    return 0


def parse_cql_type(text, user_types=None):
    """The type that CQL calls `text`, e.g. map<text, frozen<list<int>>>, vector<float, 3>, 'a.class.Name'.

    `user_types`: type name (as CQL shows it, unquoted) -> CqlType of the user types that may occur. A name that is
    none of CQL's and not there is a CustomType. ValueError if `text` is no type or nested deeper than 64 levels.
    """
    tokens = TypeText(text, "<>,")
    parsed = named_type(tokens, user_types or {}, 1)
    tokens.end()
    return parsed


cdef CqlType named_type(TypeText tokens, object user_types, int depth):
    cdef str word = tokens.word()
    cdef str name = word.lower()
    if depth > DEEPEST:
        raise ValueError(f"types are nested deeper than {DEEPEST} levels")
    if word[0] == "'":
        return parse_type_class(word[1 : len(word) - 1])
    if name in _simple_names:
        return _simple_names[name]
    if not tokens.take("<"):
        name = word.strip('"') if word[0] == '"' else name
        return user_types.get(name) or CustomType(name)
    elements = [named_type(tokens, user_types, depth + 1)]
    if name == "vector":
        tokens.expect(",")
        parsed = VectorType(elements[0], int(tokens.word()))
    else:
        while tokens.take(","):
            elements.append(named_type(tokens, user_types, depth + 1))
        if name == "frozen" and isinstance(elements[0], TupleType):
            parsed = elements[0]  # frozen always
        elif name in ("list", "set", "map", "tuple", "frozen"):
            parsed = type_of_elements(name.capitalize() + "Type", tuple(elements))
        else:
            raise ValueError(f"{name}<...> is no CQL type")
    tokens.expect(">")
    return parsed


ColumnSpec = namedtuple("ColumnSpec", ["keyspace_name", "table_name", "name", "type"], module=__name__)


cdef struct Cursor:
    const char *p
    const char *end
    Py_ssize_t worth  # what may still be made of it: about a sixth of the bytes that its objects take


cdef int spend(Cursor *cursor, Py_ssize_t n) except -1:
    """Metadata of a few bytes can stand for types that take hundreds: they may all in all take MOST_METADATA."""
    cursor.worth -= n
    if cursor.worth < 0:
        raise FrameError(f"column metadata describes more than is taken: about {MOST_METADATA // COLUMN_WORTH} columns")
    return 0


cdef int need(Cursor *cursor, Py_ssize_t n) except -1:
    if cursor.end - cursor.p < n:
        raise FrameError(f"column metadata ends early: {n} bytes expected, {cursor.end - cursor.p} are left")
    return 0


cdef int take_short(Cursor *cursor) except -1:
    need(cursor, 2)
    cursor.p += 2
    return load16(cursor.p - 2)


cdef Py_ssize_t skip_string(Cursor *cursor) except -1:
    """Step over a [string]; its length."""
    cdef int n = take_short(cursor)
    need(cursor, n)
    spend(cursor, n)
    cursor.p += n
    return n


cdef str take_string(Cursor *cursor):
    cdef Py_ssize_t n = skip_string(cursor)
    return PyUnicode_DecodeUTF8(cursor.p - n, n, NULL)


cdef int start_cursor(Cursor *cursor, bytes body, Py_ssize_t pos) except -1:
    if not 0 <= pos <= PyBytes_GET_SIZE(body):
        raise FrameError(f"column metadata at {pos} of {PyBytes_GET_SIZE(body)} bytes")
    cursor.p = PyBytes_AS_STRING(body) + pos
    cursor.end = PyBytes_AS_STRING(body) + PyBytes_GET_SIZE(body)
    cursor.worth = MOST_METADATA
    return 0


cdef int check_column_count(Cursor *cursor, Py_ssize_t count) except -1:
    """No specification takes less than 4 bytes."""
    if not 0 <= count <= (cursor.end - cursor.p) // 4:
        raise FrameError(f"{count} columns in {cursor.end - cursor.p} bytes of metadata")
    spend(cursor, COLUMN_WORTH * count)
    return 0


cdef CqlType take_type(Cursor *cursor, object user_types, int depth):
    """An [option] of protocol section 4.2.5.2; FrameError, ValueError."""
    cdef int code = take_short(cursor)
    cdef CqlType cql_type
    if depth > DEEPEST:
        raise FrameError(f"types are nested deeper than {DEEPEST} levels")
    if code in _simple_codes:
        return _simple_codes[code]
    cql_type = take_made_type(cursor, code, user_types, depth)
    spend(cursor, len(cql_type.cass_name))
    return cql_type


cdef CqlType take_made_type(Cursor *cursor, int code, object user_types, int depth):
    """The rest of an [option] that is not simple."""
    if code == OPTION_LIST:
        return ListType(take_type(cursor, user_types, depth + 1))
    if code == OPTION_SET:
        return SetType(take_type(cursor, user_types, depth + 1))
    if code == OPTION_MAP:
        key = take_type(cursor, user_types, depth + 1)
        return MapType(key, take_type(cursor, user_types, depth + 1))
    if code == OPTION_TUPLE:
        return TupleType(tuple([take_type(cursor, user_types, depth + 1) for _ in range(take_short(cursor))]))
    if code == OPTION_UDT:
        return take_user_type(cursor, user_types, depth)
    if code == OPTION_CUSTOM:
        name = take_string(cursor)
        spend(cursor, CUSTOM_WORTH * len(name))  # it may stand for a tuple with a type in every other character
        return parse_type_class(name, user_types)
    raise FrameError(f"column metadata: type 0x{code:04x} is unknown")


cdef CqlType take_user_type(Cursor *cursor, object user_types, int depth):
    keyspace = take_string(cursor)
    name = take_string(cursor)
    field_names = []
    field_types = []
    for _ in range(take_short(cursor)):
        field_names.append(take_string(cursor))
        field_types.append(take_type(cursor, user_types, depth + 1))
    return user_type(keyspace, name, field_names, field_types, user_types)


def read_columns(bytes body not None, Py_ssize_t pos, int flags, Py_ssize_t count, user_types=None):
    """The `count` column specifications at `pos` of `body` and the position behind them (protocol section 4.2.5.2).

    `flags`: those of the metadata; 0x1: one keyspace and table name, at the front, for all. `user_types`: (keyspace,
    type name) -> class that values of that user type become. Returns (tuple of ColumnSpec, end); FrameError if the
    bytes end early or make no sense, or types are nested deeper than 64 levels.
    """
    cdef Cursor cursor
    start_cursor(&cursor, body, pos)
    try:
        columns = take_columns(&cursor, flags, count, user_types)
    except ValueError as exc:  # names that are no UTF-8, class names that make no sense
        raise FrameError(f"column metadata: {exc}") from exc
    return columns, cursor.p - PyBytes_AS_STRING(body)


cdef tuple take_columns(Cursor *cursor, int flags, Py_ssize_t count, object user_types):
    cdef list columns = []
    if flags & FLAG_GLOBAL_TABLE:
        keyspace = take_string(cursor)
        table = take_string(cursor)
    check_column_count(cursor, count)
    for _ in range(count):
        if not flags & FLAG_GLOBAL_TABLE:
            keyspace = take_string(cursor)
            table = take_string(cursor)
        name = take_string(cursor)
        columns.append(ColumnSpec(keyspace, table, name, take_type(cursor, user_types, 1)))
    return tuple(columns)


cdef int skip_type(Cursor *cursor, int depth) except -1:
    cdef int code = take_short(cursor)
    cdef int children = 0
    if depth > DEEPEST:
        raise FrameError(f"types are nested deeper than {DEEPEST} levels")
    spend(cursor, 2)
    if code == OPTION_CUSTOM:
        skip_string(cursor)
    elif code == OPTION_LIST or code == OPTION_SET:
        children = 1
    elif code == OPTION_MAP:
        children = 2
    elif code == OPTION_TUPLE:
        children = take_short(cursor)
    elif code == OPTION_UDT:
        skip_string(cursor)
        skip_string(cursor)
        for _ in range(take_short(cursor)):
            skip_string(cursor)
            skip_type(cursor, depth + 1)
    elif code > 0x15 or code == 0:
        raise FrameError(f"column metadata: type 0x{code:04x} is unknown")
    for _ in range(children):
        skip_type(cursor, depth + 1)
    return 0


def skip_columns(bytes body not None, Py_ssize_t pos, int flags, Py_ssize_t count):
    """The position behind the `count` column specifications at `pos` of `body`, without decoding them.

    `flags` and FrameError as in `read_columns` (which may refuse more: wrong UTF-8, class names that make no sense).
    """
    cdef Cursor cursor
    start_cursor(&cursor, body, pos)
    if flags & FLAG_GLOBAL_TABLE:
        skip_string(&cursor)
        skip_string(&cursor)
    check_column_count(&cursor, count)
    for _ in range(count):
        if not flags & FLAG_GLOBAL_TABLE:
            skip_string(&cursor)
            skip_string(&cursor)
        skip_string(&cursor)
        skip_type(&cursor, 1)
    return cursor.p - PyBytes_AS_STRING(body)
