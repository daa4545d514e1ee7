# Durations in a histogram of fixed size: what requests are timed with.

cdef enum:
    STEP_BITS = 5
    STEPS = 1 << STEP_BITS    # buckets to a power of two, so that each is at most 3 % wide
    SMALLEST = -20            # 2**-20 s: what is shorter is in the first bucket
    OCTAVES = 32              # up to 2**12 s: what is longer is in the last one
    BUCKETS = OCTAVES * STEPS
    FIRST = (1023 + SMALLEST) << STEP_BITS


cdef inline int bucket_of(double seconds) noexcept nogil:
    """A double's exponent and the first bits of its mantissa, as they stand in it, number the bucket."""
    cdef uint64_t bits
    cdef int64_t bucket
    if not seconds > 0:
        return 0
    memcpy(&bits, &seconds, 8)
    bucket = <int64_t> (bits >> (52 - STEP_BITS)) - FIRST
    return 0 if bucket < 0 else BUCKETS - 1 if bucket >= BUCKETS else <int> bucket


cdef inline double lower_bound(int bucket) noexcept nogil:
    cdef uint64_t bits = <uint64_t> (bucket + FIRST) << (52 - STEP_BITS)
    cdef double seconds
    memcpy(&seconds, &bits, 8)
    return seconds


cdef struct Window:
    int64_t count
    double total
    double squares
    double least
    double most
    int64_t buckets[BUCKETS]


cdef class Histogram:
    """Durations: how many there were, and how those of the last while are distributed.

    They are counted in buckets, so memory (24 KB) and the price of recording one do not depend on how many there are;
    percentiles are exact to 2 %. What is recent begins one to two periods before the last one recorded.

    :param period: seconds
    """

    cdef readonly int64_t count
    """How many were recorded."""
    cdef readonly double total
    """Their sum, seconds."""
    cdef readonly double period
    cdef int64_t buckets[BUCKETS]
    cdef Window recent
    cdef Window former
    cdef double ends

    def __init__(self, double period=60.0):
        self.period = period

    cpdef void record(self, double seconds, double now) noexcept:
        """Count one.

        :param now: monotonic seconds
        """
        cdef int bucket = bucket_of(seconds)
        cdef Window* window = &self.recent
        if now >= self.ends:
            self.turn(now)
        self.count += 1
        self.total += seconds
        self.buckets[bucket] += 1
        window.count += 1
        window.total += seconds
        window.squares += seconds * seconds
        window.buckets[bucket] += 1
        if seconds < window.least:
            window.least = seconds
        if seconds > window.most:
            window.most = seconds

    cdef void turn(self, double now) noexcept:
        """A period has ended."""
        if now < self.ends + self.period:
            self.former = self.recent
        else:
            memset(&self.former, 0, sizeof(Window))
        memset(&self.recent, 0, sizeof(Window))
        self.recent.least = NEVER
        self.ends = now + self.period

    def recent_statistics(self, tuple quantiles not None) -> tuple:
        """What the recent ones are like.

        :param quantiles: each from 0 to 1
        :returns: least, most, mean, standard deviation, and the values of the quantiles; seconds, 0.0 where there are none
        """
        cdef int64_t count = self.recent.count + self.former.count
        cdef double least, most, mean, variance
        if not count:
            return 0.0, 0.0, 0.0, 0.0, (0.0,) * len(quantiles)
        least, most = self.recent.least, self.recent.most
        if self.former.count:
            least, most = min(least, self.former.least), max(most, self.former.most)
        mean = (self.recent.total + self.former.total) / count
        variance = 0.0
        if count > 1:
            variance = (self.recent.squares + self.former.squares - count * mean * mean) / (count - 1)
        deviation = sqrt(max(0.0, variance))
        return least, most, mean, deviation, tuple([self.quantile(q, count, least, most) for q in quantiles])

    cdef double quantile(self, double q, int64_t count, double least, double most) noexcept:
        cdef int64_t rank = <int64_t> ceil(q * count)
        cdef int64_t seen = 0
        cdef int bucket
        for bucket in range(BUCKETS):
            seen += self.recent.buckets[bucket] + self.former.buckets[bucket]
            if seen and seen >= rank:
                return min(most, max(least, (lower_bound(bucket) + lower_bound(bucket + 1)) / 2))
        return most

    def cumulative(self, bounds) -> list:
        """How many of all that were recorded are not longer than each of ``bounds`` (seconds, ascending): what a bucket of
        ours that lies across a bound holds counts as longer.
        """
        cdef int bucket = 0
        cdef int64_t seen = 0
        cdef double bound
        counts = []
        for bound in bounds:
            while bucket < BUCKETS - 1 and lower_bound(bucket + 1) <= bound:
                seen += self.buckets[bucket]
                bucket += 1
            counts.append(self.count if bound == NEVER else seen)
        return counts
