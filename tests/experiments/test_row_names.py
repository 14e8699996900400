"""What a leaf's name says, and the paper's entry it stands for."""

import csv
from collections import Counter

import pytest

from mmlocat.experiments.leaderboard.names import PAPER, parse, published
from tests.conftest import ROOT


@pytest.mark.parametrize(('name', 'expected'), [
    ('vit_imagenet', ('vit', 'ViT', 'base', '', 'imagenet')),
    ('locatvit-tiny-reg4_linear_pascal_context59.py',
     ('locatvit-tiny-reg4', 'LocAtRegViT', 'tiny', 'linear', 'pascal_context59')),
    ('locatvit-gaug_linear_ade20k', ('locatvit-gaug', 'ViT + GAug', 'base', 'linear', 'ade20k')),
    ('vit-small_upernet_coco_stuff164k', ('vit-small', 'ViT', 'small', 'upernet', 'coco_stuff164k')),
    ('vit-tiny_mini-imagenet', ('vit-tiny', 'ViT', 'tiny', '', 'mini-imagenet')),
    ('locatvit-nano_linear_stampscenes', ('locatvit-nano', 'LocAtViT', 'nano', 'linear', 'stampscenes')),
    ('vit-nano-long_digitscenes', ('vit-nano-long', 'ViT (long)', 'nano', '', 'digitscenes')),
    ('locatswin-tiny_linear_ade20k', ('locatswin-tiny', 'LocAtSwin', 'tiny', 'linear', 'ade20k')),
    ('vit-tiny-rope_imagenet', ('vit-tiny-rope', 'ViT + RoPE', 'tiny', '', 'imagenet')),
    ('locatvit_hummingbird_voc2012', ('locatvit', 'LocAtViT', 'base', 'hummingbird', 'voc2012')),
    ('locatvit-tiny-rope_knn_imagenet', ('locatvit-tiny-rope', 'LocAtViT + RoPE', 'tiny', 'knn', 'imagenet')),
    ('vit-small_dino-knn_imagenet', ('vit-small', 'ViT', 'small', 'dino-knn', 'imagenet')),
    ('deit-retrofit_upernet_ade20k', ('deit-retrofit', 'deit (retrofit)', 'base', 'upernet', 'ade20k')),
])
def test_parts(name, expected):
    leaf = parse(name)
    assert (leaf.arch, *leaf.entry) == expected


@pytest.mark.parametrize(('name', 'value'), [
    ('vit_linear_ade20k', 28.40),
    ('locatvit_linear_ade20k', 32.64),
    ('locatvit-tiny_linear_coco_stuff164k', 26.15),
    ('locatvit_imagenet', 82.31),
    ('vit-tiny-gap_linear_ade20k', 19.65),
    ('locatvit-gaug_linear_ade20k', 30.26),
    ('locatvit-tiny-prr_imagenet', 73.71),
    ('vit-nopos_imagenet', 79.39),
    ('locatvit-tiny-nopos_linear_ade20k', 22.69),
    ('vit-reg4_linear_pascal_context59', 41.81),
    ('locatswin-tiny_linear_ade20k', 26.52),
    ('locatvit-rope_imagenet', None),  # not in the table that we have
    ('locatvit-reg4_imagenet', None),  # a blank of the paper
    ('locatjumbo-tiny_mini-imagenet', None),
    ('swin_hummingbird_voc2012', None),
    ('vit-small_dino-knn_imagenet', None),
    ('locatvit-small_dino-linear_imagenet', None),
])
def test_published_numbers(name, value):
    assert published()[parse(name).entry] == value


@pytest.mark.parametrize('name', ['locatvit_upernet_ade20k', 'vit-small_linear_ade20k', 'vit-nano_linear_digitscenes',
                                  'vit-small_mini-imagenet', 'vit-nano-long_digitscenes', 'deit_linear_ade20k',
                                  'vit-small_imagenet', 'vit-tiny_dino-knn_imagenet', 'jumbo_hummingbird_ade20k',
                                  'vit-gap_mini-imagenet'])
def test_what_stands_in_no_table(name):
    assert parse(name).entry not in published()


def test_the_table_is_whole_and_blanks_are_kept():
    with open(PAPER, newline='', encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    siblings = [model for plain in ('Swin', 'Jumbo') for model in (plain, f'LocAt{plain}')]
    wanted = {(model, size) for size in ('tiny', 'base') for model in (*siblings, 'ViT + RoPE', 'LocAtViT + RoPE')}
    assert {(row['model'], row['size']) for row in rows} >= wanted | {('ViT', 'small'), ('LocAtViT', 'small')}
    by_head = Counter((entry.head, entry.dataset) for entry in published())
    assert by_head == {('', 'imagenet'): 30, ('', 'mini-imagenet'): 20, ('dino-knn', 'imagenet'): 2,
                       ('dino-linear', 'imagenet'): 2,  # DINO was published with ViT-Small alone
                       **{('linear', data): 30 for data in ('ade20k', 'pascal_context59', 'coco_stuff164k')},
                       **{('hummingbird', data): 8 for data in ('ade20k', 'voc2012')}}  # ViT and Swin
    assert all(value in ('', '-') or float(value) for row in rows for name, value in row.items()
               if name.endswith(('_miou', '_top1')))
    printed = sum(row[name] not in ('', '-') for row in rows for name in row if name.endswith(('_miou', '_top1')))
    assert sum(value is not None for value in published().values()) == printed == 59


def test_leaves_are_named_by_the_rule_and_distinct():
    entries = [parse(path.name).entry for path in (ROOT / 'configs').glob('*.py')]
    entries = [entry for entry in entries if entry in published()]
    assert len(entries) == len(set(entries)) >= 4


def test_pretraining_of_a_leaf():
    assert parse('locatvit-tiny-gaug_linear_ade20k').pretraining == 'locatvit-tiny-gaug_imagenet'
    assert parse('vit-nano_linear_digitscenes').pretraining == 'vit-nano_digitscenes'
    assert parse('vit_imagenet').pretraining is None
    assert parse('locatvit_hummingbird_voc2012').pretraining == 'locatvit_imagenet'
    assert parse('locatjumbo_knn_imagenet').pretraining == 'locatjumbo_imagenet'
    assert parse('vit-small_dino-knn_imagenet').pretraining == 'vit-small_dino_imagenet'
    assert parse('vit-small_dino-linear_imagenet').pretraining == 'vit-small_dino_imagenet'
    assert parse('vit-small_dino_imagenet').pretraining is None
