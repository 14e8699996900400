"""demo/quickstart.ipynb runs from its first cell to its last, on models of the demo's layout with random weights."""

import re
import sys

import pytest

from tests.conftest import ROOT
from tests.helpers.demo_layout import write_demo_models

nbformat = pytest.importorskip('nbformat', reason='nbformat is not installed')
nbclient = pytest.importorskip('nbclient', reason='nbclient is not installed')
pytest.importorskip('ipykernel', reason='ipykernel is not installed')

NOTEBOOK = ROOT / 'demo' / 'quickstart.ipynb'


def test_the_notebook_runs(digit_scenes, tmp_path, clean_environment):
    """Only the cell tagged 'parameters' is followed by another, as papermill does it; all else is as committed."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    where, = (index for index, cell in enumerate(notebook.cells) if 'parameters' in cell.metadata.get('tags', []))
    demo_dir = write_demo_models(tmp_path / 'demo')
    own = nbformat.v4.new_code_cell(f'demo_dir, data_root = {str(demo_dir)!r}, {str(digit_scenes)!r}')
    notebook.cells.insert(where + 1, own)
    # The kernel of this interpreter, whatever kernels this machine has under the name in the notebook.
    kernels = tmp_path / 'kernels' / 'mmlocat-test'
    kernels.mkdir(parents=True)
    (kernels / 'kernel.json').write_text(
        f'{{"argv": ["{sys.executable}", "-m", "ipykernel_launcher", "-f", "{{connection_file}}"], '
        '"display_name": "test", "language": "python"}')
    client = nbclient.NotebookClient(notebook, timeout=120, kernel_name='mmlocat-test',
                                     resources=dict(metadata=dict(path=str(tmp_path))))
    client.create_kernel_manager()
    client.km.kernel_spec_manager.kernel_dirs = [str(tmp_path / 'kernels')]
    client.execute(env=clean_environment)
    text = ''.join(output.get('text', '') for cell in notebook.cells for output in cell.get('outputs', []))
    assert re.search(r'LocAtViT \d+ parameters', text) and 'before: VisionTransformer' in text
    assert 'after: LocAtViT (1, 150,' in text
    pictures = [output for cell in notebook.cells for output in cell.get('outputs', [])
                if 'image/png' in output.get('data', {})]
    assert len(pictures) == 2


def test_it_is_committed_without_outputs():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == 'code':
            assert cell.outputs == [] and cell.execution_count is None
    folders = [f'/{root}/' for root in ('home', 'tmp', 'root')] + ['C:\\\\']
    assert all(name not in NOTEBOOK.read_text() for name in folders)
