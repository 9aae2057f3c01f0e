"""The operator's documents say what the program does: settings, verbs and the example configuration."""

from __future__ import annotations

from pathlib import Path

import click
from retrieval_provider.cli import cli
from retrieval_provider.config import ProviderSettings

from retrieval.settings import load, render_reference, write_default

FOLDER = Path(__file__).resolve().parents[2] / "provider"
README = (FOLDER / "README.md").read_text()


def test_the_readme_holds_the_table_of_settings() -> None:
    assert README.endswith(render_reference(ProviderSettings))


def test_the_example_configuration_is_what_init_writes_and_holds_the_defaults() -> None:
    example = FOLDER / "config.example.toml"
    assert example.read_text() == write_default(ProviderSettings, {})
    settings, origins = load(ProviderSettings, example, {}, {})
    assert settings == ProviderSettings()
    assert set(origins.values()) == {"default"}


def test_the_readme_names_every_verb() -> None:
    for name, verb in cli.commands.items():
        inner = verb.commands if isinstance(verb, click.Group) else [""]
        assert all(f"retrieval-provider {name} {each}".strip() in README for each in inner), name
