"""The README's commands from a matrix of runs to a table, a plot and a report, on a smaller matrix."""

from __future__ import annotations

import re

from helpers.e2e_tools import REPO

SMALLER = " --methods GDA ZeroshotCLIP --shots 1 2 --seeds 1 2 3"


def test_matrix_table_plot_report(shell, tmp_path):
    text = (REPO / "README.md").read_text()
    block = re.search(r"### Whole tables.*?```bash\n(.*?)```", text, re.S).group(1).splitlines()
    assert [line.split()[1].split("/")[-1] for line in block] == ["benchmark.sh", "table.py", "plot.py", "report.py"]
    made = []
    for line in block:
        command = line.replace(".venv/bin/python", "$PYTHON").replace(" output", " $OUTPUT")
        command = command.replace("curves.svg", f"{tmp_path}/curves.svg")
        command += SMALLER if "benchmark.sh" in line else ""
        command += f" --output {tmp_path}/report.html" if "report.py" in line else ""
        done = shell(command)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        made.append(done.stdout)
    assert re.search(r"GDA +\D*\d\d\.\d\d ± \d", made[0])
    assert "Zero-shot CLIP" in made[1]
    assert "<svg" in (tmp_path / "curves.svg").read_text()
    report = (tmp_path / "report.html").read_text()
    assert "GDA" in report
    assert not re.search(r"""(src|href)=["']https?:""", report)


def test_the_commands_of_the_figure(shell):
    """They name a study of 90 runs, and the file that the README shows; the study itself is not run here."""
    text = (REPO / "docs" / "plots.md").read_text()
    study, plot = re.search(r"## The figure of the README.*?```bash\n(.*?)```", text, re.S).group(1).splitlines()
    planned = shell(f"{study} --dry-run")
    assert planned.returncode == 0, planned.stderr
    assert len(re.findall(r"^\S+ shapes \d+ shots? seed \d", planned.stdout, re.M)) == 90, planned.stdout[:500]
    figure = plot.split("--output ")[1]
    assert (REPO / figure).is_file()
    assert f"]({figure})" in (REPO / "README.md").read_text()
