"""Writes what `make demo` leaves behind, with random weights: tests that look at the demo models train nothing."""

from pathlib import Path

import torch
from mmengine.registry import MODELS, init_default_scope

from mmlocat.config import load_config
from mmlocat.experiments.demo_models import demo_model
from mmlocat.experiments.suite.rows import load_suite

PRODUCTS = dict(linear='iter_1.pth', upernet='iter_1.pth', pretrain='epoch_1.pth')


def write_demo_models(work_dir, arms=('vit', 'locatvit'), heads=('linear', )):
    """Returns ``work_dir``, with a checkpoint of each arm and head as MMEngine lays them out."""
    for arm in arms:
        for head in heads:
            config = load_config(str(load_suite('demo').row(f'{arm}/{head}').config))
            init_default_scope(config.default_scope)
            torch.manual_seed(3)
            model = MODELS.build(config.model)
            # Ordinary initial weights give one class everywhere and flat attention; these give pictures.
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.dim() > 1:
                        parameter.mul_(4)
            folder = Path(work_dir) / 'seed0' / arm / head
            folder.mkdir(parents=True)
            torch.save(dict(state_dict=model.state_dict(), meta={}), folder / PRODUCTS[head])
            (folder / 'job.json').write_text('{"fingerprint": "tests", "seconds": 1}')
            assert demo_model(arm, head, work_dir).checkpoint == folder / PRODUCTS[head]
    return Path(work_dir)
