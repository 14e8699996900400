"""Writes configs/metafiles/*.yml: every shipped leaf, with numbers from one source each.

Results are those of ``paper_results.csv``; parameters and FLOPs (multiply-accumulates, as the paper counts) are counted
by ``mmlocat.analysis.flops``; weights are those that a segmentation leaf of the same arch names. A leaf whose arch
belongs to no family of ``_COLLECTIONS`` is left out; none of those shipped does.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Dict, List, Optional, Tuple

import yaml

from mmlocat.analysis.flops import count
from mmlocat.benchmark.cli import WORK_DIR
from mmlocat.config import load_config
from mmlocat.models.building import input_shape
from mmlocat.utils import atomic_write, share_folder, with_progress
from mmlocat.utils.kept_rows import KeptRows

from .names import DATASETS, LAPTOP, Leaf, order, parse, published
from .runs import recipe

_FOLDER = 'configs/metafiles'
_PAPER = dict(Title='Locality-Attending Vision Transformer', URL='https://arxiv.org/abs/2603.04892')
_COLLECTIONS = {
    'vit': ('ViT', ['Vision transformer']),
    'locatvit': ('LocAtViT', ['Gaussian-augmented attention', 'Patch representation refinement']),
    'swin': ('Swin', ['Swin Transformer']),
    'locatswin': ('LocAtSwin', ['Swin Transformer', 'Gaussian-augmented attention', 'Patch representation refinement']),
    'jumbo': ('Jumbo', ['Vision transformer']),
    'locatjumbo': ('LocAtJumbo',
                   ['Vision transformer', 'Gaussian-augmented attention', 'Patch representation refinement']),
    'digitscenes': ('DigitScenes', ['Vision transformer', 'Gaussian-augmented attention']),
    'stampscenes': ('StampScenes', ['Vision transformer', 'Gaussian-augmented attention'])
}
_HEADER = ('# Written by tools/analysis/metafiles.py. Results: published, '
           'mmlocat/experiments/leaderboard/paper_results.csv.\n'
           '# Parameters and FLOPs (multiply-accumulates of one image): counted by tools/analysis/flops.py.\n')


def family(leaf: Leaf) -> Optional[str]:
    """Returns the family a leaf is listed in, a key of ``_COLLECTIONS``; None for one that is left out."""
    name = leaf.dataset if leaf.dataset in LAPTOP else leaf.arch.split('-')[0]
    return name if name in _COLLECTIONS else None


def leaves() -> List[Leaf]:
    """Returns every shipped leaf, in the order of tables."""
    return sorted((parse(path.name) for path in (share_folder() / 'configs').glob('*.py')),
                  key=lambda leaf: (*order(leaf.entry), leaf.name))


def count_costs(leaf: Leaf) -> Tuple[int, int]:
    """Returns parameters and MACs of one image of a leaf's training size."""
    config = load_config(str(share_folder() / 'configs' / f'{leaf.name}.py'))
    cost = count(config, input_shape(config))
    return cost.parameters, cost.macs


def _entry(leaf: Leaf, costs: Tuple[int, int]) -> dict:
    data = DATASETS.get(leaf.dataset, leaf.dataset)
    entry = {
        'Name': leaf.name,
        'In Collection': _COLLECTIONS[family(leaf)][0],
        'Config': f'configs/{leaf.name}.py',
        'Metadata': {'Parameters': costs[0], 'FLOPs': costs[1], 'Training Data': [data]}
    }
    # A classifier's published weights are those that a leaf with its frozen backbone names.
    weights = recipe(f'{leaf.arch}_linear_ade20k')[1] if leaf.entry[2:] == ('', 'imagenet') else None
    number = published().get(leaf.entry)
    if weights:
        entry['Weights'] = weights
    if number is not None:
        task, name = ('Semantic Segmentation', 'mIoU') if leaf.segments else ('Image Classification', 'Top 1 Accuracy')
        entry['Results'] = [{'Task': task, 'Dataset': data, 'Metrics': {name: number}}]
    return entry


def metafiles(costs: Dict[str, Tuple[int, int]]) -> Dict[str, dict]:
    """Returns the content of every metafile by its path; ``costs`` are parameters and MACs of each leaf, by name."""
    files: Dict[str, dict] = {}
    for name, (title, architecture) in _COLLECTIONS.items():
        own = [leaf for leaf in leaves() if family(leaf) == name]
        collection = {'Name': title, 'Metadata': {'Architecture': architecture}, 'Paper': _PAPER,
                      'README': f'{_FOLDER}/{name}.md'}
        # A collection once: the index imports both files.
        for task, collections in (('classification', [collection]), ('segmentation', [])):
            entries = [_entry(leaf, costs[leaf.name]) for leaf in own if leaf.segments == (task == 'segmentation')]
            files[f'{_FOLDER}/{name}_{task}.yml'] = {'Collections': collections, 'Models': entries}
    return files


def write(root: Path) -> List[Path]:
    """Writes all metafiles and ``model-index.yml`` of a checkout, and returns them."""
    listed = [leaf for leaf in leaves() if family(leaf)]
    with KeptRows(WORK_DIR / 'metafiles.json') as kept:
        turns = with_progress(listed, lambda leaf: leaf.name, lambda leaf: dict(config=leaf.name) in kept)
        files = metafiles({leaf.name: kept.call(dict(config=leaf.name), partial(count_costs, leaf)) for leaf in turns})
    dump = partial(yaml.safe_dump, sort_keys=False, width=110)
    contents = {name: _HEADER + dump(content) for name, content in files.items()}
    contents['model-index.yml'] = dump({'Import': list(files)})
    for name, text in contents.items():
        with atomic_write(root / name) as file:
            file.write(text)
    return [root / name for name in contents]
