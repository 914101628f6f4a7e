"""The table of docs/outage.md."""

from benchmarks.report import table
from proof.outage.result import FAILURES, Result

DID = ("logins", "requests", "replays")
COLUMNS = (
    "fault", "on", "failures", "usually, ms", "during the fault", "once noticed, p99",
    "cache back", "sockets", *DID, "seen from outside",
)  # fmt: skip


class Report:
    """The results of a run, for the end of pytest's output."""

    def __init__(self) -> None:
        self.rows: list[list[str]] = []

    def __str__(self) -> str:
        return table(COLUMNS, self.rows)

    def add(self, fault: str, place: str, result: Result) -> None:
        latency, sockets = result.latency(), ""
        usual, during = (
            " / ".join(f"{latency[phase][figure]:.0f}" for figure in ("p50", "p99", "max"))
            for phase in ("usual", "fault")
        )
        if result.sockets:
            sockets = "{open} of {opened}, {again:.1f} s, {slowest:.0f} ms".format(
                **result.sockets
            )
        failed = [f"{FAILURES[what]}: {number}" for what, number in result.failures.items()]
        self.rows.append([
            fault, place, ", ".join([*failed, *result.too_long()]) or "0", usual, during,
            f"{latency.get('noticed', latency['fault'])['p99']:.0f}", f"{result.back:.1f} s",
            sockets, *(str(result.did[what]) for what in DID), "; ".join(result.seen),
        ])  # fmt: skip
