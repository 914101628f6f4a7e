"""`manage.py doctor`: what is wrong with the site's services, and how to fix it."""

import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from outlast import health
from outlast.conf import conf
from outlast.health.runner import Finding, State

MARKS = {State.DOWN: "DOWN", State.WARNING: "warn", State.SKIPPED: "skip", State.OK: "ok"}


class Command(BaseCommand):
    help = "Checks every service that the settings use. Exits with 1 if anything is wrong."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print the results as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        order = list(State)
        results = sorted(health.run_diagnostics(), key=lambda result: order.index(result.state))
        healthy = all(result.state is State.OK for result in results)
        if options["json"]:
            names = ("name", "state", "milliseconds", "text", "remedies")
            answers = [{name: getattr(result, name) for name in names} for result in results]
            found = {"profile": conf.PROFILE, "healthy": healthy, "answers": answers}
            self.stdout.write(json.dumps(found, indent=2))
        else:
            self.print_lines(results)
        if not healthy:
            sys.exit(1)

    def print_lines(self, results: list[Finding]) -> None:
        """Print a line for each result, with its remedies; then a count."""
        if conf.PROFILE:
            self.stdout.write(self.style.MIGRATE_HEADING(f"Profile {conf.PROFILE}"))
        styles = {State.DOWN: self.style.ERROR, State.WARNING: self.style.WARNING}
        width = max(len(result.name) for result in results)
        for result in results:
            line = f"{MARKS[result.state]:<4}  {result.name:<{width}}"
            line += f"  {result.milliseconds:>7.1f} ms  {result.text}"
            remedies = (f"      > {remedy}" for remedy in result.remedies)
            self.stdout.write(styles.get(result.state, str)("\n".join((line, *remedies))))
        if failed := sum(result.state in styles for result in results):
            self.stdout.write(self.style.ERROR(f"{failed} of {len(results)} checks failed."))
        else:
            self.stdout.write(self.style.SUCCESS(f"All {len(results)} checks passed."))
