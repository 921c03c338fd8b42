"""Reading and analysing a run takes no torch."""

import subprocess
import sys

import pytest
from stored_runs import stored_scores

READS = """
import sys
from importlib import import_module
from importlib.abc import MetaPathFinder
from pkgutil import iter_modules

class Block(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Block())
import lapsi
import lapsi.analysis
import lapsi.results

for package in (lapsi.results, lapsi.analysis):
    names = [module.name for module in iter_modules(package.__path__, package.__name__ + ".")]
    assert len(names) > 4
    for name in names:
        import_module(name)

from lapsi.analysis.agreement import compare
from lapsi.analysis.groups import roll_up
from lapsi.analysis.label_issues import label_issues
from lapsi.analysis.subsets import select_subset
from lapsi.results.interop import add_columns

scores = lapsi.load_run(sys.argv[1])
assert len(scores.summary()) == 4 and "<table" in scores._repr_html_()
assert len(label_issues(scores).table) == compare(scores, scores).n_common == 24 and len(roll_up(scores)) == 2
assert len(select_subset(scores, "low", 0.5)) < 24
assert "lapsi_lsi" in add_columns(scores.to_pandas(), scores, ids="id")
scores.save(sys.argv[2])
assert not any(name.split(".")[0] == "torch" for name in sys.modules)
"""


@pytest.mark.slow
def test_results_and_analysis_need_no_torch(tmp_path):
    path = stored_scores().save(tmp_path / "run")
    done = subprocess.run([sys.executable, "-c", READS, path, tmp_path / "again"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
