"""The commands on rule files: outcomes, exit statuses, and what bad input is told."""

import json
import sys
from pathlib import Path

import pytest

from taso_mini.__main__ import main
from taso_mini.commands import generate
from taso_mini.commands.cluster import cluster
from taso_mini.rules_text import load_rules

DATA = Path(__file__).parents[1] / "data"
RULES = """
rule associates
  variables x: matrix, y: matrix, z: matrix
  source    matmul(matmul(x, y), z)
  target    matmul(x, matmul(y, z))

rule associates-twice
  variables x: matrix, y: matrix, z: matrix, w: matrix
  source    matmul(matmul(matmul(x, y), z), w)
  target    matmul(x, matmul(y, matmul(z, w)))

rule squares
  variables x: matrix
  source    matmul(matmul(x, x), x)
  target    matmul(x, matmul(x, x))
"""
FALSE = """
rule commutes
  variables x: matrix, y: matrix
  source    matmul(x, y)
  target    matmul(y, x)
"""
MERGE = """
rule merges
  variables x: image, w: kernel, u: kernel
  source    concat(conv(x, w, activation=none, {window}), conv(x, u, activation=none, {window}), axis=1)
  target    conv(x, concat(w, u, axis=0), activation=none, {window})
""".replace("{window}", "dilations=(1, 1), padding=same, strides=(1, 1)")


@pytest.fixture
def file(tmp_path):
    def write(text, name="rules.txt"):
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write


def run(*words):
    return main(list(map(str, words)))


def test_verify_accepts_true_rules(file, capsys):
    assert run("verify", file(RULES), "--json") == 0
    out, err = capsys.readouterr()
    found = [json.loads(line) for line in out.splitlines()]
    assert [one["verdict"] for one in found] == ["proved"] * 3 and "3 of 3 rules" in err
    assert found[0]["axioms"] and found[0]["conditions"] == []


def test_verify_prints_a_counterexample_as_a_program(file, capsys):
    assert run("verify", file(FALSE), "--code") == 1
    out = capsys.readouterr().out
    assert "refuted: commutes" in out and "wrong at shapes=" in out
    program = "\n".join(line[4:] for line in out.splitlines() if line.startswith("    "))
    exec(compile(program, "counterexample", "exec"), {})
    assert "is replaced by" in capsys.readouterr().out


def test_verify_tells_conditions_that_a_rule_does_not_state(file, capsys):
    assert run("verify", file(MERGE)) == 1
    out = capsys.readouterr().out
    assert "proved under conditions that it does not state: merges" in out
    assert "groups(x, w) == 1" in out and "wrong at shapes=" in out
    stated = "".join(f"  when {line.strip()}\n" for line in out.partition("  when ")[2].splitlines()[0].split(" and "))
    assert run("verify", file(MERGE + stated)) == 0


def test_prune_prints_the_funnel_and_writes_what_is_left(file, tmp_path, capsys):
    assert run("prune", file(RULES), "--out", tmp_path / "left.txt") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0][:2] == ["3", "initial"] and lines[1][:2] == ["2", "renaming"]
    assert [rule.name for rule in load_rules(tmp_path / "left.txt")] == ["associates"]
    assert run("prune", DATA / "taso_published_133.pb", "--steps", "renaming") == 0
    assert run("prune", file(RULES), "--steps", "luck") == 2


def test_cover_shows_chains_wrong_rules_and_missing_ones(file, capsys):
    ours, theirs = file(RULES[: RULES.index("rule associates-twice")], "ours.txt"), file(RULES, "theirs.txt")
    assert run("cover", theirs, "--rules", ours, "--chains") == 0
    out, err = capsys.readouterr()
    assert "associates: same associates" in out and "squares: instance associates" in out
    assert "associates-twice: derived" in out and "1 same; 1 instance; 1 derived; 0 missing; 0 wrong" in err
    assert run("cover", file(FALSE), "--rules", ours, "--code") == 0  # wrong, hence not missing
    assert "wrong as stated: commutes" in capsys.readouterr().out
    assert run("cover", file(MERGE + "  when groups(x, w) == 1\n  when groups(x, u) == 1\n"), "--rules", ours) == 1
    assert "missing: merges" in capsys.readouterr().out


def test_rules_prints_published_rules_too(capsys):
    assert run("rules", "split1", "relu", "--file", DATA / "taso_published_133.pb") == 0
    assert "rule published-" in capsys.readouterr().out
    assert run("rules", "no-such-operator") == 1


@pytest.mark.parametrize(
    "words",
    [
        ["verify", "absent.txt"],
        ["verify", "absent.pb"],
        ["prune", "absent.txt"],
        ["cover", "absent.pb"],
        ["verify", str(DATA / "README.md")],
        ["verify", str(DATA / "taso_published_133.pb"), "--tests", "0"],
        ["generate", "--profiles", "nonsense"],
        ["generate", "--workers", "1", "--cluster", "local"],
        ["generate", "--variables", "0"],
        ["generate", "--operators", "9"],
        ["generate", "--out", "no/such/file.txt"],
        ["cover", str(DATA / "taso_published_133.pb"), "--operators", "0"],
        ["axioms", "--largest", "0"],
    ],
)
def test_bad_input_is_one_clear_sentence(words, capsys):
    assert run(*words) == 2
    err = capsys.readouterr().err.strip()
    assert err and len(err.splitlines()) <= 3 and "Traceback" not in err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("rule r\n  variables x: tensor\n  source relu(x\n  target x\n", "line 1"),
        ("rule r\n  variables x: tensor\n  source y\n  target x\n", "not declared"),
        ("source relu(x)\n", "expected 'rule NAME'"),
        ("rule r\n  variables x: tensor, y: tensor\n  source relu(x)\n  target relu(y)\n", "bind every variable"),
        ("rule r\n  variables x: colour\n  source relu(x)\n  target relu(x)\n", "kind"),
    ],
)
def test_a_malformed_text_is_told_where(file, capsys, text, told):
    assert run("verify", file(text)) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("source", ["magic(x)", "add(x)", "relu(x, x)"])
def test_an_unknown_operator_or_wrong_number_of_operands_is_named(file, capsys, source):
    assert run("verify", file(f"rule r\n  variables x: tensor\n  source {source}\n  target relu(x)\n")) == 2
    err = capsys.readouterr().err
    assert "rule r" in err and source.partition("(")[0] in err


def test_generate_writes_the_same_file_again(tmp_path, capsys):
    for name in ("one.txt", "two.txt"):
        assert run("generate", "--profiles", "exchange", "--out", tmp_path / name) == 0
    assert (tmp_path / "one.txt").read_bytes() == (tmp_path / "two.txt").read_bytes()
    assert "directed and tested" in capsys.readouterr().err
    assert run("verify", tmp_path / "one.txt") == 0


def test_the_options_of_five_operators_go_the_same_way_at_few(tmp_path, capsys):
    options = ("generate", "--operators", "2", "--variables", "2", "--representatives", "--profiles", "published")
    assert run(*options, "--out", tmp_path / "alone.txt") == 0
    for _ in ("made", "read again"):
        assert run(*options, "--workers", "1", "--folder", tmp_path / "kept", "--out", tmp_path / "shared.txt") == 0
        assert (tmp_path / "shared.txt").read_bytes() == (tmp_path / "alone.txt").read_bytes()
    assert list((tmp_path / "kept").rglob("*.npz"))
    text = (tmp_path / "alone.txt").read_text()
    assert "operators 2, one term of each value, 2 inputs of each shape" in text and "rule " in text


def test_five_operators_say_first_what_they_need(monkeypatch, capsys):
    assert run("generate", "--operators", "5") == 2
    assert "--representatives" in capsys.readouterr().err
    asked = {}
    monkeypatch.setattr(generate, "published_candidates", lambda n, **options: asked.update(options, operators=n) or [])
    assert run("generate", "--operators", "5", "--representatives", "--profiles", "published") == 1
    assert asked["operators"] == 5 and asked["representatives"] and "5.7 GiB" in capsys.readouterr().err


@pytest.mark.slow
def test_two_dask_workers_generate_the_same_rules(tmp_path):
    pytest.importorskip("distributed")
    options = ("generate", "--operators", "2", "--profiles", "published", "--out")
    assert run(*options, tmp_path / "alone.txt") == 0
    assert run(*options, tmp_path / "shared.txt", "--cluster", "local") == 0
    assert (tmp_path / "shared.txt").read_bytes() == (tmp_path / "alone.txt").read_bytes()


def test_a_cluster_without_dask_is_told_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match=r"pip install 'mini-compilers\[cluster\]'"), cluster("local"):
        pass
