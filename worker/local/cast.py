"""Who does the demo's tasks: whether that agent can work here, and what the workers are told for it."""

from collections.abc import Mapping

from worker.agents import Agent, allowed, find
from worker.agents.cli import Cli
from worker.errors import TaskFailed, WrongUse
from worker.gateway import keys
from worker.sandbox import choice
from worker.settings import USUAL_KEYS, Settings, usual_key

REHEARSAL = "rehearsal"
"""The agent without a model, which needs nothing."""


def environment(name: str, chosen: Settings) -> Mapping[str, str]:
    """
    The settings that this agent needs besides those that there are.

    Raises:
        WrongUse: there is no such agent, or it lacks its program, its sandbox or its key; says what to do.
    """
    agent = known(name)
    if not agent.needs_isolation:
        return {}
    if isinstance(agent, Cli) and agent.located() is None:
        raise WrongUse(f"Agent {name} is not installed here. To install it: {agent.install}")
    sandbox = choice.sandbox(chosen.sandbox, processes=chosen.process_limit, memory=chosen.memory_limit)
    if not allowed(agent, sandbox=sandbox, trusted=chosen.sandbox == "process"):
        raise WrongUse(
            f"Agent {name} needs a sandbox. {choice.fault()} Without one, CODINGIT_SANDBOX=process lets it work as "
            "yourself, on all that you can read and write."
        )
    return key_for(agent, chosen)


def known(name: str) -> Agent:
    """The agent of that name. Raises WrongUse."""
    try:
        return find(name)
    except TaskFailed as missing:
        raise WrongUse(str(missing)) from missing


def key_for(agent: Agent, chosen: Settings) -> Mapping[str, str]:
    """The key that its model wants, as the setting of the workers. Raises WrongUse that says what to set."""
    if agent.provider is None or chosen.provider_keys_hook or keys.own(chosen, agent.provider):
        return {}
    setting = f"CODINGIT_{agent.provider.upper()}_API_KEY"
    key = usual_key(agent.provider)
    if key is None:
        usual = USUAL_KEYS[agent.provider]
        raise WrongUse(f"Agent {agent.name} needs a key for its model. Set {usual} (or {setting}) to yours.")
    return {setting: key}
