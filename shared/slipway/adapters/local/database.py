"""One SQLite file for the store and the bus, shared by the threads and processes of one machine.

WAL, so that readers never wait for the writer. Writers stand in line: threads of this process at a lock (which wakes
the next at once), other processes at SQLite's own busy handler (which sleeps and looks again, up to `busy_timeout`).
https://www.sqlite.org/wal.html, https://www.sqlite.org/rescode.html
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from slipway.adapters.local.schema import MIGRATIONS
from slipway.errors import Invalid, Permanent, Problem, SlipwayError, Temporary

Values = Sequence[str | int | float | None]


class Database:
    """`<home>/slipway.db`: made, migrated, and opened once per thread.

    `synchronous`: NORMAL survives a killed process, and after a power loss may lack the last transactions but is whole;
    FULL lacks none, and waits for the disk at every one. `busy_timeout`: seconds to wait for another process's write.
    A process that forks must not use its parent's Database.

    Every method raises Temporary for a locked database or a full disk, and Permanent, with the cure, for a file that is
    damaged, foreign, read-only, or of a newer Slipway.
    """

    def __init__(
        self,
        home: str | Path,
        synchronous: Literal["NORMAL", "FULL"] = "NORMAL",
        busy_timeout: float = 10.0,
        migrations: Sequence[Sequence[str]] = MIGRATIONS,
    ) -> None:
        self.path = Path(home).absolute() / "slipway.db"
        self._synchronous = synchronous
        self._busy_timeout = busy_timeout
        self._local = threading.local()
        self._connections: weakref.WeakSet[_Connection] = weakref.WeakSet()
        self._writing = threading.Lock()
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise Permanent(
                f"The data folder {self.path.parent} cannot be used: {error.strerror}. "
                f"Choose another, or make it a folder that this user may write to."
            ) from error
        try:
            # Turning WAL on fails at once where two processes try, without asking the busy handler.
            fcntl.flock(folder, fcntl.LOCK_EX)
            self._migrate(migrations)
        finally:
            os.close(folder)

    def rows(self, statement: str, values: Values = ()) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        try:
            return self._connection().execute(statement, values).fetchall()
        except _FAILURES as error:
            raise self._translated(error) from error

    def row(self, statement: str, values: Values = ()) -> tuple[Any, ...] | None:
        """The first row of a query."""
        try:
            row: tuple[Any, ...] | None = self._connection().execute(statement, values).fetchone()
        except _FAILURES as error:
            raise self._translated(error) from error
        return row

    def write(self, statement: str, values: Values = ()) -> int:
        """One statement as a transaction of its own. The number of rows it changed."""
        try:
            with self._writing:
                return self._connection().execute(statement, values).rowcount
        except _FAILURES as error:
            raise self._translated(error) from error

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """The right to write, until the block ends: committed then, or rolled back when it raises."""
        try:
            with self._writing:
                connection = self._connection()
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                    connection.execute("COMMIT")
                finally:
                    # SQLite has rolled back by itself after some errors (a full disk).
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
        except _FAILURES as error:
            raise self._translated(error) from error

    def close(self) -> None:
        """Closes the connections of all threads. None may be in use."""
        for connection in list(self._connections):
            connection.close()
        self._local = threading.local()

    def _connection(self) -> sqlite3.Connection:
        try:
            connection: sqlite3.Connection = self._local.connection
        except AttributeError:
            connection = self._local.connection = self._opened()
        return connection

    def _opened(self) -> sqlite3.Connection:
        # Used by the thread that opened it alone; only `close` reaches across.
        connection = sqlite3.connect(
            self.path, timeout=self._busy_timeout, isolation_level=None, check_same_thread=False, factory=_Connection
        )
        self._connections.add(connection)
        connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        # Pages of 4 KB. The disk is waited for at checkpoints: four times as rarely as by default, for 16 MB of log.
        connection.execute("PRAGMA wal_autocheckpoint = 4000")
        connection.execute("PRAGMA cache_size = 4000")
        return connection

    def _migrate(self, migrations: Sequence[Sequence[str]]) -> None:
        try:
            connection = self._connection()
            connection.execute("PRAGMA journal_mode = WAL")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
        except _FAILURES as error:
            raise self._translated(error) from error
        if version > len(migrations):
            raise Permanent(
                f"{self.path} was written by a newer Slipway (its schema is version {version}, this one knows up to "
                f"{len(migrations)}). Upgrade Slipway, or use another data folder."
            )
        if version < len(migrations):
            with self.transaction() as connection:
                for step in migrations[version:]:
                    for statement in step:
                        connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {len(migrations)}")

    def _translated(self, error: Exception) -> SlipwayError:
        if not isinstance(error, sqlite3.Error):
            return Invalid(Problem("record", f"cannot be stored: {error}", fix="Use valid Unicode and 64-bit numbers"))
        code = getattr(error, "sqlite_errorcode", None)
        primary = None if code is None else code & 0xFF
        if primary in _TEMPORARY:
            return Temporary(f"{self.path}: {error}. {_TEMPORARY[primary]}", retry_after=1.0)
        cure = _CURES.get(primary, "")
        return Permanent(f"{self.path}: {error}. {cure}".rstrip())


class _Connection(sqlite3.Connection):
    """One that a WeakSet can hold, so that a thread's connection ends with its thread."""


_FAILURES = (sqlite3.Error, UnicodeEncodeError, OverflowError)

_TEMPORARY: dict[int | None, str] = {
    sqlite3.SQLITE_BUSY: "Another process is writing for long; it is tried again.",
    sqlite3.SQLITE_LOCKED: "Another connection is writing; it is tried again.",
    sqlite3.SQLITE_FULL: "Make room on the disk; it is tried again.",
    sqlite3.SQLITE_IOERR: "See that the disk has room and is healthy; it is tried again.",
    sqlite3.SQLITE_NOMEM: "Free some memory; it is tried again.",
    sqlite3.SQLITE_INTERRUPT: "It is tried again.",
}
_RESTORE = "Stop Slipway and restore the file from a backup; or move it, its -wal and its -shm away, to start empty."
_PERMIT = "Let this user read and write the file and its folder"
_CURES: dict[int | None, str] = {
    sqlite3.SQLITE_CORRUPT: _RESTORE,
    sqlite3.SQLITE_NOTADB: _RESTORE,
    sqlite3.SQLITE_READONLY: f"{_PERMIT}, and see that the disk is not mounted read-only.",
    sqlite3.SQLITE_CANTOPEN: f"{_PERMIT}.",
    sqlite3.SQLITE_PERM: f"{_PERMIT}.",
    sqlite3.SQLITE_TOOBIG: "Keep large data out of the record: store a reference to it.",
}
