"""Writes the records that trainings and tests leave behind, without any."""

import copy
import json

from mmlocat.experiments.leaderboard.names import metric, parse
from mmlocat.experiments.leaderboard.runs import recipe
from mmlocat.training.provenance import config_hash


def put(root, leaf, seed, value, *, initial=None, batch=None, finished=True, tta=False, device='A CPU', base=None,
        processes=1, training=True, folders=None, tested_weights=None, **changes):
    """Writes the record of a training and its test as tools/train.py and tools/test.py would; returns the result.

    Both go to a new folder below ``root``, or to the two of ``folders``. A leaf without training tests
    ``tested_weights``, the result of an earlier call.
    """
    training = training and not tested_weights
    settings = copy.deepcopy(recipe(base or leaf)[0])
    for key, new in changes.items():
        node = settings
        *path, last = key.split('__')
        for part in path:
            node = node[part]
        node[last] = new
    tested = copy.deepcopy(settings)
    if tta:
        tested['test_dataloader']['dataset']['pipeline'] = tested['tta_pipeline']
        tested['model'] = dict(tested['tta_model'], module=tested['model'])
    configs = {config_hash(used): used for used in (settings, tested)}
    digest = config_hash(settings)
    folders = folders or [root / leaf / f'{seed}-{len(list(root.rglob("*.json")))}'] * 2
    result = tested_weights['sha256'] if tested_weights else str(folders[0])
    common = dict(date='2026-11-23T10:00:00+00:00', leaf=leaf, config=digest, options={}, remarks=[],
                  checkout=dict(commit='c' * 40, dirty=False), versions=dict(torch='2.14', mmlocat='0.1'), seed=seed,
                  processes=processes, device=device)
    end = dict(date=common['date'], iteration=1, iterations=1, seconds=1., seconds_per_iteration=.1,
               checkpoint=dict(source='x.pth', sha256=result))
    expected = settings.get('auto_scale_lr', {}).get('base_batch_size')
    launch = dict(common, total_batch=batch or expected, initial_checkpoint=initial, resumed_from=None,
                  first_iteration=0, finished=end if finished else None)
    key = metric(parse(leaf).head)[0]
    head = key == 'mIoU'
    test = dict(common, config=config_hash(tested), checkpoint=dict(source='x.pth', sha256=result), tta=tta, images=9,
                seconds=1., metrics={key: value}, classes=['a', 'b'] if head else None,
                class_iou=[value, None] if head else None)
    for folder in set(folders):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / 'provenance.json').write_text(json.dumps(dict(
            version=1, configs=configs, launches=[launch] if training and folder == folders[0] else [],
            tests=[test] if folder == folders[1] else [])))
    return dict(source='x.pth', sha256=result)
