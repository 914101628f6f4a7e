"""`manage.py doctor`: what is wrong with the site's services, and what mends it."""

import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from outlast import probes
from outlast.conf import conf
from outlast.probes import Result, State

MARKS = {State.OK: "ok", State.WARNING: "warn", State.DOWN: "DOWN"}
WORST_FIRST = [State.DOWN, State.WARNING, State.SKIPPED, State.OK]


class Command(BaseCommand):
    help = (
        "Asks every service that the active profile uses for its health; takes seconds. "
        "Exits with 0 if all is well, with 1 otherwise."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print the answers as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        results = sorted(
            probes.check_up(), key=lambda result: WORST_FIRST.index(result.finding.state)
        )
        bad = [result for result in results if result.state is not State.OK]
        if options["json"]:
            self.stdout.write(json.dumps(self.as_data(results, not bad), indent=2))
        else:
            self.print(results)
        if bad:
            sys.exit(1)

    def as_data(self, results: list[Result], healthy: bool) -> dict[str, Any]:
        """Return what `--json` prints."""
        return {
            "profile": conf.PROFILE,
            "healthy": healthy,
            "answers": [
                {
                    "name": result.name,
                    "state": result.state,
                    "milliseconds": result.milliseconds,
                    "text": result.finding.text,
                    "remedies": result.finding.remedies,
                }
                for result in results
            ],
        }

    def print(self, results: list[Result]) -> None:
        """Print a line each, the worst first, and what mends it below; then a count."""
        self.stdout.write(self.style.MIGRATE_HEADING(f"Profile {conf.PROFILE}"))
        styles = {State.DOWN: self.style.ERROR, State.WARNING: self.style.WARNING}
        width = max(len(result.name) for result in results)
        for result in results:
            if result.state is State.SKIPPED:
                continue
            style = styles.get(result.state, str)
            line = f"{MARKS[result.state]:<4}  {result.name:<{width}}"
            line += f"  {result.milliseconds:>7.1f} ms  {result.finding.text}"
            self.stdout.write(style(line))
            for remedy in result.finding.remedies:
                self.stdout.write(style(f"      > {remedy}"))
        if skipped := [result.name for result in results if result.state is State.SKIPPED]:
            self.stdout.write(f"Not asked, since what they need is down: {', '.join(skipped)}.")
        bad = sum(result.state in styles for result in results)
        if bad:
            self.stdout.write(self.style.ERROR(f"{bad} of {len(results)} need you."))
        else:
            self.stdout.write(self.style.SUCCESS(f"All {len(results)} are well."))
