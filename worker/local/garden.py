"""What the demo is about: a small project, and the tasks that are set in it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

REPOSITORY = "demo/garden"
FILES: Mapping[str, str] = {
    "README.md": """# Garden

A small program that knows when the plants of a garden want water.

    python3 garden.py
""",
    "garden.py": '''"""Which plants want water today."""

from datetime import date

EVERY = {"tomato": 1, "lavender": 4, "rose": 2}
"""Days between two waterings."""


def thirsty(today: date) -> list[str]:
    """The plants that want water on that day."""
    return [plant for plant, days in EVERY.items() if today.toordinal() % days == 0]


if __name__ == "__main__":
    print("Water today:", ", ".join(thirsty(date.today())))
''',
    "test_garden.py": """from datetime import date

from garden import thirsty


def test_tomatoes_are_always_thirsty() -> None:
    assert "tomato" in thirsty(date(2026, 1, 1))
""",
    "docs/plants.md": """# Plants

- tomato: every day
- rose: every second day
- lavender: seldom
""",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One task of the demo, and how it is meant to end."""

    prompt: str
    ends: Literal["completed", "error", "cancelled"]
    branch: str | None = None
    in_repository: bool = True


REHEARSED = (
    Scene(prompt="Say in the README how the tests are run", branch="how-to-test", ends="completed"),
    Scene(
        prompt="""Write down how often each plant is watered
rehearse: pause 0.6
rehearse: edit docs/watering.md # Watering: tomatoes daily, roses every second day, lavender seldom
rehearse: edit docs/calendar.md # Calendar: the watering of each month""",
        ends="completed",
    ),
    Scene(
        prompt="""Translate the whole garden into Esperanto
rehearse: pause 0.7
rehearse: steps 40""",
        ends="cancelled",
    ),
    Scene(
        prompt="""Move the moon plants to the shady bed
rehearse: sleep 1
rehearse: fail There are no moon plants in this garden. Which plants do you mean?""",
        ends="error",
    ),
    Scene(
        prompt="""Describe the roses, and commit that yourself
rehearse: edit docs/roses.md # Roses: they like sun, and water every second day
rehearse: commit Describe the roses""",
        ends="completed",
    ),
    Scene(prompt="Explain why lavender needs so little water", in_repository=False, ends="completed"),
)
"""Six tasks that show six ways in which a task can go."""
WITH_A_MODEL = (
    Scene(
        prompt="Say in README.md, in one or two lines, how the tests are run. Change nothing else.",
        branch="how-to-test",
        ends="completed",
    ),
    Scene(
        prompt="Add a function next_watering(plant, today) to garden.py that answers the next day on which the plant "
        "wants water, today included, and a test of it to test_garden.py.",
        ends="completed",
    ),
    Scene(prompt="Explain in two sentences why lavender needs so little water.", in_repository=False, ends="completed"),
)
"""Three small tasks, for an agent that costs something."""


def scenes(agent: str) -> tuple[Scene, ...]:
    """What this agent is given to do."""
    return REHEARSED if agent == "rehearsal" else WITH_A_MODEL
