"""Failures as the other ranks learn of them, through a store without processes."""

import threading

import pytest
import torch.distributed as dist

from resnet_backbone.errors import DataError, Interrupted, RankError
from resnet_backbone.utils import failures
from resnet_backbone.utils.failures import Failures, is_about_ranks

LOST = RuntimeError("[/gloo/transport/tcp/pair.cc:561] Connection closed by peer [127.0.0.1]:5")


@pytest.fixture
def ranks():
    store = dist.HashStore()
    return [Failures(store, rank, 3) for rank in range(3)]


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (DataError("image 7"), 3, "rank 1 failed: image 7"),
        (Interrupted("saved"), 75, "rank 1 failed: saved"),
        (KeyboardInterrupt(), 75, "rank 1 failed: interrupted"),
        (KeyError("x"), 70, "rank 1 failed: KeyError: 'x'"),
        (RankError("rank 9 failed: y", 5), 5, "rank 1 failed: rank 9 failed: y"),
    ],
)
def test_all_learn_of_a_failure_and_end_with_its_code(ranks, error, code, text):
    ranks[1].tell(error)
    for rank in (0, 2):
        reason = ranks[rank].explain(LOST)
        assert (reason.exit_code, str(reason)) == (code, text)


def test_an_error_of_ones_own_is_not_that_of_another_rank(ranks):
    ranks[1].tell(DataError("image 7"))
    for error in (DataError("image 8"), ValueError("gloo"), RuntimeError("shapes differ")):
        assert not is_about_ranks(error)
        assert ranks[0].explain(error) is None
    assert is_about_ranks(LOST) and is_about_ranks(dist.DistNetworkError("reset"))


def test_who_has_told_nothing_is_gone(ranks):
    """Both ranks that are left wait for each other."""
    found = {}
    threads = [
        threading.Thread(target=lambda n=rank: found.update({n: ranks[n].explain(LOST)}))
        for rank in (0, 2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {str(reason).partition(";")[0] for reason in found.values()} == {"rank 1 is gone"}
    assert {reason.exit_code for reason in found.values()} == {69}


def test_the_waiting_ends(ranks, monkeypatch):
    monkeypatch.setattr(failures, "GRACE", 0.0)
    assert str(ranks[0].explain(LOST)).startswith("ranks 1, 2 are gone; ")


def test_without_the_store_the_rank_that_had_it_is_gone():
    class Broken:
        def set(self, key, value):
            raise dist.DistNetworkError("Connection reset by peer")

    rank = Failures(Broken(), 1, 2)
    rank.tell(DataError("nobody listens"))
    assert str(rank.explain(LOST)).startswith("rank 0 is gone; ")
