import commands
import pytest
from finished_runs import record, write_run

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
    assert "drawn: nothing; --only names no figure with runs" in lines
    assert not any(line.startswith("Table 1") for line in lines)
    assert lines[-1] == f"recorded runs: 1, in {results}"


def test_only_what_is_named_is_printed_and_drawn(tmp_path, capsys):
    results, figures = tmp_path / "results", tmp_path / "figures"
    for network in ("plain20_cifar", "resnet20_cifar"):
        record(tmp_path / network, results, network)
    arguments = ["--results", results, "--figures", figures, "--only", "Figure 6"]
    reproduce_command.main(list(map(str, arguments)))
    assert capsys.readouterr().out.startswith("Figure 6: ")
    assert [file.name for file in figures.glob("*.png")] == ["figure6.png"]


def test_lines_fit_and_what_rows_share_is_a_footnote_once(tmp_path, capsys):
    results = tmp_path / "results"
    for network in ("plain20_cifar", "plain56_cifar"):
        record(tmp_path / network, results, network, max_iter=4000)
    reproduce_command.main(["--results", str(results), "--only", "figure1", "table6"])
    output = capsys.readouterr().out
    assert max(map(len, output.splitlines())) <= 120
    assert output.count("shortened to 6.25 % of the schedule") == 1
    (note,) = (line for line in output.splitlines() if "shortened" in line)
    rows = [line for line in output.splitlines() if line.startswith("plain") and "_cifar" in line]
    assert len(rows) == 6 and all(row.endswith(note.split()[0]) for row in rows)


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
