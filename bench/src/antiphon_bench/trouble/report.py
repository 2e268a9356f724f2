"""The table of cases and the bench's last line."""

from collections.abc import Sequence

from rich.table import Table

from .case import Case, Side
from .expected import Compared
from .run import Row


def cases_table(rows: Sequence[Row], compared: Compared) -> Table:
    """One line a case: ours, the plain bot's where it applies, and why it fails."""
    table = Table(title="bench-trouble", expand=True)
    for name in ("case", "row", "item", "on"):
        table.add_column(name, no_wrap=True)
    table.add_column("ours", no_wrap=True)
    table.add_column("plain", no_wrap=True)
    table.add_column("s", justify="right", no_wrap=True)
    table.add_column("why", ratio=1)
    plain = {row.case.name: row for row in rows if row.side is Side.PLAIN}
    for row in rows:
        if row.side is Side.OURS:
            beside = plain.get(row.case.name)
            table.add_row(
                row.case.name,
                row.case.row,
                row.case.group,
                row.case.stack.value,
                outcome(row, compared),
                "" if beside is None else "ok" if beside.passed else _counts(beside),
                f"{row.seconds:.0f}",
                _why(row),
            )
    return table


def list_table(cases: Sequence[Case]) -> Table:
    """The catalogue, a line each."""
    table = Table(title=f"{len(cases)} cases")
    for name in ("case", "row", "item", "on", "kind", "what must hold"):
        table.add_column(name)
    for case in cases:
        table.add_row(case.name, case.row, case.group, case.stack.value, case.kind, case.must)
    return table


def outcome(row: Row, compared: Compared) -> str:
    """One word, or what was counted."""
    if row.passed:
        return "remove" if row.case.name in compared.to_remove else "ok"
    return "expected" if row.case.name in compared.expected else _counts(row)


def _why(row: Row) -> str:
    late = f" (the caller's clock was {row.late_s:.1f} s late)" if row.reasons_doubtful else ""
    return "; ".join(row.verdict.reasons)[:160] + late


def _counts(row: Row) -> str:
    verdict = row.verdict
    counts = {
        "dead air": verdict.dead_air,
        "lost": verdict.lost_answers,
        "forged": verdict.forged,
        "self-talk": verdict.self_talk,
    }
    return ", ".join(name for name, count in counts.items() if count) or "FAIL"


def headline(rows: Sequence[Row], compared: Compared) -> str:
    """The last line: sums over our side."""
    ours = [row for row in rows if row.side is Side.OURS]
    figures = {
        "cases": len(ours),
        "passed": sum(row.passed for row in ours),
        "expected_failures": len(compared.expected),
        "dead_air": sum(row.verdict.dead_air for row in ours),
        "lost_answers": sum(row.verdict.lost_answers for row in ours),
        "forged": sum(row.verdict.forged for row in ours),
        "self_talk": sum(row.verdict.self_talk for row in ours),
    }
    return " ".join(["BENCH trouble", *(f"{name}={value}" for name, value in figures.items())])


def complaints(compared: Compared) -> list[str]:
    """Reasons for which the bench exits with an error, a line each."""
    said = []
    if compared.failing:
        said.append(f"failing: {', '.join(compared.failing)}")
    if compared.to_remove:
        said.append(f"no longer failing, to be removed from expected_failures.txt: {', '.join(compared.to_remove)}")
    if compared.unknown:
        said.append(f"in expected_failures.txt, but no case: {', '.join(compared.unknown)}")
    return said
