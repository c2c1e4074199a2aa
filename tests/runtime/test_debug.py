"""The debug dial: cumulative, settable for a block, and clear about a wrong setting."""

import pytest

from runtime import debug


@pytest.mark.parametrize("dial", debug.LEVELS)
def test_a_level_shows_all_lower_levels(dial, capsys):
    with debug.at(dial):
        for needed in range(1, 5):
            debug.say(needed, f"message {needed}")
    printed = capsys.readouterr()
    assert printed.err == "".join(f"{needed}| message {needed}\n" for needed in range(1, dial + 1))
    assert printed.out == ""


def test_a_hidden_message_is_never_made():
    with debug.at(0):
        debug.say(1, lambda: pytest.fail("the text of a hidden message was computed"))


def test_the_innermost_block_wins_and_the_environment_returns(monkeypatch):
    monkeypatch.setenv("MINI_DEBUG", "2")
    with debug.at(4):
        with debug.at(1):
            assert debug.level() == 1
        assert debug.level() == 4
    assert debug.level() == 2


@pytest.mark.parametrize("setting", ["5", "-1", "loud", "1.5"])
def test_a_wrong_setting_is_named(monkeypatch, setting):
    monkeypatch.setenv("MINI_DEBUG", setting)
    with pytest.raises(ValueError, match=f"MINI_DEBUG must be a number from 0 to 4, got '?{setting}"):
        debug.level()


def test_no_setting_means_zero(monkeypatch):
    monkeypatch.delenv("MINI_DEBUG", raising=False)
    assert debug.level() == 0
    monkeypatch.setenv("MINI_DEBUG", "")
    assert debug.level() == 0
