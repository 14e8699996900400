"""Gaussians over a training, read from what the hook wrote: several logs, cut-off lines, pictures, errors."""

import json

import pytest
from PIL import Image

from mmlocat.engine.gaussian_stats import tag
from mmlocat.visualization import gaussians_over_training
from mmlocat.visualization.gaussians_over_training import _read_log, draw_gaussians
from tests.helpers.legible import assert_legible
from tests.helpers.tool_runner import run_tool


def write_log(path, steps, blocks=2, heads=2, end=''):
    path.parent.mkdir(parents=True)
    lines = []
    for step in steps:
        lines.append(json.dumps(dict(loss=1.0, lr=0.1, step=step)))  # what mmengine writes itself
        entry = {}
        for block in range(1, blocks + 1):
            for head in range(1, heads + 1):
                entry[tag(block, head, 'sigma')] = step + block + head / 10
                entry[tag(block, head, 'alpha')] = step + block + head / 10 + 1
                entry[tag(block, head, 'sigma_std')] = entry[tag(block, head, 'alpha_std')] = 0.5
        lines.append(json.dumps(dict(entry, step=step)))
    path.write_text('\n'.join(lines) + '\n' + end)


@pytest.fixture
def work_dir(tmp_path):
    # Killed after step 30, gone on from a checkpoint at 20.
    write_log(tmp_path / '20260101_000000' / 'vis_data' / 'scalars.json', (10, 20, 30), end='{"gaug/block01/he')
    write_log(tmp_path / '20260101_010000' / 'vis_data' / 'scalars.json', (30, 40))
    return tmp_path


def test_a_resumed_training_is_one_line(work_dir):
    series = _read_log(work_dir)
    assert len(series) == 8 and sorted(series['sigma', 1, 2]) == [10, 20, 30, 40]
    assert series['alpha', 2, 1][10] == (pytest.approx(13.1), 0.5)


@pytest.mark.parametrize(('blocks', 'heads'), [(4, 2), (12, 12), (1, 8)])
def test_the_figure_can_be_read(blocks, heads, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(gaussians_over_training, 'save', lambda figure, path: seen.append(figure))
    work_dir = tmp_path / 'a_long_name_of_a_config'
    write_log(work_dir / '20260101_000000' / 'vis_data' / 'scalars.json', (5000, 10000, 150000), blocks, heads)
    draw_gaussians(work_dir, tmp_path / 'a.png')
    words = assert_legible(seen[0])
    assert words.count(f'block {blocks}') == 2 and f'head {heads}' in words and 'iteration' in words
    assert 'σ (patches)' in words and 'α (logit)' in words


def test_the_legend_names_the_heads_of_the_block_with_most(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(gaussians_over_training, 'save', lambda figure, path: seen.append(figure))
    path = tmp_path / '20260101_000000' / 'vis_data' / 'scalars.json'
    write_log(path, (10, 20), blocks=1, heads=1)
    deeper = dict(step=10, **{tag(2, head, f'{name}{end}'): 1.0 for head in (1, 2, 3) for name in ('sigma', 'alpha')
                              for end in ('', '_std')})
    path.write_text(path.read_text() + json.dumps(deeper) + '\n')
    draw_gaussians(tmp_path, tmp_path / 'a.png')
    assert [text.get_text() for text in seen[0].legends[0].get_texts()] == ['head 1', 'head 2', 'head 3']


def test_the_tool_writes_into_the_work_dir_or_elsewhere(work_dir, capsys):
    run_tool('analysis/gaussians.py', work_dir)
    assert Image.open(work_dir / 'gaussians.png').width > 600 and 'Wrote' in capsys.readouterr().out
    run_tool('analysis/gaussians.py', work_dir, '--out', work_dir / 'new' / 'a.pdf')
    assert (work_dir / 'new' / 'a.pdf').read_bytes().startswith(b'%PDF')


@pytest.mark.parametrize(('log', 'arguments', 'message'), [
    (None, [], 'has no TIME/vis_data/scalars.json with Gaussians'),
    ('{"loss": 1, "step": 2}\n', [], "train a LocAtViT with custom_hooks=[dict(type='GaussianStatsHook')]"),
    ('{"loss":\n{"loss": 1, "step": 2}\n', [], 'scalars.json, line 1, is no JSON'),
    ('', ['--out', 'a.docx'], "Format 'docx' is not supported"),
])
def test_bad_input_gets_one_line(log, arguments, message, tmp_path, capsys):
    path = tmp_path / '20260101_000000' / 'vis_data' / 'scalars.json'
    if log is not None:
        write_log(path, (1, 2))
        path.write_text(log or path.read_text())
    with pytest.raises(SystemExit) as stop:
        run_tool('analysis/gaussians.py', tmp_path, *arguments)
    error = capsys.readouterr().err
    assert stop.value.code == 1 and message in error and 'Traceback' not in error
