"""README, docs and headers of configurations: links lead somewhere, commands exist."""

import re
import shlex
from pathlib import Path

import pytest

import resnet_backbone
from resnet_backbone.cli.runner import SCRIPTS
from resnet_backbone.config.load import list_configs, load_any_config

ROOT = Path(__file__).resolve().parents[1]
TEXTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
BENCHMARKS = sorted((ROOT / "benchmarks").glob("*"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", TEXTS, ids=name_of)
def test_links_lead_to_files_and_headings_that_are_there(path):
    for target, anchor in re.findall(r"\]\(([^)#:\s]*)(?:#([^)\s]+))?\)", path.read_text()):
        file = (path.parent / target) if target else path
        assert file.exists(), target
        if anchor and file.suffix == ".md":
            headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
            slugs = [re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings]
            assert anchor in slugs, f"{target}#{anchor}: {slugs}"


def commands(path: Path) -> list[list[str]]:
    """The commands of a text, words split as a shell does, lines joined at backslashes."""
    text = path.read_text().replace("\\\n", " ")
    if path.suffix == ".yaml":
        text = "\n".join(line.lstrip("# ") for line in text.splitlines() if line.startswith("#"))
    calls = r"^\s*((?:PYTHONPATH=\S+ )?(?:torchrun [^#\n]*|python [^#\n]*|resnet-backbone [^#\n]*))"
    found = []
    for line in re.findall(calls, text, re.MULTILINE):
        for part in re.split(r"&&|\|", line):
            try:
                found.append(shlex.split(part))
            except ValueError:
                continue  # prose that begins like a command
    return found


def call_of(words: list[str]) -> tuple[str, list[str]] | None:
    """The command of ours that words call, and its arguments."""
    scripts = {f"tools/{script}": command for command, script in SCRIPTS.items()}
    for index, word in enumerate(words):
        if word in scripts:
            return scripts[word], words[index + 1 :]
        if word.startswith("tools/"):
            return word, []
        if word in ("resnet-backbone", "resnet_backbone") and len(words) > index + 1:
            return words[index + 1], words[index + 2 :]
    return None


@pytest.mark.parametrize("path", [*TEXTS, *CONFIGS, *BENCHMARKS], ids=name_of)
def test_every_command_and_every_shipped_file_that_it_names_exist(path):
    if path.suffix not in (".md", ".yaml"):
        return
    for words in commands(path):
        for word in words:
            if word.startswith("benchmarks/"):
                assert (ROOT / word).is_file(), word
        call = call_of(words)
        if call is None:
            continue
        command, arguments = call
        if command.startswith("-") or command == "COMMAND":
            continue
        assert command in SCRIPTS, " ".join(words)
        if "--config" in arguments:
            config = arguments[arguments.index("--config") + 1]
            if "/" not in config and "NAME" not in config and not config.startswith("mine"):
                assert config.removesuffix(".yaml") in list_configs(), config


@pytest.mark.parametrize("path", [*TEXTS, *CONFIGS], ids=name_of)
def test_every_key_and_value_in_a_command_is_valid(path):
    for config, overrides in configurations(path):
        load_any_config(config, overrides)


def configurations(path: Path) -> list[tuple[str, list[str]]]:
    """The shipped configurations that commands name, and the keys that they replace."""
    calls = [call for words in commands(path) if (call := call_of(words)) and "--config" in call[1]]
    found = []
    for _, arguments in calls:
        config = arguments[arguments.index("--config") + 1]
        if config.removesuffix(".yaml") in list_configs():
            found.append((config, [word for word in arguments if re.match(r"[a-z_.0-9]+=", word)]))
    return found


def test_every_recipe_has_a_command_and_commands_have_keys():
    recipes = (ROOT / "docs" / "recipes.md").read_text().split("\n## ")[1:]
    assert len(recipes) >= 9
    assert all("\n    " in recipe for recipe in recipes)
    assert sum(len(keys) for _, keys in configurations(ROOT / "docs" / "recipes.md")) > 30


def test_commands_were_found():
    assert sum(call_of(words) is not None for path in TEXTS for words in commands(path)) > 20
    assert all(any(call_of(words) for words in commands(path)) for path in CONFIGS)


def test_no_text_names_a_file_that_users_do_not_have():
    for path in [
        *TEXTS,
        *ROOT.rglob("configs/**/*.yaml"),
        *ROOT.glob("resnet_backbone/**/*.py"),
        *ROOT.glob("results/*.json"),
    ]:
        text = path.read_text()
        assert "../shared" not in text and "reference/" not in text, path


def test_the_api_page_has_every_public_name_at_its_home():
    shown = set(re.findall(r"^::: (\S+)$", (ROOT / "docs" / "api.md").read_text(), re.MULTILINE))
    public = {f"{home}.{name}" for name, home in resnet_backbone._PUBLIC.items()}
    assert shown == public - {"resnet_backbone.backbone.variants.BACKBONES"}


def test_the_readme_names_the_five_files_and_they_are_there():
    text = (ROOT / "README.md").read_text()
    for name in (
        "backbone/blocks",
        "backbone/resnet",
        "detection/rcnn",
        "engine/step",
        "engine/train",
    ):
        assert f"{name}.py" in text
        assert (ROOT / "resnet_backbone" / f"{name}.py").is_file()
