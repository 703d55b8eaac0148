"""Words that a service's graph is tried with when it is loaded: people search by them, and they lie far from images."""

from __future__ import annotations

import logging

from curator.encoders import open_space
from curator.errors import CuratorError
from curator.records import Space, Vectors

logger = logging.getLogger("curator")

# Of many kinds, so that some fit any collection and some fit none of it.
WORDS = """
    dog, an old man with a hat, red car, snow on mountains, a bowl of soup, the sea at sunset, handwriting, a crowd,
    a broken window, green, an empty street at night, a child laughing, a map, coins, a wedding, a spider, rust, clouds,
    a bicycle against a wall, bread, a red dress, a football match, a kitchen, graffiti, a bridge, a horse, something
    round, a blue door, a library, rain, a tattoo, a screenshot, a chart, two people talking, a beach, shoes, a forest
    path, a face close up, fireworks, a train, an apple, a cat asleep, a tower, a black and white portrait, flowers in a
    vase, a skateboard, a desert, a hand, a market, nothing
"""


def words_of(space: Space) -> Vectors | None:
    """(50, d) unit rows of words in a space; None where its encoder is not here, or knows no words."""
    try:
        encoder = open_space(space)
        if encoder.has_text:
            return encoder.encode_texts([" ".join(word.split()) for word in WORDS.split(",")])
    except CuratorError as error:
        logger.info("the graph is tried without words: %s", error)
    return None
