"""The journal's tables, its statements, and how values are encoded in them."""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from phonefarm_agent.model.evidence import EvidenceFile, Manifest, ManifestEntry
from phonefarm_agent.model.records import Record, decode_body, encode_body
from phonefarm_agent.model.run import Assignment, Phase, RunRef, RunState, StopOrder, StopStrategy

SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS runs (
    run_id TEXT PRIMARY KEY,
    phase TEXT NOT NULL,
    assignment TEXT NOT NULL,
    state TEXT NOT NULL,
    number INTEGER NOT NULL  -- rises with every assignment; the order in which runs came
);
CREATE TABLE IF NOT EXISTS records (
    run_id TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    at TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (run_id, sequence)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS evidence (
    run_id TEXT NOT NULL,
    name TEXT NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (run_id, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS manifests (
    run_id TEXT PRIMARY KEY,
    delivered INTEGER NOT NULL,
    document TEXT NOT NULL,
    number INTEGER NOT NULL  -- rises with every run that left something
);
"""

FORGOTTEN_KEPT = 512
"""This many ended runs are remembered, so that a late repetition of an assignment starts none."""


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One SQL statement with its values."""

    sql: str
    values: tuple[object, ...] | Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class JournalContents:
    """What the journal holds from the agent's previous process."""

    facts: Mapping[str, str]
    runs: tuple[RunState, ...]
    records: Mapping[str, tuple[Record, ...]]
    evidence: tuple[EvidenceFile, ...]
    manifests: tuple[Manifest, ...] = ()


def open_database(path: Path) -> sqlite3.Connection:
    """Return a connection whose commits survive a power cut (WAL, synchronous=FULL)."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.executescript(SCHEMA)
    return connection


def read_all(connection: sqlite3.Connection) -> JournalContents:
    """Return everything the journal holds."""
    facts = dict(connection.execute("SELECT name, value FROM facts"))
    runs = tuple(
        decode_state(assignment, state)
        for assignment, state in connection.execute(
            "SELECT assignment, state FROM runs ORDER BY number"
        )
    )
    refs = {run.ref.run_id: run.ref for run in runs}
    records: dict[str, list[Record]] = {}
    for run_id, sequence, at, body in connection.execute(
        "SELECT run_id, sequence, at, body FROM records ORDER BY run_id, sequence"
    ):
        if run_id in refs:
            records.setdefault(run_id, []).append(
                Record(
                    ref=refs[run_id],
                    sequence=sequence,
                    at=datetime.fromisoformat(at),
                    body=decode_body(body),
                )
            )
    evidence = tuple(
        _decode_evidence(text) for (text,) in connection.execute("SELECT document FROM evidence")
    )
    manifests = tuple(
        _decode_manifest(text)
        for (text,) in connection.execute("SELECT document FROM manifests ORDER BY number")
    )
    return JournalContents(
        facts=facts,
        runs=runs,
        records={run_id: tuple(of_run) for run_id, of_run in records.items()},
        evidence=evidence,
        manifests=manifests,
    )


def put_fact(name: str, value: str) -> Statement:
    """Return the write of one fact about this agent."""
    return Statement(
        sql="INSERT OR REPLACE INTO facts VALUES (?, ?)",
        values=(name, value),
    )


def add_run(state: RunState) -> Statement:
    """Return the write of a new run; a known run stays as it is."""
    return Statement(
        sql=(
            "INSERT OR IGNORE INTO runs (run_id, phase, assignment, state, number)"
            " VALUES (?, ?, ?, ?, (SELECT COALESCE(MAX(number), 0) + 1 FROM runs))"
        ),
        values=(
            state.ref.run_id,
            state.phase.value,
            json.dumps(asdict(state.assignment)),
            encode_state(state),
        ),
    )


def put_state(state: RunState) -> Statement:
    """Return the write of a known run's state."""
    return Statement(
        sql="UPDATE runs SET phase = ?, state = ? WHERE run_id = ?",
        values=(state.phase.value, encode_state(state), state.ref.run_id),
    )


def put_record(record: Record) -> Statement:
    """Return the write of a record; a second record with the same number is ignored."""
    return Statement(
        sql="INSERT OR IGNORE INTO records VALUES (?, ?, ?, ?, ?)",
        values=(
            record.ref.run_id,
            record.ref.epoch,
            record.sequence,
            record.at.isoformat(),
            encode_body(record.body),
        ),
    )


def drop_records(run_id: str, epoch: int, sequence: int) -> Statement:
    """Return the removal of the records up to and including *sequence*."""
    return Statement(
        sql="DELETE FROM records WHERE run_id = ? AND epoch = ? AND sequence <= ?",
        values=(run_id, epoch, sequence),
    )


def trim_forgotten() -> Statement:
    """Return the removal of the oldest forgotten runs."""
    return Statement(
        sql=("DELETE FROM runs WHERE phase = ? AND number <= (SELECT MAX(number) FROM runs) - ?"),
        values=(Phase.FORGOTTEN.value, FORGOTTEN_KEPT),
    )


def put_evidence(file: EvidenceFile) -> Statement:
    """Return the write of a file to upload; it replaces one of the same name."""
    document = {
        "ref": asdict(file.ref),
        "name": file.name,
        "kind": file.kind,
        "path": str(file.path),
        "size": file.size,
        "sha256": file.sha256,
        "action_index": file.action_index,
        "truncated": file.truncated,
    }
    return Statement(
        sql="INSERT OR REPLACE INTO evidence VALUES (?, ?, ?)",
        values=(file.ref.run_id, file.name, json.dumps(document)),
    )


def drop_evidence(file: EvidenceFile) -> Statement:
    """Return the removal of a file."""
    return Statement(
        sql="DELETE FROM evidence WHERE run_id = ? AND name = ?",
        values=(file.ref.run_id, file.name),
    )


def put_manifest(manifest: Manifest) -> Statement:
    """Return the write of a run's manifest."""
    return Statement(
        sql=(
            "INSERT INTO manifests VALUES (:run_id, :delivered, :document,"
            " (SELECT COALESCE(MAX(number), 0) + 1 FROM manifests))"
            " ON CONFLICT (run_id) DO UPDATE SET delivered = :delivered, document = :document"
        ),
        values={
            "run_id": manifest.ref.run_id,
            "delivered": manifest.delivered,
            "document": json.dumps(asdict(manifest)),
        },
    )


def trim_manifests() -> Statement:
    """Return the removal of the oldest delivered manifests."""
    return Statement(
        sql=(
            "DELETE FROM manifests WHERE delivered"
            " AND number <= (SELECT MAX(number) FROM manifests) - ?"
        ),
        values=(FORGOTTEN_KEPT,),
    )


def encode_state(state: RunState) -> str:
    """Return the journal's text for *state* without its assignment."""
    return json.dumps(
        {
            "phase": state.phase.value,
            "went": state.went,
            "stop": asdict(state.stop) if state.stop else None,
            "last_sequence": state.last_sequence,
            "open_action": state.open_action,
            "failed_action": state.failed_action,
            "adb_serial": state.adb_serial,
            "handle_name": state.handle_name,
            "handle_token": state.handle_token,
            "unclean": state.unclean,
        }
    )


def decode_state(assignment_text: str, text: str) -> RunState:
    """Return the state that the two texts stand for."""
    assignment = json.loads(assignment_text)
    fields = json.loads(text)
    ref = RunRef(**assignment.pop("ref"))
    stop = fields.pop("stop")
    for name in ("open_action", "failed_action"):
        if fields[name] is not None:
            fields[name] = tuple(fields[name])
    fields["phase"] = Phase(fields["phase"])
    return RunState(
        assignment=Assignment(ref=ref, **assignment),
        stop=_decode_stop(stop) if stop else None,
        **fields,
    )


def _decode_stop(fields: dict[str, object]) -> StopOrder:
    return StopOrder(
        ref=RunRef(**fields.pop("ref")),  # type: ignore[arg-type]  # our own JSON
        strategy=StopStrategy(str(fields.pop("strategy"))),
        **fields,  # type: ignore[arg-type]  # our own JSON
    )


def _decode_evidence(text: str) -> EvidenceFile:
    fields = json.loads(text)
    return EvidenceFile(ref=RunRef(**fields.pop("ref")), path=Path(fields.pop("path")), **fields)


def _decode_manifest(text: str) -> Manifest:
    fields = json.loads(text)
    entries = {name: ManifestEntry(**entry) for name, entry in fields.pop("entries").items()}
    return Manifest(ref=RunRef(**fields.pop("ref")), entries=entries, **fields)
