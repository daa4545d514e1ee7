"""A keyspace with something of every kind that Cassandra 5 has, and what metadata say of it, in plain values.

Test support. Run as ``python -m tests.integration.schemas HOST PORT KEYSPACE`` it prints what cassandra-driver's metadata say
of a keyspace, as JSON; apart from the tests, since its reactor threads and gevent do not go together.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

KEYSPACE = "MyShop"
ALL_KINDS = r'''
CREATE KEYSPACE "MyShop" WITH replication = {'class': 'NetworkTopologyStrategy', 'datacenter1': '1'}
    AND durable_writes = false;

CREATE TYPE "MyShop".zip (code int, extra text);
CREATE TYPE "MyShop"."Address" (street text, zip frozen<zip>, "Phone Numbers" frozen<map<text, frozen<set<text>>>>);
CREATE TYPE "MyShop".a_person (name text, homes frozen<list<frozen<"Address">>>, "select" int, v vector<float, 2>);

CREATE TABLE "MyShop".types (
    ascii_ ascii, bigint_ bigint, blob_ blob, boolean_ boolean, date_ date, decimal_ decimal, double_ double,
    duration_ duration, float_ float, inet_ inet, int_ int, smallint_ smallint, text_ text, time_ time,
    timestamp_ timestamp, timeuuid_ timeuuid, tinyint_ tinyint, uuid_ uuid, varchar_ varchar, varint_ varint,
    list_ list<int>, set_ set<text>, map_ map<text, frozen<list<int>>>, flist frozen<list<int>>,
    fmap frozen<map<int, frozen<set<text>>>>, tuple_ tuple<int, text, frozen<list<int>>>, udt "Address",
    fudt frozen<a_person>, udts list<frozen<"Address">>, nested map<frozen<zip>, frozen<tuple<int, frozen<a_person>>>>,
    vector_ vector<float, 3>, vudt vector<frozen<zip>, 2>, vtext vector<text, 4>,
    custom 'org.apache.cassandra.db.marshal.DynamicCompositeType(s=>org.apache.cassandra.db.marshal.UTF8Type)',
    PRIMARY KEY (uuid_)
);

CREATE TABLE "MyShop"."Orders" (
    "Customer" text, region text, day date, "Order Id" timeuuid, "order" int, shared text static, total decimal,
    lines list<text>, tags map<text, text>, note text, fixed frozen<set<int>>,
    PRIMARY KEY (("Customer", region), day, "Order Id")
) WITH CLUSTERING ORDER BY (day DESC, "Order Id" ASC) AND comment = 'it''s; "quoted" -- and /* all */ $$ that
on two lines';
CREATE INDEX ON "MyShop"."Orders" ("order");
CREATE INDEX "ByTag" ON "MyShop"."Orders" (keys(tags));
CREATE INDEX by_value ON "MyShop"."Orders" (values(tags));
CREATE INDEX by_entry ON "MyShop"."Orders" (entries(tags));
CREATE INDEX by_fixed ON "MyShop"."Orders" (full(fixed));
CREATE INDEX by_total ON "MyShop"."Orders" (total) USING 'sai';
CREATE CUSTOM INDEX by_note ON "MyShop"."Orders" (note) USING 'StorageAttachedIndex'
    WITH OPTIONS = {'case_sensitive': 'false', 'normalize': 'true'};
CREATE CUSTOM INDEX by_shared ON "MyShop"."Orders" (shared)
    USING 'org.apache.cassandra.index.sasi.SASIIndex' WITH OPTIONS = {'mode': 'CONTAINS'};

CREATE TABLE "MyShop".stock ("Item" text, place text, day date, seq int, amount decimal, note text, tags set<text>,
    PRIMARY KEY (("Item", place), day, seq));
CREATE MATERIALIZED VIEW "MyShop".by_day AS SELECT * FROM "MyShop".stock
    WHERE day IS NOT NULL AND "Item" IS NOT NULL AND place = 'here; "x"' AND seq > 5
    PRIMARY KEY (day, "Item", place, seq) WITH CLUSTERING ORDER BY ("Item" DESC, place ASC, seq DESC) AND comment = 'view''s';
CREATE MATERIALIZED VIEW "MyShop"."ByAmount" AS SELECT amount, "Item", place, day, seq, tags FROM "MyShop".stock
    WHERE amount IS NOT NULL AND "Item" IS NOT NULL AND place IS NOT NULL AND day IS NOT NULL AND seq IS NOT NULL
    PRIMARY KEY ((amount, place), "Item", day, seq) WITH compaction = {'class': 'LeveledCompactionStrategy'}
    AND gc_grace_seconds = 7200;

CREATE TABLE "MyShop".counters (k frozen<"Address">, c int, n counter, s counter static, PRIMARY KEY (k, c))
    WITH compression = {'enabled': 'false'};

CREATE TABLE "MyShop".options (k int PRIMARY KEY, v int) WITH additional_write_policy = '75p'
    AND allow_auto_snapshot = false AND bloom_filter_fp_chance = 0.00007
    AND caching = {'keys': 'NONE', 'rows_per_partition': '10'} AND cdc = true AND comment = ''
    AND compaction = {'class': 'TimeWindowCompactionStrategy', 'compaction_window_size': '2',
        'compaction_window_unit': 'HOURS', 'tombstone_threshold': '0.3', 'unchecked_tombstone_compaction': 'true'}
    AND compression = {'class': 'ZstdCompressor', 'chunk_length_in_kb': '32', 'compression_level': '5'}
    AND crc_check_chance = 0.5 AND default_time_to_live = 86400 AND gc_grace_seconds = 3600 AND incremental_backups = false
    AND max_index_interval = 1024 AND memtable = 'skiplist' AND memtable_flush_period_in_ms = 60000
    AND min_index_interval = 64 AND read_repair = 'NONE' AND speculative_retry = 'MIN(99p,50ms)';
CREATE TABLE "MyShop".ucs (k int PRIMARY KEY) WITH memtable = 'trie' AND speculative_retry = 'NEVER'
    AND compaction = {'class': 'UnifiedCompactionStrategy', 'scaling_parameters': 'L10'}
    AND additional_write_policy = 'ALWAYS';

CREATE TABLE "MyShop".dropped (k int PRIMARY KEY, a int, b list<int>, c text, d text);
ALTER TABLE "MyShop".dropped DROP b;
ALTER TABLE "MyShop".dropped DROP (a, c);
ALTER TABLE "MyShop".dropped ADD c text;

CREATE TABLE "MyShop".compact_static (k int PRIMARY KEY, a int, b text) WITH COMPACT STORAGE;
CREATE INDEX by_b ON "MyShop".compact_static (b);
CREATE TABLE "MyShop".compact_dense (k int, c int, v int, PRIMARY KEY (k, c)) WITH COMPACT STORAGE
    AND CLUSTERING ORDER BY (c DESC);
CREATE TABLE "MyShop".compact_empty (k int, c int, d text, PRIMARY KEY (k, c, d)) WITH COMPACT STORAGE;

CREATE FUNCTION "MyShop".plus (a int, b int) RETURNS NULL ON NULL INPUT RETURNS int LANGUAGE java AS 'return a + b;';
CREATE FUNCTION "MyShop".plus (a text, b int) CALLED ON NULL INPUT RETURNS text LANGUAGE java
    AS $$ return a + "; it's " + b; $$;
CREATE FUNCTION "MyShop"."Join" (s list<frozen<zip>>, "State" frozen_like) CALLED ON NULL INPUT RETURNS list<frozen<zip>>
    LANGUAGE java AS 'return s; // $$ costs 5$';
CREATE FUNCTION "MyShop".keep (s int, a int) CALLED ON NULL INPUT RETURNS int LANGUAGE java AS 'return s == null ? a : s;';
CREATE FUNCTION "MyShop".collect (s map<text, int>, a tuple<int, text>) CALLED ON NULL INPUT RETURNS map<text, int>
    LANGUAGE java AS 'return s;';
CREATE FUNCTION "MyShop"."Last" (s map<text, int>) CALLED ON NULL INPUT RETURNS int LANGUAGE java AS 'return 1;';
CREATE AGGREGATE "MyShop".total (int) SFUNC plus STYPE int INITCOND 0;
CREATE AGGREGATE "MyShop"."Collect" (tuple<int, text>) SFUNC collect STYPE map<text, int> FINALFUNC "Last"
    INITCOND {'its; "': 1};
CREATE AGGREGATE "MyShop".plain (int) SFUNC keep STYPE int
'''.replace("frozen_like", "zip")
"""Separated by semicolons; see `statements`."""

MORE_KINDS = r'''
CREATE KEYSPACE "select" WITH replication = {'class': 'SimpleStrategy', 'replication_factor': '1'} AND durable_writes = true;
CREATE TYPE "select"."from" ("where" int, "With ""quotes""" text, "1st" frozen<set<frozen<list<int>>>>);
CREATE TYPE "select"."a.b" (x frozen<"from">, y tuple<frozen<"from">, vector<frozen<"from">, 2>>);
CREATE TABLE "select"."table" ("select" "from", "token" int, "Ünï" text, "it's" int, "two""quotes" text, values set<int>,
    v int, PRIMARY KEY ("token", "it's"));
CREATE INDEX "index" ON "select"."table" ("two""quotes");
CREATE INDEX ON "select"."table" (values(values));
CREATE MATERIALIZED VIEW "select"."view" AS SELECT "Ünï", "two""quotes", "token", "it's" FROM "select"."table"
    WHERE "it's" IS NOT NULL AND "token" > 3 AND "two""quotes" IS NOT NULL PRIMARY KEY (("two""quotes", "it's"), "token")
    WITH CLUSTERING ORDER BY ("token" DESC);
CREATE FUNCTION "select"."in" ("from" "a.b", "WithCase" list<text>) CALLED ON NULL INPUT RETURNS "a.b"
    LANGUAGE java AS 'return from;';

CREATE KEYSPACE plain_ks WITH replication = {'class': 'NetworkTopologyStrategy', 'datacenter1': '2', 'dc-two': '0'};
CREATE TABLE plain_ks.triggered (k int PRIMARY KEY, v text);
CREATE TRIGGER nothing ON plain_ks.triggered USING 'Nothing';
CREATE TRIGGER "Not ""that""" ON plain_ks.triggered USING 'Nothing';
CREATE FUNCTION plain_ks.mask_it (a text, b int) CALLED ON NULL INPUT RETURNS text LANGUAGE java AS 'return "x";';
CREATE TABLE plain_ks.masked (k int MASKED WITH DEFAULT, c text MASKED WITH mask_inner(1, null),
    s text static MASKED WITH DEFAULT,
    d text MASKED WITH mask_replace('none; at all'), e text MASKED WITH plain_ks.mask_it(7), n int MASKED WITH mask_null(),
    h blob MASKED WITH mask_hash('SHA-512'), o text MASKED WITH mask_outer(null, 3, '#'), p text, PRIMARY KEY (k, c));
CREATE MATERIALIZED VIEW plain_ks.masked_view AS SELECT k, c, d, n FROM plain_ks.masked WHERE k IS NOT NULL AND c IS NOT NULL
    AND d IS NOT NULL PRIMARY KEY (d, k, c);
CREATE TABLE plain_ks.masked_key (k uuid MASKED WITH mask_replace(123e4567-e89b-12d3-a456-426614174000) PRIMARY KEY,
    b blob MASKED WITH mask_replace(0xabcdef), t timestamp MASKED WITH mask_replace('2020-01-01 00:00:00+0000'),
    i inet MASKED WITH mask_replace('127.0.0.1'), d duration MASKED WITH mask_replace(1h30m),
    f double MASKED WITH mask_replace(-1.5e3), o boolean MASKED WITH mask_replace(true),
    e date MASKED WITH mask_replace('2020-02-03'), m time MASKED WITH mask_replace('10:11:12'));
CREATE TABLE plain_ks.vectors (k int PRIMARY KEY, v vector<float, 3>, w vector<float, 2>, t text, m map<text, int>, u int);
CREATE INDEX ann ON plain_ks.vectors (v) USING 'sai' WITH OPTIONS = {'similarity_function': 'DOT_PRODUCT'};
CREATE CUSTOM INDEX "Ann2" ON plain_ks.vectors (w) USING 'StorageAttachedIndex'
    WITH OPTIONS = {'similarity_function': 'euclidean', 'optimize_for': 'recall'};
CREATE INDEX ON plain_ks.vectors (t) USING 'sai' WITH OPTIONS = {'ascii': 'true', 'case_sensitive': 'false'};
CREATE INDEX ON plain_ks.vectors (keys(m)) USING 'sai';
CREATE INDEX ON plain_ks.vectors (entries(m)) USING 'legacy_local_table';
CREATE INDEX ON plain_ks.vectors (u);
CREATE TABLE plain_ks.only_counter ("Key" blob, a counter, "B" counter, PRIMARY KEY (("Key"))) WITH gc_grace_seconds = 0;
CREATE TABLE plain_ks.was_compact (k int, c text, v int, PRIMARY KEY (k, c)) WITH COMPACT STORAGE;
ALTER TABLE plain_ks.was_compact DROP COMPACT STORAGE;
CREATE TABLE plain_ks.was_static (k int PRIMARY KEY, v int) WITH COMPACT STORAGE;
ALTER TABLE plain_ks.was_static DROP COMPACT STORAGE;
CREATE TABLE plain_ks.was_altered (k int PRIMARY KEY, v int) WITH comment = 'first';
ALTER TABLE plain_ks.was_altered WITH comment = '';
ALTER TABLE plain_ks.was_altered RENAME k TO "Renamed"
'''
TRIGGER = """
import java.util.Collection;
import java.util.Collections;
import org.apache.cassandra.db.Mutation;
import org.apache.cassandra.db.partitions.Partition;

public class Nothing implements org.apache.cassandra.triggers.ITrigger {
    public Collection<Mutation> augment(Partition update) { return Collections.emptyList(); }
}
"""

YAML = {
    "cdc_enabled": True,
    "sasi_indexes_enabled": True,
    "memtable": {
        "configurations": {
            "skiplist": {"class_name": "SkipListMemtable"},
            "trie": {"class_name": "TrieMemtable"},
            "default": {"inherits": "skiplist"},
        }
    },
}
"""Settings of a node on which all of it can be made."""

_PIECE = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|\$\$.*?\$\$|/\*.*?\*/|;|[^;'"$/]+|.""", re.DOTALL)


def statements(cql: str) -> list[str]:
    """The statements of a text, cut at semicolons outside of quotes and comments."""
    found = [""]
    for piece in _PIECE.findall(cql):
        if piece == ";":
            found.append("")
        else:
            found[-1] += piece
    return [text.strip() for text in found if text.strip()]


def described(keyspace: Any) -> dict[str, Any]:
    """What a KeyspaceMetadata says, in values that JSON knows."""
    return {
        "name": keyspace.name,
        "durable_writes": keyspace.durable_writes,
        "virtual": keyspace.virtual,
        "replication": keyspace.replication_strategy and keyspace.replication_strategy.export_for_schema(),
        "as_cql_query": keyspace.as_cql_query(),
        "tables": {name: _table(table) for name, table in keyspace.tables.items()},
        "views": {name: _view(view) for name, view in keyspace.views.items()},
        "indexes": {name: _plain(vars(index)) for name, index in keyspace.indexes.items()},
        "user_types": {name: _plain(vars(user_type)) for name, user_type in keyspace.user_types.items()},
        "functions": {name: _plain(vars(function)) for name, function in keyspace.functions.items()},
        "aggregates": {name: _plain(vars(aggregate)) for name, aggregate in keyspace.aggregates.items()},
        "user_type_strings": keyspace.user_type_strings(),
    }


# Options of Cassandra 5 that cassandra-driver does not know.
_NEW_OPTIONS = ("allow_auto_snapshot", "incremental_backups", "memtable")


def _columns(of: Any) -> dict[str, Any]:
    def listed(columns: Any) -> list[Any]:
        return [[c.name, c.cql_type, c.is_static, c.is_reversed] for c in columns]

    return {
        "keyspace_name": of.keyspace_name,
        "name": of.name,
        "columns": listed(of.columns.values()),
        "partition_key": listed(of.partition_key),
        "clustering_key": listed(of.clustering_key),
        "options": _plain({name: value for name, value in of.options.items() if name not in _NEW_OPTIONS}),
        "extensions": _plain(of.extensions or {}),
    }


def _table(table: Any) -> dict[str, Any]:
    return {
        **_columns(table),
        "primary_key": [column.name for column in table.primary_key],
        "is_compact_storage": table.is_compact_storage,
        "is_cql_compatible": table.is_cql_compatible,
        "virtual": table.virtual,
        "indexes": {name: [_plain(vars(index)), index.as_cql_query()] for name, index in table.indexes.items()},
        "triggers": list(table.triggers),
        "views": sorted(table.views),
    }


def _view(view: Any) -> dict[str, Any]:
    names = ("base_table_name", "include_all_columns", "where_clause")
    return {**_columns(view), **{name: getattr(view, name) for name in names}}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in sorted(value.items())}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def differences(ours: Any, theirs: Any, path: str = "") -> Iterator[str]:
    """Where two descriptions differ."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in sorted(ours.keys() | theirs.keys()):
            yield from differences(ours.get(key, "(missing)"), theirs.get(key, "(missing)"), f"{path}/{key}")
    elif ours != theirs:
        yield f"{path}: {ours!r} and not {theirs!r}"


def main(host: str, port: str, name: str) -> None:
    from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
    from cassandra.policies import WhiteListRoundRobinPolicy

    profiles = {EXEC_PROFILE_DEFAULT: ExecutionProfile(WhiteListRoundRobinPolicy([host]))}
    with Cluster([host], port=int(port), protocol_version=4, execution_profiles=profiles) as cluster:
        cluster.connect()
        json.dump(described(cluster.metadata.keyspaces[name]), sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
