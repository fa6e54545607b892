"""A commented study file to start from, written from a few choices."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

import tomli_w
from jinja2 import Environment, StrictUndefined

from ethosteer import catalog
from ethosteer.benchmarks.preferences import PREFERENCES

TEMPLATE = "starter.toml.j2"
BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Starter:
    """The choices that a study file is written from.

    ``chat`` if the base follows instructions: it is asked by its chat template and not fine-tuned
    first. ``sample`` if published files are the bundled, invented ones. ``arms`` maps each arm to
    the absolute path of its preference pairs, "" for the dataset of the arm's name. ``seeds`` is
    their number. ``bfloat16`` if the base's weights are kept in that number format.
    """

    name: str
    model: str
    chat: bool
    sample: bool
    arms: Mapping[str, str]
    algorithm: str
    seeds: int
    benchmarks: tuple[str, ...]
    margin: float | None
    bfloat16: bool = False

    @property
    def question(self) -> str:
        """The research question that these choices ask."""
        arms = list(self.arms)
        if len(arms) == 1:
            return f"Does {arms[0]} steer {self.model}, and at what cost?"
        which = f"{', '.join(arms[:-1])} and {arms[-1]}"
        return f"Which of {which} steers {self.model} best, and at what cost?"


def study_file(starter: Starter, file: str) -> str:
    """Return the text of a study file; ``file`` is its name, for the commands that it shows."""
    environment = Environment(
        autoescape=False,  # TOML, not a web page
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {"toml": _value, "key": _key}
    template = environment.from_string((files("ethosteer.study") / TEMPLATE).read_text("utf-8"))
    pocket = starter.model == "pocket"
    return template.render(
        file=file,
        name=starter.name,
        question=starter.question,
        seeds=list(range(starter.seeds)),
        model=starter.model,
        dtype="bfloat16" if starter.bfloat16 else "float32",
        origin="sample" if starter.sample else "hub",
        template="chat" if starter.chat else "guanaco",
        chat=starter.chat,
        arms=starter.arms,
        algorithm=starter.algorithm,
        algorithms=", ".join(catalog.algorithm_names()),
        rate="1e-3" if pocket else "2e-4",
        benchmarks=starter.benchmarks,
        titles={name: benchmark_title(name) for name in starter.benchmarks},
        margin=starter.margin,
    )


def benchmark_title(name: str) -> str:
    """Return a benchmark's title, also that of all value profiles together."""
    if name == PREFERENCES:
        return "the value profile: held-out pairs of every dataset of the arms"
    return catalog.benchmark(name).title


def _value(value: object) -> str:
    """Write a value as TOML on one line."""
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return tomli_w.dumps({"value": value}).removeprefix("value = ").rstrip("\n")


def _key(name: str) -> str:
    """Write a key as TOML, in quotes where it needs them."""
    return name if BARE_KEY.fullmatch(name) else _value(name)
