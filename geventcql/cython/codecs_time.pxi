# UUIDs, and the types of time.

_UUID = uuid.UUID
cdef object _SafeUnknown = uuid.SafeUUID.unknown
cdef Py_ssize_t uuid_int = slot_offset(_UUID.int)
cdef Py_ssize_t uuid_is_safe = slot_offset(_UUID.is_safe)
cdef object _Date = Date
cdef Py_ssize_t date_days = slot_offset(Date.days_from_epoch)
cdef object _Time = Time
cdef Py_ssize_t time_nanoseconds = slot_offset(Time.nanosecond_time)
cdef object _Timestamp = Timestamp
cdef Py_ssize_t timestamp_milliseconds = slot_offset(Timestamp.milliseconds)
cdef object _Duration = Duration
cdef Py_ssize_t duration_months = slot_offset(Duration.months)
cdef Py_ssize_t duration_days = slot_offset(Duration.days)
cdef Py_ssize_t duration_nanoseconds = slot_offset(Duration.nanoseconds)

cdef enum:
    EPOCH_ORDINAL = 719163  # datetime.date(1970, 1, 1).toordinal()
    DAYS_BEFORE_1970 = 719468  # from 0000-03-01, so that leap days end years
    DAYS_OF_400_YEARS = 146097

cdef int64_t DAY_MILLISECONDS = 86_400_000
cdef int64_t FIRST_DATETIME = -62_135_596_800_000  # 0001-01-01T00:00:00.000
cdef int64_t LAST_DATETIME = 253_402_300_799_999  # 9999-12-31T23:59:59.999


cdef object slotted(object cls, Py_ssize_t offset, object value):
    """An instance of `cls` with its one slot filled by a number; its constructor does not run."""
    instance = new_leaf(cls)
    set_slot(instance, offset, value)
    return instance


cdef class UUIDType(CqlType):
    """uuid: uuid.UUID."""

    def __cinit__(self):
        self.describe("uuid", "UUIDType", 0x0C, 16)

    cdef object read(self, const char *p, Py_ssize_t n):
        if n != 16:
            return wrong_size(self, n)
        value = new_leaf(_UUID)
        set_slot(value, uuid_int, long_of_bytes(p, 16, 0))
        set_slot(value, uuid_is_safe, _SafeUnknown)
        return value

    cdef int write(self, Writer *w, object value) except -1:
        cdef PyObject *number = get_slot(value, uuid_int) if type(value) is _UUID else NULL
        if number != NULL and PyLong_Check(<object>number):  # UUID(int=1.5) is possible
            bytes16_of_long(<object>number, advance(w, 16))
            return 0
        data = getattr(value, "bytes", None)
        if type(data) is not bytes or len(data) != 16:
            raise TypeError("must be a UUID")
        return append(w, PyBytes_AS_STRING(data), 16)


@cython.final
cdef class TimeUUIDType(UUIDType):
    """timeuuid: uuid.UUID."""

    def __cinit__(self):
        self.describe("timeuuid", "TimeUUIDType", 0x0F, 16)


cdef int64_t days_of_civil(int64_t year, int month, int day) noexcept nogil:
    """Days from 1970-01-01 to a day of the Gregorian calendar, years from 1 on."""
    cdef int64_t era, year_of_era, day_of_year
    year -= month <= 2  # years from March to February
    era = year // 400
    year_of_era = year - era * 400
    day_of_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    return era * DAYS_OF_400_YEARS + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year \
        - DAYS_BEFORE_1970


cdef object datetime_of_milliseconds(int64_t milliseconds):
    """The naive UTC datetime, for FIRST_DATETIME to LAST_DATETIME."""
    # All numbers are positive from here on, so that division rounds down.
    cdef int64_t since = milliseconds - FIRST_DATETIME
    cdef uint32_t of_day = <uint32_t>(since % DAY_MILLISECONDS)
    # Day 0 is 0001-01-01, 306 days after 0000-03-01.
    cdef uint32_t day = <uint32_t>(since / DAY_MILLISECONDS) + 306
    cdef uint32_t era = day / DAYS_OF_400_YEARS
    cdef uint32_t day_of_era = day - era * DAYS_OF_400_YEARS
    cdef uint32_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365
    cdef uint32_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100)
    cdef uint32_t month = (5 * day_of_year + 2) / 153  # counted from March
    cdef uint32_t day_of_month = day_of_year - (153 * month + 2) / 5 + 1
    cdef uint32_t year = year_of_era + era * 400
    if month >= 10:
        month -= 9
        year += 1
    else:
        month += 3
    return datetime_new(
        year, month, day_of_month,
        of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1000 % 60, of_day % 1000 * 1000, None,
    )


cdef inline int64_t days_of_date(object value) except? -1:
    """Days since the epoch; what a subclass raises that stands for no time (pandas.NaT: its fields say 0001-01-01)."""
    if not PyDateTime_CheckExact(value) and not PyDate_CheckExact(value):
        value.timetuple()
    return days_of_civil(PyDateTime_GET_YEAR(value), PyDateTime_GET_MONTH(value), PyDateTime_GET_DAY(value))


cdef int64_t milliseconds_of_datetime(object value) except? -1:
    """Milliseconds since the epoch; a naive datetime is UTC. What is below a millisecond is cut off towards zero."""
    cdef int64_t micros
    offset = datetime_tzinfo(value)
    micros = (
        days_of_date(value) * 86400
        + PyDateTime_DATE_GET_HOUR(value) * 3600
        + PyDateTime_DATE_GET_MINUTE(value) * 60
        + PyDateTime_DATE_GET_SECOND(value)
    ) * 1_000_000 + PyDateTime_DATE_GET_MICROSECOND(value)
    if offset is not None and offset is not get_utc():
        offset = value.utcoffset()
        if offset is not None:
            if not PyDelta_Check(offset) or not -1 <= timedelta_days(offset) <= 0:
                raise ValueError("its utcoffset() is no timedelta of less than a day")
            micros -= (timedelta_days(offset) * <int64_t>86400 + timedelta_seconds(offset)) * 1_000_000
            micros -= timedelta_microseconds(offset)
    return micros / 1000


cdef int64_t milliseconds_of(object value) except? -1:
    """A timestamp's milliseconds from anything that is bound as one; TypeError, ValueError."""
    cdef double number
    if PyDateTime_Check(value):
        return milliseconds_of_datetime(value)
    if PyDate_Check(value):
        return days_of_date(value) * DAY_MILLISECONDS
    if PyFloat_CheckExact(value):
        number = PyFloat_AS_DOUBLE(value)
        if not (-9223372036854775808.0 <= number < 9223372036854775808.0):
            raise ValueError("out of range")
        return <int64_t>number
    if isinstance(value, _Timestamp):
        value = value.milliseconds
    if PyLong_Check(value) and type(value) is not bool:
        return integer(value, INT64_MIN, INT64_MAX)
    raise TypeError("must be a datetime, a date, or milliseconds since the epoch")


@cython.final
cdef class TimestampType(CqlType):
    """timestamp: naive datetime in UTC, util.Timestamp outside the years 1 to 9999.

    From a datetime (naive: UTC), a date, an int or a float of milliseconds since the epoch, a util.Timestamp.
    """

    def __cinit__(self):
        self.describe("timestamp", "TimestampType", 0x0B, 8)

    cdef object read(self, const char *p, Py_ssize_t n):
        cdef int64_t milliseconds
        if n != 8:
            return wrong_size(self, n)
        milliseconds = <int64_t>load64(p)
        if FIRST_DATETIME <= milliseconds <= LAST_DATETIME:
            return datetime_of_milliseconds(milliseconds)
        return slotted(_Timestamp, timestamp_milliseconds, milliseconds)

    cdef int write(self, Writer *w, object value) except -1:
        cdef int64_t milliseconds = milliseconds_of(value)
        store64(advance(w, 8), <uint64_t>milliseconds)
        return 0


@cython.final
cdef class SimpleDateType(CqlType):
    """date: util.Date; from a datetime.date, a text "yyyy-mm-dd", or CQL's number (days since 1970-01-01 + 2**31)."""

    def __cinit__(self):
        self.describe("date", "SimpleDateType", 0x11, 0)

    cdef object read(self, const char *p, Py_ssize_t n):
        if n != 4:
            return wrong_size(self, n)
        return slotted(_Date, date_days, <int64_t>load32(p) - 0x80000000)

    cdef int write(self, Writer *w, object value) except -1:
        cdef int64_t number
        if PyDate_Check(value):
            number = days_of_date(value) + 0x80000000
        elif PyLong_Check(value):
            number = integer(value, 0, 0xFFFFFFFF)
        else:
            if not hasattr(value, "days_from_epoch"):
                value = _Date(value)
            number = integer(value.days_from_epoch, -0x80000000, 0x7FFFFFFF) + 0x80000000
        store32(advance(w, 4), <uint32_t>number)
        return 0


@cython.final
cdef class TimeType(CqlType):
    """time: util.Time; from a datetime.time, a text "HH:MM:SS[.fffffffff]", or nanoseconds since midnight."""

    def __cinit__(self):
        self.describe("time", "TimeType", 0x12, 0)

    cdef object read(self, const char *p, Py_ssize_t n):
        if n != 8:
            return wrong_size(self, n)
        return slotted(_Time, time_nanoseconds, <int64_t>load64(p))

    cdef int write(self, Writer *w, object value) except -1:
        cdef int64_t number
        if not hasattr(value, "nanosecond_time"):
            value = _Time(value)
        number = integer(value.nanosecond_time, INT64_MIN, INT64_MAX)
        store64(advance(w, 8), <uint64_t>number)
        return 0


@cython.final
cdef class DurationType(CqlType):
    """duration: util.Duration; from any object with its three attributes."""

    def __cinit__(self):
        self.describe("duration", "DurationType", 0x15, 0)

    cdef object read(self, const char *p, Py_ssize_t n):
        cdef uint64_t[3] parts
        cdef Py_ssize_t taken
        cdef int i
        if n == 0:
            return None
        for i in range(3):
            taken = read_vint(p, n, &parts[i])
            if taken == 0:
                raise BadCell("duration: ends within a number")
            p += taken
            n -= taken
        if n:
            raise BadCell(f"duration: {n} bytes too many")
        value = new_leaf(_Duration)
        set_slot(value, duration_months, unzigzag(parts[0]))
        set_slot(value, duration_days, unzigzag(parts[1]))
        set_slot(value, duration_nanoseconds, unzigzag(parts[2]))
        return value

    cdef int write(self, Writer *w, object value) except -1:
        try:
            months, days, nanoseconds = value.months, value.days, value.nanoseconds
        except AttributeError:
            raise TypeError("must be a Duration") from None
        write_vint(w, zigzag(integer(int(months), -0x80000000, 0x7FFFFFFF)))
        write_vint(w, zigzag(integer(int(days), -0x80000000, 0x7FFFFFFF)))
        return write_vint(w, zigzag(integer(int(nanoseconds), INT64_MIN, INT64_MAX)))
