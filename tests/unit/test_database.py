"""The SQLite file: made, migrated, shared, and honest about what is wrong with it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from slipway.adapters.local.database import Database
from slipway.adapters.local.schema import MIGRATIONS
from slipway.adapters.local.store import SqliteStore
from slipway.errors import Invalid, NoSlot, Permanent, SlipwayError, Temporary
from slipway.model import GitSource, Item, Job, QueueKey, Submission

ONE_MORE = (
    "ALTER TABLE items ADD COLUMN region TEXT NOT NULL DEFAULT 'here'",
    "CREATE INDEX items_by_region ON items (region)",
)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path, busy_timeout=0.05)
    yield database
    database.close()


def an_item(item_id: str = "01a", **changes: object) -> Item:
    submission = Submission(Job(GitSource("https://example.com/a.git")), "gpu", "team", "digits")
    return Item(item_id, submission, "kubernetes", {}, "r1", 1.0, **changes)  # type: ignore[arg-type]


# --- made and migrated
def test_a_new_folder_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    home = tmp_path / "new" / "größe 🚢"
    Database(home).close()
    assert (home / "slipway.db").is_file()
    assert home.stat().st_mode & 0o077 == 0


def test_a_file_of_version_1_is_migrated_up_and_keeps_its_records(tmp_path: Path) -> None:
    old = Database(tmp_path, migrations=MIGRATIONS[:1])
    item = SqliteStore(old).create(an_item())
    old.close()
    steps = (*MIGRATIONS, ONE_MORE)
    new = Database(tmp_path, migrations=steps)
    assert new.rows("PRAGMA user_version") == [(len(steps),)]
    assert new.rows("SELECT id, region FROM items") == [("01a", "here")]
    assert SqliteStore(new).item("01a") == item
    new.close()


def test_migrations_are_run_once(tmp_path: Path) -> None:
    for _ in range(2):
        database = Database(tmp_path, migrations=(*MIGRATIONS, ONE_MORE))
        assert database.rows("PRAGMA user_version") == [(len(MIGRATIONS) + 1,)]
        database.close()


def test_a_migration_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    first = Database(tmp_path)
    SqliteStore(first).create(an_item())
    before = first.rows("SELECT * FROM sqlite_master")
    first.close()
    with pytest.raises(Permanent, match="no such table: nowhere"):
        Database(tmp_path, migrations=(*MIGRATIONS, (*ONE_MORE, "DELETE FROM nowhere")))
    again = Database(tmp_path)
    assert again.rows("SELECT * FROM sqlite_master") == before
    assert again.rows("PRAGMA user_version") == [(len(MIGRATIONS),)]
    again.close()


def test_many_may_open_a_new_folder_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda _: Database(tmp_path), range(8)))
    assert {database.rows("PRAGMA journal_mode")[0][0] for database in opened} == {"wal"}
    for database in opened:
        database.close()


def test_a_file_of_a_newer_slipway_is_refused_with_the_cure(tmp_path: Path) -> None:
    Database(tmp_path, migrations=(*MIGRATIONS, ONE_MORE)).close()
    with pytest.raises(Permanent, match=r"newer Slipway.*Upgrade Slipway, or use another data folder"):
        Database(tmp_path)


@pytest.mark.parametrize(("synchronous", "level"), [("NORMAL", 1), ("FULL", 2)])
def test_every_thread_writes_as_safely_as_was_asked(tmp_path: Path, synchronous: str, level: int) -> None:
    database = Database(tmp_path, synchronous=synchronous)  # type: ignore[arg-type]
    with ThreadPoolExecutor(1) as pool:
        elsewhere = pool.submit(database.rows, "PRAGMA synchronous").result()
    assert database.rows("PRAGMA synchronous") == elsewhere == [(level,)]
    database.close()


# --- transactions
def test_a_transaction_that_raises_changes_nothing_and_lets_the_next_one_in(database: Database) -> None:
    def take_and_fail() -> None:
        with database.transaction() as connection:
            connection.execute("INSERT INTO keys (digest, body) VALUES ('a', '{}')")
            raise NoSlot

    with pytest.raises(NoSlot):
        take_and_fail()
    assert database.rows("SELECT * FROM keys") == []
    assert database.write("INSERT INTO keys (digest, body) VALUES ('b', '{}')") == 1


def test_threads_wait_for_each_other_rather_than_fail(database: Database) -> None:
    """Far more writing than the busy timeout of this database would bear, if threads met inside SQLite."""

    def add(n: int) -> None:
        with database.transaction() as connection:
            (count,) = connection.execute("SELECT COUNT(*) FROM keys").fetchone()
            connection.execute("INSERT INTO keys (digest, body) VALUES (?, ?)", (f"{n}", f"{count}"))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(200)))
    assert sorted(int(row[0]) for row in database.rows("SELECT body FROM keys")) == list(range(200))


# --- what may be wrong with it
def test_a_locked_database_is_temporary(tmp_path: Path, database: Database) -> None:
    other = sqlite3.connect(tmp_path / "slipway.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    error = _error_of(lambda: SqliteStore(database).create(an_item()))
    assert isinstance(error, Temporary)
    assert error.retry_after is not None
    assert "database is locked" in error.message
    assert "slipway.db" in error.message
    assert SqliteStore(database).item("01a") is None
    other.execute("ROLLBACK")
    other.close()
    assert SqliteStore(database).create(an_item()).version == 1


def test_a_full_disk_is_temporary_and_nothing_is_lost(database: Database) -> None:
    store = SqliteStore(database)
    item = store.create(an_item())
    (pages,) = database.rows("PRAGMA page_count")[0]
    database.rows(f"PRAGMA max_page_count = {pages}")
    error = _error_of(lambda: store.create(an_item("01b", metrics={"log": "x" * 1_000_000})))
    assert isinstance(error, Temporary)
    assert "database or disk is full. Make room on the disk" in error.message
    database.rows("PRAGMA max_page_count = 1000000")
    assert list(store.items()) == [item]
    assert store.create(an_item("01b")).version == 1


def test_a_file_that_is_no_database_is_permanent_with_the_cure(tmp_path: Path) -> None:
    (tmp_path / "slipway.db").write_text("a note that someone left here\n" * 100)
    error = _error_of(lambda: Database(tmp_path))
    assert isinstance(error, Permanent)
    assert "file is not a database" in error.message
    assert "restore the file from a backup; or move it" in error.message


def test_a_damaged_database_is_permanent_with_the_cure(tmp_path: Path) -> None:
    database = Database(tmp_path)
    for n in range(50):
        SqliteStore(database).create(an_item(f"01{n:02}", image="x"))
    database.close()
    file = tmp_path / "slipway.db"
    whole = file.read_bytes()
    file.write_bytes(whole[:4096] + b"\xa5" * (len(whole) - 4096))
    damaged = Database(tmp_path)
    error = _error_of(lambda: SqliteStore(damaged).head(QueueKey("team", "gpu")))
    damaged.close()
    assert isinstance(error, Permanent)
    assert "malformed" in error.message
    assert "restore the file from a backup; or move it" in error.message


def test_a_database_that_may_only_be_read_is_permanent_with_the_cure(database: Database) -> None:
    database.rows("PRAGMA query_only = ON")
    error = _error_of(lambda: SqliteStore(database).create(an_item()))
    assert isinstance(error, Permanent)
    assert "readonly database. Let this user read and write the file" in error.message


def test_a_folder_in_place_of_the_file_is_permanent_with_the_cure(tmp_path: Path) -> None:
    (tmp_path / "slipway.db").mkdir()
    error = _error_of(lambda: Database(tmp_path))
    assert isinstance(error, Permanent)
    assert "unable to open database file. Let this user read and write" in error.message


def test_a_file_in_place_of_the_folder_is_permanent_with_the_cure(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    error = _error_of(lambda: Database(tmp_path / "home"))
    assert isinstance(error, Permanent)
    assert f"The data folder {tmp_path / 'home'} cannot be used" in error.message


def test_closing_closes_the_connections_of_all_threads(tmp_path: Path) -> None:
    database = Database(tmp_path)

    def connection_of_this_thread() -> sqlite3.Connection:
        with database.transaction() as connection:
            return connection

    with ThreadPoolExecutor(1) as pool:
        connections = [connection_of_this_thread(), pool.submit(connection_of_this_thread).result()]
        assert connections[0] is not connections[1]
        database.close()
        for connection in connections:
            with pytest.raises(sqlite3.ProgrammingError, match="closed"):
                connection.execute("SELECT 1")


@pytest.mark.parametrize("changes", [{"priority": 2**70, "image": "x"}, {"id": "01\ud83d"}])
def test_what_sqlite_cannot_hold_is_invalid(database: Database, changes: dict[str, object]) -> None:
    item_id = str(changes.pop("id", "01a"))
    error = _error_of(lambda: SqliteStore(database).create(an_item(item_id, **changes)))
    assert isinstance(error, Invalid)
    assert list(SqliteStore(database).items()) == []


def _error_of(work: object) -> SlipwayError:
    """The error, which must keep SQLite's own, or the system's, as its cause."""
    assert callable(work)
    with pytest.raises(SlipwayError) as caught:
        work()
    assert isinstance(caught.value.__cause__, sqlite3.Error | OSError | ValueError | ArithmeticError)
    return caught.value
