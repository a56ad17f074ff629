import numpy as np
import pytest
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from resnet_backbone.report import fonts
from resnet_backbone.report.fonts import font_for

DEJAVU = font_manager.findfont("DejaVu Sans")


@pytest.fixture(autouse=True)
def fresh():
    yield
    for function in (fonts._best_font, fonts._font_files, fonts._codes, fonts._say_missing):
        function.cache_clear()


def drawn(text, font):
    canvas = Image.new("L", (200, 60))
    ImageDraw.Draw(canvas).text((5, 5), text, fill=255, font=font)
    return np.asarray(canvas)


def test_english_is_drawn_with_pillows_own_font():
    assert np.array_equal(
        drawn("cat 0.97", font_for("cat 0.97", 20)), drawn("cat 0.97", ImageFont.load_default(20))
    )


@pytest.mark.parametrize(
    "text",
    [
        "\u00e9clair",
        "\u043a\u043e\u0448\u043a\u0430",
        "\u03b3\u03ac\u03c4\u03b1",
        "\u0642\u0637\u0629",
        "\u05d7\u05ea\u05d5\u05dc",
    ],
)
def test_scripts_that_a_font_has_are_drawn_with_it(text, caplog):
    """None of these letters is the box that stands for a letter that is missing."""
    font = font_for(text, 30)
    box = drawn("\U0010ffff", font)
    for letter in set(text):
        assert not np.array_equal(drawn(letter, font), box)
    assert not caplog.messages


def test_a_script_that_no_font_has_is_said_once(monkeypatch, caplog):
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [])
    for _ in range(3):
        font = font_for("\u732b \u72ac \ud55c \u00e9clair 0.5", 20)
    assert font.path == DEJAVU  # which has the other letters
    assert [message.split(";")[0] for message in caplog.messages] == [
        "no installed font has the letters of script CJK",
        "no installed font has the letters of script HANGUL",
    ]
    assert "Install one, such as Noto Sans" in caplog.messages[0]


def test_the_font_with_most_of_the_letters_is_taken(monkeypatch):
    monkeypatch.setattr(fonts, "_font_files", lambda: ("one", "two", "broken"))
    has = {"one": {ord("\u732b")}, "two": {ord("\u732b"), ord("\u72ac")}, "broken": set()}
    monkeypatch.setattr(fonts, "_codes", has.get)
    assert fonts._best_font(frozenset("\u732b\u72ac\u9ce5")) == ("two", frozenset("\u9ce5"))


def test_files_that_are_no_fonts_have_no_letters(tmp_path):
    (tmp_path / "a.ttf").write_bytes(b"x")
    assert fonts._codes(str(tmp_path / "a.ttf")) == frozenset()


def test_marks_that_are_not_drawn_are_not_looked_for(caplog):
    font_for("\u200e \u00e9clair\u200d", 12)
    assert not caplog.messages
