"""`make lint` finds a migration that locks a large table, breaks an older engine, or cannot be applied by dbmate."""

import re
from pathlib import Path

import pytest

from engine.processes.reports import VERSION
from tools.migrations import FOLDER, Exemption, Rules, faults, read_rules, sections, stale

ROOT = Path(__file__).parents[2]
RULES = Rules(
    "", (Exemption("require-statement-timeout", "it takes hours"), Exemption("prefer-robust-stmts", "invalid"))
)
DOWN = "\n-- migrate:down\n\nDROP TABLE orders;\n"
BOUNDED = "SET LOCAL lock_timeout = '10s';\n"


def _faults(tmp_path: Path, up: str, rules: Rules = RULES, mark: str = "", down: str = DOWN) -> list[str]:
    path = tmp_path / "20990101000000_change.sql"
    path.write_text(f"-- migrate:up{mark}\n\n{up}\n{down}")
    return [fault.removeprefix(f"{path}:").strip() for fault in faults(path, rules)]


@pytest.mark.parametrize(
    ("up", "rule"),
    [
        ("CREATE INDEX a ON orders (entry);", "require-concurrent-index-creation"),
        ("ALTER TABLE orders ADD COLUMN a uuid DEFAULT gen_random_uuid();", "adding-field-with-default"),
        ("ALTER TABLE orders ALTER COLUMN sm_id TYPE bigint;", "changing-column-type"),
        ("ALTER TABLE orders ALTER COLUMN batch_id SET NOT NULL;", "adding-not-nullable-field"),
        ("ALTER TABLE orders ADD CONSTRAINT a CHECK (sm_id > 0);", "constraint-missing-not-valid"),
        ("ALTER TABLE orders ADD CONSTRAINT a CHECK (sm_id > 0) NOT VALID;", "ban-new-write-restriction"),
        ("ALTER TABLE orders DROP COLUMN entry;", "ban-drop-column"),
        ("ALTER TABLE batches RENAME COLUMN topic TO topics;", "renaming-column"),
        ("CREATE TABLE a (b bigint;", "syntax-error"),
    ],
)
def test_a_migration_that_locks_a_table_or_breaks_an_engine_is_found_with_its_line(
    tmp_path: Path, up: str, rule: str
) -> None:
    """squawk reads only what `up` runs, in a transaction; taking a migration back may drop anything."""
    found = _faults(tmp_path, BOUNDED + up)
    assert any(fault.startswith(f"4: {rule}: ") for fault in found), found


def test_a_lock_without_a_limit_is_found(tmp_path: Path) -> None:
    """Everybody else would wait behind a migration that waits for a lock."""
    statement = "ALTER TABLE orders ADD COLUMN a text;"
    assert [fault.split(": ")[1] for fault in _faults(tmp_path, statement)] == ["require-lock-timeout"]
    assert _faults(tmp_path, BOUNDED + statement) == []


def test_a_concurrent_index_needs_a_file_of_its_own(tmp_path: Path) -> None:
    """dbmate sends a file as one message, which is one transaction also with transaction:false."""
    statement = "-- Found by entry; and by more.\nCREATE INDEX CONCURRENTLY a\n    ON orders (entry);"
    back, mark = "-- migrate:down transaction:false\nDROP INDEX CONCURRENTLY a;\n", " transaction:false"
    assert _faults(tmp_path, statement, mark=mark, down=back) == []
    needs = "needs `-- migrate:up transaction:false` and a file with no other statement"
    assert f"CONCURRENTLY {needs}" in _faults(tmp_path, statement)
    assert f"CONCURRENTLY {needs}" in _faults(tmp_path, f"SET lock_timeout = '1s';\n{statement}", mark=mark)
    found = _faults(tmp_path, statement, mark=mark, down=back.replace(mark, ""))
    assert found == [f"CONCURRENTLY {needs.replace('up', 'down', 1)}"]


def test_a_migration_without_a_transaction_has_one_statement(tmp_path: Path) -> None:
    """What comes before a statement that fails would stay, and dbmate would begin with it again."""
    found = _faults(tmp_path, "CREATE TABLE a (b text);\nCREATE TABLE c (d text);", mark=" transaction:false")
    assert "`-- migrate:up transaction:false` needs a file with no other statement" in found


def test_a_migration_that_breaks_older_engines_waits_for_them(tmp_path: Path) -> None:
    """It is told how, and is taken as it is when it refuses while they are heard."""
    statement = "ALTER TABLE orders DROP COLUMN entry;"
    [found] = _faults(tmp_path, BOUNDED + statement)
    assert "Wait for older engines as in docs/upgrading.md, or exempt it." in found
    [first, *_] = sections((ROOT / FOLDER / "20261128100100_dead_letters_of_a_group.sql").read_text())
    waits = first.sql[: first.sql.index("END $$;")] + "END $$;"
    assert _faults(tmp_path, BOUNDED + waits + statement) == []


def test_an_exemption_is_of_one_file_and_ends_when_nothing_needs_it(tmp_path: Path) -> None:
    """A rule may be broken where pyproject.toml says why, and nowhere else."""
    one = Exemption("ban-drop-column", "no build has read it", "20990101000000_change.sql")
    exempt = Rules("", (*RULES.exemptions, one))
    path = tmp_path / one.file
    assert _faults(tmp_path, f"{BOUNDED}ALTER TABLE orders DROP COLUMN entry;", exempt) == []
    assert stale([path], exempt) == []
    assert _faults(tmp_path, f"{BOUNDED}ALTER TABLE orders ADD COLUMN entry text;", exempt) == []
    [told] = stale([path], exempt)
    assert "does not break the rule ban-drop-column: delete the exemption" in told
    assert stale([], exempt) == [told]


def test_the_file_has_both_directions_and_no_exception_of_its_own(tmp_path: Path) -> None:
    """squawk's own comments would need no reason."""
    ignored = f"-- squawk-ignore ban-drop-column\n{BOUNDED}ALTER TABLE orders DROP COLUMN entry;"
    assert any("not by squawk-ignore" in fault for fault in _faults(tmp_path, ignored))
    assert any("one `-- migrate:up`, and after it" in fault for fault in _faults(tmp_path, "SELECT 1;", down=""))


def test_an_exemption_without_a_reason_is_refused(tmp_path: Path) -> None:
    """So is one with something unknown."""
    path = tmp_path / "pyproject.toml"
    for entry in ('{ rule = "a" }', '{ rule = "a", reason = "" }', '{ rule = "a", reason = "b", until = "c" }'):
        path.write_text(f'[tool.orderflow.migrations]\nfirst = ""\nexemptions = [{entry}]\n')
        with pytest.raises(ValueError, match="must have rule and reason"):
            read_rules(path)


def test_every_version_of_the_tables_has_a_migration_that_waits_for_the_older_ones() -> None:
    """Whoever raises VERSION in engine/processes/reports.py adds the migration that looks at it."""
    waited = [
        int(version)
        for path in (ROOT / FOLDER).glob("*.sql")
        for part in sections(path.read_text())
        if part.waits
        for version in re.findall(r"version < (\d+)", part.sql)
    ]
    assert sorted(waited) == list(range(1, VERSION + 1))
