"""The table of every head: what runs, what does not, and whose fault it is."""

import itertools
import runpy
import sys

import mmseg.models.decode_heads as decode_heads
import pytest

from mmlocat.experiments import heads as module
from mmlocat.experiments.head_settings import REMARKS, head_model, heads
from mmlocat.utils.machine import commit
from tests.conftest import ROOT


def test_every_head_of_mmseg_is_tried():
    assert {*heads()} == {*decode_heads.__all__} - {'KernelUpdateHead', 'KernelUpdator'} and {*REMARKS} <= {*heads()}
    model = head_model('NewHead')  # of a later release
    assert model['decode_head'] == dict(type='NewHead', in_channels=64, in_index=3, channels=16, num_classes=5,
                                        norm_cfg=dict(type='BN'))


def test_a_head_that_runs_and_one_that_does_not():
    rows = [module.try_head(name, steps=3, onnx=False) for name in ('FCNHead', 'DDRHead')]
    assert rows[0]['loss'][1] < rows[0]['loss'][0] and rows[0]['tested'] and rows[0]['errors'] == {}
    assert rows[1]['loss'] is None and not rows[1]['tested']
    assert rows[1]['errors']['trained'] == ('ValueError: too many values to unpack (expected 2)', 'mmseg')
    text = module.table(rows)
    assert '| `DDRHead` | no | no | no | reads the two branches of its own backbone' in text
    assert 'Of 2 heads 1 train, 1 segment an image of an odd size, and 0 are exported.' in text
    assert text.endswith('came in mmlocat: 0.\n')


def test_what_does_not_learn_is_an_error_of_ours(monkeypatch):
    from mmseg.models import EncoderDecoder
    calls = itertools.count(1)
    for loss, message in ((lambda model, *_: next(calls) * sum(p.exp().sum() for p in model.parameters()), 'loss rose'),
                          (lambda model, *_: model.decode_head.conv_seg.bias.sum(), 'GAug gets no gradient')):
        monkeypatch.setattr(EncoderDecoder, 'loss', lambda *args, loss=loss: dict(loss=loss(*args)))
        row = module.try_head('FCNHead', steps=2, onnx=False)
        error, library = row['errors']['trained']
        assert message in error and library == 'mmlocat' and 'came in mmlocat: 1.' in module.table([row])


def test_an_odd_grid_is_tried_too():
    row = module.try_head('VPDDepthHead', steps=2, onnx=False)
    assert row['loss'] and not row['tested'] and row['errors']['tested'][1] == 'mmseg'
    assert 'takes only maps of an even number of rows and columns; RuntimeError' in module.table([row])


def test_a_table_says_when_and_of_which_commit_it_is():
    assert f'; commit {commit()}.\n\n| head |' in module.report([])


def test_a_name_that_is_no_head_is_refused_before_any_is_tried(monkeypatch):
    monkeypatch.setattr(module, 'try_head', None)
    with pytest.raises(ValueError, match="has no head 'FPNhead'; did you mean FPNHead"):
        module.try_heads(['FCNHead', 'FPNhead'])


def test_some_rows_do_not_replace_the_whole_table(monkeypatch, tmp_path, capsys):
    page = tmp_path / 'page.md'
    page.write_text('<!-- heads -->\nall\n<!-- /heads -->\n')
    monkeypatch.setattr(sys, 'argv', ['heads.py', 'FCNHead', '--readme', str(page), '--work-dir', str(tmp_path / 'w')])
    monkeypatch.setattr(module, 'try_heads', lambda names, call: [])
    with pytest.raises(SystemExit):
        runpy.run_path(str(ROOT / 'tools' / 'benchmark' / 'heads.py'), run_name='tool')['main']()
    assert '--readme replaces the whole table' in capsys.readouterr().err and 'all' in page.read_text()
