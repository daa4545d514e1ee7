from collections.abc import Callable, Iterable
from typing import Any, TypeVar
from uuid import UUID

from geventcql.cython.codecs import BindEncoder

_S = TypeVar("_S", bound=Sender)

MAX_SEGMENT_PAYLOAD: int
MAX_STREAM_IDS: int
DEFAULT_MAX_FRAME: int
RECEIVE_BUFFER: int

def crc24(header: bytes) -> int: ...
def batch_entries(queries: list[tuple[bool, bytes, bytes]]) -> bytes: ...
def pack_segments(data: bytes, sizes: list[int], compress: Callable[[bytes], bytes] | None = None) -> bytes: ...
def decoder_from(
    body: bytes, pos: int, flags: int, count: int, user_types: Any = None
) -> tuple[Any, int]: ...
def metadata_end(body: bytes, pos: int, flags: int, count: int) -> int: ...

class InFlight:
    limit: int
    in_flight: int
    orphaned: int
    late_replies: int
    earliest: float
    def __init__(self, limit: int = 2048) -> None: ...
    @property
    def room(self) -> int: ...
    def acquire(self, target: Any, reader: RowReader | None = None, deadline: float = ...) -> int: ...
    def pop(self, stream: int) -> Any: ...
    def orphan(self, stream: int, target: Any) -> bool: ...
    def expire(self, now: float, most: int = 32768) -> list[Any]: ...
    def waiting(self) -> list[Any]: ...
    def drain(self) -> list[Any]: ...
    def check(self) -> None: ...

class RequestTemplate:
    version: int
    opcode: int
    flags: int
    prefix: bytes
    suffix: bytes
    timestamp_at: int
    def __init__(
        self, version: int, opcode: int, flags: int, prefix: bytes, suffix: bytes, timestamp_at: int = -1
    ) -> None: ...
    def frame(self, stream: int, values: bytes, timestamp: int = 0) -> bytes: ...

class Frame:
    version: int
    flags: int
    stream: int
    opcode: int
    body: bytes

class RowReader:
    factory: Callable[..., Any]
    cache: Callable[..., Any]
    decoder: Any
    def __init__(
        self, factory: Callable[..., Any], kind: str, cache: Callable[..., Any], decoder: Any = None
    ) -> None: ...

class Page:
    version: int
    kind: int
    flags: int
    column_count: int
    body: bytes
    reader: RowReader | None
    paging_state: bytes | None
    new_metadata_id: bytes | None
    tracing_id: UUID | None
    warnings: list[str] | None
    custom_payload: dict[str, bytes | None] | None
    host: Any
    @staticmethod
    def void() -> Page: ...
    @property
    def has_rows(self) -> bool: ...
    @property
    def by_slices(self) -> bool: ...
    @property
    def rows_offset(self) -> int: ...
    @property
    def row_count(self) -> int: ...
    @property
    def decoded(self) -> Any: ...
    @property
    def finished(self) -> bool: ...
    def decoder(self) -> Any: ...
    def more_rows(self, most: int) -> Any: ...
    def first(self) -> Any: ...
    def all(self) -> Any: ...
    def whole(self, most: int) -> list[Any] | None: ...

class PageView:
    response_future: Any
    _page: Page
    _listed: list[Any] | None
    def __init__(self, response_future: Any, page: Page | Iterable[Any] | None) -> None: ...
    def one(self) -> Any: ...

class RowIterator:
    rows: list[Any]
    at: int
    def __iter__(self) -> RowIterator: ...
    def __next__(self) -> Any: ...
    def advance(self) -> bool: ...

class Histogram:
    count: int
    total: float
    period: float
    def __init__(self, period: float = 60.0) -> None: ...
    def record(self, seconds: float, now: float) -> None: ...
    def recent_statistics(
        self, quantiles: tuple[float, ...]
    ) -> tuple[float, float, float, float, tuple[float, ...]]: ...
    def cumulative(self, bounds: Iterable[float]) -> list[int]: ...

class Sender:
    table: InFlight
    pending: list[bytes]
    unsent_bytes: int
    max_unsent: int
    closed: bool
    draining: bool
    suspect: bool
    flush_due: bool
    compress_frame: Callable[[bytes], bytes] | None
    armed: float
    sent: int
    def __init__(self, table: InFlight, schedule: Callable[..., Any], max_unsent: int) -> None: ...
    @property
    def usable(self) -> bool: ...
    def send(
        self,
        target: Any,
        template: RequestTemplate,
        values: bytes,
        timestamp: int = 0,
        reader: RowReader | None = None,
        deadline: float = ...,
    ) -> int: ...
    def submit(
        self,
        target: Any,
        template: RequestTemplate,
        values: bytes,
        timestamp: int,
        reader: RowReader | None,
        deadline: float,
    ) -> int: ...
    def flush_soon(self) -> None: ...

def least_loaded(connections: list[_S]) -> _S | None: ...

def is_busier(load: int, other: int) -> bool: ...
def load_of(connections: list[_S]) -> int: ...

class Choice:
    pools: tuple[Any, ...]
    spread: int
    avoid_busy: bool
    in_turn: bool
    def __init__(
        self, pools: Iterable[Any], spread: int = 1, avoid_busy: bool = False, in_turn: bool = False
    ) -> None: ...
    def pick(self) -> Any: ...

class Recipe:
    template: RequestTemplate
    reader: RowReader
    encoder: Any
    timer: Histogram | None
    plain_policy: bool
    watch: Callable[[Any], None] | None

class TokenRing:
    size: int
    def __init__(self, tokens: list[int]) -> None: ...
    def position(self, token: int) -> int: ...

class Route:
    stale: bool
    ring: TokenRing | None
    def __init__(self, find: Callable[[int], Any], ring: TokenRing | None = None) -> None: ...
    def first(self, encoder: BindEncoder | None, values: bytes) -> Any: ...

class WakeQueue:
    def __init__(self, schedule: Callable[..., Any], handle_error: Callable[..., Any], most: int) -> None: ...
    def wake(self, future: Any) -> None: ...

class MicrosecondClock:
    last: int
    def __call__(self) -> int: ...

class Request:
    session: Any
    resolved: Any
    values: bytes
    timestamp: int
    timeout: float | None
    only_host: Any
    started: float
    deadline: float
    sink: Any
    done: bool
    host: Any
    connection: Any
    stream: int
    attempts: int
    retries: int
    def __init__(
        self, session: Any, resolved: Any, values: bytes, timestamp: int, timeout: float | None, host: Any = None
    ) -> None: ...
    def start(self, sink: Any) -> None: ...
    def begin(self, sink: Any) -> None: ...
    def try_plan(self) -> None: ...
    def abandon(self, error: BaseException) -> None: ...
    def try_pool(self, pool: Any) -> bool: ...
    def send_on(self, connection: Sender, host: Any) -> bool: ...
    def asked_before(self, host: Any) -> None: ...
    def on_page(self, page: Page) -> None: ...
    def record_time(self) -> None: ...
    def on_announcement(self, page: Page) -> None: ...

class FrameSplitter:
    version: int
    max_frame: int
    more: bool
    segmented: bool
    negotiating: bool
    decompress: Callable[[bytes, int], bytes] | None
    def __init__(self, in_flight: InFlight, version: int, max_frame: int = ..., size: int = ...) -> None: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def enable_segments(self, decompress_block: Callable[[bytes, int], bytes] | None = None) -> None: ...
    def received(self, n: int) -> None: ...
    def feed(self, data: Any, out: list[tuple[Any, Any]] | None = None) -> list[tuple[Any, Any]]: ...
    def take(self, limit: int = 256, out: list[tuple[Any, Any]] | None = None) -> list[tuple[Any, Any]]: ...
