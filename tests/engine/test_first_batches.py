from PIL import Image

from resnet_backbone.engine.first_batches import IMAGES, FirstBatches


class Drawer:
    """Stands in for a task: a batch is a number of samples."""

    def __init__(self):
        self.drawn = []

    def draw_samples(self, batch, count):
        self.drawn.append(min(batch, count))
        return [Image.new("RGB", (8, 8))] * min(batch, count)


def test_batches_are_drawn_until_there_are_enough_images(tmp_path):
    task, file = Drawer(), tmp_path / "a.png"
    first = FirstBatches(task, file, enabled=True)
    first.show([5, 3], last=False)
    assert not file.exists()
    first.show([8, 8], last=False)
    assert file.exists() and task.drawn[:3] == [5, 3, IMAGES - 8]
    assert sum(task.drawn) == IMAGES
    file.unlink()
    first.show([8], last=True)
    assert not file.exists()


def test_a_short_run_draws_what_there_is(tmp_path):
    first = FirstBatches(Drawer(), tmp_path / "a.png", enabled=True)
    first.show([2], last=True)
    assert (tmp_path / "a.png").exists()


def test_other_ranks_tasks_without_pictures_and_resumed_runs_draw_nothing(tmp_path):
    task = Drawer()
    FirstBatches(task, tmp_path / "a.png", enabled=False).show([8], last=True)
    assert task.drawn == []
    first = FirstBatches(task, tmp_path / "a.png", enabled=True)
    first.show([0], last=False)
    first.show([8], last=True)  # a task that drew nothing is not asked again
    assert task.drawn == [0] and not (tmp_path / "a.png").exists()
