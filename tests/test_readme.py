"""The README's commands, tables and code blocks are what they claim to be."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from runtime import debug
from tests.source import PACKAGES, ROOT, readme, table_under

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # comes with pytest

BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", readme(), re.MULTILINE | re.DOTALL)
COMMANDS = [row[0].strip("`") for row in table_under("Commands", readme())]


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def block_under(heading: str) -> str:
    return re.search(rf"^#+ {heading}\n.*?^```sh\n(.*?)^```$", readme(), re.MULTILINE | re.DOTALL).group(1).strip()


def help_of(*words: str) -> str:
    command = [sys.executable, "-m", *words, "--help"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_two_commands_stand_on_their_own():
    install = "python3 -m venv .venv && .venv/bin/python -m pip install --quiet -e "
    assert block_under("Optimise a network") == f"{install}. && .venv/bin/python -m taso_mini compile squeezenet"
    assert block_under("Run the tests").startswith(f"{install}'.[test]' && .venv/bin/python -m pytest")
    assert "\n" not in block_under("Optimise a network") + block_under("Run the tests")


def test_ci_takes_its_command_from_the_readme():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    awk = re.search(r"awk '(.*?)' README\.md", script).group(1)
    found = subprocess.run(["awk", awk, "README.md"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == block_under("Run the tests")
    assert "pip install" not in script and "-m pytest" not in script


@pytest.mark.cc
def test_python_blocks_run():
    for language, text in BLOCKS:
        if language == "python":
            exec(compile(text, "README.md", "exec"), {})  # noqa: S102


def test_the_debug_table_is_the_dials_own():
    assert {int(level): shows for level, shows in table_under("The debug dial", readme())} == debug.LEVELS


def test_the_extras_table_lists_all_extras():
    listed = {row[0].strip("`") for row in table_under("Extras", readme())}
    assert listed == set(project()["optional-dependencies"])


def test_the_package_table_names_what_exists():
    for name, *_ in table_under("What is where", readme()):
        assert (ROOT / name.strip("`")).is_dir()


def test_console_entry_points_exist():
    for target in project()["scripts"].values():
        module, function = target.split(":")
        assert re.search(rf"^def {function}\(", (ROOT / f"{module.replace('.', '/')}.py").read_text(), re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_table_names_options_that_exist(command):
    words = command.split()
    assert words[:2] == ["python", "-m"] and words[2] in PACKAGES
    text = help_of(*words[2:4])
    for option in re.findall(r"--[a-z-]+", command):
        assert option in text, f"`{command}`: no option {option}"


@pytest.mark.parametrize("package", PACKAGES)
def test_help_starts_with_an_example(package):
    text = help_of(package)
    subcommands = re.findall(r"^    (\w[\w-]*)(?: |$)", text, re.MULTILINE)
    assert subcommands
    for words in [(package,), *((package, name) for name in subcommands)]:
        opening = "\n".join(help_of(*words).splitlines()[:4])
        assert re.search(rf"(?i)example.*python -m {package} \w", opening, re.DOTALL), f"{words} opens with\n{opening}"
    listed = {command.split()[3] for command in COMMANDS if command.split()[2] == package}
    assert listed == set(subcommands), "the README's command table and the command line differ"
