"""fastbp --print-completion, in a real bash."""

import shutil
import subprocess
import sys

import pytest
from helpers import refused, run_command

needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")


@pytest.fixture(scope="module")
def script():
    done = run_command("--print-completion", "bash")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def bash(script, code):
    run = subprocess.run(
        ["bash", "--norc"], input=f"{script}\n{code}\n", capture_output=True, text=True, timeout=60
    )
    assert (run.returncode, run.stderr) == (0, "")
    return run.stdout.splitlines()


def completions(script, line):
    """Return what bash offers for the last word of a line, by the function of `complete -p`."""
    words = " ".join(f"'{word}'" for word in line.split(" "))
    return bash(
        script,
        f"""
        function=$(complete -p fastbp | sed 's/.* -F \\([^ ]*\\) .*/\\1/')
        COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMP_LINE='{line}'
        COMP_POINT=${{#COMP_LINE}}
        $function fastbp "${{COMP_WORDS[COMP_CWORD]}}" "${{COMP_WORDS[COMP_CWORD - 1]}}"
        printf '%s\\n' "${{COMPREPLY[@]}}"
        """,
    )


@needs_bash
def test_bash_knows_the_command(script):
    (said,) = bash(script, "complete -p fastbp")
    assert said.startswith("complete ")
    assert said.endswith(" fastbp")


@needs_bash
def test_bash_completes_commands_options_choices_and_files(script, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.npz").write_bytes(b"")
    assert completions(script, "fastbp tr") == ["train"]
    assert set(completions(script, "fastbp --")) >= {"--help", "--version", "--print-completion"}
    assert completions(script, "fastbp train --mini") == ["--mini-batch-size"]
    assert completions(script, "fastbp train --dtype ") == ["float64", "float32"]
    assert completions(script, "fastbp train --save mod") == ["model.npz"]
    assert completions(script, "fastbp evaluate mod") == ["model.npz"]


@pytest.mark.parametrize(("shell", "start"), [("zsh", "#compdef fastbp"), ("tcsh", "#")])
def test_other_shells(shell, start):
    done = run_command("--print-completion", shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(start)
    assert "train" in done.stdout


def test_a_shell_that_is_not_known_and_shtab_missing(monkeypatch):
    assert "invalid choice: 'fish'" in refused("--print-completion", "fish")
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert "needs shtab: pip install 'fastbp[completion]'" in refused("--print-completion", "bash")
