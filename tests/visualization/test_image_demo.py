"""demo/image_demo.py on pictures, videos and cameras, with models of the demo's layout and random weights."""

import importlib.util
import io
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmseg.models import EncoderDecoder
from PIL import Image
from rich.console import Console

from mmlocat.experiments.demo_models import demo_model
from mmlocat.models import building
from mmlocat.visualization import load_segmentor, segment
from mmlocat.visualization.arguments import load_segmentors
from mmlocat.visualization.overlay import Prediction, compose
from mmlocat.visualization.segment import image_demo_job
from mmlocat.visualization.sources import find_sources, shrink, write_video
from tests.conftest import ROOT
from tests.helpers.demo_layout import write_demo_models


@pytest.fixture(scope='module')
def demo_dir(tmp_path_factory):
    return write_demo_models(tmp_path_factory.mktemp('demo'))


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('image_demo', ROOT / 'demo' / 'image_demo.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run(tool, demo_dir, tmp_path, monkeypatch):
    def run(*arguments):
        # On the CPU, where another process gives the same numbers; the progress bar's test takes the best device.
        monkeypatch.setattr(sys, 'argv', ['image_demo.py', *map(str, arguments), '--out-dir', str(tmp_path / 'out'),
                                          '--demo-dir', str(demo_dir), '--device', 'cpu'])
        return tool.main()

    return run


def picture(seed, height=36, width=36):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path, *arguments):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(*arguments)).save(path)
    return path


def save_video(path, frames=5):
    with write_video(path, 10.0) as append:
        for seed in range(frames):
            append(picture(seed, 48, 64))
    return path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_pictures_hold_what_the_inferencer_predicts(run, demo_dir, tmp_path):
    save(tmp_path / 'in' / 'a.png', 0)
    save(tmp_path / 'in' / 'b.jpg', 1, 30, 44)
    assert run(tmp_path / 'in', '--against') == 0
    assert names(tmp_path / 'out') == ['a.png', 'b.png']
    pixels = np.asarray(Image.open(tmp_path / 'in' / 'a.png'))
    predictions = []
    for arm in ('locatvit', 'vit'):
        model = demo_model(arm, work_dir=demo_dir)
        inferencer = load_segmentor(model.config, model.checkpoint, 'cpu')
        labels = inferencer(pixels[..., ::-1].copy(), return_datasamples=True).pred_sem_seg.data[0].numpy()
        assert len(np.unique(labels)) > 1
        predictions.append(Prediction(model.title, labels, **inferencer.model.dataset_meta))
    assert (predictions[0].labels != predictions[1].labels).any()
    assert predictions[0].classes[:2] == ['background', 'zero']
    expected = compose(pixels, predictions, 'a.png, 36 x 36 px')
    assert np.array_equal(np.asarray(Image.open(tmp_path / 'out' / 'a.png')), expected)


def test_a_segmentor_is_built_and_read_once(demo_dir, monkeypatch):
    calls, init, read = [], EncoderDecoder.__init__, building.read_checkpoint
    monkeypatch.setattr(EncoderDecoder, '__init__', lambda self, *args, **kwargs: calls.append('build') or init(
        self, *args, **kwargs))
    monkeypatch.setattr(building, 'read_checkpoint', lambda *args, **kwargs: calls.append('read') or read(
        *args, **kwargs))
    monkeypatch.setattr('mmengine.runner.checkpoint.CheckpointLoader.load_checkpoint', None)
    model = demo_model(work_dir=demo_dir)
    assert load_segmentor(model.config, model.checkpoint, 'cpu').title == 'locatvit-nano_linear_digitscenes'
    assert sorted(calls) == ['build', 'read']


def test_a_damaged_picture_is_named_and_the_others_are_done(run, tmp_path, capsys):
    save(tmp_path / 'in' / 'good.png', 0)
    (tmp_path / 'in' / 'bad.png').write_bytes(b'no picture')
    (tmp_path / 'in' / 'empty.jpg').touch()
    assert run(tmp_path / 'in') == 1
    said = capsys.readouterr().out
    assert f'Error: {tmp_path / "in" / "bad.png"} cannot be read' in said and 'empty.jpg cannot be read' in said
    assert '1 of 3 done' in said and names(tmp_path / 'out') == ['good.png']


def test_progress_is_shown_on_a_terminal(tool, demo_dir, tmp_path, monkeypatch):
    for seed in range(2):
        save(tmp_path / 'in' / f'{seed}.png', seed)
    save_video(tmp_path / 'in' / 'clip.mp4', 3)
    monkeypatch.setattr(sys, 'argv', ['image_demo.py', str(tmp_path / 'in'), '--out-dir', str(tmp_path / 'out'),
                                      '--demo-dir', str(demo_dir)])
    console = Console(file=io.StringIO(), force_terminal=True, width=150)
    options = tool.read_options()
    models = load_segmentors(options, lambda arm: demo_model(arm, work_dir=demo_dir))
    assert image_demo_job(options, lambda: models, console)() == 0
    shown = console.file.getvalue()
    assert 'inputs' in shown and shown.count('3/3') >= 2 and '3 of 3 done' in shown  # three inputs, three frames


def test_large_pictures_are_shrunk_for_the_demo_models_alone(run, demo_dir, tmp_path, tool, monkeypatch):
    seen = []
    monkeypatch.setattr('mmlocat.visualization.segmentor.shrink', lambda pixels, side: seen.append(side) or pixels)
    save(tmp_path / 'a.png', 0)
    model = demo_model('vit', work_dir=demo_dir)
    own = [str(model.config), str(model.checkpoint)]
    assert run(tmp_path / 'a.png', '--config', own[0], '--checkpoint', own[1], '--against', *own) == 0
    assert run(tmp_path / 'a.png', '--against') == 0
    assert seen == [None, None, 72, 72]
    monkeypatch.undo()
    assert shrink(picture(0, 100, 200), 72).shape == (36, 72, 3) and shrink(picture(0), 72).shape == (36, 36, 3)


def test_a_video_becomes_an_mp4_that_can_be_read(run, tmp_path):
    video = save_video(tmp_path / 'clip.mp4')
    assert run(video, '--frames', '4') == 0
    assert names(tmp_path / 'out') == ['clip.mp4']
    capture = cv2.VideoCapture(str(tmp_path / 'out' / 'clip.mp4'))
    frames = []
    while True:
        read, frame = capture.read()
        if not read:
            break
        frames.append(frame[..., ::-1])
    assert len(frames) == 4 and capture.get(cv2.CAP_PROP_FPS) == 10
    # The first panel shows the video's own frame: as it was decoded there, enlarged.
    original = cv2.VideoCapture(str(video)).read()[1][..., ::-1]
    expected = np.asarray(Image.fromarray(original).resize((384, 288), Image.Resampling.NEAREST)).astype(float)
    assert np.abs(frames[0][66:354, 8:392] - expected).mean() < 25
    assert np.abs(frames[0].astype(float) - frames[3]).mean() > 3


def test_a_camera_is_recorded(run, tmp_path, monkeypatch, capsys):
    """There is no camera here: a video stands in for number 0."""
    video = save_video(tmp_path / 'clip.mp4')
    capture = cv2.VideoCapture
    monkeypatch.setattr(cv2, 'VideoCapture', lambda which: capture(str(video) if which == 0 else which))
    assert run(0, '--frames', '2') == 0
    output, = (tmp_path / 'out').iterdir()
    assert output.name.startswith('camera0_') and '2 frames of camera 0' in capsys.readouterr().out
    assert capture(str(output)).get(cv2.CAP_PROP_FRAME_COUNT) == 2


def test_ctrl_c_ends_a_camera_and_leaves_no_part_of_a_file(run, tmp_path, monkeypatch, capsys):
    video = save_video(tmp_path / 'clip.mp4')
    capture, frames_of = cv2.VideoCapture, segment.frames_of
    monkeypatch.setattr(cv2, 'VideoCapture', lambda which: capture(str(video) if which == 0 else which))

    def interrupted(stream, most):
        yield from frames_of(stream, 3)
        raise KeyboardInterrupt

    monkeypatch.setattr(segment, 'frames_of', interrupted)
    assert run(0) == 0 and '3 frames of camera 0' in capsys.readouterr().out
    recorded = names(tmp_path / 'out')
    with pytest.raises(KeyboardInterrupt):
        run(video)
    assert len(recorded) == 1 and names(tmp_path / 'out') == recorded


def test_a_video_without_frames_is_an_error(run, tmp_path, capsys):
    (tmp_path / 'no.mp4').write_bytes(b'nothing')
    assert run(tmp_path / 'no.mp4') == 1
    assert f'{tmp_path / "no.mp4"} cannot be opened as a video' in capsys.readouterr().out
    assert not (tmp_path / 'out').exists() or names(tmp_path / 'out') == []


@pytest.mark.parametrize('arguments, message', [
    *[([name], f'{name} names no image or video') for name in ('nowhere.png', 'empty', '*.bmp', 'notes.txt')],
    (['a.png', '--config', 'none.py', '--checkpoint', 'x.pth'], 'config none.py does not exist'),
    (['a.png', '--demo-dir', 'nowhere'], 'run `make demo`'),
    (['a.png', '--out-dir', '.'], 'would overwrite the input a.png; give another --out-dir'),
    (['a.png', '--out-dir', 'notes.txt'], '--out-dir notes.txt is a file'),
])
def test_bad_input_is_named_in_one_line(arguments, message, tool, demo_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / 'a.png', 0)
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'notes.txt').touch()
    monkeypatch.setattr(sys, 'argv', ['image_demo.py', '--demo-dir', str(demo_dir), *arguments])
    with pytest.raises(SystemExit) as end:
        tool.main()
    assert end.value.code == 1 and message in capsys.readouterr().err.splitlines()[0]
    assert names(tmp_path) == ['a.png', 'empty', 'notes.txt']


@pytest.mark.parametrize('arguments, message', [
    (['--config', 'x.py'], '--config and --checkpoint go together'),
    (['--against', 'x.py'], '--against takes a config and its checkpoint, or nothing, got x.py'),
    (['--frames', '0'], '--frames must be at least 1, got 0'),
])
def test_options_are_checked(arguments, message, tool, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['image_demo.py', 'a.png', *arguments])
    with pytest.raises(SystemExit):
        tool.read_options()
    assert message in capsys.readouterr().err


def test_weights_of_another_model_are_refused(demo_dir, tmp_path):
    vit, locatvit = demo_model('vit', work_dir=demo_dir), demo_model('locatvit', work_dir=demo_dir)
    with pytest.raises(RuntimeError, match='does not fit the model of this config'):
        load_segmentor(locatvit.config, vit.checkpoint, 'cpu')
    with pytest.raises(ValueError, match='is of no segmentor'):
        load_segmentor(ROOT / 'configs' / 'vit-nano_digitscenes.py', vit.checkpoint, 'cpu')
    with pytest.raises(ValueError, match="unknown arm 'swin'"):
        demo_model('swin', work_dir=demo_dir)
    (tmp_path / 'seed0' / 'vit' / 'linear').mkdir(parents=True)
    (tmp_path / 'seed0' / 'vit' / 'linear' / 'iter_200.pth').touch()
    with pytest.raises(FileNotFoundError, match='has not ended: run `make demo`'):
        demo_model('vit', work_dir=tmp_path)


def test_sources_keep_their_order_and_come_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ('b/2.png', 'b/1.PNG', 'b/[x].png', 'a.jpg', '7'):
        save(tmp_path / f'{name}.png' if name == '7' else tmp_path / name, 0)
    found = find_sources(['a.jpg', 'b', 'b/2.png', 'b/[x].png', '3', '**/*.jpg'])
    assert found == [Path('a.jpg'), *(Path('b') / name for name in ('1.PNG', '2.png', '[x].png')), 3]


def test_inputs_of_one_name_get_numbers(run, tmp_path):
    for folder in 'abc':
        save(tmp_path / folder / 'x.png', 0)
    assert run(tmp_path / 'a', tmp_path / 'b', tmp_path / 'c') == 0
    assert names(tmp_path / 'out') == ['x.png', 'x_2.png', 'x_3.png']
