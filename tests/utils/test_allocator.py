"""What becomes of freed memory, by the kernel's count of page faults in a fresh process."""

import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys, torch
from resnet_backbone.utils.allocator import keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == "kept" else True
faults = []
for _ in range(12):  # aligned blocks walk through the heap until their gaps have merged
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**24)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(kept, min(faults))
"""


def faults_of_a_large_tensor(mode):
    command = [sys.executable, "-c", SCRIPT, mode]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    kept, faults = output.split()
    if kept != "True":
        pytest.skip("not glibc")
    return int(faults)


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_memory_is_not_asked_for_twice():
    # 64 MiB are 16,384 pages of 4 KiB, or 32 huge ones, where the system hands out these.
    assert faults_of_a_large_tensor("kept") < 10 < faults_of_a_large_tensor("default")
