import subprocess
import sys

import pytest
from commands import TOOLS

import resnet_backbone
from resnet_backbone.cli import main as console
from resnet_backbone.cli.runner import SCRIPTS


def test_help_lists_every_command(capsys):
    with pytest.raises(SystemExit, match="0"):
        console.main(["--help"])
    shown = capsys.readouterr().out
    for command in SCRIPTS:
        assert f"\n  {command} " in shown
    assert "resnet-backbone train --config quickstart.yaml" in shown
    assert console.SUMMARIES.keys() == SCRIPTS.keys()


@pytest.mark.parametrize("command", SCRIPTS)
def test_every_command_has_help_with_an_example_in_its_own_words(command, capsys):
    with pytest.raises(SystemExit, match="0"):
        console.main([command, "--help"])
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: resnet-backbone {command}")
    assert f"  resnet-backbone {command} " in shown
    assert "python tools/" not in shown
    assert "exit codes" in shown


@pytest.mark.parametrize("command", SCRIPTS)
def test_the_script_calls_the_same_function_and_says_how_it_is_called(command, monkeypatch, capsys):
    script = TOOLS / SCRIPTS[command]
    source = script.read_text()
    assert f'main = command("{command}")' in source
    assert "run(main)" in source
    monkeypatch.setattr(sys, "argv", [str(script)])
    with pytest.raises(SystemExit, match="0"):
        console.main([command, "--help"])
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: {script.name}")
    assert f"  python tools/{script.name} " in shown
    assert "resnet-backbone" not in shown.partition("examples:")[2]


def test_every_script_is_a_commands():
    assert sorted(path.name for path in TOOLS.glob("*.py")) == sorted(SCRIPTS.values())


def test_the_version(capsys):
    with pytest.raises(SystemExit, match="0"):
        console.main(["--version"])
    assert capsys.readouterr().out.strip() == resnet_backbone.__version__


@pytest.mark.parametrize("arguments", [[], ["trian"], ["train_net"]])
def test_what_is_no_command_is_refused_with_those_that_are(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        console.main(arguments)
    shown = capsys.readouterr().err
    assert "COMMAND" in shown and "Traceback" not in shown


def test_as_a_module_it_ends_with_the_documented_code():
    done = subprocess.run(
        [sys.executable, "-m", "resnet_backbone", "train", "--config", "no_such.yaml"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: no file 'no_such.yaml'")
    assert "Traceback" not in done.stderr


def test_help_does_not_wait_for_torch():
    code = "import sys; from resnet_backbone.cli.main import main, SCRIPTS\n"
    code += "for command in ([], *([name] for name in SCRIPTS)):\n"
    code += "    try: main([*command, '--help'])\n"
    code += "    except SystemExit as end: assert end.code == 0\n"
    code += "assert 'torch.nn' not in sys.modules, 'torch was imported'"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
