from resnet_backbone.report.colors import class_color, text_color


def test_colours_of_80_classes_differ_and_never_change():
    colors = [class_color(index) for index in range(80)]
    assert len(set(colors)) == 80
    assert colors == [class_color(index) for index in range(80)]
    assert colors[0] == (230, 159, 0)


def test_text_reads_on_its_background():
    assert text_color((255, 255, 255)) == text_color((240, 228, 66)) == (0, 0, 0)
    assert text_color((0, 0, 0)) == text_color((0, 0, 160)) == (255, 255, 255)
