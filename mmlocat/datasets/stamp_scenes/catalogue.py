"""Which stamps of Tux Paint are used, as what, and why the others are not. Checked by eye, picture by picture.

A name is the path of a PNG below ``stamps/`` without its suffix.
"""

from __future__ import annotations

from typing import Dict, List, Tuple

# Class: folder: names of files. 'hoofed' and 'furred' divide the land mammals, 'sea' is what has the shape of a fish.
CLASSES: Dict[str, Dict[str, str]] = {
    'bird': {
        'animals/birds':
            'adelaide-rosella blackbird chicken_profile crow crowned_crane cuckoo drake duck gander guineafowl '
            'helmeted_guineafowl hen heron_greatblue heron_greatblue_flying lark little-penguin magellanic_penguin '
            'magpie nandou ostrich owl peacock pelican penguin pigeon pink_flamingo rainbow-lorikeet rooster seagull '
            'silver-gull tucan turkey vulture'
    },
    'hoofed': {
        'animals/mammals': 'giraffe hippopotamus pig pig_golden pig_golden2 rhino_black wildboar',
        'animals/mammals/bovines':
            'bison bull cow cow_white gnu-baby gnu-baby-stand gnu-sitting gnu-stand goat mountaingoat ram sheep '
            'sheep_lamb yak zebu',
        'animals/mammals/camel': 'camel dromedary',
        'animals/mammals/deer': 'caribou deer doe wapiti',
        'animals/mammals/equines': 'donkey donkey_eating horse zebra'
    },
    'furred': {
        'animals/mammals': 'badger ferret rabbit_little',
        'animals/mammals/aquatic': 'otter',
        'animals/mammals/bears': 'bear european-bear',
        'animals/mammals/cats': 'lion-2 tiger',
        'animals/mammals/dogs': 'dingo dog',
        'animals/mammals/rodents': 'beaver capybara marmot mouse rabbit rabbit-2 rat squirrel',
        'animals/marsupials': 'kangaroo wombat'
    },
    'sea': {
        'animals/fish':
            'bluegroper butterflyfish clownfish coraltrout dolphinfish lionfish moonwrasse seahorse stripedfish',
        'animals/mammals/aquatic': 'dolphin orca whale'
    },
    'fruit': {
        'food/fruit':
            'Apricot_whole Cherry_Stella Strawberry2 apple_fuji apple_granny_smith apple_green apple_red '
            'apple_sierra_beauty apricot avocado banana cherimoya grapes kiwi lemon mandarine mango orange '
            'orange_seville pear pineapple pomegranate raspberry sliced_lime sliced_orange strawberry'
    },
    'vegetable': {
        'food/spices': 'ginger',
        'food/vegetables':
            'broccoli carrot chilepepper corn eggplant garlic garlics lettuce mushroom onion pattypan_squash pepper '
            'potato pumpkin_small redlettuce tomato yam yellowpepper',
        'plants/mushrooms': 'cep cep-1 cep-2'
    },
    'flower': {
        'plants/flowers':
            'adeenia anemone_red anthoorium appooppanthady bolsom chemparathi daffodil iris marigold pigface '
            'red-gazania rose whitestar-petunia yellow-flower',
        'plants/flowers/plastic': 'chuvanna_plastic_poo'
    },
    'tool': {
        'household/arttools': 'scissors_small_closed scissors_small_open',
        'household/dishes/utensils': 'nutcracker',
        'household/tools':
            'hammer mallet_metal measuring_tape paintbrush_large plyers saw spade toolbox wrench wrench_adjustable '
            'wrench_plumbers'
    },
    'vehicle': {
        'military/vehicles': 'bradley infantry-stryker',
        'vehicles': 'garbagetruck',
        'vehicles/auto': 'beetle sedan sportscar2 truck',
        'vehicles/construction': 'dumper',
        'vehicles/cycle': 'pink_tricycle',
        'vehicles/emergency': 'firetruck',
        'vehicles/masstransit': 'green_korean_bus'
    }
}
# Objects of no class, which lie about in scenes and are labelled as background.
DISTRACTORS: Dict[str, str] = {
    'animals/amphibians': 'frog frog-1',
    'animals/insects': 'Woodlouse fly grasshopper hornet hoverfly mantis xanthia',
    'animals/lizards': 'iguana',
    'hobbies': 'binoculars camera_35mm',
    'hobbies/music/brass': 'trumpet',
    'hobbies/music/percussion': 'cymbal_crash drum_tomtom_floor drumkit',
    'hobbies/music/string': 'cello guitar2 guitar_classical guitar_electric guitar_electric_bass violin',
    'household': 'garbagecan home_compost_bin kettle key toilet wheelie_bin',
    'household/dishes': 'pitcher_small teapot',
    'plants/trees': 'holm_oak liberia-palm pinecone tree336',
    'sports': 'football soccer tennis_racket trophy_cup',
    'town': 'uk_post_box usps_mailbox',
    'town/monuments': 'inukshuk-photo',
    'town/roadsigns': 'dead_end_sign no_entry_sign traffic_cone'
}
# Stamps that must not be in different splits: one thing in two poses or colours, or so much alike, as they are or
# mirrored, that a comparison of the pictures cannot tell them apart (tests/datasets/test_real_stamps.py).
ALIKE: Tuple[str, ...] = (
    'animals/birds/heron_greatblue animals/birds/heron_greatblue_flying',
    'animals/mammals/pig_golden animals/mammals/pig_golden2',
    'animals/mammals/bovines/gnu-baby animals/mammals/bovines/gnu-baby-stand animals/mammals/bovines/gnu-sitting '
    'animals/mammals/bovines/gnu-stand',
    'animals/mammals/rabbit_little animals/mammals/rodents/rabbit-2',
    'food/fruit/apple_green food/fruit/apple_red food/fruit/orange food/fruit/mandarine',
    'food/fruit/Apricot_whole food/fruit/apricot',
    'food/fruit/cherimoya food/fruit/orange_seville',
    'food/fruit/sliced_lime food/fruit/sliced_orange',
    'food/fruit/Strawberry2 food/fruit/strawberry',
    'food/vegetables/pepper food/vegetables/yellowpepper',
    'household/arttools/scissors_small_closed household/arttools/scissors_small_open',
    'plants/mushrooms/cep plants/mushrooms/cep-1 plants/mushrooms/cep-2',
)
# Why others are not used: a stamp, or all of a folder that are not named above. The longest entry that fits counts.
_GROUND = 'brings ground or a perch along, which is not the object'
_PALETTE = 'palette with one transparent colour: its hard, dotted fringe would give the class away'
_MIRRORED = 'mirrored copy; scenes mirror at random'
_NO_CLASS = 'of no class, and no better as a distractor'
_DRAWN = 'drawing, not a photograph'
LEFT_OUT: Dict[str, str] = {
    **{name: _GROUND for name in (
        'animals/birds/albino_peahen', 'animals/birds/quetzal', 'animals/mammals/bovines/indian_blackbuck',
        'animals/mammals/cats/lion', 'animals/mammals/cats/tiger_sumatran', 'animals/mammals/dogs/fox',
        'animals/marsupials/koala')},
    **{name: _MIRRORED for name in (
        'household/tools/measuring_tape_mirror', 'military/vehicles/bradley_mirror',
        'vehicles/construction/dumper_mirror', 'vehicles/emergency/sedan_police_mirror')},
    **{f'plants/flowers/flower{number}': _PALETTE for number in range(1, 11)},
    **{name: _DRAWN for name in (
        'animals/insects/bee', 'animals/mammals/echidna', 'animals/mammals/hedgehog', 'clothes',
        'military/ammunition', 'military/vehicles/ww2_german_gun', 'naturalforces', 'symbols',
        'town/flags', 'town/monuments/inukshuk-outline', 'town/roadsigns', 'vehicles/7spoke256',
        'vehicles/race/indycar')},
    'animals/fish/lobster': 'limbs of one pixel vanish at this size; not of a fish\'s shape',
    'animals/fish/shrimp': 'overexposed; not of a fish\'s shape',
    'vehicles/emergency/sedan_police': 'a paint to lay over another stamp',
    **{name: _NO_CLASS for name in (
        'animals/insects/Brown_slug', 'animals/mammals/apes', 'animals/mammals/aquatic/sea_lion',
        'animals/mammals/bears/toys', 'animals/mammals/elephant', 'animals/shellfish', 'food', 'food/nuts',
        'hobbies/music/wind', 'household', 'household/arttools', 'household/dishes',
        'household/dishes/utensils/pepper_grinder', 'household/tools/cementmixer', 'medical', 'military', 'people',
        'plants', 'plants/trees', 'seasonal', 'space', 'sports', 'vehicles/flight', 'vehicles/ship',
        'vehicles/wheel_tractor')},
}


def names(folders: Dict[str, str]) -> List[str]:
    """Returns the stamps of a part of the catalogue, in order."""
    return [f'{folder}/{name}' for folder, files in folders.items() for name in files.split()]


def every_name() -> List[str]:
    """Returns all stamps that are used, distractors included, in order."""
    return [name for part in (*CLASSES.values(), DISTRACTORS) for name in names(part)]


def reason(name: str) -> str:
    """Returns why a stamp is not used; '' for one that the catalogue does not know."""
    if 'cartoon' in name.split('/'):
        return _DRAWN
    parts = name.split('/')
    for length in range(len(parts), 0, -1):
        found = LEFT_OUT.get('/'.join(parts[:length]))
        if found:
            return found
    return ''


def families(of: List[str]) -> List[List[str]]:
    """Divides stamps into those that must stay together, in order."""
    mates = {name: group for group in ALIKE for name in group.split()}
    groups: Dict[str, List[str]] = {}
    for name in of:
        groups.setdefault(mates.get(name, name), []).append(name)
    return list(groups.values())
