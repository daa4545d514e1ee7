# The base of all types, and the types whose values are text, bytes or numbers.


cdef class Unset:
    """The class of `UNSET`."""

    def __bool__(self):
        return False

    def __repr__(self):
        return "<UNSET>"

    def __reduce__(self):
        return "UNSET"


UNSET = Unset()
cdef object _unset = UNSET


cdef class CqlType:
    """A CQL type: a node of a tree, its element types below it. Immutable; equal to a type with the same class name.

    `name`: as CQL spells it; `cass_name`: the class name that Cassandra has for it; `code`: the [option] id of the
    protocol (0: custom); `subtypes`: the element types. `encode` and `decode` are for single values; rows and
    parameters go through RowDecoder and BindEncoder.
    """

    cdef readonly str name
    cdef readonly str cass_name
    cdef readonly int code
    cdef readonly tuple subtypes
    cdef Py_ssize_t fixed  # bytes of every value if all have the same (a vector then stores no lengths), else 0
    cdef bint hashable  # whether decoded values can be keys of a dict
    cdef bint distinct  # whether different bytes give different values
    cdef int depth  # levels of this tree
    cdef bint leaf  # whether values cannot come to refer to themselves: the garbage collector need not know them

    def __cinit__(self):
        self.subtypes = ()
        self.hashable = True
        self.distinct = True
        self.depth = 1
        self.leaf = True

    cdef void describe(self, str name, str cass_name, int code, Py_ssize_t fixed):
        self.name = name
        self.cass_name = CASS_PREFIX + cass_name
        self.code = code
        self.fixed = fixed

    cdef int contain(self, tuple subtypes) except -1:
        """Take `subtypes` in; ValueError if that nests too deep."""
        self.depth = 2
        self.leaf = False
        for subtype in subtypes:
            self.depth = max(self.depth, 1 + (<CqlType?>subtype).depth)
        if self.depth > DEEPEST:
            raise ValueError(f"types are nested deeper than {DEEPEST} levels")
        self.subtypes = subtypes
        return 0

    cdef object read(self, const char *p, Py_ssize_t n):
        """The value of the `n` (>= 0) bytes at `p`, which are all readable; any Exception if they are wrong."""
        raise NotImplementedError(type(self).__name__)

    cdef int write(self, Writer *w, object value) except -1:
        """Append the bytes of `value`, neither None nor UNSET; any Exception if it does not fit the type."""
        raise NotImplementedError(type(self).__name__)

    def encode(self, value):
        """The bytes of `value`, None for None; EncodeError if it does not fit."""
        cdef Writer w
        cdef char[INLINE] data
        if value is None:
            return None
        w.data, w.size, w.room, w.owned = data, 0, INLINE, False
        try:
            self.write(&w, value)
            return PyBytes_FromStringAndSize(w.data, w.size)
        except Exception as exc:
            raise EncodeError("<value>", self.name, value, reason_of(exc)) from exc
        finally:
            if w.owned:
                free(w.data)

    def decode(self, data):
        """The value that `data`, bytes-like, stands for, None for None; DecodeError if it is wrong."""
        global absent, absent_allowed
        cdef bytes cell
        cdef Py_ssize_t before, allowed_before
        if data is None:
            return None
        cell = data if type(data) is bytes else bytes(data)
        before, allowed_before = absent, absent_allowed  # a page may be under way, whose user types' classes call this
        allow_absent(PyBytes_GET_SIZE(cell))
        try:
            return self.read(PyBytes_AS_STRING(cell), PyBytes_GET_SIZE(cell))
        except Exception as exc:
            raise decode_error("<value>", self, exc) from exc
        finally:
            absent, absent_allowed = before, allowed_before

    def __eq__(self, other):
        return type(self) is type(other) and self.cass_name == (<CqlType>other).cass_name

    def __hash__(self):
        return hash(self.cass_name)

    def __repr__(self):
        return f"<{type(self).__name__} {self.name}>"

    def __reduce__(self):
        return parse_type_class, (self.cass_name,)


CASS_PREFIX = "org.apache.cassandra.db.marshal."


class BadCell(Exception):
    """A cell's bytes are wrong; the column is not known here, decode_error adds it."""


cdef object wrong_size(CqlType cql_type, Py_ssize_t n):
    """What a type reads from `n` bytes, not its number: None from none (protocol section 6), else BadCell."""
    if n == 0:
        return None
    raise BadCell(f"{cql_type.name}: {n} bytes")


cdef str reason_of(object exc):
    try:
        return str(exc) or type(exc).__name__
    except Exception:  # an application's own, raised by the value
        return type(exc).__name__


cdef object decode_error(str column, CqlType cql_type, object exc):
    return DecodeError(column, cql_type.name, None, reason_of(exc))


cdef inline int64_t integer(object value, int64_t low, int64_t high) except? -1:
    """`value` as an integer between `low` and `high`; TypeError, ValueError."""
    cdef int overflow = 0
    cdef int64_t result
    if not PyLong_CheckExact(value):
        value = PyNumber_Index(value)
    result = PyLong_AsLongLongAndOverflow(value, &overflow)
    if overflow or result < low or result > high:
        raise ValueError(f"must be between {low} and {high}")
    return result


@cython.final
cdef class ByteType(CqlType):
    """tinyint: int."""

    def __cinit__(self):
        self.describe("tinyint", "ByteType", 0x14, 0)

    cdef object read(self, const char *p, Py_ssize_t n):
        if n != 1:
            return wrong_size(self, n)
        return PyLong_FromLong(<int8_t>p[0])

    cdef int write(self, Writer *w, object value) except -1:
        cdef int64_t number = integer(value, -0x80, 0x7F)
        advance(w, 1)[0] = <char>number
        return 0


@cython.final
cdef class ShortType(CqlType):
    """smallint: int."""

    def __cinit__(self):
        self.describe("smallint", "ShortType", 0x13, 0)

    cdef object read(self, const char *p, Py_ssize_t n):
        if n != 2:
            return wrong_size(self, n)
        return PyLong_FromLong(<int16_t>load16(p))

    cdef int write(self, Writer *w, object value) except -1:
        cdef int64_t number = integer(value, -0x8000, 0x7FFF)
        store16(advance(w, 2), <uint16_t>number)
        return 0


@cython.final
cdef class Int32Type(CqlType):
    """int: int."""

    def __cinit__(self):
        self.describe("int", "Int32Type", 0x09, 4)

    cdef object read(self, const char *p, Py_ssize_t n):
        if n != 4:
            return wrong_size(self, n)
        return PyLong_FromLong(<int32_t>load32(p))

    cdef int write(self, Writer *w, object value) except -1:
        cdef int64_t number = integer(value, -0x80000000, 0x7FFFFFFF)
        store32(advance(w, 4), <uint32_t>number)
        return 0


cdef class LongType(CqlType):
    """bigint: int."""

    def __cinit__(self):
        self.describe("bigint", "LongType", 0x02, 8)

    cdef object read(self, const char *p, Py_ssize_t n):
        if n != 8:
            return wrong_size(self, n)
        return PyLong_FromLongLong(<int64_t>load64(p))

    cdef int write(self, Writer *w, object value) except -1:
        cdef int64_t number = integer(value, INT64_MIN, INT64_MAX)
        store64(advance(w, 8), <uint64_t>number)
        return 0


@cython.final
cdef class CounterColumnType(LongType):
    """counter: int."""

    def __cinit__(self):
        self.describe("counter", "CounterColumnType", 0x05, 8)


cdef int write_varint(Writer *w, object value) except -1:
    """The shortest two's complement of `value`, most significant byte first, at least one byte."""
    cdef int overflow = 0
    cdef int64_t number = PyLong_AsLongLongAndOverflow(value, &overflow)
    cdef int n = 1
    cdef bytes digits
    cdef char *p
    if overflow:
        digits = value.to_bytes((value if value >= 0 else ~value).bit_length() // 8 + 1, "big", signed=True)
        return append(w, PyBytes_AS_STRING(digits), PyBytes_GET_SIZE(digits))
    while n < 8 and number >> (8 * n - 1) != 0 and number >> (8 * n - 1) != -1:
        n += 1
    p = advance(w, n)
    while n:
        n -= 1
        p[n] = <char>number
        number >>= 8
    return 0


cdef object read_varint(const char *p, Py_ssize_t n):
    """The number of `n` > 0 bytes."""
    cdef uint64_t number
    if n > 8:
        return long_of_bytes(p, n, 1)
    number = <uint64_t>0 - <uint64_t>(<unsigned char>p[0] >> 7)  # all ones if negative
    for i in range(n):
        number = number << 8 | <unsigned char>p[i]
    return PyLong_FromLongLong(<int64_t>number)


@cython.final
cdef class IntegerType(CqlType):
    """varint: int of any size."""

    def __cinit__(self):
        self.describe("varint", "IntegerType", 0x0E, 0)
        self.distinct = False  # leading bytes may be redundant

    cdef object read(self, const char *p, Py_ssize_t n):
        return read_varint(p, n) if n else None

    cdef int write(self, Writer *w, object value) except -1:
        return write_varint(w, PyNumber_Index(value))


_Decimal = decimal.Decimal
# Exact whatever the caller's own context: neither digits nor exponent are ever cut.
cdef object _exact = decimal.Context(prec=decimal.MAX_PREC, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN)
cdef object _scaled = _exact.scaleb


cdef object whole_decimal(const char *p, Py_ssize_t n, int is_signed):
    """The number of `n` > 0 bytes. Decimal(int) takes the square of the time, so what is long is put together of halves."""
    cdef Py_ssize_t low = n // 2
    if n <= 1024:
        return _Decimal(read_varint(p, n) if is_signed else long_of_bytes(p, n, 0))
    return _exact.fma(
        whole_decimal(p, n - low, is_signed), _exact.power(256, low), whole_decimal(p + n - low, low, 0)
    )


@cython.final
cdef class DecimalType(CqlType):
    """decimal: Decimal, of 1 MiB at most; from an int, a float or a text too."""

    def __cinit__(self):
        self.describe("decimal", "DecimalType", 0x06, 0)
        self.distinct = False

    cdef object read(self, const char *p, Py_ssize_t n):
        if n < 5:
            return wrong_size(self, n)
        if n - 4 > LONGEST_DECIMAL:  # its making would keep the hub for long
            raise BadCell(f"a decimal of {n - 4} bytes: {LONGEST_DECIMAL} are the most")
        return _scaled(whole_decimal(p + 4, n - 4, 1), -<int64_t><int32_t>load32(p))

    cdef int write(self, Writer *w, object value) except -1:
        if not isinstance(value, _Decimal):
            value = _Decimal(value)
        exponent = value.as_tuple().exponent
        if type(exponent) is not int:
            raise ValueError("not a finite number")
        scale = integer(-exponent, -0x80000000, 0x7FFFFFFF)
        store32(advance(w, 4), <uint32_t>scale)
        return write_varint(w, int(_scaled(value, -exponent)))


cdef inline double number_of(object value) except? -1:
    return PyFloat_AS_DOUBLE(value) if PyFloat_CheckExact(value) else PyFloat_AsDouble(value)


cdef inline int write_float(Writer *w, double number) except -1:
    cdef float rounded = <float>number
    if isinf(rounded) and not isinf(number):
        raise ValueError("too large for 32 bits")
    store32(advance(w, 4), bits_of_float(rounded))
    return 0


@cython.final
cdef class FloatType(CqlType):
    """float: float, rounded to 32 bits."""

    def __cinit__(self):
        self.describe("float", "FloatType", 0x08, 4)
        self.distinct = False

    cdef object read(self, const char *p, Py_ssize_t n):
        if n != 4:
            return wrong_size(self, n)
        return PyFloat_FromDouble(float_of(load32(p)))

    cdef int write(self, Writer *w, object value) except -1:
        return write_float(w, number_of(value))


@cython.final
cdef class DoubleType(CqlType):
    """double: float."""

    def __cinit__(self):
        self.describe("double", "DoubleType", 0x07, 8)
        self.distinct = False

    cdef object read(self, const char *p, Py_ssize_t n):
        if n != 8:
            return wrong_size(self, n)
        return PyFloat_FromDouble(double_of(load64(p)))

    cdef int write(self, Writer *w, object value) except -1:
        cdef double number = number_of(value)
        store64(advance(w, 8), bits_of_double(number))
        return 0


@cython.final
cdef class BooleanType(CqlType):
    """boolean: bool; from an int too (0 is false)."""

    def __cinit__(self):
        self.describe("boolean", "BooleanType", 0x04, 1)
        self.distinct = False

    cdef object read(self, const char *p, Py_ssize_t n):
        if n != 1:
            return wrong_size(self, n)
        return p[0] != 0

    cdef int write(self, Writer *w, object value) except -1:
        cdef int64_t number
        if value is True:
            number = 1
        elif value is False:
            number = 0
        else:
            number = integer(value, -0x80, 0x7F)
        advance(w, 1)[0] = number != 0
        return 0


@cython.final
cdef class UTF8Type(CqlType):
    """text, varchar: str."""

    def __cinit__(self):
        self.describe("text", "UTF8Type", 0x0D, 0)

    cdef object read(self, const char *p, Py_ssize_t n):
        return PyUnicode_DecodeUTF8(p, n, NULL)

    cdef int write(self, Writer *w, object value) except -1:
        cdef Py_ssize_t n
        cdef const char *p
        if not PyUnicode_Check(value):
            raise TypeError("must be a str")
        p = PyUnicode_AsUTF8AndSize(value, &n)
        return append(w, p, n)


@cython.final
cdef class AsciiType(CqlType):
    """ascii: str of ASCII characters."""

    def __cinit__(self):
        self.describe("ascii", "AsciiType", 0x01, 0)

    cdef object read(self, const char *p, Py_ssize_t n):
        return PyUnicode_DecodeASCII(p, n, NULL)

    cdef int write(self, Writer *w, object value) except -1:
        cdef Py_ssize_t n
        cdef const char *p
        if not PyUnicode_Check(value):
            raise TypeError("must be a str")
        if not PyUnicode_IS_ASCII(value):
            raise ValueError("has characters outside ASCII")
        p = PyUnicode_AsUTF8AndSize(value, &n)
        return append(w, p, n)


cdef int write_bytes(Writer *w, object value) except -1:
    """Bytes, anything with the buffer protocol, or an iterable of byte values."""
    if not PyBytes_Check(value):
        if PyLong_Check(value) or PyUnicode_Check(value):
            raise TypeError("must be bytes-like")
        # Not bytes() for all: of what converts to the int n it makes n zeros.
        value = bytes(value) if hasattr(type(value), "__bytes__") else PyBytes_FromObject(value)
    return append(w, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))


@cython.final
cdef class BytesType(CqlType):
    """blob: bytes; from anything bytes-like."""

    def __cinit__(self):
        self.describe("blob", "BytesType", 0x03, 0)

    cdef object read(self, const char *p, Py_ssize_t n):
        return PyBytes_FromStringAndSize(p, n)

    cdef int write(self, Writer *w, object value) except -1:
        return write_bytes(w, value)


@cython.final
cdef class CustomType(CqlType):
    """A class of the server that the driver does not know, by its name: bytes pass through; None for no bytes."""

    def __cinit__(self, str cass_name not None):
        self.name = f"'{cass_name}'"
        self.cass_name = cass_name

    cdef object read(self, const char *p, Py_ssize_t n):
        return PyBytes_FromStringAndSize(p, n) if n else None

    cdef int write(self, Writer *w, object value) except -1:
        return write_bytes(w, value)


cdef object _newest = 5  # what applications' classes are told: values are the same in protocol v3, v4 and v5


@cython.final
cdef class ApplicationType(CqlType):
    """A class of the server that the application has a CassandraType for, `cls`: that reads and writes the values."""

    cdef readonly object cls

    def __cinit__(self, str cass_name not None, cls not None):
        self.name = f"'{cass_name}'"
        self.cass_name = cass_name
        self.cls = cls
        self.fixed = cls.serial_size() or 0
        self.hashable = False  # nobody knows
        self.distinct = False
        self.leaf = False

    cdef object read(self, const char *p, Py_ssize_t n):
        return self.cls.from_binary(PyBytes_FromStringAndSize(p, n), _newest)

    cdef int write(self, Writer *w, object value) except -1:
        return write_bytes(w, self.cls.to_binary(value, _newest))


@cython.final
cdef class InetAddressType(CqlType):
    """inet: str; from an ipaddress.IPv4Address or IPv6Address too."""

    def __cinit__(self):
        self.describe("inet", "InetAddressType", 0x10, 0)

    cdef object read(self, const char *p, Py_ssize_t n):
        cdef char[64] text
        if n != 4 and n != 16:
            return wrong_size(self, n)
        inet_ntop(AF_INET if n == 4 else AF_INET6, p, text, 64)
        return PyUnicode_DecodeASCII(text, strlen(text), NULL)

    cdef int write(self, Writer *w, object value) except -1:
        cdef char[16] address
        cdef Py_ssize_t n
        cdef const char *p
        if not PyUnicode_Check(value):
            packed = getattr(value, "packed", None)
            if type(packed) is not bytes or len(packed) not in (4, 16):
                raise TypeError("must be a str or an address of ipaddress")
            return append(w, PyBytes_AS_STRING(packed), PyBytes_GET_SIZE(packed))
        p = PyUnicode_AsUTF8AndSize(value, &n)
        if memchr(p, 0, n) == NULL:
            if memchr(p, c":", n) != NULL:
                if inet_pton(AF_INET6, p, address) == 1:
                    return append(w, address, 16)
            elif ipv4_of_text(p, address):
                return append(w, address, 4)
        raise ValueError("not an internet address")
