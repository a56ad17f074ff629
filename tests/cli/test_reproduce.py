import commands
import pytest
from finished_runs import write_run

from resnet_backbone.cli import reproduce as reproduce_command


def call(*arguments):
    return commands.call(reproduce_command.main, *arguments)


def test_runs_are_recorded_printed_and_drawn(tmp_path, capsys):
    run = write_run(tmp_path / "output" / "r20", top1=0.0925)
    results, figures = tmp_path / "results", tmp_path / "figures"
    arguments = ["--record", run, "--results", results, "--figures", figures, "--only", "table6"]
    reproduce_command.main(list(map(str, arguments)))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"recorded {run} in {results / 'r20.json'}"
    assert lines[1] == "Table 6: CIFAR-10 test error in %"
    (row,) = (line for line in lines if line.startswith("ResNet-20 "))
    assert row.split()[1:4] == ["8.75", "9.25", "+0.50"]
    assert f"drawn: {figures / 'figure6.png'}" in lines
    assert not any(line.startswith("Table 1") for line in lines)
    assert lines[-1] == f"recorded runs: 1, in {results}"


def test_errors_name_the_file_and_end_with_their_code(tmp_path):
    done = call("--record", tmp_path / "missing")
    assert done.returncode == 4
    assert done.stderr.count("\n") == 1 and "missing: not the folder of a run" in done.stderr
    done = call("--measure")
    assert done.returncode == 2 and "--measure goes with --record" in done.stderr
    done = call("--results", tmp_path / "absent", "--only", "table1")
    assert done.returncode == 4 and "absent: no such folder of recorded runs" in done.stderr
    done = call("--results", "", "--only", "table1")
    assert done.returncode == 2 and "--results: is empty; expected a path" in done.stderr
    (tmp_path / "bad.json").write_text('{"format": 1}')
    done = call("--results", tmp_path, "--only", "table1")
    assert done.returncode == 4
    assert done.stderr.count("\n") == 1 and "bad.json" in done.stderr


def test_help_has_examples_and_unknown_tables_are_refused(capsys):
    tool = reproduce_command
    with pytest.raises(SystemExit, match="0"):
        tool.main(["--help"])
    assert "--only table6" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        tool.main(["--only", "table15"])
    assert "figure7" in capsys.readouterr().err
