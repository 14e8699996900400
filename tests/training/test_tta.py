"""`tools/test.py --tta` against an average written out by hand."""

import cv2
import torch
from mmengine.registry import DATASETS, MODELS, init_default_scope
from torch.nn.functional import interpolate

from mmlocat.config import load_config
from mmlocat.training.cli import test_job as make_test_job
from tests.conftest import ROOT

CONFIG = ROOT / 'configs' / 'locatvit-nano_linear_digitscenes.py'


def by_hand(model, image, ratios):
    """Returns the mean of the probabilities (C, H, W) over scales and flips; the image is BGR (H, W, 3)."""
    side = image.shape[0]
    views = []
    for ratio in ratios:
        small = int(side * ratio + 0.5)
        resized = cv2.resize(image, (small, small), interpolation=cv2.INTER_LINEAR)
        for flip in (False, True):
            view = resized[:, ::-1] if flip else resized
            pixels = (torch.from_numpy(view[..., ::-1].copy()).permute(2, 0, 1).float() - 127.5) / 127.5
            logits = interpolate(model(pixels[None]), (small, small), mode='bilinear')
            logits = logits.flip(3) if flip else logits
            views.append(interpolate(logits, (side, side), mode='bilinear').softmax(1)[0])
    return torch.stack(views).mean(0)


@torch.no_grad()
def test_scales_and_flips_are_averaged(digit_scenes, tmp_path):
    config = load_config(str(CONFIG))
    init_default_scope('mmseg')
    model = MODELS.build(config.model).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)  # so that predictions differ from place to place
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'model.pth')
    metrics = make_test_job([
        str(CONFIG), str(tmp_path / 'model.pth'), '--tta', '--work-dir', str(tmp_path / 'w'), '--out',
        str(tmp_path / 'maps'), '--cfg-options', f'test_dataloader.dataset.data_root={digit_scenes}'])()
    assert 0 < metrics['mIoU'] < 100

    settings = config.test_dataloader.dataset.copy()
    settings.data_root = str(digit_scenes)
    dataset = DATASETS.build(settings)
    same, changed, labels = [], 0, set()
    for item in (dataset[index] for index in range(4)):
        image = item['inputs'].permute(1, 2, 0).numpy()
        expected = by_hand(model, image, config.tta_ratios).argmax(0)
        name = item['data_samples'].img_path.rsplit('/', 1)[1].rsplit('.', 1)[0]
        written = torch.from_numpy(cv2.imread(str(tmp_path / 'maps' / f'{name}.png'), cv2.IMREAD_UNCHANGED))
        same.append((written == expected).float().mean().item())
        changed += int((expected != by_hand(model, image, [1.0]).argmax(0)).sum())
        labels |= set(expected.unique().tolist())
    assert min(same) > 0.995 and len(labels) > 2
    assert changed > 20  # one scale alone says something else
