"""The commands of docs/photographs.md, as far as they need no stamps, which are not fetched for a test."""

import re

from tests.conftest import ROOT
from tests.helpers.checkout import Checkout


def test_the_commands_of_the_page(digit_scenes, tmp_path):
    """Of the suites the plans, and that the page has a place for the table of the first."""
    checkout = Checkout(tmp_path, digit_scenes)
    blocks = re.findall(r'^```bash\n(.*?)^```', (ROOT / 'docs' / 'photographs.md').read_text(encoding='utf-8'),
                        re.DOTALL | re.MULTILINE)
    *stamps, suite, published = [line.split('  #')[0].strip() for block in blocks for line in block.splitlines()]
    for command, said in zip(stamps, (r'bird .*\d', 'crow', 'mirrored copy')):
        assert re.search(said, checkout.run(command)), command
    assert len(stamps) == 3 and '60 trainings are left' in checkout.run(f'{suite} --dry-run')
    assert '10 trainings are left' in checkout.run(f'{published} --dry-run')
