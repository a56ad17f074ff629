"""What environment.json says of the machine and of the checkout."""

import importlib.metadata
import os
import subprocess
from datetime import datetime, timezone

import torch

from resnet_backbone.engine import environment as module
from resnet_backbone.engine.environment import commit, environment, now, processor

GIT = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]


def git(folder, *words):
    done = subprocess.run([*GIT, "-C", folder, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_machine_and_the_versions():
    found = environment(3)
    assert found["ranks"] == 3 and found["cores"] == os.cpu_count()
    assert found["packages"]["torch"] == importlib.metadata.version("torch")
    assert found["cpu_capability"] == torch.backends.cpu.get_cpu_capability()
    assert found["processor"] == processor()


def test_the_date_is_now_in_utc():
    age = datetime.now(timezone.utc) - datetime.fromisoformat(now())
    assert 0 <= age.total_seconds() < 60


def test_the_commit_and_whether_files_were_changed(tmp_path):
    package = tmp_path / "package"
    package.mkdir()
    assert commit(package) is None
    git(tmp_path, "init", "-q")
    assert commit(package) is None  # there is none yet
    (package / "a.py").write_text("a = 1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    assert commit(package) == git(tmp_path, "rev-parse", "HEAD")
    (tmp_path / "notes.txt").write_text("beside the package, untracked")
    assert commit(package) == git(tmp_path, "rev-parse", "HEAD")
    (package / "a.py").write_text("a = 2\n")
    assert commit(package) == git(tmp_path, "rev-parse", "HEAD") + "+"


def test_without_git_there_is_no_commit(tmp_path, monkeypatch):
    (tmp_path / ".git").mkdir()
    (tmp_path / "package").mkdir()
    assert commit(tmp_path / "package") is None  # not a checkout
    monkeypatch.setenv("PATH", "")
    assert commit(tmp_path / "package") is None


def test_a_system_without_cpuinfo(monkeypatch):
    def absent(path, **options):
        raise FileNotFoundError(path)

    monkeypatch.setattr(module.Path, "read_text", absent)
    monkeypatch.setattr(module.platform, "processor", lambda: "a chip")
    assert processor() == "a chip"
