"""The coding agents, one table: what to run for each, and how to read what it prints."""

from worker.agents.base import Agent, Event, Job, Parser, Verdict
from worker.agents.installed import place
from worker.agents.table import admit, allowed, find, known

__all__ = ["Agent", "Event", "Job", "Parser", "Verdict", "admit", "allowed", "find", "known", "place"]
